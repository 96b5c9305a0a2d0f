"""Data augmentation by grey morphology: strokes that are thicker or thinner."""

from typing import Any

from ..kernels.memory import Memory
from .augmentation import RandomTransform, draw_keys
from .base import Array


class RandomMorphology(RandomTransform):
    """Make bright strokes on a dark ground thicker or thinner; dark strokes on white: the reverse.

    factor  a, in pixels on each side of a stroke: positive thicker, negative thinner; from -1 to 1,
            a number f for -f to f

    Each image draws one a. Thicker is a grey dilation, y = x + a * (max - x), thinner an erosion,
    y = x - a * (min - x), over the pixel and its four neighbours that are in the image. For a
    straight stroke along rows or columns this is a stroke grown by `a` pixels and averaged over the
    area of each pixel. It is not composed with other layers. Keras has no such layer. Sources:
    Serra 1982, "Image analysis and mathematical morphology"; Haralick et al. 1987, "Image analysis
    using mathematical morphology". See `RandomTransform`.
    """

    operation, saves = "morphology", ("x", "key")
    equation = "y = x + a * (max - x) for a >= 0, x - a * (min - x) else, of crosses, a drawn"

    def __init__(self, factor: Any, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor
        self._amounts()

    def _amounts(self) -> tuple[float, float]:
        return self._bounds("factor", self.factor, -1, 1)

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        x = x if x.dtype.kind == "f" else x.astype(self.dtype)
        if not (training and self.active):
            memory.save(self, None, None)
            return x
        key = draw_keys(self, [self], memory)[0]
        memory.save(self, x, key)
        out = memory.out(self, y=x.shape)
        return self.kernels.morphology_forward(x, *self._amounts(), key, **out)

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        x, key = memory.saved(self)
        if key is None:
            return dy
        out = memory.out(self, dx=dy.shape)
        return self.kernels.morphology_backward(dy, x, *self._amounts(), key, **out)
