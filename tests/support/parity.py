"""Networks in PyTorch and Keras, as `benchmarks/networks.py` has them, for comparing every number.

Weights are arrays in Keras's order and shapes. Both are libraries in their own right: nothing of
nanocnn is imported here.
"""

import math

import numpy as np
from networks import keras_layers, torch_layers, torch_weights


class TorchModel:
    """A network in PyTorch with images NHWC and Keras's layouts of weights, at these weights.

    What differs from PyTorch's ways: pixels are flattened in the order of NHWC, dropout masks are
    given, and batch normalization averages the biased variance, as Keras does.
    """

    def __init__(self, layers, weights, dtype="float64"):
        import torch
        from torch import nn

        self.nn = nn
        self.network = nn.Sequential(*torch_layers(layers, nn)).to(getattr(torch, dtype))
        factors = [
            options.get("kernel_regularizer") or 0.0
            for kind, options in layers
            if kind in ("Conv2D", "Dense")
        ]
        kernels = [m.weight for m in self.network if isinstance(m, nn.Conv2d | nn.Linear)]
        self.penalized = list(zip(kernels, factors, strict=True))
        for module in self.network:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # an activation before it may need what it would overwrite
        with torch.no_grad():
            for mine, array in zip(self.weights, weights, strict=True):
                mine.copy_(torch.tensor(array))

    def __call__(self, x, *, training=True, logits=False, dropout_masks=()):
        """The output; with `logits` without a softmax at the end. `dropout_masks`: (size,) each.

        Sets `margin`: how far the nearest ReLU is from its kink, the nearest pool from a tie.
        """
        nn, masks = self.nn, iter(dropout_masks)
        self.margin = math.inf
        self.network.train(training)
        x = x.permute(0, 3, 1, 2)
        for module in self.network[:-1] if logits and self.ends_in_softmax else self.network:
            match module:
                case nn.Flatten():
                    x = x.permute(0, 2, 3, 1).flatten(1)
                case nn.Dropout():
                    if training and module.p:
                        x = self._masked(x, next(masks))
                case nn.BatchNorm1d() | nn.BatchNorm2d():
                    x = self._normalized(module, x)
                case _:
                    self._look(module, x.detach())
                    x = module(x)
        return x if x.ndim == 2 else x.permute(0, 2, 3, 1)

    @property
    def ends_in_softmax(self):
        return isinstance(self.network[-1], self.nn.Softmax)

    @property
    def parameters(self):
        """What an optimizer trains: PyTorch's own tensors."""
        return [p for p in self.network.parameters() if p.requires_grad]

    @property
    def weights(self):
        """Views of all weights, in Keras's order and shapes."""
        return [tensor.permute(axes) for tensor, axes in torch_weights(self.network, self.nn)]

    @property
    def gradients(self):
        """Copies of the gradients of the trained weights, in Keras's order and shapes."""
        weights = torch_weights(self.network, self.nn)
        return [t.grad.permute(axes).clone() for t, axes in weights if t.requires_grad]

    @property
    def penalty(self):
        """The L2 terms of the loss."""
        return sum(factor * (kernel**2).sum() for kernel, factor in self.penalized)

    def _masked(self, x, mask):
        if x.ndim == 2:
            return x * mask.reshape(x.shape)
        images = x.permute(0, 2, 3, 1)
        return (images * mask.reshape(images.shape)).permute(0, 3, 1, 2)

    def _normalized(self, module, x):
        before = module.running_var.clone()
        y = module(x)
        if module.training:
            now = x.detach().transpose(0, 1).flatten(1).var(1, correction=0)
            module.running_var = before.lerp(now, module.momentum)
        return y

    def _look(self, module, x):
        """Distances to the next kink; one of exactly 0 is a tie whatever the rounding."""
        match module:
            case self.nn.ReLU() | self.nn.LeakyReLU():
                distance = x.abs()
            case self.nn.MaxPool2d() if math.prod(module.kernel_size) > 1:
                (KH, KW), (SH, SW) = module.kernel_size, module.stride
                cells = x.unfold(2, KH, SH).unfold(3, KW, SW)
                first, second = cells.flatten(4).topk(2).values.unbind(-1)
                distance = first - second
            case _:
                return
        distance = distance[distance > 0]
        if distance.numel():
            self.margin = min(self.margin, float(distance.min()))


def torch_loss(model, x, target, loss, weight=None, dropout_masks=()):
    """The loss of a `TorchModel` in training, as Keras reduces it; a softmax at the end is fused.

    `target` is dense, `weight` one number a sample.
    """
    import torch

    entropy = loss["class_name"].endswith("Crossentropy")
    output = model(x, logits=entropy, dropout_masks=dropout_masks)
    if entropy:
        smoothing = loss["config"].get("label_smoothing", 0.0)
        target = target * (1 - smoothing) + smoothing / output.shape[-1]
        if model.ends_in_softmax or loss["config"].get("from_logits"):
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

    layers = [(kind, dict(options)) for kind, options in layers]
    for _, options in layers:
        if options.get("kernel_regularizer"):
            options["kernel_regularizer"] = keras.regularizers.L2(options["kernel_regularizer"])
    model = keras.Sequential(keras_layers(layers, keras.layers))
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
