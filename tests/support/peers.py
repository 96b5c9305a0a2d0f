"""The same models in PyTorch and in Keras, from the same description.

A model is a list of (class name, arguments) by Keras's words, weights are arrays in Keras's order
and shapes. Both are libraries in their own right: nothing of nanocnn is imported here.
"""

import math

import numpy as np


def split(length, window, stride, padding, dilation=1):
    """The padding (before, after) of one axis."""
    if padding == "valid":
        return 0, 0
    extent = (window - 1) * dilation + 1
    total = max((math.ceil(length / stride) - 1) * stride + extent - length, 0)
    return total // 2, total - total // 2


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


class TorchModel:
    """A model as a function of (weights, x) in PyTorch: NHWC in and out, Keras's weight layouts.

    The axes are turned inside `__call__`, so gradients come out in Keras's layout as well.
    PyTorch pads both sides alike; "same" is therefore padded explicitly.
    """

    def __init__(self, layers):
        self.layers = layers

    def __call__(self, weights, x, *, training=True, logits=False, dropout_masks=()):
        """The output; with `logits` without a softmax at the end. `dropout_masks`: (size,) each.

        Sets `penalty`, the L2 terms; `moving`, the new averages of batch normalization; `margin`,
        how far the nearest ReLU is from its kink and the nearest pooling window from a tie.
        """
        import torch

        self.weights, self.masks, self.training = iter(weights), iter(dropout_masks), training
        self.penalty, self.moving, self.softmax_left_out = x.new_zeros(()), [], False
        self.margin = math.inf
        for number, (kind, options) in enumerate(self.layers):
            last = number == len(self.layers) - 1
            x = getattr(self, kind)(x, **options)
            activation = options.get("activation")
            if activation == "softmax" and last and logits:
                self.softmax_left_out = True
            elif activation == "softmax":
                x = torch.softmax(x, -1)
            elif activation not in (None, "linear"):
                if activation == "relu":
                    self._near(x.detach().abs())
                x = getattr(torch, activation)(x)
        return x

    def _slide(self, function, x, kernel, strides, padding, dilation=(1, 1), fill=0.0):
        import torch.nn.functional as F

        (top, bottom), (left, right) = (
            split(*axis)
            for axis in zip(x.shape[1:3], kernel, strides, [padding] * 2, dilation, strict=True)
        )
        nchw = x.permute(0, 3, 1, 2).contiguous()
        padded = F.pad(nchw, (left, right, top, bottom), value=fill)
        return function(padded).permute(0, 2, 3, 1)

    def _near(self, distance):
        """Distances to the next kink; one of exactly 0 is a tie whatever the rounding."""
        distance = distance[distance > 0]
        if distance.numel():
            self.margin = min(self.margin, float(distance.min()))

    def _penalize(self, kernel, factor):
        self.penalty = self.penalty + (factor or 0.0) * (kernel**2).sum()

    def Input(self, x, shape):
        return x

    def Conv2D(
        self, x, filters, kernel_size, strides=1, padding="valid", dilation_rate=1, activation=None,
        use_bias=True, kernel_regularizer=None,
    ):  # fmt: skip
        import torch.nn.functional as F

        kernel = next(self.weights)
        bias = next(self.weights) if use_bias else None
        self._penalize(kernel, kernel_regularizer)
        strides, dilation = pair(strides), pair(dilation_rate)
        turned = kernel.permute(3, 2, 0, 1).contiguous()
        convolve = lambda p: F.conv2d(p, turned, bias, strides, dilation=dilation)  # noqa: E731
        return self._slide(convolve, x, pair(kernel_size), strides, padding, dilation)

    def Dense(self, x, units, activation=None, use_bias=True, kernel_regularizer=None):
        kernel = next(self.weights)
        self._penalize(kernel, kernel_regularizer)
        return x @ kernel + (next(self.weights) if use_bias else 0.0)

    def MaxPooling2D(self, x, pool_size=2, strides=None, padding="valid"):
        import torch.nn.functional as F

        size = pair(pool_size)
        strides = size if strides is None else pair(strides)

        def pool(p):
            cells = p.detach().unfold(2, size[0], strides[0]).unfold(3, size[1], strides[1])
            if math.prod(size) > 1:
                first, second = cells.flatten(4).topk(2).values.unbind(-1)
                self._near(first - second)
            return F.max_pool2d(p, size, strides)

        return self._slide(pool, x, size, strides, padding, fill=-math.inf)

    def AveragePooling2D(self, x, pool_size=2, strides=None, padding="valid"):
        import torch
        import torch.nn.functional as F

        size = pair(pool_size)
        strides = size if strides is None else pair(strides)
        pool = lambda p: F.avg_pool2d(p, size, strides)  # noqa: E731
        share = self._slide(pool, torch.ones_like(x), size, strides, padding)
        return self._slide(pool, x, size, strides, padding) / share

    def BatchNormalization(self, x, momentum=0.99, epsilon=1e-3, center=True, scale=True):
        import torch
        import torch.nn.functional as F

        C = x.shape[-1]
        gamma = next(self.weights) if scale else torch.ones(C, dtype=x.dtype)
        beta = next(self.weights) if center else torch.zeros(C, dtype=x.dtype)
        mean, variance = next(self.weights), next(self.weights)
        rows = x.reshape(-1, C)
        if self.training:  # Keras averages the biased variance, PyTorch the unbiased one
            now = rows.detach().mean(0), rows.detach().var(0, correction=0)
            before = mean.detach(), variance.detach()
            self.moving += [
                momentum * a + (1 - momentum) * b for a, b in zip(before, now, strict=True)
            ]
        y = F.batch_norm(
            rows, mean.detach().clone(), variance.detach().clone(), gamma, beta,
            training=self.training, eps=epsilon,
        )  # fmt: skip
        return y.reshape(x.shape)

    def Dropout(self, x, rate):
        return x * next(self.masks).reshape(x.shape) if self.training and rate else x

    def Flatten(self, x):
        return x.reshape(len(x), -1)

    def Activation(self, x, activation):
        return x


