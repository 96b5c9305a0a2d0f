"""The reference kernels of optimizers. `reference.py` has these names too."""

import numpy as np

from ..common.arrays import Array


# One step for one parameter, in place. All arrays have the parameter's shape and dtype.
def sgd_update(
    param: Array, grad: Array, velocity: Array | None, learning_rate: float, momentum: float,
    nesterov: bool, rate_inside: bool = True,
) -> None:  # fmt: skip
    """velocity = momentum*velocity - learning_rate*grad; param += velocity.

    Nesterov: param += momentum*velocity - learning_rate*grad. With `rate_inside` False (PyTorch)
    the rate multiplies the step, not the gradient: the same as long as the rate is constant.
    """
    if velocity is None:
        param -= learning_rate * grad
        return
    inside, outside = (learning_rate, 1) if rate_inside else (1, learning_rate)
    velocity *= momentum
    velocity -= inside * grad
    param += outside * (momentum * velocity - inside * grad if nesterov else velocity)


def rmsprop_update(
    param: Array, grad: Array, v: Array, average: Array | None, buffer: Array | None,
    learning_rate: float, rho: float, momentum: float, epsilon: float, epsilon_inside: bool,
) -> None:  # fmt: skip
    """v = rho*v + (1-rho)*grad^2; param -= learning_rate * grad / sqrt(v + epsilon).

    With `average` (centered) v - average^2 replaces v; with `buffer` the step has momentum.
    `epsilon_inside` (Keras): epsilon is under the root and the learning rate inside the buffer;
    otherwise (PyTorch) both are outside.
    """
    inside, outside = (learning_rate, 1) if epsilon_inside else (1, learning_rate)
    decay = 1 - param.dtype.type(rho)  # in this dtype, so that both kernel sets round alike
    v += (grad * grad - v) * decay
    if average is not None:
        average += (grad - average) * decay
        v = v - average * average
    root = np.sqrt(v + epsilon) if epsilon_inside else np.sqrt(v) + epsilon
    step = inside * grad / root
    if buffer is not None:
        buffer *= momentum
        buffer += step
        step = buffer
    param -= outside * step


def adam_update(
    param: Array, grad: Array, m: Array, v: Array, vmax: Array | None,
    step_size: float, beta1: float, beta2: float, epsilon: float, v_scale: float,
) -> None:  # fmt: skip
    """m, v: moving averages of grad, grad^2; param -= step_size * m / (sqrt(v)*v_scale + epsilon).

    The caller puts the bias corrections into step_size and v_scale: Keras (v_scale = 1) and PyTorch
    differ there. With `vmax` (AMSGrad) the maximum of v so far is used. Source: Kingma & Ba 2015.
    """
    m += (grad - m) * (1 - param.dtype.type(beta1))
    v += (grad * grad - v) * (1 - param.dtype.type(beta2))
    if vmax is not None:
        v = np.maximum(vmax, v, out=vmax)
    param -= step_size * m / (np.sqrt(v) * v_scale + epsilon)
