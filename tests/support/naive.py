"""The operations of a network as loops over every index: slow, and meant to be obviously right.

Everything is float64; arrays only store numbers. Nothing of nanocnn is imported, not even the
geometry, so that a test which compares against this file compares two independent programs.
Size letters are those of `nanocnn.kernels`.
"""

import itertools
import math

import numpy as np


def geometry(n, k, stride, padding, dilation=1):
    """(number of places, padding before) of a window of k cells along an axis of n cells."""
    extent = (k - 1) * dilation + 1
    if padding == "valid":
        return (n - extent) // stride + 1, 0
    places = math.ceil(n / stride)
    return places, max((places - 1) * stride + extent - n, 0) // 2


def cells(size, kernel, strides, padding, dilation=(1, 1)):
    """Every (oh, ow, kh, kw, h, w): place, position in the window, pixel. Padding is left out."""
    (OH, top), (OW, left) = (
        geometry(*axis) for axis in zip(size, kernel, strides, [padding] * 2, dilation, strict=True)
    )
    for oh, ow, kh, kw in itertools.product(range(OH), range(OW), *map(range, kernel)):
        h = oh * strides[0] + kh * dilation[0] - top
        w = ow * strides[1] + kw * dilation[1] - left
        if 0 <= h < size[0] and 0 <= w < size[1]:
            yield oh, ow, kh, kw, h, w


def output_size(size, kernel, strides, padding, dilation=(1, 1)):
    """(OH, OW)."""
    return tuple(
        geometry(*axis)[0]
        for axis in zip(size, kernel, strides, [padding] * 2, dilation, strict=True)
    )


def conv2d_forward(x, weight, bias, strides, padding, dilation):
    N, H, W, C = x.shape
    KH, KW, _, F = weight.shape
    y = np.zeros((N, *output_size((H, W), (KH, KW), strides, padding, dilation), F))
    for oh, ow, kh, kw, h, w in cells((H, W), (KH, KW), strides, padding, dilation):
        for n, c, f in np.ndindex(N, C, F):
            y[n, oh, ow, f] += x[n, h, w, c] * weight[kh, kw, c, f]
    for n, oh, ow, f in np.ndindex(y.shape):
        y[n, oh, ow, f] += 0.0 if bias is None else bias[f]
    return y


def conv2d_backward(dy, x, weight, strides, padding, dilation):
    N, H, W, C = x.shape
    KH, KW, _, F = weight.shape
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(F)
    for oh, ow, kh, kw, h, w in cells((H, W), (KH, KW), strides, padding, dilation):
        for n, c, f in np.ndindex(N, C, F):
            dx[n, h, w, c] += dy[n, oh, ow, f] * weight[kh, kw, c, f]
            dweight[kh, kw, c, f] += dy[n, oh, ow, f] * x[n, h, w, c]
    for n, oh, ow, f in np.ndindex(dy.shape):
        dbias[f] += dy[n, oh, ow, f]
    return dx, dweight, dbias


def max_pool_forward(x, kernel, strides, padding):
    """y and argmax, the position kh*KW+kw of the first maximum (or of the first NaN)."""
    N, H, W, C = x.shape
    shape = (N, *output_size((H, W), kernel, strides, padding), C)
    y, argmax = np.zeros(shape), np.full(shape, -1)
    for oh, ow, kh, kw, h, w in cells((H, W), kernel, strides, padding):
        for n, c in np.ndindex(N, C):
            best, value, place = y[n, oh, ow, c], x[n, h, w, c], (n, oh, ow, c)
            first = argmax[place] == -1
            if first or (not math.isnan(best) and (value > best or math.isnan(value))):
                y[place], argmax[place] = value, kh * kernel[1] + kw
    return y, argmax


def max_pool_backward(dy, argmax, size, kernel, strides, padding):
    dx = np.zeros((dy.shape[0], *size, dy.shape[3]))
    for oh, ow, kh, kw, h, w in cells(size, kernel, strides, padding):
        for n, c in np.ndindex(dy.shape[0], dy.shape[3]):
            if argmax[n, oh, ow, c] == kh * kernel[1] + kw:
                dx[n, h, w, c] += dy[n, oh, ow, c]
    return dx


def _real_cells(size, kernel, strides, padding):
    count = np.zeros(output_size(size, kernel, strides, padding))
    for oh, ow, _, _, _, _ in cells(size, kernel, strides, padding):
        count[oh, ow] += 1
    return count


def average_pool_forward(x, kernel, strides, padding):
    N, H, W, C = x.shape
    count = _real_cells((H, W), kernel, strides, padding)
    y = np.zeros((N, *count.shape, C))
    for oh, ow, _, _, h, w in cells((H, W), kernel, strides, padding):
        for n, c in np.ndindex(N, C):
            y[n, oh, ow, c] += x[n, h, w, c] / count[oh, ow]
    return y


