"""Snapshots to save and load, made by hand: nothing of nanocnn but the dataclass is used."""

import numpy as np

from nanocnn.storage import Snapshot

LAYERS = [
    ("InputLayer", {"batch_shape": [None, 6, 5, 1]}),
    ("Conv2D", {"filters": 2, "kernel_size": [3, 3], "padding": "same", "activation": "relu"}),
    ("BatchNormalization", {}),
    ("MaxPooling2D", {"pool_size": [2, 2]}),
    ("Dropout", {"rate": 0.25}),
    ("Flatten", {}),
    ("Dense", {"units": 3, "activation": "softmax"}),
]
NAMES = {"Conv2D": "conv2d", "InputLayer": "input_layer", "MaxPooling2D": "max_pooling2d"}
NAMES |= {"BatchNormalization": "batch_normalization"}
SHAPES = {
    "conv2d/kernel": (3, 3, 1, 2),
    "conv2d/bias": (2,),
    "batch_normalization/gamma": (2,),
    "batch_normalization/beta": (2,),
    "batch_normalization/moving_mean": (2,),
    "batch_normalization/moving_variance": (2,),
    "dense/kernel": (12, 3),
    "dense/bias": (3,),
}


def small(seed=0, dtype="float32", optimizer="Adam", **options):
    """A small model in training, its weights, slots and progress drawn from `seed`."""
    rng = np.random.default_rng(seed)
    layers = [
        {"class_name": kind, "config": {"name": NAMES.get(kind, kind.lower()), **config}}
        for kind, config in LAYERS
    ]
    slots = {"Adam": ["m", "v"], "RMSprop": ["v"], "SGD": ["momentum"]}[optimizer]
    state = {"iteration": np.array(seed + 7, np.int64)}
    state |= {
        f"{name}/{slot}": rng.random(shape).astype(dtype)
        for name, shape in SHAPES.items()
        if "moving" not in name
        for slot in slots
    }
    return Snapshot(
        config={"name": "sequential", "dtype": dtype, "seed": 3, "layers": layers},
        weights={name: rng.random(shape).astype(dtype) for name, shape in SHAPES.items()},
        compile_config={
            "optimizer": {"class_name": optimizer, "config": {"learning_rate": 0.002, **options}},
            "loss": {"class_name": "SparseCategoricalCrossentropy", "config": {}},
            "metrics": ["accuracy"],
        },
        optimizer=state,
        progress={
            "epoch": seed,
            "random_state": rng.bit_generator.state,
            "history": {"loss": [0.5]},
        },
    )


def assert_same(got, want, progress=True):
    """Equal to the last bit: weights, optimizer state and everything else."""
    for mine, other in ((got.weights, want.weights), (got.optimizer, want.optimizer)):
        assert list(mine) == list(other)
        for name, array in mine.items():
            assert array.dtype == other[name].dtype and array.shape == other[name].shape, name
            assert array.tobytes() == other[name].tobytes(), name
    assert got.compile_config == want.compile_config
    if progress:
        assert got.progress == want.progress
    layers = zip(got.config["layers"], want.config["layers"], strict=True)
    for layer, other in layers:  # a file has all arguments, `want` perhaps only some
        assert layer["class_name"] == other["class_name"]
        assert layer["config"].items() >= other["config"].items()
