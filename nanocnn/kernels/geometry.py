"""Where a window slides: output sizes and paddings, in whole numbers only."""

from typing import NamedTuple

from ..common.errors import ShapeError
from ..common.validate import one_of, pair


class Window(NamedTuple):
    """A KH x KW window sliding over an H x W image: what convolution and pooling have in common.

    Strides SH SW and dilations DH DW in pixels; `top bottom left right` are the rows and columns
    of padding; OH x OW is the number of places the window stops at.
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
    """The geometry of a `kernel` sliding over an image of `size`, both (height, width) in pixels.

    "valid" keeps the window inside the image; "same" gives ceil(size / strides) places, and when
    the padding is odd the extra row or column goes to the bottom or right (TensorFlow's rule;
    PyTorch's `padding=k//2` differs for strides over 1).
    Raises `ShapeError` when no place is left. Source: keras/src/ops/operation_utils.py.
    """
    size, kernel = pair(size, "size"), pair(kernel, "kernel")
    strides, dilation = pair(strides, "strides"), pair(dilation, "dilation")
    padding = one_of(padding, ("valid", "same"), "padding")
    places, before, after, steps = [], [], [], []
    for n, k, s, d in zip(size, kernel, strides, dilation, strict=True):
        if padding == "same" and s == 1:
            # From 2n on, all cells but a centre one are padding: farther out there is only more.
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
                "is empty"
            )
        places.append(count)
        steps.append(d)
        before.append(total // 2)
        after.append(total - total // 2)
    return Window(
        *size,
        *kernel,
        *strides,
        steps[0],
        steps[1],
        before[0],
        after[0],
        before[1],
        after[1],
        *places,
    )
