"""What is public, found by introspection, and a right call of each: for test_sweep.py."""

import fnmatch
import inspect
import pkgutil
from importlib import import_module
from importlib.resources import files

import numpy as np

import nanocnn
from nanocnn import CosineDecay, Dense, Dropout, Flatten, Input, Sequential, data, plots, trace
from nanocnn.common.config import Checked, arguments
from nanocnn.jit.threads import get_num_threads
from nanocnn.kernels.geometry import sliding_window
from nanocnn.layers.base import SHAPE_ARGUMENTS

X = np.random.default_rng(0).random((4, 6, 6, 1), np.float32)
Y = np.array([0, 1, 2, 1])
SPARSE = "sparse_categorical_crossentropy"


def model():
    """Of every kind of weight; compiled."""
    layers = [Input((6, 6, 1)), nanocnn.Conv2D(2, 3, activation="relu"), Flatten(),
              Dense(3, activation="softmax")]  # fmt: skip
    made = Sequential(layers, kernels="reference")
    made.compile("sgd", SPARSE, metrics=["accuracy"])
    return made


def dense():
    layer = Dense(2)
    layer.build((4,))
    layer.forward(X[:, 0, :4, 0])
    return layer


MODEL = model()
TRACE = MODEL.trace(X, Y)
STEP = trace.optimizer_step(MODEL, X, Y)
RECORDER = plots.GradientRecorder(1)
FILM = plots.FilmstripRecorder(X[0], every=1)
MODEL.fit(X, Y, verbose=0, callbacks=FILM)
HISTORY = MODEL.fit(X, Y, verbose=0, callbacks=RECORDER)
SAMPLE = str(files("nanocnn.data") / "sample")
PHOTO = np.pad(np.zeros((9, 3)), 9, constant_values=255.0)
DECAY = dict(initial_learning_rate=0.1, decay_steps=10, decay_rate=0.5, staircase=True)
WATCH = dict(monitor="loss", mode="min")
OPTIMIZER = dict(
    learning_rate=0.1, weight_decay=0.1, use_ema=True, ema_overwrite_frequency=5, form="keras"
)
BATCH = dict(x=X, y=Y, sample_weight=np.ones(4))
LINEAR = dict(activation="relu", use_bias=True, kernel_initializer="ones", bias_initializer="zeros",
              kernel_regularizer=0.1, name="thing", trainable=True)  # fmt: skip
POOL = dict(pool_size=2, strides=1, padding="valid", name="thing", trainable=True)
LAYER = dict(name="thing", trainable=True)
METRICS = (
    "accuracy", "binary_accuracy", "categorical_accuracy", "mae", "mean_absolute_error",
    "mean_squared_error", "mse", "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy", "top_k_categorical_accuracy",
)  # fmt: skip
LOSSES = (
    "binary_crossentropy", "categorical_crossentropy", "mae", "mean_absolute_error",
    "mean_squared_error", "mse",
)  # fmt: skip
METRIC_CLASSES = (
    "BinaryAccuracy", "CategoricalAccuracy", "MeanAbsoluteError", "MeanMetric", "MeanSquaredError",
    "Metric", "SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
)  # fmt: skip

