"""The reference kernels of what comes after a backward pass: L2 penalties, clipping, optimizers.

Each takes lists of arrays, one for each parameter of the model, and works in place. `reference.py`
has these names too.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ..common.arrays import Array


# --- L2 penalties ---------------------------------------------------------------------------------
def l2_penalty(params: Sequence[Array], factors: Array, out: Array | None = None) -> Array:
    """The sum of factors[i] * sum(params[i]^2): float64 (1,). factors (n,), float64."""
    out = np.empty(1) if out is None else out
    out[0] = 0
    for param, factor in zip(params, factors, strict=True):
        out[0] += factor * np.square(param, dtype=np.float64).sum()
    return out


def l2_gradient(params: Sequence[Array], grads: Sequence[Array], factors: Array) -> None:
    """grads[i] += 2 * factors[i] * params[i] (in place). factors (n,), float64."""
    for param, grad, factor in zip(params, grads, factors, strict=True):
        grad += param * param.dtype.type(2 * factor)


# --- Clipping -------------------------------------------------------------------------------------
def clip_scales(grads: Sequence[Array], numbers: Array, together: bool, scales: Array) -> None:
    """scales[i] = clipnorm / max(norm, clipnorm): what brings each gradient's norm, or that of all
    gradients `together`, to at most `clipnorm`, which is in `numbers`. scales (n,), float64.
    """
    clipnorm = numbers[3]
    squares = [np.square(grad, dtype=np.float64).sum() for grad in grads]
    norms = np.sqrt([sum(squares)] * len(squares) if together else squares)
    scales[:] = clipnorm / np.maximum(norms, clipnorm)


# --- Optimizers -----------------------------------------------------------------------------------
# `numbers` (11,), float64, is what may change from step to step:
#     0  weight_decay * learning_rate, where weight decay is apart from the gradient, else 0
#     1  weight_decay, where it is a term of the gradient, else 0
#     2  clipvalue
#     3  clipnorm
#     4  the optimizer's own, in the order of each update's first line
#     9  momentum of the parameters' average, 0 in the first step
#    10  1 if the average then replaces the parameters, else 0
# The slots are lists like `params`; those that an optimizer does not use are empty.
def changed(
    params: Sequence[Array], grads: Sequence[Array], numbers: Array, scales: Array | None,
    clips: bool,
) -> Iterator[tuple[int, Array, Array]]:  # fmt: skip
    """(i, param, grad) of each parameter, after clipping, in place, and weight decay."""
    shrink, decay, clipvalue = numbers[:3].tolist()
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        if scales is not None:
            grad *= grad.dtype.type(scales[i])
        if clips:
            np.clip(grad, -clipvalue, clipvalue, out=grad)
        if decay:
            grad = grad + param * param.dtype.type(decay)
        if shrink:
            param -= param * param.dtype.type(shrink)
        yield i, param, grad


def sgd_update(
    params: Sequence[Array], grads: Sequence[Array], velocities: Sequence[Array], numbers: Array,
    nesterov: bool = False, rate_inside: bool = True, scales: Array | None = None,
    clips: bool = False,
) -> None:  # fmt: skip
    """velocity = momentum*velocity - learning_rate*grad; param += velocity.

    Nesterov: param += momentum*velocity - learning_rate*grad. With `rate_inside` False (PyTorch)
    the rate multiplies the step, not the gradient: the same as long as the rate is constant.
    `scales` (from `clip_scales`) and `clips` (to `clipvalue`) clip the gradients first, in place.
    """
    learning_rate, momentum = numbers[4:6].tolist()
    inside, outside = (learning_rate, 1) if rate_inside else (1, learning_rate)
    for i, param, grad in changed(params, grads, numbers, scales, clips):
        if not velocities:
            param -= learning_rate * grad
            continue
        velocity = velocities[i]
        velocity *= momentum
        velocity -= inside * grad
        param += outside * (momentum * velocity - inside * grad if nesterov else velocity)


def rmsprop_update(
    params: Sequence[Array], grads: Sequence[Array], vs: Sequence[Array],
    averages: Sequence[Array], buffers: Sequence[Array], numbers: Array,
    epsilon_inside: bool = True, scales: Array | None = None, clips: bool = False,
) -> None:  # fmt: skip
    """v = rho*v + (1-rho)*grad^2; param -= learning_rate * grad / sqrt(v + epsilon).

    With `averages` (centered) v - average^2 replaces v; with `buffers` the step has momentum.
    `epsilon_inside` (Keras): epsilon is under the root and the learning rate inside the buffer;
    otherwise (PyTorch) both are outside. `scales` and `clips`: see `sgd_update`.
    """
    learning_rate, rho, momentum, epsilon = numbers[4:8].tolist()
    inside, outside = (learning_rate, 1) if epsilon_inside else (1, learning_rate)
    for i, param, grad in changed(params, grads, numbers, scales, clips):
        decay = 1 - param.dtype.type(rho)  # in this dtype, so that both kernel sets round alike
        v = vs[i]
        v += (grad * grad - v) * decay
        if averages:
            average = averages[i]
            average += (grad - average) * decay
            v = v - average * average
        root = np.sqrt(v + epsilon) if epsilon_inside else np.sqrt(v) + epsilon
        step = inside * grad / root
        if buffers:
            buffer = buffers[i]
            buffer *= momentum
            buffer += step
            step = buffer
        param -= outside * step


def adam_update(
    params: Sequence[Array], grads: Sequence[Array], ms: Sequence[Array], vs: Sequence[Array],
    vmaxs: Sequence[Array], numbers: Array, scales: Array | None = None, clips: bool = False,
) -> None:  # fmt: skip
    """m, v: moving averages of grad, grad^2; param -= step_size * m / (sqrt(v)*v_scale + epsilon).

    The caller puts the bias corrections into step_size and v_scale: Keras (v_scale = 1) and PyTorch
    differ there. With `vmaxs` (AMSGrad) the maximum of v so far is used. `scales` and `clips`: see
    `sgd_update`. Source: Kingma & Ba 2015.
    """
    step_size, v_scale, beta1, beta2, epsilon = numbers[4:9].tolist()
    for i, param, grad in changed(params, grads, numbers, scales, clips):
        m, v = ms[i], vs[i]
        m += (grad - m) * (1 - param.dtype.type(beta1))
        v += (grad * grad - v) * (1 - param.dtype.type(beta2))
        if vmaxs:
            v = np.maximum(vmaxs[i], v, out=vmaxs[i])
        param -= step_size * m / (np.sqrt(v) * v_scale + epsilon)


def adadelta_update(
    params: Sequence[Array], grads: Sequence[Array], vs: Sequence[Array],
    deltas: Sequence[Array], numbers: Array, scales: Array | None = None, clips: bool = False,
) -> None:  # fmt: skip
    """v = rho*v + (1-rho)*grad^2; step = sqrt(delta + epsilon) / sqrt(v + epsilon) * grad;
    delta = rho*delta + (1-rho)*step^2; param -= learning_rate * step.

    `scales` and `clips`: see `sgd_update`. Source: Zeiler 2012.
    """
    learning_rate, rho, epsilon = numbers[4:7].tolist()
    for i, param, grad in changed(params, grads, numbers, scales, clips):
        decay, v, delta = 1 - param.dtype.type(rho), vs[i], deltas[i]
        v += (grad * grad - v) * decay
        step = np.sqrt(delta + epsilon) * grad / np.sqrt(v + epsilon)
        delta += (step * step - delta) * decay
        param -= learning_rate * step


def nadam_update(
    params: Sequence[Array], grads: Sequence[Array], ms: Sequence[Array], vs: Sequence[Array],
    numbers: Array, scales: Array | None = None, clips: bool = False,
) -> None:  # fmt: skip
    """m, v: as for `adam_update`; param -= (m_size * m + g_size * grad) / (sqrt(v) + epsilon).

    The caller puts the bias corrections into the two sizes and epsilon. `scales` and `clips`: see
    `sgd_update`. Source: Dozat 2016.
    """
    m_size, g_size, beta1, beta2, epsilon = numbers[4:9].tolist()
    for i, param, grad in changed(params, grads, numbers, scales, clips):
        m, v = ms[i], vs[i]
        m += (grad - m) * (1 - param.dtype.type(beta1))
        v += (grad * grad - v) * (1 - param.dtype.type(beta2))
        param -= (m_size * m + g_size * grad) / (np.sqrt(v) + epsilon)


def ema_update(params: Sequence[Array], averages: Sequence[Array], numbers: Array) -> None:
    """average = momentum*average + (1-momentum)*param, and param = average if `numbers` say so."""
    for param, average in zip(params, averages, strict=True):
        momentum = param.dtype.type(numbers[9])
        average *= momentum
        average += (1 - momentum) * param
        if numbers[10]:
            param[...] = average
