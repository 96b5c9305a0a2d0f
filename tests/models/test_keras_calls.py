"""Calls give what Keras gives: those of golden/call_cases.py, answers by make_keras_calls.py."""

import json
import warnings

import numpy as np
import pytest

import nanocnn
from golden.call_cases import CASES, model
from support.paths import TESTS

KERAS = json.loads((TESTS / "golden" / "keras_calls.json").read_text())
# Keras warns of the end of every generator without `steps`, too.
RUN_OUT = {"too many steps", "ends in the middle", "steps of arrays", "indexed, in steps"}


def same(ours, keras):
    """Equal numbers, and the same keys in the same order."""
    if isinstance(keras, dict):
        assert list(ours) == list(keras)
        for key in keras:
            same(ours[key], keras[key])
    else:
        np.testing.assert_allclose(ours, keras, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_call_gives_what_keras_gives(name):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ours, keras = CASES[name](model(nanocnn, name), object), KERAS[name]
    if isinstance(keras, dict) and "params" in keras:
        assert ours.pop("params") == keras.pop("params")
    same(ours, keras)
    words = {str(each.message)[:27] for each in said}
    assert words == ({"Your input ran out of data;"} if name in RUN_OUT else set())
