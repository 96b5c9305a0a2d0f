"""Layers and losses written out in PyTorch's words, on tensors laid out as ours."""

from nanocnn import (
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPooling2D,
    Reshape,
)

OTHERS = {
    "Rescaling": lambda torch, layer, x: x * layer.scale + layer.offset,
    "Normalization": lambda torch, layer, x: (x - layer.mean) / layer.variance**0.5,
    "ZeroPadding2D": lambda torch, layer, x: torch.nn.functional.pad(x, (0, 0, 1, 1, 1, 1)),
    "GlobalMaxPooling2D": lambda torch, layer, x: x.amax((1, 2), keepdim=layer.keepdims),
    "GlobalAveragePooling2D": lambda torch, layer, x: x.mean((1, 2)),
    "LeakyReLU": lambda torch, layer, x: torch.where(x > 0, x, layer.negative_slope * x),
    "ReLU": lambda torch, layer, x: torch.where(
        x > 0, x.clamp(max=layer.max_value or torch.inf), layer.negative_slope * x
    ),
}


def torch_layer(torch, layer, x, params, saved):
    """The layer's (z, y) for tensor x, in PyTorch's words; images stay (N,H,W,C)."""
    F = torch.nn.functional

    def padded(x, value):
        w = layer.window
        pads = (w.left, w.right, w.top, w.bottom)
        return F.pad(x.permute(0, 3, 1, 2), pads, value=value)

    def activate(z, name):
        if name == "softmax":
            return torch.softmax(z, dim=-1)
        if name in ("elu", "gelu", "leaky_relu"):
            return getattr(F, name)(z, **({"negative_slope": 0.2} if name == "leaky_relu" else {}))
        return z if name == "linear" else getattr(torch, name)(z)

    def kept(*tensors):
        for tensor in tensors:
            tensor.retain_grad()
        return tensors

    if isinstance(layer, Conv2D):
        weight = params["kernel"].permute(3, 2, 0, 1)
        z = F.conv2d(padded(x, 0.0), weight, params.get("bias"), layer.strides,
                     dilation=layer.dilation_rate).permute(0, 2, 3, 1)  # fmt: skip
        return kept(z, activate(z, layer.activation.activation))
    if isinstance(layer, Dense):
        z = x @ params["kernel"] + params["bias"]
        return kept(z, activate(z, layer.activation.activation))
    if isinstance(layer, MaxPooling2D):
        y = F.max_pool2d(padded(x, -torch.inf), layer.pool_size, layer.strides)
    elif isinstance(layer, AveragePooling2D):
        cells = F.avg_pool2d(padded(torch.ones_like(x), 0.0), layer.pool_size, layer.strides)
        y = F.avg_pool2d(padded(x, 0.0), layer.pool_size, layer.strides) / cells
    elif isinstance(layer, BatchNormalization):
        y = F.batch_norm(x.permute(0, 3, 1, 2), None, None, params["gamma"], params["beta"],
                         training=True, eps=layer.epsilon)  # fmt: skip
    elif isinstance(layer, Dropout):
        y = x * torch.from_numpy(saved["mask"] / (1 - layer.rate))
        return kept(y, y)
    elif isinstance(layer, Flatten | Reshape):
        y = x.reshape(len(x), *layer.output_shape)
        return kept(y, y)
    elif type(layer).__name__ in OTHERS:
        y = OTHERS[type(layer).__name__](torch, layer, x)
        return kept(y, y)
    else:
        y = activate(x, layer.activation)
        return kept(y, y)
    y = y.permute(0, 2, 3, 1)
    return kept(y, y)


def torch_loss(torch, model, logits_or_prediction, target):
    F = torch.nn.functional
    if model.execution_plan.final is not None:
        return F.cross_entropy(logits_or_prediction, target, reduction="none")
    return F.mse_loss(logits_or_prediction, target, reduction="none").mean(dim=1)
