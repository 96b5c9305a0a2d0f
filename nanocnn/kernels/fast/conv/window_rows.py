"""Lanes along a row of the window: its KW*C items are contiguous in x and in dx.

The algorithms that skip zero gradients (sparse_dweight.py, scatter.py) read, or add to, one window
of KH such rows per nonzero gradient. This file divides a window into register tiles.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from ....jit.cpu import cpu
from ...geometry import Window
from .pack import lanes_of

# The register tiles (rows, vectors) that are compiled: few, with registers left for an item that is
# broadcast and for the compiler, and 8 or more, where possible, for multiply-adds that do not wait
# for each other.
TILES = (
    ((1, 4), (1, 8), (1, 12), (3, 1), (3, 2), (3, 4), (5, 1), (5, 2))
    if cpu.registers == 16
    else ((1, 4), (1, 8), (1, 16), (1, 28), (3, 1), (3, 2), (3, 3), (3, 4), (3, 6), (3, 8), (5, 1),
          (5, 2), (5, 3), (5, 4), (5, 5))
)  # fmt: skip


class WindowTiles(NamedTuple):
    """A window (KH, KW*C) as `down` x `across` register tiles of `rows` x `width` items."""

    rows: int
    vectors: int
    down: int
    across: int
    width: int

    @property
    def items(self) -> int:
        """The number of items of all tiles."""
        return self.down * self.rows * self.across * self.width


@lru_cache(maxsize=256)
def window_tiles(window: Window, C: int, dtype: Any) -> WindowTiles:
    """The tiles that take the fewest instructions for this window."""
    lanes = lanes_of(dtype)
    vectors = -(-window.KW * C // lanes)

    def cost(tile: tuple[int, int]) -> int:
        return -(-window.KH // tile[0]) * -(-vectors // tile[1]) * (tile[0] * tile[1] + 2)

    rows, wide = min(TILES, key=cost)
    return WindowTiles(rows, wide, -(-window.KH // rows), -(-vectors // wide), wide * lanes)


def supports(window: Window) -> bool:
    """Whether a row of the window is contiguous, and its rows are neighbours."""
    return window[4:8] == (1, 1, 1, 1)
