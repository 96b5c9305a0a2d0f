"""Matrix products and dense layers: the order of the sums, and the ReLU fused into the backward."""

import numpy as np
import pytest

from nanocnn.kernels import fast, reference
from nanocnn.kernels.fast import gemm
from support.compare import TOLERANCE, assert_close

SIZES = [(1, 1), (10, 7), (256, 10), (300, 16), (257, 33), (700, 128), (513, 200)]


@pytest.mark.parametrize("b_transposed", [False, True])
@pytest.mark.parametrize("a_transposed", [False, True])
def test_a_row_has_the_same_bits_alone_and_in_any_batch(
    dtype, rng, set_threads, a_transposed, b_transposed
):
    for K, N in SIZES:
        a, b = rng.standard_normal((128, K)).astype(dtype), rng.standard_normal((K, N))
        b = np.asarray(b, dtype, order="F" if b_transposed else "C")
        bias = rng.standard_normal(N).astype(dtype)

        def product(rows, b=b, bias=bias):
            c = np.empty((len(rows), b.shape[1]), b.dtype)
            rows = np.asarray(rows, order="F" if a_transposed else "C")
            gemm.matmul(rows, b, c, bias, relu=True)
            return c

        set_threads(2)
        alone = np.concatenate([product(a[i : i + 1]) for i in range(len(a))])
        for n in (1, 2, 3):
            set_threads(n)
            for M in (*range(1, 41), 128):
                assert product(a[:M]).tobytes() == alone[:M].tobytes(), (K, N, M, n)


def test_the_sum_is_that_of_the_docstring(rng):
    """Small whole numbers are summed without rounding; a large first chunk shows the order."""
    K = 2 * gemm.DEPTH + 5
    a, b = np.ones((3, K), np.float32), np.zeros((K, 2), np.float32)
    b[0] = 2**24  # a 1 is lost if it is added to this alone
    b[1 : gemm.DEPTH, 0] = 1  # as here, where one after the other is added
    b[gemm.DEPTH : 2 * gemm.DEPTH, 1] = 1  # but here the next chunk's sum is added as a whole
    c = np.empty((3, 2), np.float32)
    for M in (1, 3):
        gemm.matmul(a[:M], b, c[:M], None)
        np.testing.assert_array_equal(c[:M], [[2**24, 2**24 + gemm.DEPTH]] * M)


@pytest.mark.parametrize(("N", "D", "U"), [(1, 30, 10), (5, 40, 84), (33, 50, 130), (128, 90, 64)])
def test_backward_through_a_relu_behind_the_layer(dtype, rng, set_threads, N, D, U):
    x, weight = rng.standard_normal((N, D)).astype(dtype), rng.standard_normal((D, U)).astype(dtype)
    y, dy = reference.relu_forward(x @ weight), rng.standard_normal((N, U)).astype(dtype)
    y[0, 0] = np.nan  # not larger than 0
    dz = reference.relu_backward(dy, y)
    expected = reference.dense_backward(dz, x, weight)
    bits = set()
    for n in (1, 2, 3):
        set_threads(n)
        results = fast.dense_backward(dy, x, weight, relu_output=y)
        bits.add(b"".join(result.tobytes() for result in results))
        for result, value in zip(results, expected, strict=True):
            assert_close(result, value, TOLERANCE[dtype])
        same = fast.dense_backward(dz, x, weight)
        bits.add(b"".join(result.tobytes() for result in same))
    assert len(bits) == 1
