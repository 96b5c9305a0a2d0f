"""What the convolution kernels are called with: few arguments, and named tuples of plain arrays."""

import numpy as np

from nanocnn.kernels import fast
from nanocnn.kernels.fast.conv import conv2d as conv
from nanocnn.kernels.geometry import sliding_window


def kernels_of(module):
    """The compiled functions of a module."""
    return [value for value in vars(module).values() if hasattr(value, "py_func")]


def test_no_kernel_takes_more_than_ten_arguments():
    modules = [module for module in vars(fast.conv).values() if hasattr(module, "__file__")]
    found = [kernel for module in modules for kernel in kernels_of(module)]
    found.append(conv.sparse_dweight.weight_kernel(4))
    assert {"_correlate", "_winograd", "_sparse", "gather", "sum_products"} <= {
        kernel.__name__ for kernel in found
    }
    for kernel in found:
        assert kernel.py_func.__code__.co_argcount <= 10, kernel


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
        for algorithm in ("direct", "sparse", "winograd"):
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
    compiled = [len(kernel.signatures) for module in modules for kernel in kernels_of(module)]
    assert results(frozen) == expected and results(strided) == expected
    assert compiled == [len(k.signatures) for module in modules for k in kernels_of(module)]
