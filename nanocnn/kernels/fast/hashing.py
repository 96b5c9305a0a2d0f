"""Random numbers that depend on a key and their number alone."""

import numpy as np

from ...jit.inline import inline


@inline
def _mix(h):
    """lowbias32. Each step is truncated to 32 bits: numba promotes integers to 64 bits."""
    h = np.uint32(h ^ (h >> np.uint32(16)))
    h = np.uint32(h * np.uint32(0x7FEB352D))
    h = np.uint32(h ^ (h >> np.uint32(15)))
    h = np.uint32(h * np.uint32(0x846CA68B))
    return np.uint32(h ^ (h >> np.uint32(16)))


@inline
def hashed(i, low, high):
    """Random number i, uint32, of the key whose halves are `low` and `high`."""
    return np.uint32(_mix(np.uint32(_mix(np.uint32(np.uint32(i) ^ low)) ^ high)))