# A right call of each, with all arguments that are not right by default.
EXAMPLES = {
    "Activation": dict(activation="relu", **LAYER),
    "AveragePooling2D": POOL,
    "BatchNormalization": LAYER,
    "Conv2D": dict(filters=2, kernel_size=3, **LINEAR),
    "Dense": dict(units=2, **LINEAR),
    "Dropout": dict(rate=0.5, **LAYER),
    "Flatten": LAYER,
    "GlobalAveragePooling2D": LAYER,
    "GlobalMaxPooling2D": LAYER,
    "LeakyReLU": LAYER,
    "Normalization": dict(mean=0.5, variance=2.0, **LAYER),
    "Normalization.adapt": dict(data=X),
    "RandomElastic": dict(factor=0.1, **LAYER),
    "RandomErasing": dict(scale=0.5, **LAYER),
    "RandomMorphology": dict(factor=0.5, **LAYER),
    "RandomRotation": dict(factor=0.1, **LAYER),
    "RandomShear": dict(x_factor=0.1, y_factor=(0.1, 0.2), **LAYER),
    "RandomTranslation": dict(height_factor=0.1, width_factor=(-0.1, 0.2), **LAYER),
    "RandomZoom": dict(height_factor=0.1, width_factor=(-0.1, 0.2), **LAYER),
    "ReLU": dict(max_value=2.0, **LAYER),
    "Rescaling": dict(scale=0.5, offset=0.1, **LAYER),
    "Reshape": dict(target_shape=(4, -1), **LAYER),
    "Softmax": LAYER,
    "ZeroPadding2D": dict(padding=1, **LAYER),
    "Input": dict(shape=(6, 6, 1), name="thing"),
    "Layer": LAYER,
    "utils.normalize": dict(x=[[3.0, 4.0]]),
    "utils.set_random_seed": dict(seed=0),
    "utils.to_categorical": dict(x=[0, 2, 1]),
    "MaxPooling2D": POOL,
    "Layer.build": dict(input_shape=(4,), rng=0, dtype="float64"),
    "Layer.forward": dict(x=X[:, 0, :4, 0], training=True),
    "Layer.backward": dict(dy=np.ones((4, 2), np.float32)),
    "Activation.set_weights": dict(weights=dense().get_weights()),  # of every layer
    "Layer.from_config": dict(config={"units": 2}),
    "Input.from_config": dict(config={"batch_shape": [None, 4]}),
    "Layer.trainable": dict(value=True),
    "BinaryCrossentropy": {},
    "CategoricalCrossentropy": {},
    "SparseCategoricalCrossentropy": {},
    "Loss.__call__": dict(y_true=[1, 2], y_pred=[1, 3], sample_weight=[1, 2]),
    "Optimizer": OPTIMIZER,
    "SGD": OPTIMIZER,
    "RMSProp": OPTIMIZER,
    "RMSprop": OPTIMIZER,
    "Adam": OPTIMIZER,
    "AdamW": OPTIMIZER,
    "Adadelta": OPTIMIZER,
    "Nadam": OPTIMIZER,
    "L2": {},
    "Schedule.__call__": dict(step=1),
    "ExponentialDecay": DECAY,
    "InverseTimeDecay": DECAY,
    "OneCycle": dict(max_learning_rate=0.1, total_steps=10),
    "PolynomialDecay": dict(initial_learning_rate=0.1, decay_steps=10, power=2, cycle=True),
    "CosineDecay": dict(initial_learning_rate=0.1, decay_steps=10, warmup_target=1, warmup_steps=5),
    "PiecewiseConstantDecay": dict(boundaries=[5, 10], values=[0.1, 0.2, 0.3]),
    "CSVLogger": dict(filename="log.csv", separator=";"),
    "explore": dict(model=MODEL, x=X, y=Y, open=False, block=False),
    "Explorer": dict(x=X, y=Y, open=False, port=0),
    "EarlyStopping": dict(baseline=1.0, **WATCH),
    "LambdaCallback": dict(on_epoch_end=lambda epoch, logs: None),
    "LearningRateScheduler": dict(schedule=CosineDecay(0.1, 10)),
    "ModelCheckpoint": dict(filepath="a.npz", initial_value_threshold=1.0, **WATCH),
    "ReduceLROnPlateau": WATCH,
    "StopAugmentation": dict(last_epochs=2),
    "SwapEMAWeights": dict(swap_on_epoch=True),
    "TensorBoard": dict(log_dir="logs", update_freq="batch"),
    "TerminateOnNaN": {},
    "plots.FilmstripRecorder": dict(image=X[0], label=1, layer="conv2d"),
    "plots.GradientRecorder": {},
    "Sequential": dict(layers=[], name="thing", seed=1, dtype="float32", kernels="reference"),
    "Sequential.__call__": dict(x=X, training=True),
    "Sequential.add": dict(layer=Dropout(0.5)),
    "Sequential.build": dict(input_shape=(6, 6, 1)),
    "Sequential.check_path": dict(filepath="a.npz"),
    "Sequential.compile": dict(optimizer="adam", loss=SPARSE, metrics=["accuracy"]),
    "Sequential.evaluate": dict(batch_size=2, **BATCH),
    "Sequential.fit": dict(batch_size=2, validation_data=(X, Y), class_weight={0: 1.0}, **BATCH),
    "Sequential.get_layer": dict(index=0),
    "Sequential.plan": {},
    "Sequential.plot": dict(path="a.png"),
    "Sequential.predict": dict(x=X, batch_size=2),
    "Sequential.predict_on_batch": dict(x=X),
    "Sequential.from_config": dict(config=MODEL.get_config()),
    "Sequential.load_weights": dict(filepath="saved.npz"),
    "Sequential.save": dict(filepath="a.npz"),
    "Sequential.save_weights": dict(filepath="a.npz"),
    "Sequential.set_weights": dict(weights=MODEL.get_weights()),
    "Sequential.summary": dict(line_length=50),
    "Sequential.test_on_batch": BATCH,
    "Sequential.trace": dict(x=X, y=Y),
    "Sequential.train_on_batch": dict(class_weight={0: 1.0}, **BATCH),
    "Sequential.trainable": dict(value=True),
    "Trace.__getitem__": dict(which=0),
    "Trace.receptive_field": dict(layer=0, cell=(0, 1, 0)),
    "gradcheck.check": dict(target=MODEL, x=X, y=Y, limit=1, arrays=["input"]),
    "kernels.get_kernels": dict(name="reference"),
    "load_model": dict(filepath="saved.npz", kernels="reference"),
    "set_num_threads": dict(n=get_num_threads()),
    "trace.optimizer_step": dict(model=MODEL, x=X, y=Y),
    "OptimizerStep.__getitem__": dict(name="dense/bias"),
    "OptimizerStep.of": dict(name="conv2d/kernel", index=(0, 1, 0, 1)),
    "trace.per_sample_gradients": dict(model=MODEL, x=X, y=Y),
    "trace.top_activations": dict(model=MODEL, x=X, layer="conv2d", channel=0),
    "trace.reach": dict(layer=MODEL.layers[0]),
    "trace.receptive_field": dict(model=MODEL, layer="conv2d", cell=(0, 1, 0)),
    "trace.record": dict(model=MODEL, x=X, y=Y),
    "data.photo.fit_drawing": dict(ink=PHOTO.astype(np.uint8)),
    "data.photo.read_digit": dict(source=PHOTO),
    "data.idx.read": dict(file="labels.idx"),
    "data.idx.write": dict(file="a.idx", array=Y.astype("uint8")),
    "data.mnist.load_data": {},
    "data.mnist.load": dict(path=SAMPLE, verbose=False),
    "data.mnist.locate": dict(name="mnist"),
    "data.mnist.sample": dict(origin="here"),
    **{f"metrics.{name}": dict(y_true=np.eye(4), y_pred=np.eye(4)) for name in METRICS},
    **{f"metrics.{name}": dict(dtype="float32") for name in METRIC_CLASSES},
    **{f"losses.{name}": dict(y_true=np.eye(4), y_pred=np.eye(4)) for name in LOSSES},
    "losses.sparse_categorical_crossentropy": dict(y_true=[1, 0], y_pred=np.eye(2)),
    "metrics.Precision": dict(thresholds=0.5, top_k=2, class_id=1),
    "metrics.Recall": dict(thresholds=0.5),
    **{
        f"Metric.{name}": dict(y_true=[0, 1], y_pred=[0, 1], sample_weight=[1, 2])
        for name in ("__call__", "sums", "update_state")
    },
    **{
        f"{name}.sums": dict(y_true=[0, 1], y_pred=[0, 1], sample_weight=[1, 2])
        for name in ("MeanMetric", "Precision")
    },
    "metrics.classification_report": dict(y_true=Y, y_pred=Y, target_names=["a", "b", "c"]),
    "metrics.confusion_matrix": dict(y_true=Y, y_pred=Y),
    "kernels.geometry.sliding_window": dict(size=(6, 6), kernel=(3, 3)),
    "preprocessing.image.ImageDataGenerator": dict(
        rotation_range=5,
        width_shift_range=0.1,
        height_shift_range=2,
        shear_range=0.2,
        zoom_range=0.1,
        rescale=0.5,
        validation_split=0.5,
    ),
    "ImageDataGenerator.fit": dict(x=X),
    "ImageDataGenerator.flow": dict(x=X, y=Y, sample_weight=np.ones(4), subset="training"),
    "NumpyArrayIterator.__getitem__": dict(idx=0),
    "plots.activations": dict(model=MODEL, image=X[0]),
    "plots.confusion_matrix": dict(y_true=Y, y_pred=Y, class_names=["a", "b", "c"]),
    "plots.filmstrip": dict(recorder=FILM, path="a.png"),
    "plots.filters": dict(model=MODEL, layer="conv2d", most=2),
    "plots.grad_cam": dict(model=MODEL, image=X[0], label=1, layer="conv2d"),
    "plots.gradient_flow": dict(source=RECORDER),
    "plots.im2col": dict(window=sliding_window((4, 4), (3, 3)), place=1),
    "plots.network": dict(model=MODEL, path="a.png"),
    "plots.network_pass": dict(trace=TRACE, sample=1),
    "plots.prediction_grid": dict(x=X, y_true=Y, predictions=Y, class_names=["a", "b", "c"]),
    "plots.saliency": dict(model=MODEL, image=X[0], label=1),
    "plots.training_curves": dict(history=HISTORY),
}

