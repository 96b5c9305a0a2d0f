"""Activations in place, and dropout with a key that a kernel reads."""

import numpy as np
import pytest

from nanocnn.common.errors import ShapeError
from nanocnn.jit.capture import capture
from nanocnn.jit.program import programs
from nanocnn.kernels import fast, reference


def test_a_captured_dropout_reads_its_key_at_each_replay(dtype, rng):
    x = rng.standard_normal((40, 700)).astype(dtype)
    key, y, dx = np.zeros(2, np.uint64), np.empty_like(x), np.empty_like(x)
    with capture() as calls:
        fast.dropout_forward(x, 0.4, key, out=y)
        fast.dropout_backward(x, 0.4, key, out=dx)
    (program,) = programs([calls])
    for value in (0, 7, 2**32, 2**64 - 1):
        key[0] = value
        program.replay()
        expected = reference.dropout_forward(x, 0.4, value).tobytes()
        assert y.tobytes() == dx.tobytes() == expected


@pytest.mark.parametrize("key", [np.zeros(1, np.uint64), np.zeros(2, np.int64)])
def test_a_key_that_does_not_fit(key):
    with pytest.raises(ShapeError, match="key"):
        fast.dropout_forward(np.ones(3), 0.4, key)


def test_in_place(dtype, rng):
    x, other = rng.standard_normal((2, 3, 20_001)).astype(dtype)
    key = np.array([2**63 + 5, 0], np.uint64)
    for name, rest in [("dropout_forward", (0.4, key)), ("dropout_forward", (1.0, key)),
                       ("dropout_backward", (0.4, key)), ("relu_forward", ()),
                       ("sigmoid_forward", ()), ("tanh_forward", ()), ("relu_backward", (other,)),
                       ("sigmoid_backward", (other,)), ("tanh_backward", (other,)),
                       ("elu_forward", ()), ("elu_backward", (other,)), ("gelu_forward", ()),
                       ("gelu_backward", (other,)), ("leaky_relu_forward", (0.2, 0.1, 2.0)),
                       ("leaky_relu_backward", (other, 0.2, 0.1, 2.0))]:  # fmt: skip
        function, y = getattr(fast, name), x.copy()
        assert function(y, *rest, out=y) is y
        assert y.tobytes() == function(x, *rest).tobytes(), name
