"""elu, leaky_relu and gelu: as in elementwise.py."""

from math import pi, sqrt

from ...jit.compile import kernel, part_range, unsigned_range
from ...jit.inline import inline
from ...jit.simd import fma, lanes, load_row, pointer, select, splat, store_row
from .elementwise import _map
from .error_function import erf
from .exponential import exp, expm1
from .outputs import MIN_EXPS, MIN_WORK, Array

SQRT_HALF, DENSITY = sqrt(0.5), 1 / sqrt(2 * pi)  # the normal density at 0


def leaky_relu_forward(
    x: Array, slope: float, threshold: float, max_value: float, out: Array | None = None
) -> Array:
    """y = slope * (x - threshold) up to the threshold; from there on x, but at most max_value."""
    scalars = [x.dtype.type(each) for each in (slope, threshold, max_value)]
    return _map(_leaky_relu_forward, out, MIN_WORK, x, scalars=scalars)


@kernel
def _leaky_relu_forward(part, parts, x, y, slope, threshold, max_value):
    start, stop = part_range(part, parts, x.size)
    zero = x.dtype.type(0)
    for i in unsigned_range(start, stop):
        below = slope * (x[i] - threshold) if slope > zero else zero
        above = max_value if x[i] > max_value else x[i]
        y[i] = below if x[i] <= threshold else above


def leaky_relu_backward(
    dy: Array, x: Array, slope: float, threshold: float, max_value: float, out: Array | None = None
) -> Array:
    """dx = dy * slope up to the threshold, 0 from max_value on, dy between them."""
    scalars = [x.dtype.type(each) for each in (slope, threshold, max_value)]
    return _map(_leaky_relu_backward, out, MIN_WORK, dy, x, scalars=scalars)


@kernel
def _leaky_relu_backward(part, parts, dy, x, dx, slope, threshold, max_value):
    start, stop = part_range(part, parts, x.size)
    zero = x.dtype.type(0)
    for i in unsigned_range(start, stop):
        above = zero if x[i] >= max_value else dy[i]
        dx[i] = dy[i] * slope if x[i] <= threshold else above


def elu_forward(x: Array, out: Array | None = None) -> Array:
    """y = x where x > 0, else exp(x) - 1."""
    return _map(_elu_forward, out, MIN_EXPS, x)


@kernel
def _elu_forward(part, parts, x, y):
    px, py = pointer(x), pointer(y)
    start, stop = part_range(part, parts, x.size)
    for i in range(start, stop, lanes(px)):
        value = load_row(px, i, stop - i)
        store_row(py, i, select(value < splat(px, 0), expm1(value), value), stop - i)


def elu_backward(dy: Array, y: Array, out: Array | None = None) -> Array:
    """dx = dy where y > 0, else dy * (y + 1)."""
    return _map(_elu_backward, out, MIN_WORK, dy, y)


@kernel
def _elu_backward(part, parts, dy, y, dx):
    start, stop = part_range(part, parts, y.size)
    zero, one = dy.dtype.type(0), dy.dtype.type(1)
    for i in unsigned_range(start, stop):
        dx[i] = dy[i] if y[i] > zero else dy[i] * (y[i] + one)


@inline
def _normal_cdf(x):
    """The probability that a normally distributed number is at most x."""
    half = splat(x, 0.5)
    return fma(half, erf(x * splat(x, SQRT_HALF)), half)


def gelu_forward(x: Array, out: Array | None = None) -> Array:
    """y = x * P(X <= x) for a normally distributed X."""
    return _map(_gelu_forward, out, MIN_EXPS, x)


@kernel
def _gelu_forward(part, parts, x, y):
    px, py = pointer(x), pointer(y)
    start, stop = part_range(part, parts, x.size)
    for i in range(start, stop, lanes(px)):
        value = load_row(px, i, stop - i)
        store_row(py, i, value * _normal_cdf(value), stop - i)


def gelu_backward(dy: Array, x: Array, out: Array | None = None) -> Array:
    """dx = dy * (P(X <= x) + x * exp(-x^2 / 2) / sqrt(2 pi))."""
    return _map(_gelu_backward, out, MIN_EXPS, dy, x)


@kernel
def _gelu_backward(part, parts, dy, x, dx):
    pdy, px, pdx = pointer(dy), pointer(x), pointer(dx)
    start, stop = part_range(part, parts, x.size)
    for i in range(start, stop, lanes(px)):
        value = load_row(px, i, stop - i)
        density = exp(value * value * splat(px, -0.5)) * splat(px, DENSITY)
        slope = fma(value, density, _normal_cdf(value))
        store_row(pdx, i, load_row(pdy, i, stop - i) * slope, stop - i)