# What only the engine calls, with values of its own making.
INTERNAL = [
    "Loss.[!_]*",
    "*Crossentropy.*", "MeanSquaredError.*", "Optimizer.*", "*.on_*", "Callback.*",
    "*.check_before_training", "*.set_state", "*.initial", "Layer.run_*", "EarlyStopping.*",
    "TerminateOnNaN.terminate", "History.set_*", "History.begin",
    "ModelCheckpoint.path",
    "History.append", "trace.LayerTrace", "trace.Trace",
    "trace.Field", "trace.Reach", "trace.OptimizerStep", "trace.ParameterStep", "ParameterStep.*",
    "trace.TopActivations",
    "*.shapes",
    "gradcheck.ArrayCheck", "gradcheck.Report", "kernels.ability",
    "Sequential.from_snapshot", "*.gradient_buffers", "*.set_gradients", "*.transform",
    "backend.clear_session", "utils.plot_model",
    "*.transform_backward", "*.joins", "data.batches.*", "data.download.*",
    "data.lazy.*", "LazyImages.*",
    "metrics.FunctionMetric", "metrics.get_metrics", "metrics.ratio",
    "Nadam.*", "*.function", "losses.[A-Z]*", "FunctionLoss.*", "losses.get*", "losses.is_builtin",
    "preprocessing.image.NumpyArrayIterator", "ImageDataGenerator.layers", "explore.*",
]  # fmt: skip
MORE_MODULES = ("backend", "utils", "kernels", "kernels.geometry", "losses", "metrics",
                "preprocessing.image")  # fmt: skip


