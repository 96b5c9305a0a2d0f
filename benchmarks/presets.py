"""The measured networks, described once for all libraries.

A network is a tuple of layers, each a tuple of its kind and arguments:
    ("conv", filters, (KH, KW), stride, padding) and ("dense", units), both with bias
    ("pool", size), ("relu",), ("batch_norm",), ("dropout", rate), ("flatten",)
The last layer gives K = 10 logits; each library adds softmax and cross-entropy in its own way.
"""

from typing import Any, NamedTuple

Layer = tuple[Any, ...]


class Preset(NamedTuple):
    """A network: the shape (H, W, C) of one image, its layers, its optimizer."""

    shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    optimizer: str = "adam"


def conv(
    filters: int, size: int | tuple[int, int], padding: str = "valid", stride: int = 1
) -> tuple[Layer, ...]:
    size = (size, size) if isinstance(size, int) else size
    return (("conv", filters, size, stride, padding), ("relu",))


def norm_conv(filters: int, size: int) -> tuple[Layer, ...]:
    return (("conv", filters, (size, size), 1, "same"), ("batch_norm",), ("relu",))


def dense(units: int) -> tuple[Layer, ...]:
    return (("dense", units), ("relu",))


def network(*layers: Layer | tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Flatten the groups that the functions above return, and append the layer of ten classes."""
    flat: list[Layer] = []
    for layer in (*layers, ("dense", 10)):
        flat += layer if isinstance(layer[0], tuple) else [layer]
    return tuple(flat)


POOL, FLAT = ("pool", 2), ("flatten",)
DIGIT = (28, 28, 1)

PRESETS = {
    # The presets of examples/train_mnist.py, which the README's figures are about.
    "simple": Preset(DIGIT, network(conv(32, 3), POOL, FLAT, ("dropout", 0.2), dense(128))),
    "lenet": Preset(
        DIGIT,
        network(conv(20, 5, "same"), POOL, conv(50, 5, "same"), POOL, FLAT, dense(500)),
    ),
    "dropout": Preset(
        DIGIT,
        network(
            *(conv(32, 3), conv(64, 3), POOL, ("dropout", 0.25)),
            *(FLAT, dense(128), ("dropout", 0.5)),
        ),
        "rmsprop",
    ),
    "two-block": Preset(DIGIT, network(conv(32, 3), POOL, conv(64, 3), POOL, FLAT, dense(64))),
    # Networks that nothing was tuned for.
    "cifar": Preset(
        (32, 32, 3),
        network(
            *(conv(64, 3, "same"), conv(64, 3, "same"), POOL),
            *(conv(128, 3, "same"), conv(128, 3, "same"), POOL, FLAT, dense(128)),
        ),
    ),
    "odd": Preset(
        (29, 23, 3),
        network(
            conv(17, (5, 3), "same"), POOL, conv(37, 3), conv(29, 3, stride=2), FLAT, dense(77)
        ),
    ),
    "batchnorm": Preset(
        DIGIT, network(norm_conv(24, 3), POOL, norm_conv(48, 3), POOL, FLAT, dense(64))
    ),
    # To test the benchmarks themselves.
    "tiny": Preset((8, 8, 1), network(conv(4, 3), POOL, FLAT)),
}

MNIST = ("simple", "lenet", "dropout")
"""The three whose geometric mean is reported."""