def average_pool_backward(dy, size, kernel, strides, padding):
    count = _real_cells(size, kernel, strides, padding)
    dx = np.zeros((dy.shape[0], *size, dy.shape[3]))
    for oh, ow, _, _, h, w in cells(size, kernel, strides, padding):
        for n, c in np.ndindex(dy.shape[0], dy.shape[3]):
            dx[n, h, w, c] += dy[n, oh, ow, c] / count[oh, ow]
    return dx


def dense_forward(x, weight, bias):
    y = np.zeros((len(x), weight.shape[1]))
    for n, u in np.ndindex(y.shape):
        y[n, u] = sum(x[n, d] * weight[d, u] for d in range(len(weight)))
        y[n, u] += 0.0 if bias is None else bias[u]
    return y


def dense_backward(dy, x, weight):
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(dy.shape[1])
    for n, u in np.ndindex(dy.shape):
        dbias[u] += dy[n, u]
        for d in range(len(weight)):
            dx[n, d] += dy[n, u] * weight[d, u]
            dweight[d, u] += dy[n, u] * x[n, d]
    return dx, dweight, dbias


ACTIVATIONS = {  # name: (function, derivative as a function of the output y), of one number
    "relu": (lambda x: x if x > 0 else 0.0, lambda y: 1.0 if y > 0 else 0.0),
    "sigmoid": (
        lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
        lambda y: y * (1 - y),
    ),
    "tanh": (math.tanh, lambda y: 1 - y * y),
    "elu": (lambda x: x if x > 0 else math.exp(x) - 1, lambda y: 1.0 if y > 0 else y + 1),
}


def activation_forward(name, x):
    y = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        y[i] = ACTIVATIONS[name][0](x[i])
    return y


def activation_backward(name, dy, y):
    dx = np.zeros(y.shape)
    for i in np.ndindex(y.shape):
        dx[i] = dy[i] * ACTIVATIONS[name][1](y[i])
    return dx


def leaky_relu_forward(x, slope, threshold, max_value):
    y = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        y[i] = min(x[i], max_value) if x[i] > threshold else slope * (x[i] - threshold)
    return y


def gelu_forward(x):
    y = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        y[i] = x[i] * (1 + math.erf(x[i] / math.sqrt(2))) / 2
    return y


def softmax_forward(x):
    """Over the last axis of x (N, K)."""
    y = np.zeros(x.shape)
    for n, k in np.ndindex(x.shape):
        y[n, k] = math.exp(x[n, k] - max(x[n])) / sum(math.exp(v - max(x[n])) for v in x[n])
    return y


def softmax_backward(dy, y):
    """dx_j = sum over k of dy_k dy_k/dx_j, with the full Jacobian y_k (delta_jk - y_j)."""
    dx = np.zeros(y.shape)
    for n, j in np.ndindex(y.shape):
        for k in range(y.shape[1]):
            dx[n, j] += dy[n, k] * y[n, k] * ((j == k) - y[n, j])
    return dx


def softmax_cross_entropy_forward(logits, target):
    """-sum(t log softmax(logits)) of each sample, as sum(t (log sum exp - logit))."""
    losses = np.zeros(len(logits))
    for n, k in np.ndindex(logits.shape):
        top = max(logits[n])
        log_sum = top + math.log(sum(math.exp(v - top) for v in logits[n]))
        losses[n] += target[n, k] * (log_sum - logits[n, k]) if target[n, k] else 0.0
    return losses, softmax_forward(logits)


def softmax_cross_entropy_backward(probabilities, target, weight):
    dlogits = np.zeros(target.shape)
    for n, k in np.ndindex(target.shape):
        dlogits[n, k] = weight[n] * (probabilities[n, k] * sum(target[n]) - target[n, k])
    return dlogits


def categorical_cross_entropy_forward(q, target, epsilon):
    """-sum of t log p of each sample, for p = q / sum(q) kept epsilon from 0 and 1."""
    losses = np.zeros(len(q))
    for n, k in np.ndindex(q.shape):
        losses[n] -= target[n, k] * math.log(_kept(q[n, k] / sum(q[n]), epsilon))
    return losses


def sigmoid_cross_entropy_forward(logits, target):
    p = activation_forward("sigmoid", logits)
    losses = [-t * math.log(p) - (1 - t) * math.log(1 - p) for p, t in _pairs(p, target)]
    return _means(losses, logits), p


def binary_cross_entropy_forward(p, target, epsilon):
    kept = [(_kept(q, epsilon), t) for q, t in _pairs(p, target)]
    return _means([-t * math.log(q) - (1 - t) * math.log(1 - q) for q, t in kept], p)


def mean_squared_error_forward(x, target):
    return _means([(a - t) ** 2 for a, t in _pairs(x, target)], x)


def mean_absolute_error_forward(x, target):
    return _means([abs(a - t) for a, t in _pairs(x, target)], x)


def _kept(p, epsilon):
    return min(max(p, epsilon), 1 - epsilon)


def _pairs(x, target):
    return zip(x.ravel().tolist(), target.ravel().tolist(), strict=True)


def _means(values, x):
    each = x.size // len(x)
    return np.array([sum(values[n * each : (n + 1) * each]) / each for n in range(len(x))])


