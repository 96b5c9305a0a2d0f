"""Figures that explain a prediction: which pixels the score of a class depends on."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..common.errors import NonFiniteError, ShapeError
from ..common.validate import integer, refuse_where
from ..kernels.memory import Memory
from ..layers import Layer
from ..layers.linear import Linear
from ..models.record import unchanged
from ..models.sequential import Sequential
from .inside import find_conv
from .style import INK, Array, built, new_figure, one_image, shortened, show_image


def saliency(model: Sequential, image: Any, label: int | None = None) -> Figure:
    """How strongly the score of class `label` depends on each pixel: |d score / d pixel|.

    image  (H,W) or (H,W,C)
    label  the class; None takes the predicted one. Its score is the logit, before the softmax

    Source: Simonyan, Vedaldi & Zisserman 2013.
    """
    x, label, _, dx = score_gradients(model, image, label)
    size = np.abs(dx[0]).max(axis=-1)
    titles = "image", f"|d score of {label} / d pixel|", "outlined: over half the maximum"
    none = f"no pixel affects the score of {label}", "its gradient is 0 everywhere"
    return _explained(x, size, titles, (0.5,), none)


def grad_cam(
    model: Sequential, image: Any, label: int | None = None, layer: str | None = None
) -> Figure:
    """Grad-CAM: the positions in the output of a convolution that are evidence for class `label`.

    image  (H,W) or (H,W,C)
    label  the class; None takes the predicted one
    layer  the name of the convolution; None takes the last one

    The maps, weighted by the mean of their gradients, are summed and negative sums set to 0. If
    nothing is left, the figure says why. Source: Selvaraju et al. 2017.
    """
    conv = find_conv(model, layer, first=False)
    x, label, found, _ = score_gradients(model, image, label)
    y, dy = found[conv.name]
    cam = np.maximum((y[0] * dy[0].mean(axis=(0, 1))).sum(axis=-1), 0)  # (OH,OW)
    cam = cam / (cam.max() or 1)
    titles = "image", f"evidence for {label} in {conv.name}", "overlaid on the image"
    why = "the weighted sum of its maps\nis negative everywhere"
    if not dy.any():
        why = "the gradient is 0\nin all of its maps"
    elif not y.any():
        why = "all of its maps are 0"
    none = f"no evidence for {label} in {conv.name}", why
    return _explained(x, cam, titles, (0.25, 0.5, 0.75), none)


def score_gradients(
    model: Sequential, image: Any, label: int | None
) -> tuple[Array, int, dict[str, tuple[Array, Array]], Array]:
    """The image (1,H,W,C), the class, (output, d score / d output) per layer, and d score / d x."""
    x, memory = one_image(built(model), image), Memory()
    if len(model.output_shape) != 1 or len(model.input_shape) != 3:
        raise ShapeError(
            f"model {model.name!r} has input {model.input_shape} and output {model.output_shape}, "
            "expected images (H,W,C) and a score per class (K,)"
        )
    backwards: list[tuple[Layer, Any, Array]] = []
    softmax = model.layers[-1]
    with unchanged(model.layers):
        a = x
        for layer in model.layers:
            last = layer is softmax and not layer.is_custom
            if last and getattr(layer, "activation", None) == "softmax":
                break  # an Activation layer: the score is its input
            if last and isinstance(layer, Linear) and layer.activation.activation == "softmax":
                a = layer.transform(a, memory)
                backwards.append((layer, layer.transform_backward, a))
                break
            a = layer.run_forward(a, False, memory)
            backwards.append((layer, layer.run_backward, a))
        K = a.shape[1]
        label = int(a[0].argmax()) if label is None else integer(label, "label", 0)
        if label >= K:
            raise ValueError(f"label={label}, expected a class from 0 to {K - 1}")
        scores, bad = a[0], ~np.isfinite(a[0])
        refuse_where(bad, scores, "scores of this image", "finite numbers", NonFiniteError)
        d = np.zeros_like(a)
        d[0, label] = 1
        found = {}
        for layer, backward, y in reversed(backwards):
            found[layer.name] = (y, d)
            d = backward(d, True, memory)
    return x, label, found, d


def enlarged(small: Array, shape: tuple[int, ...]) -> Array:
    """Resize a map (h,w) to `shape` (H,W) by bilinear interpolation."""
    rows, columns = (
        np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1)
        for n, m in zip(shape, small.shape, strict=True)
    )
    wide = np.stack([np.interp(columns, np.arange(small.shape[1]), row) for row in small])
    return np.stack([np.interp(rows, np.arange(small.shape[0]), column) for column in wide.T]).T


def _explained(
    x: Array,
    strength: Array,
    titles: tuple[str, str, str],
    levels: tuple[float, ...],
    none: tuple[str, str],
) -> Figure:
    """The image (1,H,W,C), a map (h,w), and the image in pale grey with contours of the map.

    levels  of the contours, relative to the maximum of the map
    none    the title and the reason if the map is 0 everywhere
    """
    grey, top = x[0].mean(axis=-1), float(strength.max())
    figure = new_figure(3.1)
    left, middle, right = figure.subplots(1, 3)
    show_image(left, grey, INK)
    picture = show_image(middle, strength, INK, vmin=0, vmax=top or 1)
    figure.colorbar(picture, ax=middle, shrink=0.75, format="%.2g")
    show_image(right, grey, INK, vmin=float(grey.min()), vmax=2 * float(grey.max()) or 1)
    least = float(strength.min()) / (top or 1)
    drawn = [level for level in levels if least < level] if top and min(grey.shape) > 1 else []
    if drawn:
        widths = (1.0, 1.6, 2.2)[-len(drawn) :]
        shares = enlarged(strength, grey.shape) / top
        lines = right.contour(shares, drawn, colors="black", linewidths=widths)
        if len(levels) > 1:
            right.clabel(lines, fmt="%.2g", fontsize=8)
    elif top:
        titles = (*titles[:2], f"no contours: the minimum is {least:.2f}")
    else:
        titles = (titles[0], none[0], "no contours")
        middle.text(0.5, 0.5, none[1], ha="center", va="center", fontsize=8,
                    transform=middle.transAxes)  # fmt: skip
    for axis, title in zip((left, middle, right), titles, strict=True):
        axis.set_title(shortened(title, 2.6, 10), fontsize=10)
    return figure