def modules():
    for name in (*nanocnn._MODULES, *MORE_MODULES):
        module = import_module(f"nanocnn.{name}")
        yield name, module
        for each in pkgutil.iter_modules(data.__path__) if module is data else ():
            yield f"data.{each.name}", import_module(f"nanocnn.data.{each.name}")


def public():
    """(name, thing) of all functions and classes, by the names that users have for them."""
    for name in nanocnn.__all__:
        yield name, getattr(nanocnn, name)
    for place, module in modules():
        here = vars(module).items()
        names = {k for k, v in here if getattr(v, "__module__", "") == module.__name__}
        for name in sorted(names.union(getattr(module, "__all__", ()))):
            if not name.startswith("_"):
                yield f"{place}.{name}", getattr(module, name)


def members(kind, known):
    """(class that it is named by, name, function) of methods and properties that can be set."""
    for base in kind.__mro__:
        for name, member in vars(base).items() if base.__module__.startswith("nanocnn") else ():
            function = member.fset if isinstance(member, property) else member
            shown = not name.startswith("_") or name in ("__call__", "__getitem__")
            if shown and inspect.isroutine(function):
                yield base if base in known else kind, name, function


def parameters(thing):
    """The names of the arguments, those that a class hands on to the class above included."""
    if isinstance(thing, type) and issubclass(thing, Checked):
        found = dict(arguments(thing))
        if issubclass(thing, nanocnn.Layer):
            found |= dict.fromkeys(SHAPE_ARGUMENTS, found["name"])
    else:
        found = inspect.signature(getattr(thing, "__func__", thing)).parameters
    loose = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [name for name, each in found.items() if each.kind not in loose]
    return [name for name in names if name not in ("self", "cls")]


def signatures(internal=INTERNAL):
    """{name: (arguments, thing, None)} of all that is public and takes any.

    Of a method: {"Class.method": (arguments, its name, the class)}.
    """
    found, seen, things = {}, set(), dict(public())
    kinds = {each for each in things.values() if isinstance(each, type)}
    for name, thing in things.items():
        kind = isinstance(thing, type)
        if not callable(thing) or (kind and issubclass(thing, (tuple, Exception))):
            continue
        found[name] = (parameters(thing), thing, None)
        for owner, method, function in members(thing, kinds) if kind else ():
            if function not in seen:
                seen.add(function)
                found[f"{owner.__name__}.{method}"] = (parameters(function), method, owner)
    return {
        name: each for name, each in found.items()
        if each[0] and not any(fnmatch.fnmatchcase(name, pattern) for pattern in internal)
    }  # fmt: skip