def dropout_mask(count, rate, key):
    """1/(1-rate) where element i is kept, 0 where it is dropped: lowbias32 of index and key."""

    def mix(h):
        h ^= h >> 16
        h = h * 0x7FEB352D % 2**32
        h ^= h >> 15
        h = h * 0x846CA68B % 2**32
        return h ^ (h >> 16)

    low, high = key % 2**32, key // 2**32
    limit = math.floor((1 - rate) * 2**32)
    kept = [mix(mix(i ^ low) ^ high) < limit for i in range(count)]
    return np.array([1 / (1 - rate) if keep else 0.0 for keep in kept])


def batch_norm_forward(x, gamma, beta, epsilon):
    """(y, mean, variance) of x (M, C), over the M rows; the variance is biased."""
    M, C = x.shape
    mean, variance = np.zeros(C), np.zeros(C)
    for c in range(C):
        mean[c] = sum(x[m, c] for m in range(M)) / M
        variance[c] = sum((x[m, c] - mean[c]) ** 2 for m in range(M)) / M
    return batch_norm_inference(x, gamma, beta, mean, variance, epsilon), mean, variance


def batch_norm_inference(x, gamma, beta, mean, variance, epsilon):
    y = np.zeros(x.shape)
    for m, c in np.ndindex(x.shape):
        y[m, c] = gamma[c] * (x[m, c] - mean[c]) / math.sqrt(variance[c] + epsilon) + beta[c]
    return y


def batch_norm_backward(dy, x, gamma, mean, variance, epsilon):
    """Backwards through y, the variance and the mean in turn (Ioffe & Szegedy 2015, section 3)."""
    M, C = x.shape
    dx, dgamma, dbeta = np.zeros(x.shape), np.zeros(C), np.zeros(C)
    for c in range(C):
        inverse = 1 / math.sqrt(variance[c] + epsilon)
        centred = [x[m, c] - mean[c] for m in range(M)]
        dnormal = [dy[m, c] * gamma[c] for m in range(M)]
        dgamma[c] = sum(dy[m, c] * centred[m] * inverse for m in range(M))
        dbeta[c] = sum(dy[m, c] for m in range(M))
        dvariance = sum(dnormal[m] * centred[m] for m in range(M)) * -0.5 * inverse**3
        dmean = -inverse * sum(dnormal) + dvariance * -2 * sum(centred) / M
        for m in range(M):
            dx[m, c] = dnormal[m] * inverse + dvariance * 2 * centred[m] / M + dmean / M
    return dx, dgamma, dbeta


# Optimizers: the weights after each step, for one number w and its gradients. Keras's formulas;
# pytorch=True gives those of torch.optim.


def sgd(w, gradients, learning_rate, momentum=0.0, nesterov=False):
    velocity, path = 0.0, []
    for g in gradients:
        velocity = momentum * velocity - learning_rate * g
        w += momentum * velocity - learning_rate * g if nesterov else velocity
        path.append(w)
    return path


def rmsprop(
    w, gradients, learning_rate, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False, pytorch=False
):
    v = average = buffer = 0.0
    path = []
    for g in gradients:
        v = rho * v + (1 - rho) * g * g
        average = rho * average + (1 - rho) * g
        spread = v - average**2 if centered else v
        divisor = math.sqrt(spread) + epsilon if pytorch else math.sqrt(spread + epsilon)
        buffer = momentum * buffer + learning_rate * g / divisor
        w -= buffer
        path.append(w)
    return path


def adam(
    w, gradients, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-7, amsgrad=False, pytorch=False
):
    m = v = largest = 0.0
    path = []
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        largest = max(largest, v)
        spread = largest if amsgrad else v
        if pytorch:  # algorithm 1 of Kingma and Ba: epsilon is added to the corrected root
            root = math.sqrt(spread / (1 - beta2**t)) + epsilon
        else:  # the "epsilon hat" just before section 2.1: added to the uncorrected one
            root = (math.sqrt(spread) + epsilon) / math.sqrt(1 - beta2**t)
        w -= learning_rate * m / (1 - beta1**t) / root
        path.append(w)
    return path


def adadelta(w, gradients, learning_rate, rho, epsilon):
    v = delta = 0.0
    path = []
    for g in gradients:
        v = rho * v + (1 - rho) * g * g
        step = math.sqrt(delta + epsilon) / math.sqrt(v + epsilon) * g
        delta = rho * delta + (1 - rho) * step * step
        w -= learning_rate * step
        path.append(w)
    return path


def nadam(w, gradients, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-7):
    m = v = 0.0
    product = 1.0
    path = []
    for t, g in enumerate(gradients, 1):
        u, following = (beta1 * (1 - 0.5 * 0.96**i) for i in (t, t + 1))
        product *= u
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        mean = following * m / (1 - product * following) + (1 - u) * g / (1 - product)
        w -= learning_rate * mean / (math.sqrt(v / (1 - beta2**t)) + epsilon)
        path.append(w)
    return path
