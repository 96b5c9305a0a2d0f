"""The operations that kernels.py measures, on arrays of the sizes of MNIST and CIFAR.

Arrays hold random numbers of a fixed seed; N is the batch size.
"""

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanocnn.kernels import reference
from nanocnn.kernels.geometry import Window, sliding_window
from nanocnn.optimizers import Optimizer

Array = NDArray[Any]
NOT_POSITIVE = 4  # the argmax of a 2x2 pool is 0 to 3, or 4 where ReLU's output is 0


class Case(NamedTuple):
    """One operation on one set of arguments.

    `flops` counts the operations of the definition, whatever an algorithm saves. `expected`
    computes the same with the reference kernels. An `in_place` operation changes its arguments and
    returns nothing.
    """

    group: str
    shape: str
    operation: str
    args: tuple[Any, ...]
    flops: int
    expected: Callable[..., Any]
    in_place: bool = False


def case(group: str, shape: str, operation: str, *args: Any, flops: int, in_place: bool = False):
    return Case(group, shape, operation, args, flops, getattr(reference, operation), in_place)


def numbers(*own: float) -> Array:
    """What an optimizer's kernel reads that may change from step to step; nothing is clipped."""
    array = np.zeros_like(Optimizer().numbers)
    array[4 : 4 + len(own)] = own
    return array


def relu_pool_forward(
    x: Array, weight: Array, bias: Array, window: Window, pool: Window
) -> tuple[Array, None]:
    """What the fused forward computes, without the argmax: rounding may decide between equals."""
    y = reference.relu_forward(reference.conv2d_forward(x, weight, bias, window))
    return reference.max_pool_forward(y, pool)[0], None


def relu_pool_backward(
    dy: Array,
    x: Array,
    weight: Array,
    argmax: Array,
    window: Window,
    pool: Window,
    need_dx: bool = True,
) -> Any:
    """What the fused backward computes, for the argmax of the fused forward."""
    dy = np.where(argmax < NOT_POSITIVE, dy, 0)
    dz = reference.max_pool_backward(dy, np.where(argmax < NOT_POSITIVE, argmax, 0), pool)
    return reference.conv2d_backward(dz, x, weight, window, need_dx)


def cases(fast: Any, N: int, dtype: Any) -> Iterator[Case]:
    """All cases, one at a time because their arrays are large."""
    rng = np.random.default_rng(0)

    def random(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    # The convolutions of the presets, then CIFAR's.
    for H, C, F, K, padding in (
        (28, 1, 20, 5, "same"),
        (14, 20, 50, 5, "same"),
        (28, 1, 32, 3, "valid"),
        (26, 32, 64, 3, "valid"),
        (32, 3, 64, 3, "same"),
        (32, 64, 64, 3, "same"),
        (16, 64, 128, 3, "same"),
    ):
        window = sliding_window((H, H), (K, K), padding=padding)
        pool = sliding_window((window.OH, window.OW), (2, 2), (2, 2))
        x, weight, bias = random(N, H, H, C), random(K, K, C, F) / np.sqrt(K * K * C), random(F)
        weight = weight.astype(dtype)
        dy, dpool = random(N, window.OH, window.OW, F), random(N, pool.OH, pool.OW, F)
        flops = 2 * dy.size * K * K * C
        shape = f"{H}x{H}x{C} {K}x{K} {F}"
        conv = partial(case, "convolution", shape)
        yield conv("conv2d_forward", x, weight, bias, window, flops=flops)
        yield conv("conv2d_backward", dy, x, weight, window, flops=2 * flops)
        if not hasattr(fast, "conv2d_relu_pool_forward"):
            continue
        arguments = (x, weight, bias, window, pool)
        yield Case(
            *("fused convolution", shape, "conv2d_relu_pool_forward", arguments),
            *(flops, relu_pool_forward),
        )
        argmax = fast.conv2d_relu_pool_forward(*arguments)[1]
        arguments = (dpool, x, weight, argmax, window, pool)
        yield Case(
            *("fused convolution", shape, "conv2d_relu_pool_backward", arguments),
            *(2 * flops, relu_pool_backward),
        )

    for D, U in ((2450, 500), (9216, 128), (500, 10)):
        x, weight, bias, dy = random(N, D), random(D, U), random(U), random(N, U)
        dense = partial(case, "dense", f"{D} -> {U}")
        yield dense("dense_forward", x, weight, bias, flops=2 * N * D * U)
        yield dense("dense_backward", dy, x, weight, flops=4 * N * D * U)

    for size, strides, padding in ((2, 2, "valid"), (3, 2, "same")):
        window = sliding_window((24, 24), (size, size), (strides, strides), padding)
        x, dy = random(N, 24, 24, 64), random(N, window.OH, window.OW, 64)
        pooling = partial(case, "pooling", f"24x24x64 {size}x{size}/{strides}")
        work = dy.size * size * size
        argmax = reference.max_pool_forward(x, window)[1]
        yield pooling("max_pool_forward", x, window, flops=work)
        yield pooling("max_pool_backward", dy, argmax, window, flops=dy.size)
        yield pooling("average_pool_forward", x, window, flops=work)
        yield pooling("average_pool_backward", dy, window, flops=work)

    shape = (N, 26, 26, 32)
    x, y, dy = random(*shape), random(*shape), random(*shape)
    n = prod(shape)
    each = partial(case, "elementwise", "26x26x32")
    for name in ("relu", "sigmoid", "tanh"):
        yield each(f"{name}_forward", x, flops=n)
        yield each(f"{name}_backward", dy, y, flops=n)
    yield each("dropout_forward", x, 0.25, 12345, flops=n)
    gamma, beta, mean, variance = random(32), random(32), random(32), random(32) ** 2
    yield each("batch_norm_forward", x, gamma, beta, 1e-3, flops=5 * n)
    yield each("batch_norm_backward", dy, x, gamma, mean, variance, 1e-3, flops=8 * n)
    yield each("batch_norm_inference", x, gamma, beta, mean, variance, 1e-3, flops=2 * n)
    target = np.eye(10, dtype=dtype)[rng.integers(0, 10, N)]
    logits, weight = random(N, 10), np.full(N, 1 / N, dtype)
    loss = partial(case, "elementwise", "10 classes")
    yield loss("softmax_forward", logits, flops=30 * N)
    yield loss("softmax_cross_entropy_forward", logits, target, flops=40 * N)
    yield loss("softmax_cross_entropy_backward", logits, target, weight, flops=30 * N)

    param, grad, m, v = ([random(2450 * 500)] for _ in range(4))
    v[0] *= v[0]
    step = partial(case, "optimizer", "1.2 million", in_place=True)
    n = param[0].size
    yield step("sgd_update", param, grad, m, numbers(1e-2, 0.9), flops=4 * n)
    rms = (param, grad, v, [], [], numbers(1e-3, 0.9, 0.0, 1e-7))
    yield step("rmsprop_update", *rms, flops=8 * n)
    adam = numbers(1e-3, 1.0, 0.9, 0.999, 1e-7)
    yield step("adam_update", param, grad, m, v, [], adam, flops=12 * n)
