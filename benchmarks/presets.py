"""The measured networks, described once for all libraries.

A network is a tuple of layers, each the name of its class and its arguments in Keras's words, which
are nanocnn's too. `peers.py` makes it in each library; the parity tests describe theirs alike.
"""

from typing import Any, NamedTuple

Layer = tuple[str, dict[str, Any]]


class Preset(NamedTuple):
    """A network, from its `Input` to its softmax, and its optimizer."""

    layers: tuple[Layer, ...]
    optimizer: str = "adam"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        shape: tuple[int, int, int] = self.layers[0][1]["shape"]
        return shape


def network(
    *layers: Layer, shape: tuple[int, int, int] = (28, 28, 1), optimizer: str = "adam"
) -> Preset:
    """These layers between the input and the ten classes."""
    return Preset((("Input", {"shape": shape}), *layers, dense(10, "softmax")), optimizer)


def conv(
    filters: int, size: int | tuple[int, int], padding: str = "valid", strides: int = 1,
    activation: str | None = "relu",
) -> Layer:  # fmt: skip
    return "Conv2D", {
        "filters": filters, "kernel_size": size, "strides": strides, "padding": padding,
        "activation": activation,
    }  # fmt: skip


def norm_conv(filters: int, size: int) -> tuple[Layer, Layer, Layer]:
    plain = conv(filters, size, "same", activation=None)
    return plain, ("BatchNormalization", {}), ("Activation", {"activation": "relu"})


def dense(units: int, activation: str = "relu") -> Layer:
    return "Dense", {"units": units, "activation": activation}


def dropout(rate: float) -> Layer:
    return "Dropout", {"rate": rate}


POOL, FLATTEN = ("MaxPooling2D", {"pool_size": 2}), ("Flatten", {})

PRESETS = {
    # The presets of examples/train_mnist.py, which the README's figures are about.
    "simple": network(conv(32, 3), POOL, FLATTEN, dropout(0.2), dense(128)),
    "lenet": network(conv(20, 5, "same"), POOL, conv(50, 5, "same"), POOL, FLATTEN, dense(500)),
    "dropout": network(
        conv(32, 3), conv(64, 3), POOL, dropout(0.25), FLATTEN, dense(128), dropout(0.5),
        optimizer="rmsprop",
    ),
    "two-block": network(conv(32, 3), POOL, conv(64, 3), POOL, FLATTEN, dense(64)),
    # Networks that nothing was tuned for.
    "vgg": network(
        conv(64, 3, "same"), conv(64, 3, "same"), POOL,
        conv(128, 3, "same"), conv(128, 3, "same"), POOL, FLATTEN, dense(128),
        shape=(32, 32, 3),
    ),
    "odd": network(
        conv(17, (5, 3), "same"), POOL, conv(37, 3), conv(29, 3, strides=2), FLATTEN, dense(77),
        shape=(29, 23, 3),
    ),
    "batchnorm": network(*norm_conv(24, 3), POOL, *norm_conv(48, 3), POOL, FLATTEN, dense(64)),
    # Small ones, as the literature and other libraries time them.
    "lenet5": network(conv(6, 5), POOL, conv(16, 5), POOL, FLATTEN, dense(120), dense(84)),
    "quick": network(conv(24, 5), POOL, conv(32, 3), POOL, FLATTEN, dense(256)),
    # To test the benchmarks themselves.
    "tiny": network(conv(4, 3), POOL, FLATTEN, shape=(8, 8, 1)),
}  # fmt: skip

MNIST = ("simple", "lenet", "dropout")
"""Those that inference.py measures."""

NINE = tuple(name for name in PRESETS if name != "tiny")
"""Those that training.py measures."""
