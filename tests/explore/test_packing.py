"""Answers with raw arrays: what is packed is what is read."""

import json

import numpy as np
import pytest

from nanocnn.explore.packing import pack
from support.explore_client import unpack

SENT_AS = {
    "float32": "float32", "float64": "float64", "float16": "float32", "uint8": "uint8",
    "bool": "uint8", "int8": "int32", "int16": "int32", "int32": "int32", "int64": "int32",
    "uint16": "int32", "uint32": "int32", "intp": "int32",
}  # fmt: skip


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (7,), (2, 3, 5)])
@pytest.mark.parametrize("dtype", SENT_AS)
def test_arrays_of_every_type_and_shape_come_back(dtype, shape, rng):
    array = rng.integers(0, 100, shape).astype(dtype)
    other = np.arange(3, dtype=np.float64)  # is at its place whatever stands before it
    _, [(found, about), (after, _)] = unpack(pack({}, [array, other]))
    assert about["dtype"] == SENT_AS[dtype] and found.shape == shape
    assert np.array_equal(found, array) and np.array_equal(after, other)


def test_numbers_that_are_not_finite_travel_bit_for_bit():
    array = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, np.float32(0.1)], np.float32)
    _, [(found, _)] = unpack(pack({}, [array]))
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "change", [np.transpose, lambda a: a[::-1, ::2], lambda a: a.astype(">f4")]
)
def test_arrays_of_any_layout_come_back(change, rng):
    array = change(rng.random((4, 6), np.float32))
    _, [(found, _)] = unpack(pack({}, [array]))
    assert np.array_equal(found, array)


def test_results_are_json_with_words_for_what_json_lacks():
    result = {
        "a": np.float32(0.5), "b": [np.int64(3), float("nan")], "c": (np.inf, -np.inf),
        "d": np.array([1.5, np.nan]), "e": None, "f": True, "g": "ü", "h": np.bool_(True),
    }  # fmt: skip
    found, arrays = unpack(pack(result))
    assert arrays == []
    assert found == {"a": 0.5, "b": [3, "NaN"], "c": ["Infinity", "-Infinity"],
                     "d": [1.5, "NaN"], "e": None, "f": True, "g": "ü", "h": True}  # fmt: skip


def test_a_descriptor_may_say_more():
    array = np.zeros((2, 2), np.float32)
    more = {"whole": [np.float32(-1), np.inf], "full_shape": (4, 4)}
    _, [(_, about)] = unpack(pack({}, [(array, more)]))
    assert about == {"dtype": "float32", "shape": [2, 2], "whole": [-1, "Infinity"],
                     "full_shape": [4, 4]}  # fmt: skip


def test_the_json_is_padded_so_that_arrays_are_aligned():
    for length in range(9):
        data = pack({"text": "x" * length}, [np.ones(1, np.uint8)])
        size = int.from_bytes(data[:4], "little")
        assert (4 + size) % 8 == 0 and len(data) == 4 + size + 8
        assert json.loads(data[4 : 4 + size])["result"] == {"text": "x" * length}


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array([1j])])
def test_arrays_that_hold_no_numbers_are_refused(array):
    with pytest.raises(TypeError, match=r"cannot be sent, expected numbers"):
        pack({}, [array])


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1])
def test_integers_that_int32_does_not_hold_are_refused(number):
    with pytest.raises(OverflowError, match="beyond int32"):
        pack({}, [np.array([number])])
    with pytest.raises(OverflowError, match="beyond int32"):
        pack({}, [np.array([2**64 - 1], np.uint64)])
