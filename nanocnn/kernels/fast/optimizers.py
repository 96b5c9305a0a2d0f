"""One optimizer step for all parameters: one call, one pass over memory.

The arrays are reached by their addresses (addresses.py). All numbers are rounded to the dtype of
the parameters first: the loops do not mix float32 and float64.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...jit.compile import kernel
from ...jit.inline import inline
from ...jit.pool import run
from ...jit.simd import fma, lanes, load_row, pointer, select, splat, sqrt, store_row
from .addresses import address_table, item_range, row_pointers, row_range
from .outputs import Array, check_arrays

SHRINK, DECAY, CLIPVALUE, CLIPNORM, OWN = range(5)  # places in `numbers`, which has NUMBERS items
EMA_MOMENTUM, EMA_OVERWRITES, NUMBERS = 9, 10, 11


def _step(
    kernel: Any,
    states: dict[str, Sequence[Array]],
    numbers: Array,
    scales: Array | None,
    clips: bool,
    *flags: bool,
) -> None:
    """Run the kernel over all arrays in `states`: params, grads and slots."""
    params = states["params"]
    if len(params) == 0:
        return
    check_arrays((NUMBERS,), np.float64, numbers=numbers)
    check_arrays((len(params),), np.float64, scales=scales)
    scaled = scales is not None
    written = [name for name in states if name != "grads" or scaled or clips]
    table, parts = address_table(states, written)
    like = params[0].reshape(-1)
    run(kernel, parts, table, like, numbers, scales if scaled else numbers, scaled, clips, *flags)


@inline
def _changes(numbers, scales, row, scaled, clips):
    """What `_read` does to the parameters and gradients of this row; first, whether anything."""
    scale, limit = scales[row] if scaled else 1.0, numbers[CLIPVALUE] if clips else np.inf
    decay, shrink, clips = numbers[DECAY], numbers[SHRINK], scaled or clips
    return clips or decay != 0 or shrink != 0, clips, scale, limit, decay, shrink


@inline
def _read(param, grad, i, left, changes):
    """The vectors param[i] and grad[i]: the gradient clipped, also in memory, and both decayed."""
    any_change, clips, scale, limit, decay, shrink = changes
    w, g = load_row(param, i, left), load_row(grad, i, left)
    if any_change:
        if clips:
            g = g * splat(g, scale)
            g = select(g > splat(g, limit), splat(g, limit), g)  # NaN stays NaN
            g = select(g < splat(g, -limit), splat(g, -limit), g)
            store_row(grad, i, g, left)
        if decay != 0:
            g = fma(w, splat(w, decay), g)
        if shrink != 0:
            w = fma(-w, splat(w, shrink), w)
    return w, g


@inline
def _own_numbers(p, numbers):
    """The five numbers that each optimizer has for itself, in registers."""
    return (
        splat(p, numbers[OWN]),
        splat(p, numbers[OWN + 1]),
        splat(p, numbers[OWN + 2]),
        splat(p, numbers[OWN + 3]),
        splat(p, numbers[OWN + 4]),
    )


def sgd_update(
    params: Sequence[Array],
    grads: Sequence[Array],
    velocities: Sequence[Array],
    numbers: Array,
    nesterov: bool = False,
    rate_inside: bool = True,
    scales: Array | None = None,
    clips: bool = False,
) -> None:
    """velocity = momentum*velocity - learning_rate*grad; param += velocity (in place)."""
    states = {"params": params, "grads": grads, "velocities": velocities}
    _step(_sgd, states, numbers, scales, clips, bool(velocities), nesterov, rate_inside)


@kernel
def _sgd(
    part, parts, table, like, numbers, scales, scaled, clips, has_velocity, nesterov, rate_inside
):
    p = pointer(like)
    rate, momentum, _, _, _ = _own_numbers(p, numbers)
    inside, outside = splat(p, 1), splat(p, 1)
    if rate_inside or not has_velocity:
        inside = rate
    else:
        outside = rate
    own, flags = (momentum, inside, outside), (has_velocity, nesterov)
    first, last = row_range(part, parts, table)
    for row in range(first, last):
        arrays = row_pointers(p, table, row)
        changes = _changes(numbers, scales, row, scaled, clips)
        start, stop = item_range(part, parts, table, row)
        left = max(stop - start, 0) % lanes(p)  # items of the last vector, if it is incomplete
        for i in range(start, stop - left, lanes(p)):
            _sgd_vector(arrays, i, lanes(p), changes, own, flags)
        if left > 0:
            _sgd_vector(arrays, stop - left, left, changes, own, flags)


@inline
def _sgd_vector(arrays, i, left, changes, own, flags):
    # Twice in its kernel, because checking `left` takes a third of its time; those of the others,
    # which divide, have it once, to compile faster.
    param, grad, velocity, _, _ = arrays
    momentum, inside, outside = own
    has_velocity, nesterov = flags
    w, g = _read(param, grad, i, left, changes)
    if has_velocity:
        step = inside * g
        v = fma(momentum, load_row(velocity, i, left), -step)
        store_row(velocity, i, v, left)
        v = fma(momentum, v, -step) if nesterov else v
        w = fma(outside, v, w)
    else:
        w = fma(-inside, g, w)
    store_row(param, i, w, left)


def rmsprop_update(
    params: Sequence[Array],
    grads: Sequence[Array],
    vs: Sequence[Array],
    averages: Sequence[Array],
    buffers: Sequence[Array],
    numbers: Array,
    epsilon_inside: bool = True,
    scales: Array | None = None,
    clips: bool = False,
) -> None:
    """v = rho*v + (1-rho)*grad^2; param -= learning_rate * grad / sqrt(v + epsilon) (in place)."""
    states = {"params": params, "grads": grads, "vs": vs, "averages": averages,
              "buffers": buffers}  # fmt: skip
    flags = bool(averages), bool(buffers), epsilon_inside
    _step(_rmsprop, states, numbers, scales, clips, *flags)


@kernel
def _rmsprop(
    part, parts, table, like, numbers, scales, scaled, clips, centered, has_buffer, epsilon_inside
):
    p = pointer(like)
    rate, rho, momentum, epsilon, _ = _own_numbers(p, numbers)
    inside, outside = splat(p, 1), splat(p, 1)
    under_root, beside_root = splat(p, 0), splat(p, 0)
    if epsilon_inside:
        inside, under_root = rate, epsilon
    else:
        outside, beside_root = rate, epsilon
    decay = splat(p, 1) - rho
    first, last = row_range(part, parts, table)
    for row in range(first, last):
        param, grad, v, average, buffer = row_pointers(p, table, row)
        changes = _changes(numbers, scales, row, scaled, clips)
        start, stop = item_range(part, parts, table, row)
        for i in range(start, stop, lanes(p)):
            left = stop - i
            w, g = _read(param, grad, i, left, changes)
            moment = load_row(v, i, left)
            moment = fma(fma(g, g, -moment), decay, moment)
            store_row(v, i, moment, left)
            if centered:
                mean = load_row(average, i, left)
                mean = fma(g - mean, decay, mean)
                store_row(average, i, mean, left)
                moment = fma(-mean, mean, moment)
            step = inside * g / (sqrt(moment + under_root) + beside_root)
            if has_buffer:
                step = fma(load_row(buffer, i, left), momentum, step)
                store_row(buffer, i, step, left)
            store_row(param, i, fma(-outside, step, w), left)


def adam_update(
    params: Sequence[Array],
    grads: Sequence[Array],
    ms: Sequence[Array],
    vs: Sequence[Array],
    vmaxs: Sequence[Array],
    numbers: Array,
    scales: Array | None = None,
    clips: bool = False,
) -> None:
    """m, v: averages of grad, grad^2; param -= step_size * m / (sqrt(v)*v_scale + epsilon)."""
    states = {"params": params, "grads": grads, "ms": ms, "vs": vs, "vmaxs": vmaxs}
    _step(_adam, states, numbers, scales, clips, bool(vmaxs))


@kernel
def _adam(part, parts, table, like, numbers, scales, scaled, clips, amsgrad):
    p = pointer(like)
    step_size, v_scale, beta1, beta2, epsilon = _own_numbers(p, numbers)
    decay1, decay2 = splat(p, 1) - beta1, splat(p, 1) - beta2
    first, last = row_range(part, parts, table)
    for row in range(first, last):
        param, grad, m, v, vmax = row_pointers(p, table, row)
        changes = _changes(numbers, scales, row, scaled, clips)
        start, stop = item_range(part, parts, table, row)
        for i in range(start, stop, lanes(p)):
            left = stop - i
            w, g = _read(param, grad, i, left, changes)
            mean, moment = load_row(m, i, left), load_row(v, i, left)
            mean = fma(g - mean, decay1, mean)
            moment = fma(fma(g, g, -moment), decay2, moment)
            store_row(m, i, mean, left)
            store_row(v, i, moment, left)
            if amsgrad:
                most = load_row(vmax, i, left)
                moment = select((most > moment) | (most != most), most, moment)
                store_row(vmax, i, moment, left)
            w = w - step_size * mean / fma(sqrt(moment), v_scale, epsilon)
            store_row(param, i, w, left)


def adadelta_update(
    params: Sequence[Array],
    grads: Sequence[Array],
    vs: Sequence[Array],
    deltas: Sequence[Array],
    numbers: Array,
    scales: Array | None = None,
    clips: bool = False,
) -> None:
    """step = sqrt(delta + epsilon) * grad / sqrt(v + epsilon); param -= learning_rate * step."""
    states = {"params": params, "grads": grads, "vs": vs, "deltas": deltas}
    _step(_adadelta, states, numbers, scales, clips)


@kernel
def _adadelta(part, parts, table, like, numbers, scales, scaled, clips):
    p = pointer(like)
    rate, rho, epsilon, _, _ = _own_numbers(p, numbers)
    decay = splat(p, 1) - rho
    first, last = row_range(part, parts, table)
    for row in range(first, last):
        param, grad, v, delta, _ = row_pointers(p, table, row)
        changes = _changes(numbers, scales, row, scaled, clips)
        start, stop = item_range(part, parts, table, row)
        for i in range(start, stop, lanes(p)):
            left = stop - i
            w, g = _read(param, grad, i, left, changes)
            moment, steps = load_row(v, i, left), load_row(delta, i, left)
            moment = fma(fma(g, g, -moment), decay, moment)
            step = sqrt(steps + epsilon) * g / sqrt(moment + epsilon)
            steps = fma(fma(step, step, -steps), decay, steps)
            store_row(v, i, moment, left)
            store_row(delta, i, steps, left)
            store_row(param, i, fma(-rate, step, w), left)


def nadam_update(
    params: Sequence[Array],
    grads: Sequence[Array],
    ms: Sequence[Array],
    vs: Sequence[Array],
    numbers: Array,
    scales: Array | None = None,
    clips: bool = False,
) -> None:
    """m, v: as Adam's; param -= (m_size * m + g_size * grad) / (sqrt(v) + epsilon)."""
    states = {"params": params, "grads": grads, "ms": ms, "vs": vs}
    _step(_nadam, states, numbers, scales, clips)


