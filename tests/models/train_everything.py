# ruff: noqa: E402  what is imported from tests and benchmarks stands behind their paths
"""Train everything that can be trained, for a few steps, and print a hash of what comes of it.

python tests/models/train_everything.py                 one line `name sha256` for each training
python tests/models/train_everything.py --arrays        also one for each array, and its bytes
python tests/models/train_everything.py --small         one training of each kind
python tests/models/train_everything.py --threads 1 lenet/float32 adamw/float64

Hashed are the bytes of weights, optimizer state, history, predictions and evaluation. The lines
are the same on every processor: `test_train_everything.py` and `tests/arm64.sh` compare them.
"""

import hashlib
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path.extend([str(TESTS), str(TESTS.parent / "benchmarks")])  # for a run without pytest

import networks
from presets import NINE, PRESETS

import nanocnn
from nanocnn import (
    SGD,
    Activation,
    Adadelta,
    Adam,
    AdamW,
    AveragePooling2D,
    BatchNormalization,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Conv2D,
    Dense,
    Dropout,
    EarlyStopping,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    LeakyReLU,
    LearningRateScheduler,
    MaxPooling2D,
    Nadam,
    Normalization,
    PolynomialDecay,
    RandomElastic,
    RandomErasing,
    RandomMorphology,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
    ReduceLROnPlateau,
    ReLU,
    Rescaling,
    Reshape,
    RMSprop,
    Sequential,
    Softmax,
    SparseCategoricalCrossentropy,
    ZeroPadding2D,
)
from nanocnn.initializers import INITIALIZERS
from nanocnn.metrics import (
    BinaryAccuracy,
    CategoricalAccuracy,
    MeanAbsoluteError,
    MeanSquaredError,
    Precision,
    Recall,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from support.small_models import OPTIMIZERS, SPARSE, digits, every_layer

DTYPES = ("float32", "float64")
SMALL = [
    f"{name}/float32" for name in ("every layer", "sgd", "rmsprop", "amsgrad", "lenet", "batchnorm")
]


class Training(NamedTuple):
    """A model, its data and what `fit` is told."""

    layers: list[Any]
    optimizer: Any = "adam"
    loss: Any = SPARSE
    labels: str = "classes"  # or "rows" (one-hot), "pairs" (0 and 1), "triples", "numbers"
    shape: tuple[int, int, int] = (12, 10, 1)
    samples: int = 60
    batch_size: int = 16
    metrics: tuple[Any, ...] = ("accuracy",)
    fit: Callable[[], dict[str, Any]] = dict

    def model(self, dtype: str, kernels: str = "fast") -> Sequential:
        """The model, compiled."""
        model = Sequential([Input(self.shape), *self.layers], seed=3, dtype=dtype, kernels=kernels)
        model.compile(self.optimizer, self.loss, metrics=list(self.metrics))
        return model

    def data(self) -> tuple[Any, Any]:
        """Images (N,H,W,C) and labels."""
        H, W, C = self.shape
        x, y = digits(self.samples, seed=2, shape=(H, W * C))
        targets = {
            "classes": y,
            "rows": np.eye(10)[y],
            "pairs": y % 2,
            "triples": np.stack([y < 3, y % 2 == 0, y > 5], axis=1).astype(int),
            "numbers": np.random.default_rng(4).normal(size=(self.samples, 10)),
        }
        return x.reshape(-1, H, W, C), targets[self.labels]

    def run(self, dtype: str) -> dict[str, Any]:
        """Train, predict and evaluate: all that comes of it, as arrays."""
        model, (x, y) = self.model(dtype), self.data()
        options = {"epochs": 2, "validation_data": (x[:20], y[:20]), **self.fit()}
        history = model.fit(x, y, self.batch_size, verbose=0, **options).history
        names = [f"{prefix}{name}" for prefix in ("", "val_") for name in ("loss", *self.metrics)]
        snapshot = model.snapshot()
        return {
            **snapshot.weights,
            **{f"optimizer/{name}": array for name, array in snapshot.optimizer.items()},
            **{
                f"history/{name}": np.array(history[name])
                for name in dict.fromkeys([*names, *history])
                if name in history
            },
            "predictions": model.predict(x),
            "evaluation": np.array(model.evaluate(x, y)),
        }


def trainings() -> dict[str, Training]:
    """All of them, with new layers and optimizers."""
    return {**by_layers(), **by_losses(), **by_optimizers(), **by_options(), **by_networks()}


def by_layers() -> dict[str, Training]:
    conv = partial(Conv2D, activation="relu")

    def head() -> list[Any]:
        return [Flatten(), Dense(10, activation="softmax")]

    copies = [type(each).from_config(each.get_config()) for each in every_layer().layers]
    found = {
        "every layer": copies,
        "convolutions": [
            conv(20, 5, padding="same"), conv(24, 3), conv(17, (1, 3), padding="same"),
            conv(33, 3, padding="same", dilation_rate=2), conv(12, (5, 3), strides=(2, 1)),
            Conv2D(8, 1, use_bias=False), *head(),
        ],
        "activations": [
            Conv2D(6, 3, activation="tanh"), Activation("sigmoid"), Conv2D(7, 3, activation="relu"),
            Activation("linear"), Conv2D(5, 3, activation="sigmoid"), Activation("tanh"), Flatten(),
            Dense(40, activation="tanh"), Activation("relu"), Dense(30, activation="sigmoid"),
            Dense(20, activation="softmax"), Dense(10), Activation("softmax"),
        ],
        "pools": [
            conv(8, 3, padding="same"), MaxPooling2D(3, strides=2, padding="same"),
            AveragePooling2D(2, strides=1), Conv2D(8, 3, padding="same"), MaxPooling2D((1, 2)),
            Activation("tanh"), AveragePooling2D((3, 2), padding="same"), *head(),
        ],
        "normalization": [
            BatchNormalization(), conv(8, 3), BatchNormalization(center=False, epsilon=1e-2),
            Dropout(0.4), BatchNormalization(trainable=False), Flatten(), Dense(23),
            BatchNormalization(scale=False, momentum=0.5), Activation("relu"),
            Dense(10, activation="softmax"),
        ],
        "slopes": [
            Rescaling(1 / 255, 0.125), Normalization(), Conv2D(9, 3, activation="leaky_relu"),
            ZeroPadding2D(((1, 0), (2, 3))), Conv2D(8, 3, activation="gelu"), LeakyReLU(0.1),
            ReLU(max_value=1.5, negative_slope=0.1, threshold=0.05), Reshape((-1, 11, 4)),
            Activation("elu"), GlobalMaxPooling2D(), Dense(30, activation="gelu"), ReLU(),
            Dense(10), Softmax(),
        ],
        "global average": [
            conv(8, 3), Activation("gelu"), GlobalAveragePooling2D(keepdims=True),
            Conv2D(20, 1, activation="elu"), GlobalAveragePooling2D(), Dense(20),
            Activation("leaky_relu"), Dense(10, activation="softmax"),
        ],
        "initializers": [
            conv(6, 2, kernel_initializer=name, bias_initializer="ones")
            for name in INITIALIZERS if not name.startswith("random")
        ] + head(),
        "regularizers": [
            conv(6, 3, kernel_regularizer=0.02), conv(6, 3, kernel_regularizer="l2"),
            conv(6, 3, trainable=False), Flatten(), Dense(90, kernel_regularizer=1e-3),
            Dense(10, activation="softmax"),
        ],
        "augmentation": [
            conv(3, 3, padding="same"), RandomTranslation(0.1, 0.2), RandomRotation(0.05),
            RandomZoom(0.2, (-0.1, 0.3)), RandomShear(0.2, 0.1), RandomElastic(0.2, cells=3),
            conv(4, 2), RandomRotation(0.1, "nearest"), RandomZoom(0.1, fill_mode="nearest"),
            RandomElastic(0.1, fill_mode="constant", fill_value=0.5), RandomErasing(0.8, 0.3),
            RandomTranslation(0.3, 0.3, "wrap"), *head(),
        ],
        "morphology": [
            RandomMorphology((-0.3, 0.9)), conv(5, 3, padding="same"), RandomMorphology(0.8),
            RandomRotation(0.1), RandomMorphology((-1.0, -0.1)), *head(),
        ],
    }  # fmt: skip
    return {name: Training(layers) for name, layers in found.items()} | {
        # Enough pixels and samples that the work is cut into several parts.
        "large": Training(
            [type(each).from_config(each.get_config()) for each in copies],
            shape=(31, 22, 3), samples=250, batch_size=128,
        ),
    }  # fmt: skip


def by_losses() -> dict[str, Training]:
    def to(units: int, activation: str | None) -> list[Any]:
        layers = Conv2D(6, 3, activation="relu"), MaxPooling2D(2), Flatten()
        return [*layers, Dense(units, activation=activation)]

    soft, wide = to(10, "softmax"), {"labels": "rows", "metrics": ("top_k_categorical_accuracy",)}
    entropy, binary = CategoricalCrossentropy, BinaryCrossentropy
    found = {
        "sparse, smoothed": Training(soft, loss=SparseCategoricalCrossentropy(label_smoothing=0.1)),
        "sparse, logits": Training(to(10, None), loss=SparseCategoricalCrossentropy(True)),
        "categorical": Training(to(10, "softmax"), loss=entropy(label_smoothing=0.2), **wide),
        "categorical, logits": Training(to(10, None), loss=entropy(from_logits=True), **wide),
        "categorical, unfused": Training(to(10, "sigmoid"), loss=entropy(), **wide),
        "binary": Training(to(1, "sigmoid"), loss=binary(), labels="pairs"),
        "binary, logits": Training(to(1, None), loss=binary(from_logits=True), labels="pairs"),
        "binary, smoothed": Training(
            to(10, "sigmoid"), loss=binary(label_smoothing=0.1), labels="rows"
        ),
        "binary, unfused": Training(to(10, "softmax"), loss=binary(), labels="rows"),
        "absolute": Training(
            to(10, None), loss="mae", labels="numbers", metrics=(MeanAbsoluteError(name="mine"),)
        ),
        "binary, counted": Training(
            to(3, "sigmoid"),
            loss=binary(),
            labels="triples",
            metrics=("binary_accuracy", "precision", "recall", Precision(0.3, class_id=1)),
        ),
        "categorical, counted": Training(
            to(10, "softmax"),
            labels="classes",
            metrics=(
                "categorical_accuracy",
                "sparse_categorical_accuracy",
                Recall(top_k=2),
                "sparse_top_k_categorical_accuracy",
                SparseTopKCategoricalAccuracy(2),
                TopKCategoricalAccuracy(3),
                BinaryAccuracy(threshold=0.1),
                CategoricalAccuracy("first"),
                SparseCategoricalAccuracy("second"),
                MeanSquaredError(),
            ),
        ),
        "squares": Training(to(10, None), loss="mse", labels="numbers", metrics=("mae", "mse")),
    }
    return {f"loss {name}": training for name, training in found.items()}


def by_optimizers() -> dict[str, Training]:
    pytorch = {"form": "pytorch"}
    found = {name: make() for name, make in OPTIMIZERS.items()} | {
        "plain sgd": SGD(0.1),
        "sgd, momentum": SGD(0.05, momentum=0.8, weight_decay=0.01, global_clipnorm=0.7),
        "sgd, PyTorch": SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01, **pytorch),
        "plain rmsprop": RMSprop(weight_decay=0.01, clipnorm=0.1),
        "rmsprop, PyTorch": RMSprop(0.002, momentum=0.5, centered=True, **pytorch),
        "adam": Adam(0.002, clipvalue=0.02),
        "adam, PyTorch": Adam(0.002, amsgrad=True, weight_decay=0.01, **pytorch),
        "adamw": AdamW(0.002, global_clipnorm=0.5),
        "adamw, PyTorch": AdamW(0.002, beta_1=0.8, beta_2=0.99, epsilon=1e-8, **pytorch),
        "adadelta, clipped": Adadelta(0.5, weight_decay=0.01, global_clipnorm=0.7),
        "adadelta, PyTorch": Adadelta(1.0, rho=0.8, epsilon=1e-3, weight_decay=0.01, **pytorch),
        "nadam, decayed": Nadam(0.002, weight_decay=0.01, clipnorm=0.5),
        "nadam, PyTorch": Nadam(0.002, beta_1=0.8, epsilon=1e-8, weight_decay=0.01, **pytorch),
        "restarts": Adam(PolynomialDecay(0.01, 3, power=0.7, cycle=True)),
    }
    return {
        name: Training(
            [
                Conv2D(6, 3, activation="relu"), BatchNormalization(), MaxPooling2D(2), Flatten(),
                Dense(24, activation="tanh", kernel_regularizer=0.01), Dropout(0.2),
                Dense(10, activation="softmax"),
            ],
            optimizer,
        )
        for name, optimizer in found.items()
    }  # fmt: skip


