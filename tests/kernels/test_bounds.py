"""No kernel reads or writes a byte outside its arrays: they end where a page begins that kills.

A load past the end would end the process, so the kernels run in a process of their own.
"""

import ctypes
import itertools
import mmap
import subprocess
import sys

import numpy as np
import pytest

from nanocnn.kernels.geometry import sliding_window
from support.processes import ENVIRONMENT

PAGE = mmap.PAGESIZE
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="protects pages by Linux's mprotect")


def at_the_end(x: np.ndarray) -> np.ndarray:
    """A copy of `x` whose last byte is the last one before a page that nobody may touch."""
    pages = -(-x.nbytes // PAGE) + 2
    memory = mmap.mmap(-1, pages * PAGE)
    first = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (0, pages - 1):
        place = ctypes.c_void_p(first + page * PAGE)
        assert ctypes.CDLL(None).mprotect(place, ctypes.c_size_t(PAGE), 0) == 0
    offset = (pages - 1) * PAGE - x.nbytes
    copy = np.frombuffer(memory, x.dtype, x.size, offset).reshape(x.shape)
    copy[...] = x
    return copy


def products(dtype: str) -> None:
    from nanocnn.kernels.fast import dense_backward, dense_forward

    rng = np.random.default_rng(0)
    new = lambda *shape: at_the_end(rng.standard_normal(shape).astype(dtype))  # noqa: E731
    for N, D, U in itertools.product((1, 2, 7, 133), (1, 3, 17, 300), (1, 7, 16, 33)):
        x, weight, bias, dy = new(N, D), new(D, U), new(U), new(N, U)
        y = dense_forward(x, weight, bias, out=new(N, U), relu=True)
        np.testing.assert_allclose(y, np.maximum(x @ weight + bias, 0), rtol=1e-3, atol=1e-3)
        dense_backward(dy, x, weight, out=(new(N, D), new(D, U), new(U)))


def convolutions(dtype: str) -> None:
    from nanocnn.kernels import fast, reference

    rng = np.random.default_rng(0)
    new = lambda *shape: at_the_end(rng.standard_normal(shape).astype(dtype))  # noqa: E731
    for (size, kernel, padding), C, F in itertools.product(
        ((9, 3, "valid"), (8, 5, "same"), (7, 7, "valid")), (1, 3, 13), (5, 20)
    ):
        window = sliding_window((size, size), (kernel, kernel), (1, 1), padding, (1, 1))
        P, winograd = window.OH, ["winograd"] * (kernel < 7)
        x, weight, bias = new(3, size, size, C), new(kernel, kernel, C, F), new(F)
        wanted = reference.conv2d_forward(x, weight, bias, window)
        out = new(*x.shape), new(*weight.shape), new(F)
        for algorithm in (None, "direct", "im2col", *winograd):
            y = new(3, P, P, F)
            fast.conv2d_forward(x, weight, bias, window, out=y, algorithm=algorithm)
            np.testing.assert_allclose(y, wanted, rtol=1e-2, atol=1e-2)
            fast.conv2d_backward(new(3, P, P, F), x, weight, window, out=out, algorithm=algorithm)
        if P < 2:
            continue
        pool = sliding_window((P, P), (2, 2), (2, 2), "valid", (1, 1))
        for algorithm in (None, "direct", *winograd):
            y, argmax = fast.conv2d_relu_pool_forward(
                x, weight, bias, window, pool, algorithm=algorithm,
                out=(new(3, P // 2, P // 2, F), at_the_end(np.zeros((3, P // 2, P // 2, F), "u1"))),
            )  # fmt: skip
        for algorithm in (None, "direct", "sparse", *winograd):
            fast.conv2d_relu_pool_backward(
                at_the_end(y), x, weight, argmax, window, pool, out=out, algorithm=algorithm
            )


def elements(dtype: str) -> None:
    from nanocnn.kernels import fast, reference

    rng = np.random.default_rng(0)
    new = lambda *shape: at_the_end(rng.standard_normal(shape).astype(dtype))  # noqa: E731
    padding, constants = ((1, 0), (2, 3)), (0.25, 0.5, 1.5)
    for H, W, C in itertools.product((1, 3), (1, 4), (1, 7, 16, 33)):
        x, big = new(3, H, W, C), (3, H + 1, W + 5, C)
        for name, args in (("elu", ()), ("gelu", ()), ("leaky_relu", constants)):
            y = getattr(fast, f"{name}_forward")(x, *args, out=new(*x.shape))
            wanted = getattr(reference, f"{name}_forward")(x, *args)
            np.testing.assert_allclose(y, wanted, rtol=1e-3, atol=1e-5)
            getattr(fast, f"{name}_backward")(new(*x.shape), x, *args, out=new(*x.shape))
        y = fast.zero_pad_forward(x, padding, out=new(*big))
        np.testing.assert_array_equal(y, reference.zero_pad_forward(x, padding))
        fast.zero_pad_backward(new(*big), padding, out=new(*x.shape))
        y = fast.global_max_forward(x, out=new(3, C))
        fast.global_max_backward(new(3, C), x, at_the_end(y), out=new(*x.shape))


def warps(dtype: str) -> None:
    from nanocnn.kernels import fast, reference, transforms as formulas
    from support.transforms import SIZES, TOGETHER, keys_for, rows

    rng = np.random.default_rng(0)
    new = lambda *shape: at_the_end(rng.standard_normal(shape).astype(dtype))  # noqa: E731
    for (H, W), C, letters in itertools.product((*SIZES, (1, 1), (17, 33)), (1, 3), TOGETHER):
        given = [at_the_end(each) for each in (rows(letters), keys_for(letters))]
        far = at_the_end(given[0].copy())
        far[:, 1:5] *= 2.5  # places far outside
        far[:, 1:5] = far[:, 1:5].clip(0 if letters == "x" else -1, 1)
        for mode, transforms in itertools.product(formulas.FILL_MODES, (given[0], far)):
            for name in ("warp_forward", "warp_backward"):
                x = new(3, H, W, C)
                args = x, transforms, given[1], mode, 0.5
                y = getattr(fast, name)(*args, out=new(*x.shape))
                np.testing.assert_array_equal(y, getattr(reference, name)(*args))


def morphologies(dtype: str) -> None:
    from nanocnn.kernels import fast, reference
    from support.transforms import SIZES, keys_for

    rng, keys = np.random.default_rng(0), at_the_end(keys_for("m")[0])
    new = lambda *shape: at_the_end(rng.standard_normal(shape).astype(dtype))  # noqa: E731
    for (H, W), C in itertools.product((*SIZES, (1, 1), (17, 33)), (1, 3, 17)):
        x, dy = new(3, H, W, C), new(3, H, W, C)
        for way, arrays in (("forward", (x,)), ("backward", (dy, x))):
            args = *arrays, -1.0, 1.0, keys
            y = getattr(fast, f"morphology_{way}")(*args, out=new(*x.shape))
            np.testing.assert_array_equal(y, getattr(reference, f"morphology_{way}")(*args))


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernels", [products, convolutions, elements, warps, morphologies])
def test_no_kernel_leaves_its_arrays(kernels, dtype):
    command = [sys.executable, __file__, kernels.__name__, dtype]
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout == "done\n"


@LINUX
def test_a_read_past_the_end_would_be_seen():
    command = [sys.executable, __file__, "past_the_end", "float32"]
    assert subprocess.run(command, env=ENVIRONMENT, timeout=60).returncode < 0


def past_the_end(dtype: str) -> None:
    x = at_the_end(np.zeros(3, dtype))
    ctypes.string_at(x.ctypes.data, x.nbytes + 1)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
    print("done")
