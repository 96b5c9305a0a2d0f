"""What the convolution kernels are called with: few arguments, and named tuples of plain arrays."""

import numpy as np
import pytest

from nanocnn.jit.compile import Kernel
from nanocnn.kernels import fast
from nanocnn.kernels.fast.conv import conv2d as conv, planar_dweight
from nanocnn.kernels.geometry import sliding_window


def kernels_of(module):
    """The kernels of a module."""
    return [value for value in vars(module).values() if isinstance(value, Kernel)]


def parts_of(module):
    """The functions that its kernels consist of."""
    return [value for value in vars(module).values() if hasattr(value, "py_func")]


def test_no_kernel_takes_more_than_ten_arguments():
    modules = [module for module in vars(fast.conv).values() if hasattr(module, "__file__")]
    found = [kernel for module in modules for kernel in kernels_of(module)]
    found += [conv.sparse_dweight.weight_kernel(3, 2), conv.scatter.scatter_kernel(3, 2)]
    found += [conv.planar.planar_kernel(3), planar_dweight.dweight_kernel(3, 5)]
    functions = [each.function for each in found]
    functions += [each.py_func for module in modules for each in parts_of(module)]
    assert {"_correlate", "_winograd", "_sparse", "gather", "sum_products"} <= {
        function.__name__ for function in functions
    }
    for function in functions:
        assert function.__code__.co_argcount <= 10, function


def test_arrays_inside_named_tuples_are_made_plain():
    """Read-only and strided inputs give the same bits, and no kernel is compiled for them anew."""
    rng = np.random.default_rng(5)
    window, pool = sliding_window((8, 8), (3, 3)), sliding_window((6, 6), (2, 2), (2, 2))
    x, weight, bias = (rng.normal(size=s).astype("f") for s in ((4, 8, 8, 3), (3, 3, 3, 5), (5,)))

    def results(change):
        y = conv.conv2d_forward(change(x), change(weight), change(bias), window, relu=True)
        masked = change(y), change(x), change(weight), window
        pooled, argmax = conv.conv2d_relu_pool_forward(
            change(x), change(weight), change(bias), window, pool
        )
        given = change(pooled), change(x), change(weight), change(argmax), window, pool
        found = [y, pooled, argmax, *conv.conv2d_backward(*masked, relu_output=change(y))]
        for algorithm in ("direct", "sparse", "winograd", "planar", "scatter"):
            found += conv.conv2d_relu_pool_backward(*given, algorithm=algorithm)
        found.append(conv.conv2d_forward(*masked[1:3], None, window, algorithm="im2col"))
        return [array.tobytes() for array in found]

    def frozen(array):
        array = array.copy()
        array.flags.writeable = False
        return array

    def strided(array):
        return np.repeat(array, 2, axis=0)[::2]

    expected = results(np.copy)
    modules = conv.direct, conv.im2col, conv.winograd
    compiled = [len(kernel.entries) for module in modules for kernel in kernels_of(module)]
    assert results(frozen) == expected and results(strided) == expected
    assert compiled == [len(k.entries) for module in modules for k in kernels_of(module)]


def test_bad_arguments_are_named():
    x, weight = np.zeros((1, 6, 6, 2), np.float32), np.zeros((3, 3, 2, 4), np.float64)
    window = sliding_window((6, 6), (3, 3))
    with pytest.raises(ValueError, match="weight"):
        conv.conv2d_forward(x, weight, None, window)
    with pytest.raises(ValueError, match="pool"):
        conv.conv2d_relu_pool_forward(
            x, weight.astype("f"), None, window, sliding_window((4, 4), (3, 3))
        )
