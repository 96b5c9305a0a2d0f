"""The sliding window of convolution and pooling: output sizes and padding."""

from typing import NamedTuple

from ..common.errors import ShapeError
from ..common.validate import one_of, pair


class Window(NamedTuple):
    """A KH x KW window sliding over an H x W image.

    SH SW are strides and DH DW dilations, in pixels; `top bottom left right` are the rows and
    columns of padding; OH x OW is the output size.
    """

    H: int
    W: int
    KH: int
    KW: int
    SH: int
    SW: int
    DH: int
    DW: int
    top: int
    bottom: int
    left: int
    right: int
    OH: int
    OW: int


def sliding_window(
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int] = (1, 1),
    padding: str = "valid",
    dilation: tuple[int, int] = (1, 1),
) -> Window:
    """The `Window` of a `kernel` sliding over an image of `size`, both (height, width) in pixels.

    padding  "valid": the window stays inside the image. "same": the output size is
             ceil(size / strides), and an odd row or column of padding goes to the bottom or right
             (as in TensorFlow; PyTorch's `padding=k//2` differs for strides over 1)

    Raises `ShapeError` if the output is empty. Source: keras/src/ops/operation_utils.py.
    """
    size, kernel = pair(size, "size"), pair(kernel, "kernel")
    strides, dilation = pair(strides, "strides"), pair(dilation, "dilation")
    padding = one_of(padding, ("valid", "same"), "padding")
    outputs, pads, dilations = [], [], []
    for n, k, s, d in zip(size, kernel, strides, dilation, strict=True):
        if padding == "same" and s == 1:
            # From 2n on, every cell but the centre lies in the padding: more dilation adds zeros.
            d = min(d, 2 * n)
        extent = (k - 1) * d + 1
        if padding == "same":
            count = -(-n // s)
            total = max((count - 1) * s + extent - n, 0)
        else:
            count, total = (n - extent) // s + 1, 0
        if count < 1 or n < 1:
            raise ShapeError(
                f"a {kernel[0]}x{kernel[1]} window (dilation {dilation[0]}x{dilation[1]}, padding "
                f"{padding!r}) does not fit into an image of size {size[0]}x{size[1]}: the output "
                "would be empty"
            )
        outputs.append(count)
        pads += [total // 2, total - total // 2]
        dilations.append(d)
    return Window(*size, *kernel, *strides, *dilations, *pads, *outputs)
