"""What the golden values are about: models, data and weights, given by formulas.

`make_golden.py` feeds them to Keras and PyTorch, `test_golden.py` to nanocnn, so the files need to
hold results only. A model is a list of (class name, arguments): Keras's words are nanocnn's.
Only `Generator.random` is used, the one stream that NumPy has never changed.
"""

import numpy as np

STEPS, BATCH, CLASSES = 20, 16, 10
# At the default of .001 rounding alone, when it decides which of two near equal pixels wins a
# pooling window, moves float32 trajectories by a per cent within 20 steps, in every library.
LEARNING_RATE = 1e-4


def _model(*layers):
    return [("Input", {"shape": (28, 28, 1)}), *layers]


def _conv(filters, size, padding="valid"):
    options = {"filters": filters, "kernel_size": size, "padding": padding, "activation": "relu"}
    return ("Conv2D", options)


def _dense(units, activation):
    return ("Dense", {"units": units, "activation": activation})


_POOL = ("MaxPooling2D", {"pool_size": 2})
_FLATTEN = ("Flatten", {})
# No two libraries drop the same elements, so the golden trajectories drop none.
_DROPOUT = ("Dropout", {"rate": 0.0})
_OUTPUT = _dense(CLASSES, "softmax")

PRESETS = {
    "lenet": _model(
        _conv(20, 5, "same"), _POOL, _conv(50, 5, "same"), _POOL,
        _FLATTEN, _dense(500, "relu"), _OUTPUT,
    ),
    "simple": _model(_conv(32, 3), _POOL, _FLATTEN, _DROPOUT, _dense(128, "relu"), _OUTPUT),
    "dropout": _model(
        _conv(32, 3), _conv(64, 3), _POOL, _DROPOUT,
        _FLATTEN, _dense(128, "relu"), _DROPOUT, _OUTPUT,
    ),
    "two-block": _model(
        _conv(32, 3), _POOL, _conv(64, 3), _POOL, _FLATTEN, _dense(64, "relu"), _OUTPUT
    ),
}  # fmt: skip
ONE_HOT = {"two-block"}  # trained with categorical, not sparse categorical cross-entropy
OPTIMIZERS = ("Adam", "RMSprop")


def centred(rng, shape):
    """Uniform between -1 and 1."""
    return 2 * rng.random(shape) - 1


def weights(shapes, seed=1):
    """For each shape: a kernel, uniform up to Glorot's limit, or a small bias."""
    rng = np.random.default_rng(seed)
    return [
        centred(rng, shape) * np.sqrt(6 / (np.prod(shape[:-2]) * sum(shape[-2:])))
        if len(shape) > 1
        else 0.1 * centred(rng, shape)
        for shape in shapes
    ]


def batches(seed=2):
    """STEPS batches (x, labels): ten patterns, dark but for a tenth of their pixels, and noise."""
    rng = np.random.default_rng(seed)
    patterns = np.maximum(10 * rng.random((CLASSES, 28, 28, 1)) - 9, 0)
    for _ in range(STEPS):
        labels = (rng.random(BATCH) * CLASSES).astype(int)
        yield 0.9 * patterns[labels] + 0.1 * rng.random((BATCH, 28, 28, 1)), labels


# One layer each, in the configurations where libraries differ: (input shape, model).
LAYERS = {
    "conv same, strides 2": ((2, 6, 5, 2), "Conv2D", {
        "filters": 3, "kernel_size": (3, 4), "strides": 2, "padding": "same"}),
    "conv same, strides 3 and 1": ((2, 7, 4, 1), "Conv2D", {
        "filters": 2, "kernel_size": (2, 3), "strides": (3, 1), "padding": "same"}),
    "conv same, dilation 2": ((1, 6, 7, 2), "Conv2D", {
        "filters": 2, "kernel_size": (2, 3), "dilation_rate": 2, "padding": "same"}),
    "conv valid, dilation 2 and 3": ((2, 6, 8, 1), "Conv2D", {
        "filters": 3, "kernel_size": (3, 2), "dilation_rate": (2, 3), "use_bias": False}),
    "conv tanh": ((1, 5, 4, 3), "Conv2D", {
        "filters": 2, "kernel_size": 2, "activation": "tanh"}),
    "max pool same": ((2, 5, 7, 2), "MaxPooling2D", {"pool_size": 2, "padding": "same"}),
    "max pool overlapping": ((2, 7, 6, 2), "MaxPooling2D", {
        "pool_size": (3, 2), "strides": (2, 1), "padding": "same"}),
    "average pool same": ((2, 5, 7, 2), "AveragePooling2D", {
        "pool_size": 3, "strides": 2, "padding": "same"}),
    "average pool overlapping": ((1, 6, 6, 2), "AveragePooling2D", {
        "pool_size": (2, 3), "strides": 1}),
    "batch normalization": ((3, 2, 3, 4), "BatchNormalization", {}),
    "batch normalization, epsilon .1": ((5, 3), "BatchNormalization", {
        "momentum": 0.8, "epsilon": 0.1, "center": False}),
    "dense sigmoid": ((3, 5), "Dense", {"units": 4, "activation": "sigmoid"}),
    "softmax": ((3, 6), "Activation", {"activation": "softmax"}),
}  # fmt: skip