@kernel
def _nadam(part, parts, table, like, numbers, scales, scaled, clips):
    p = pointer(like)
    m_size, g_size, beta1, beta2, epsilon = _own_numbers(p, numbers)
    decay1, decay2 = splat(p, 1) - beta1, splat(p, 1) - beta2
    first, last = row_range(part, parts, table)
    for row in range(first, last):
        param, grad, m, v, _ = row_pointers(p, table, row)
        changes = _changes(numbers, scales, row, scaled, clips)
        start, stop = item_range(part, parts, table, row)
        for i in range(start, stop, lanes(p)):
            left = stop - i
            w, g = _read(param, grad, i, left, changes)
            mean, moment = load_row(m, i, left), load_row(v, i, left)
            mean = fma(g - mean, decay1, mean)
            moment = fma(fma(g, g, -moment), decay2, moment)
            store_row(m, i, mean, left)
            store_row(v, i, moment, left)
            step = fma(m_size, mean, g_size * g) / (sqrt(moment) + epsilon)
            store_row(param, i, w - step, left)


def ema_update(params: Sequence[Array], averages: Sequence[Array], numbers: Array) -> None:
    """average = momentum*average + (1-momentum)*param; param = average if `numbers` say so."""
    if len(params) == 0:
        return
    check_arrays((NUMBERS,), np.float64, numbers=numbers)
    states = {"params": params, "averages": averages}
    table, parts = address_table(states, [*states])
    run(_ema, parts, table, params[0].reshape(-1), numbers)


@kernel
def _ema(part, parts, table, like, numbers):
    p = pointer(like)
    momentum, overwrites = splat(p, numbers[EMA_MOMENTUM]), numbers[EMA_OVERWRITES] != 0
    rest = splat(p, 1) - momentum
    first, last = row_range(part, parts, table)
    for row in range(first, last):
        param, average, _, _, _ = row_pointers(p, table, row)
        start, stop = item_range(part, parts, table, row)
        for i in range(start, stop, lanes(p)):
            left = stop - i
            mean = load_row(average, i, left)
            mean = fma(momentum, mean, rest * load_row(param, i, left))
            store_row(average, i, mean, left)
            if overwrites:
                store_row(param, i, mean, left)
