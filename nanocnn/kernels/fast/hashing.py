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


@inline
def uniform(key, sample, count, i):
    """Number i, from 0 to 1, of the `count` that a sample draws.

    `key`: (key, place of the first sample in the whole batch).
    """
    low, high = np.uint32(key[0]), np.uint32(key[0] >> np.uint64(32))
    number = (np.uint32(sample) + np.uint32(key[1])) * np.uint32(count) + np.uint32(i)
    return hashed(number, low, high) / 4294967296.0