def layer_input(shape, seed=3):
    """Distinct numbers between -1 and 0: no ties, and padding with 0 would show."""
    rng = np.random.default_rng(seed)
    return -rng.random(shape)


def output_weight(shape, seed=4):
    """What the outputs are multiplied by and summed, to give a loss."""
    return centred(np.random.default_rng(seed), shape)


# Optimizers over ten steps of two parameters, and the arguments that change the formula.
KERAS_OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"epsilon": 0.1}),
    ("RMSprop", {"centered": True, "rho": 0.8}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.2}),
    ("Adam", {}),
    ("Adam", {"epsilon": 0.1, "beta_1": 0.8, "beta_2": 0.95}),
    ("Adam", {"amsgrad": True, "learning_rate": 0.1}),
    ("Adam", {"weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.3, "amsgrad": True}),
    ("Adam", {"clipnorm": 0.5}),
    ("RMSprop", {"clipvalue": 0.3}),
    ("SGD", {"global_clipnorm": 0.5, "momentum": 0.5}),
    ("SGD", {"clipnorm": 0.5, "weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"learning_rate": 1.0, "rho": 0.8, "epsilon": 1e-3}),
    ("Adadelta", {"weight_decay": 0.1, "global_clipnorm": 0.5}),
    ("Adadelta", {"learning_rate": 0.5, "clipvalue": 0.3}),
    ("Nadam", {}),
    ("Nadam", {"learning_rate": 0.1, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 0.1}),
    ("Nadam", {"weight_decay": 0.1, "clipnorm": 0.5}),
    ("Nadam", {"learning_rate": 0.01, "clipvalue": 0.3}),
]
PYTORCH_OPTIMIZERS = [  # (class name, arguments by Keras's names, arguments by PyTorch's)
    ("SGD", {"learning_rate": 0.05, "momentum": 0.9}, {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True},
     {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("RMSprop", {"learning_rate": 0.01, "rho": 0.99, "epsilon": 1e-8}, {}),
    ("RMSprop", {"learning_rate": 0.01, "rho": 0.8, "epsilon": 0.1, "centered": True,
     "momentum": 0.9}, {"alpha": 0.8, "eps": 0.1, "centered": True, "momentum": 0.9}),
    ("Adam", {"epsilon": 1e-8}, {}),
    ("Adam", {"epsilon": 0.1, "amsgrad": True}, {"eps": 0.1, "amsgrad": True}),
    ("AdamW", {"epsilon": 1e-8, "weight_decay": 0.01}, {}),
    ("AdamW", {"epsilon": 0.01, "weight_decay": 0.2, "amsgrad": True},
     {"eps": 0.01, "weight_decay": 0.2, "amsgrad": True}),
    ("Adadelta", {"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-6}, {}),
    ("Adadelta", {"learning_rate": 0.5, "rho": 0.8, "epsilon": 0.1, "weight_decay": 0.2},
     {"lr": 0.5, "rho": 0.8, "eps": 0.1, "weight_decay": 0.2}),
    ("Nadam", {"learning_rate": 0.002, "epsilon": 1e-8}, {}),
    ("Nadam", {"learning_rate": 0.1, "beta_1": 0.8, "epsilon": 0.1, "weight_decay": 0.2},
     {"lr": 0.1, "betas": (0.8, 0.999), "eps": 0.1, "weight_decay": 0.2}),
]  # fmt: skip


def parameters():
    """Two parameters, as they start."""
    rng = np.random.default_rng(5)
    return [centred(rng, (2, 2)), centred(rng, 3)]


def gradients():
    """Ten pairs of gradients; now and then one is 0."""
    rng = np.random.default_rng(6)
    for step in range(10):
        pair = [centred(rng, (2, 2)), 0.5 * centred(rng, 3)]
        if step == 3:
            pair[0][0] = 0
        yield pair


# Losses of five samples of four classes.
LOSSES = [
    ("CategoricalCrossentropy", {}),
    ("CategoricalCrossentropy", {"from_logits": True}),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.3}),
    ("SparseCategoricalCrossentropy", {}),
    ("SparseCategoricalCrossentropy", {"from_logits": True}),
    ("MeanSquaredError", {}),
    ("MeanAbsoluteError", {}),
]
CLASS_WEIGHT = {0: 2.0, 2: 0.5, 3: 3.0}  # 1 is left out: it counts as 1


def loss_input():
    """(logits (5,4), labels (5,), sample weights (5,))."""
    rng = np.random.default_rng(7)
    return 3 * centred(rng, (5, 4)), np.array([0, 3, 1, 2, 3]), rng.random(5)


SCHEDULE_STEPS = [0, 1, 5, 9, 10, 11, 15, 20, 21, 50, 99, 100, 101, 150]
SCHEDULES = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5}),
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5,
     "staircase": True}),
    ("PiecewiseConstantDecay", {"boundaries": [10, 20], "values": [1.0, 0.5, 0.1]}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 100, "alpha": 0.1}),
    ("CosineDecay", {"initial_learning_rate": 0.0, "decay_steps": 100, "warmup_target": 0.1,
     "warmup_steps": 10}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 100,
     "end_learning_rate": 0.01, "power": 2.0}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 20,
     "end_learning_rate": 0.01, "cycle": True}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5}),
    ("InverseTimeDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5,
     "staircase": True}),
]  # fmt: skip
