"""Rows of random image transforms, and keys for them: what the tests of `warp` share."""

import numpy as np

from nanocnn.kernels import transforms as formulas

# By letter: see kernels/transforms.py.
ROWS = {
    "t": (formulas.TRANSLATION, -0.3, 0.3, -0.2, 0.4, 0),
    "r": (formulas.ROTATION, -0.1, 0.3, 0, 0, 0),
    "z": (formulas.ZOOM, -0.4, 0.6, -0.2, 0.3, 0),
    "Z": (formulas.ZOOM, -0.4, 0.6, 0, 0, 1),
    "s": (formulas.SHEAR, 0, 0.4, 0.1, 0.2, 0),
    "e": (formulas.ELASTIC, -0.1, 0.2, -0.2, 0.1, 4),
    "x": (formulas.ERASING, 0.5, 1, 0.02, 0.3, 0.5),
}
# Each by itself, and some together, in two orders.
TOGETHER = [*ROWS, "tr", "rt", "trZs", "etx", "trzsex"]
SIZES = [(28, 28), (9, 6), (1, 3), (4, 1)]


def rows(letters):
    """(T, 6): one transform a letter."""
    return np.array([ROWS[letter] for letter in letters], float)


def keys_for(letters, first=0, seed=0):
    """(T, 2): a key for each transform, and the place of the first sample."""
    keys = np.random.default_rng(seed).integers(2**64, size=(len(letters), 2), dtype=np.uint64)
    keys[:, 1] = first
    return keys
