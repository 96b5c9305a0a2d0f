"""One optimizer step for one parameter: one pass over memory, each array read and written once.

Numbers are passed as scalars of the parameter's dtype: a float64 factor would turn a float32 loop
into a slower float64 loop.
"""

from typing import Any

import numpy as np

from ...common.errors import ShapeError
from ...jit.compile import kernel, part_range, unsigned_range
from ...jit.pool import run
from .outputs import Array, check_arrays, count_parts, is_writable


def _step(kernel: Any, states: dict[str, Array | None], grad: Array, *numbers: float) -> None:
    """Run kernel(part, parts, grad, *states, *numbers) over flat arrays, in place."""
    param = states["param"]
    assert param is not None
    check_arrays(param.shape, param.dtype, grad=grad, **states)
    for name, x in states.items():
        if x is not None and not is_writable(x):
            raise ShapeError(f"{name}: expected a writable C-contiguous array, to update in place")
    arrays = [None if x is None else x.reshape(-1) for x in states.values()]
    scalars = [param.dtype.type(number) for number in numbers]
    run(kernel, count_parts(param.size), grad.reshape(-1), *arrays, *scalars)


def sgd_update(
    param: Array,
    grad: Array,
    velocity: Array | None,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    rate_inside: bool = True,
) -> None:
    """velocity = momentum*velocity - learning_rate*grad; param += velocity (in place)."""
    inside, outside = (learning_rate, 1.0) if rate_inside else (1.0, learning_rate)
    if velocity is None:
        inside, outside = learning_rate, 1.0
    velocity_factor, grad_factor = (momentum, inside) if nesterov else (1.0, 0.0)
    states = {"param": param, "velocity": velocity}
    _step(_sgd, states, grad, inside, outside, momentum, velocity_factor, grad_factor)


@kernel
def _sgd(
    part, parts, grad, param, velocity, inside, outside, momentum, velocity_factor, grad_factor
):
    # param += outside * (velocity_factor * velocity - grad_factor * grad)
    start, stop = part_range(part, parts, param.size)
    if velocity is None:
        for i in unsigned_range(start, stop):
            param[i] -= inside * grad[i]
    elif grad_factor == 0:
        for i in unsigned_range(start, stop):
            velocity[i] = momentum * velocity[i] - inside * grad[i]
            param[i] += outside * velocity[i]
    else:
        for i in unsigned_range(start, stop):
            velocity[i] = momentum * velocity[i] - inside * grad[i]
            param[i] += outside * (velocity_factor * velocity[i] - grad_factor * grad[i])


def rmsprop_update(
    param: Array,
    grad: Array,
    v: Array,
    average: Array | None,
    buffer: Array | None,
    learning_rate: float,
    rho: float,
    momentum: float,
    epsilon: float,
    epsilon_inside: bool,
) -> None:
    """v = rho*v + (1-rho)*grad^2; param -= learning_rate * grad / sqrt(v + epsilon) (in place)."""
    inside, outside = (learning_rate, 1.0) if epsilon_inside else (1.0, learning_rate)
    epsilons = (epsilon, 0.0) if epsilon_inside else (0.0, epsilon)
    states = {"param": param, "v": v, "average": average, "buffer": buffer}
    _step(_rmsprop, states, grad, inside, outside, rho, momentum, *epsilons)


@kernel
def _rmsprop(
    part, parts, grad, param, v, average, buffer,
    inside, outside, rho, momentum, epsilon_in, epsilon_out,
):  # fmt: skip
    # One epsilon is 0: `epsilon_in` is under the root, `epsilon_out` is added to it.
    start, stop = part_range(part, parts, param.size)
    decay = param.dtype.type(1) - rho
    for i in unsigned_range(start, stop):
        g = grad[i]
        v[i] += (g * g - v[i]) * decay
        moment = v[i]
        if average is not None:
            average[i] += (g - average[i]) * decay
            moment -= average[i] * average[i]
        step = inside * g / (np.sqrt(moment + epsilon_in) + epsilon_out)
        if buffer is not None:
            step = buffer[i] * momentum + step
            buffer[i] = step
        param[i] -= outside * step


def adam_update(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    vmax: Array | None,
    step_size: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    v_scale: float,
) -> None:
    """m, v: averages of grad, grad^2; param -= step_size * m / (sqrt(v)*v_scale + epsilon)."""
    states = {"param": param, "m": m, "v": v, "vmax": vmax}
    _step(_adam, states, grad, step_size, beta1, beta2, epsilon, v_scale)


@kernel
def _adam(part, parts, grad, param, m, v, vmax, step_size, beta1, beta2, epsilon, v_scale):
    start, stop = part_range(part, parts, param.size)
    one = param.dtype.type(1)
    decay1, decay2 = one - beta1, one - beta2
    for i in unsigned_range(start, stop):
        g = grad[i]
        m[i] += (g - m[i]) * decay1
        v[i] += (g * g - v[i]) * decay2
        moment = v[i]
        if vmax is not None:
            moment = vmax[i] if vmax[i] > moment or vmax[i] != vmax[i] else moment
            vmax[i] = moment
        param[i] -= step_size * m[i] / (np.sqrt(moment) * v_scale + epsilon)