def by_options() -> dict[str, Training]:
    def layers() -> list[Any]:
        return [Conv2D(6, 3, activation="relu"), Flatten(), Dense(10, activation="softmax")]

    def callbacks() -> dict[str, Any]:
        return {
            "epochs": 5,
            "callbacks": [
                LearningRateScheduler(lambda epoch, rate: rate * 0.97),
                ReduceLROnPlateau("val_loss", patience=1, min_delta=0.1),
                EarlyStopping("val_loss", patience=1, min_delta=0.2, restore_best_weights=True),
            ],
        }

    def weights() -> dict[str, Any]:
        return {
            "sample_weight": np.random.default_rng(7).random(60),
            "class_weight": {each: 1 + each / 3 for each in range(10)},
            "shuffle": False,
        }

    return {
        "callbacks": Training(layers(), fit=callbacks),
        "weights of samples": Training(layers(), fit=weights),
        "shards": Training(
            [
                Conv2D(6, 3, activation="relu"),
                BatchNormalization(synchronized=True),
                Dropout(0.3),
                *layers(),
            ],
            fit=lambda: {"shards": 4},
        ),
    }


def by_networks() -> dict[str, Training]:
    """Those that the benchmarks measure, presets among them."""
    return {
        name: Training(
            networks.keras_layers(PRESETS[name].layers[1:], nanocnn), PRESETS[name].optimizer,
            shape=PRESETS[name].shape, samples=40, batch_size=16, fit=lambda: {"epochs": 1},
        )
        for name in NINE
    }  # fmt: skip


def all_names() -> list[str]:
    """The names of all trainings, each with its dtype."""
    return [f"{name}/{dtype}" for dtype in DTYPES for name in trainings()]


def main() -> None:
    parser = ArgumentParser(description="Train everything and print a hash of each result.")
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="trainings, such as lenet/float32 (default: all)")
    add("--small", action="store_true", help="one training of each kind")
    add("--arrays", action="store_true", help="a line for each array, too: its hash and its bytes")
    add("--threads", type=int, metavar="N", help="threads of the kernels")
    options = parser.parse_args()
    if options.threads:
        nanocnn.set_num_threads(options.threads)
    for name in options.names or (SMALL if options.small else all_names()):
        kind, _, dtype = name.rpartition("/")
        whole = hashlib.sha256()
        for key, array in trainings()[kind].run(dtype).items():
            data = array.tobytes()
            whole.update(data)
            if options.arrays:
                digest = hashlib.sha256(data).hexdigest()
                print(f"{name}/{key}".replace(" ", "-"), digest, len(data))
        print(name.replace(" ", "-"), whole.hexdigest(), flush=True)


if __name__ == "__main__":
    main()
