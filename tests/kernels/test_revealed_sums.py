"""The order of every sum, revealed from outside, is the one that kernels/README.md states."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from revealed import order, reveal, sizes_by_cancelling, sizes_by_vanishing, spell

from nanocnn.kernels import fast
from nanocnn.kernels.geometry import Window, sliding_window
from support.paths import ROOT
from support.processes import ENVIRONMENT

PAGE = (ROOT / "nanocnn/kernels/README.md").read_text()
RULES = dict(re.findall(r"^order (.+): (.+)$", PAGE, re.MULTILINE))
CASES = {}


def case(name, n, samples=1, **options):
    """Decorator: run(values) = the sum of n values per sample, in the order named `name`."""

    def register(run):
        found = CASES.setdefault(name, [])
        found.append(
            pytest.param(name, run, samples, n, options, id=f"{run.__name__}-{samples}x{n}")
        )
        return run

    return register


def ones(*shape):
    return np.ones(shape, DTYPE)


DTYPE = np.float32


# ------------------------------------------------------------------------------------ dense layers


@case("dense forward, over the inputs, begins with the bias", 600)
@case("dense forward, over the inputs, begins with the bias", 9)
def dense_forward(values):
    return fast.dense_forward(values[None, 1:], ones(values.size - 1, 1), values[:1])[0, 0]


@case("dense forward, over the inputs, begins with the bias", 600)
def dense_forward_of_many(values):
    x = np.tile(values[1:], (11, 1))
    return fast.dense_forward(x, ones(values.size - 1, 70), np.full(70, values[0]))[9, 68]


@case("dense dx, over the outputs", 520)
@case("dense dx, over the outputs", 40)
def dense_dx(values):
    n, rows = values.size, 1 if values.size > 99 else 5
    return fast.dense_backward(np.tile(values, (rows, 1)), ones(rows, 3), ones(3, n))[0][-1, 1]


@case("dense dweight, over the samples", 600)
def dense_dweight(values):
    return fast.dense_backward(values[:, None], ones(values.size, 3), ones(3, 1), False)[1][2, 0]


@case("dense dbias, over the samples", 300)
def dense_dbias(values):
    return fast.dense_backward(values[:, None], ones(values.size, 3), ones(3, 1), False)[2][0]


# ------------------------------------------------------------------------------------ convolutions


def window(side, kernel, padding="valid"):
    return sliding_window((side, side), (kernel, kernel), (1, 1), padding)


def forward(algorithm, channels, filters):
    def run(values):
        side = round((values.size / channels) ** 0.5)
        x, weight = values.reshape(1, side, side, channels), ones(side, side, channels, filters)
        y = fast.conv2d_forward(x, weight, None, window(side, side), algorithm=algorithm)
        return y[0, 0, 0, 0]

    run.__name__ = f"conv_forward_{algorithm}"
    return run


for each in ("direct", "planar", "im2col"):
    case("conv y, over the window", 5 * 5 * 11)(forward(each, 11, 5))
    case("conv y, over the window", 5 * 5)(forward(each, 1, 40))


@case("winograd, over the channels", 37)
def winograd(values):
    """A kernel whose transform is exact; the other filters and pixels are 0."""
    C = values.size
    x, weight = np.zeros((1, 6, 6, C), DTYPE), np.zeros((3, 3, C, 20), DTYPE)
    x[0, 0, 0], weight[0, 0, :, 7] = values, 576
    return (
        fast.conv2d_forward(x, weight, None, window(6, 3), algorithm="winograd")[0, 0, 0, 7] / 576
    )


def input_gradient(algorithm, filters):
    def run(values):
        side = round((values.size / filters) ** 0.5)
        dy = values.reshape(1, side, side, filters)
        H = 2 * side - 1  # the pixel in the middle is seen by all pixels of dy
        given, weight = window(H, side), ones(side, side, 3, filters)
        gradients = fast.conv2d_backward(dy, np.zeros((1, H, H, 3), DTYPE), weight, given,
                                         algorithm=algorithm)  # fmt: skip
        return gradients[0][0, side - 1, side - 1, 1]

    run.__name__ = f"conv_dx_{algorithm}"
    return run


for each in ("direct", "planar"):
    case("conv dx, over pixels and filters", 3 * 3 * 20)(input_gradient(each, 20))
case("im2col dx, over the filters, then over the pixels", 20, 9)(input_gradient("im2col", 20))


@case("conv dx, over pixels and filters", 30)
def winograd_dx_of_one_pixel(values):
    dy, weight = np.zeros((1, 4, 4, values.size), DTYPE), np.zeros((3, 3, 20, values.size), DTYPE)
    dy[0, 0, 0], weight[0, 0, 4] = values, 576
    zeros = np.zeros((1, 6, 6, 20), DTYPE)
    return (
        fast.conv2d_backward(dy, zeros, weight, window(6, 3), algorithm="winograd")[0][0, 0, 0, 4]
        / 576
    )


def plain_gradients(algorithm, number, samples):
    """dweight (number 1) or dbias (2) of a 1x1 kernel."""

    def run(values):
        side = round((values.size / samples) ** 0.5)
        dy = values.reshape(samples, side, side, 1)
        x, weight = ones(samples, side, side, 1), ones(1, 1, 1, 1)
        found = fast.conv2d_backward(dy, x, weight, window(side, 1), False, algorithm=algorithm)
        return found[number].ravel()[0]

    run.__name__ = f"conv_{('dx', 'dweight', 'dbias')[number]}_{algorithm}"
    return run


for samples in (1, 3):
    case("direct dweight, over the pixels of each sample", 19 * 19, samples)(
        plain_gradients("direct", 1, samples)
    )
    case("direct dbias, over the pixels of each sample", 7 * 7, samples)(
        plain_gradients("direct", 2, samples)
    )


def pooled_gradients(algorithm, number, rows, columns, samples=1):
    """The same behind ReLU and a 2x2 pool, whose maxima are in the first cell."""

    def run(values):
        dy = values.reshape(samples, rows, columns, 1)
        given = sliding_window((2 * rows, 2 * columns), (1, 1), (1, 1), "valid")
        pool = Window(2 * rows, 2 * columns, 2, 2, 2, 2, 1, 1, 0, 0, 0, 0, rows, columns)
        x, weight = ones(samples, 2 * rows, 2 * columns, 1), ones(1, 1, 1, 1)
        found = fast.conv2d_relu_pool_backward(dy, x, weight, np.zeros(dy.shape, np.uint8), given,
                                               pool, False, algorithm=algorithm)  # fmt: skip
        return found[number].ravel()[0]

    run.__name__ = f"conv_{('dx', 'dweight', 'dbias')[number]}_{algorithm}"
    return run


case("planar dweight, one band whose rows are 16 long", 80)(pooled_gradients("planar", 1, 5, 16))
case("planar dweight, one band whose rows are 16 long", 80)(pooled_gradients("planar", 2, 5, 16))
for samples in (1, 3):
    case("sparse dweight, over the pools of each band", 40, samples)(
        pooled_gradients("sparse", 1, 5, 8, samples)
    )
    case("sparse dbias, over the pools", 40, samples)(pooled_gradients("sparse", 2, 5, 8, samples))


# What reaches pixel (2, 2) of a 6x6 image from the four pools of a 3x3 convolution: the cells of a
# pool whose windows cover it, and for each cell four of 16 filters
REACHING = [
    (pool, cell, 4 * i + place)
    for pool, cells in enumerate([(0, 1, 2, 3), (0, 2), (0, 1), (0,)])
    for place, cell in enumerate(cells)
    for i in range(4)
]


@case("scatter dx, over the filters of each cell", 4, len(REACHING) // 4)
def scatter_dx(values):
    dy, argmax = np.zeros((1, 2, 2, 16), DTYPE), np.zeros((1, 2, 2, 16), np.uint8)
    for value, (r, cell, f) in zip(values, REACHING, strict=True):
        dy[0, r // 2, r % 2, f], argmax[0, r // 2, r % 2, f] = value, cell
    pool = Window(4, 4, 2, 2, 2, 2, 1, 1, 0, 0, 0, 0, 2, 2)
    x, weight = np.zeros((1, 6, 6, 3), DTYPE), ones(3, 3, 3, 16)
    given = weight, argmax, window(6, 3), pool
    return fast.conv2d_relu_pool_backward(dy, x, *given, algorithm="scatter")[0][0, 2, 2, 1]


# --------------------------------------------------------------------------------------- the others


@case("average pool, over the window", 12)
def average_pool(values):
    given = Window(3, 4, 3, 4, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1)
    return fast.average_pool_forward(values.reshape(1, 3, 4, 1), given)[0, 0, 0, 0] * values.size


@case("batch norm, over the rows of a part, 3 channels, so R = 32", 150)
def batch_norm_dbeta(values):
    dy = np.repeat(values[:, None], 3, 1)
    rest = np.zeros(3, DTYPE), ones(3)
    return fast.batch_norm_backward(dy, ones(*dy.shape), ones(3), *rest, 1e-3)[2][1]


@case("batch norm, over the rows of a part, 3 channels, so R = 32", 150)
def batch_norm_mean(values):
    x = np.repeat(values[:, None], 3, 1)
    return fast.batch_norm_forward(x, ones(3), ones(3), 1e-3)[1][1] * values.size


@case("sums over a row", 40)
def softmax_gradient(values):
    dx = fast.softmax_backward(values[None], ones(1, values.size))[0]
    return (values - dx)[np.flatnonzero(values == 1)[0]]


@case("sums over a row", 23, large=1.0, small=2.0**-53)
def softmax_denominator(values):
    """The loss of the largest class is log of the sum; exp(x) is a little less than 2^-53."""
    with np.errstate(divide="ignore"):
        x = np.log(values).astype(DTYPE)
    x[(values > 0) & (values < 1)] = -36.75
    target = (values == 1).astype(DTYPE)
    return fast.softmax_cross_entropy_forward(x[None], target[None])[0][0]


@case("mean of the losses, over the samples", 50)
def mean_loss(values):
    return fast.mean_loss(values, ones(values.size), np.empty(2))[0]


@case("squares, over the numbers of an array within a part", 35, large=3 * 2.0**25, small=1.0)
def l2_penalty(values):
    return fast.l2_penalty([values], np.ones(1))[0]


# ----------------------------------------------------------------------------------------- the test


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize(("name", "run", "samples", "each", "options"),
                         [c for found in CASES.values() for c in found])  # fmt: skip
def test_order(name, run, samples, each, options):
    begins_with = name.endswith("begins with the bias")
    n = samples * each + begins_with

    def of(values):
        return run(values.astype(DTYPE))

    size = sizes_by_vanishing(of, n, **options) if options else sizes_by_cancelling(of, n)
    found, stated = reveal(size, list(range(n))), order(RULES[name], samples, each, begins_with)
    assert found == stated, f"\nfound  {spell(found)}\nstated {spell(stated)}"


def test_every_rule_is_tested():
    assert set(RULES) == set(CASES)


def test_examples_of_the_page():
    examples = re.findall(r"^(in [\w ;,]+?)  +(\(.+)$", PAGE, re.MULTILINE)
    assert len(examples) == 5
    for rule, text in examples:
        assert spell(order(rule, 1, 6)) == text


@pytest.mark.slow
@pytest.mark.skipif("AVX2" in os.environ, reason="this is that process")
def test_order_with_other_registers():
    """The same tests on AVX2: a process of its own."""
    features = "+avx2,+fma,+avx,+bmi,+bmi2,+f16c,+movbe,+popcnt,+sse4.2"
    cpu = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features, "AVX2": "1"}
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-p", "no:cacheprovider"]
    subprocess.run(command, check=True, cwd=ROOT, env=ENVIRONMENT | cpu, timeout=500)