def torch_loss(model, weights, x, target, loss, weight=None, dropout_masks=()):
    """The loss of a `TorchModel` in training, as Keras reduces it; a softmax at the end is fused.

    `target` is dense, `weight` one number a sample.
    """
    import torch

    entropy = loss["class_name"].endswith("Crossentropy")
    output = model(weights, x, logits=entropy, dropout_masks=dropout_masks)
    if entropy:
        smoothing = loss["config"].get("label_smoothing", 0.0)
        target = target * (1 - smoothing) + smoothing / output.shape[-1]
        if model.softmax_left_out or loss["config"].get("from_logits"):
            values = -(target * torch.log_softmax(output, -1)).sum(-1)
        else:
            p = (output / output.sum(-1, keepdim=True)).clamp(1e-7, 1 - 1e-7)
            values = -(target * torch.log(p)).sum(-1)
    else:
        values = ((output - target) ** 2).reshape(len(x), -1).mean(-1)
    weight = torch.ones_like(values) if weight is None else weight
    return (values * weight).sum() / len(values) + model.penalty


def torch_optimizer(weights, name, options):
    """`torch.optim` with Keras's names for its arguments."""
    import torch

    options = dict(options)
    renamed = {"learning_rate": "lr", "rho": "alpha", "epsilon": "eps"}
    arguments = {renamed.get(key, key): value for key, value in options.items()}
    if "beta_1" in arguments or "beta_2" in arguments:
        arguments["betas"] = arguments.pop("beta_1", 0.9), arguments.pop("beta_2", 0.999)
    return getattr(torch.optim, name)(weights, foreach=False, **arguments)


def keras_model(layers, weights=None):
    """A Keras Sequential of these layers, with these weights."""
    import keras

    def layer(kind, options):
        options = dict(options)
        if kind == "Input":
            return keras.Input(**options)
        if options.get("kernel_regularizer"):
            options["kernel_regularizer"] = keras.regularizers.L2(options["kernel_regularizer"])
        return getattr(keras.layers, kind)(**options)

    model = keras.Sequential([layer(*entry) for entry in layers])
    if weights is not None:
        model.set_weights(weights)
    return model


def keras_step(model, loss, optimizer, x, y, sample_weight=None):
    """One training step in plain sight: (loss, gradients); with an optimizer it is applied."""
    import keras

    def value_of():
        return loss(y, model(x, training=True), sample_weight=sample_weight) + sum(model.losses)

    variables = model.trainable_variables
    if keras.backend.backend() == "torch":
        value = value_of()
        model.zero_grad()
        value.backward()
        gradients = [v.value.grad.clone() for v in variables]
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = value_of()
        gradients = tape.gradient(value, [v.value for v in variables])
    value = float(keras.ops.convert_to_numpy(value))
    results = value, [np.array(keras.ops.convert_to_numpy(g)) for g in gradients]
    if optimizer is not None:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
    return results
