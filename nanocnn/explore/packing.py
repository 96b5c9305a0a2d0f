"""Answers with raw arrays: a length, JSON, then the bytes of each array.

    4 bytes             J, the length of the JSON, little-endian
    J bytes             {"result": {...}, "arrays": [{"dtype": ..., "shape": [...]}, ...]} in UTF-8,
                        padded with spaces so that 4 + J is a multiple of 8
    each array          little-endian, C order, padded to a multiple of 8 bytes

A page makes typed arrays of them without a copy. In the JSON a number that is not finite is the
string "NaN", "Infinity" or "-Infinity"; in arrays it stays itself.
"""

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..common.arrays import Array

# What a page has typed arrays for, by the kind of a dtype; other floats travel as float32.
_TYPES = {"b": "uint8", "u": "int32", "i": "int32", "f": "float32"}
_AS_THEY_ARE = ("uint8", "int32", "float32", "float64")

Packable = Array | tuple[Array, dict[str, Any]]


def pack(result: dict[str, Any], arrays: Iterable[Packable] = ()) -> bytes:
    """The bytes of an answer.

    arrays  arrays of numbers; booleans travel as uint8, integers other than uint8 as int32. In
            place of an array may stand (array, {name: value}): entries for its descriptor

    Raises TypeError for another dtype, OverflowError for an integer beyond int32.
    """
    descriptors, parts = [], []
    for each in arrays:
        array, more = each if isinstance(each, tuple) else (each, {})
        array = _portable(array)
        descriptors.append({"dtype": array.dtype.name, "shape": array.shape, **more})
        parts.append(_padded(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()))
    text = {"result": plain(result), "arrays": plain(descriptors)}
    packed = json.dumps(text, allow_nan=False, separators=(",", ":")).encode()
    packed += b" " * (-(4 + len(packed)) % 8)
    return b"".join([len(packed).to_bytes(4, "little"), packed, *parts])


def plain(value: Any) -> Any:
    """`value` for JSON: tuples as lists, NumPy's scalars as Python's, NaN as the text "NaN"."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _portable(array: Array) -> Array:
    """The array in a dtype that a page has typed arrays for."""
    name = array.dtype.name
    if name in _AS_THEY_ARE:
        return array
    if array.dtype.kind not in _TYPES:
        raise TypeError(f"an array of type {name} cannot be sent, expected numbers")
    wanted = np.dtype(_TYPES[array.dtype.kind])
    if wanted == np.int32 and array.size:
        limits = np.iinfo(np.int32)
        if array.min() < limits.min or array.max() > limits.max:
            raise OverflowError(f"an array of type {name} has integers beyond int32")
    return array.astype(wanted)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)
