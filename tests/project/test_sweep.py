"""Every argument of everything public is given wrong values, and right ones of NumPy's types.

What is public is found by introspection: a new function or argument takes part by itself. A new
function fails until `EXAMPLES` has a right call of it, or `INTERNAL` says that users do not call
it. A wrong value either works or is refused by a ValueError that names the argument or the thing;
nothing may end in the error of whatever met the value first (AttributeError, TypeError, ...).
"""

import fnmatch
import inspect
import json
import math
import re
import traceback
import warnings

import numpy as np
import pytest

import nanocnn
from nanocnn import Dense, ExponentialDecay, Flatten, Input, MeanSquaredError, Sequential, data
from nanocnn.common.config import Checked, arguments
from nanocnn.explore import Exploration
from nanocnn.layers.augmentation import RandomTransform
from nanocnn.losses import Loss
from nanocnn.metrics import BinaryAccuracy, Precision
from nanocnn.preprocessing.image import ImageDataGenerator, NumpyArrayIterator
from support.public_api import (
    DECAY,
    EXAMPLES,
    INTERNAL,
    MODEL,
    SAMPLE,
    SPARSE,
    STEP,
    TRACE,
    X,
    Y,
    dense,
    model,
    signatures,
)
from support.small_models import bits

PATHS = ("path", "file", "save", "source", "port")  # their errors may be the system's: no such file
LOOP: list = []
LOOP.append(LOOP)
WRONG = [
    None, -1, 0, 1, 1.5, math.nan, math.inf, 1e300, 10**30, 1j, True,
    "", "x", "a/b", "{", "\0", "\ud800", b"x", memoryview(b"x"),
    [], [None], [1, 2], ["a"], [[1], [1, 2]], LOOP, (), (None, 3), (3, 3), (10**30,),
    {}, {"x": 1}, {1: None}, {"class_name": []}, {"class_name": "x", "config": None},
    set(), range(2), iter([1]), object(), ..., NotImplemented, int, Dense, math,
    lambda: 1, lambda *_: "x", np.array(["a", "b"]), np.array([]), np.array([None, 1]),
    np.zeros(2), np.zeros((2, 2)), np.full((4, 4, 4, 1), np.nan), np.array(1), np.array(np.nan),
    np.datetime64("2020"), np.complex64(1), np.float32,
]  # fmt: skip


SIGNATURES = signatures()
# What a method is called on; of other classes, what their right call makes.
RECEIVERS = {
    "Sequential": model, "Layer": dense, "Activation": dense, "Loss": MeanSquaredError,
    "Normalization": nanocnn.Normalization, "Trace": lambda: TRACE,
    "OptimizerStep": lambda: STEP,
    "Schedule": lambda: ExponentialDecay(**DECAY), "Metric": BinaryAccuracy,
    "MeanMetric": BinaryAccuracy, "Precision": Precision,
    "ImageDataGenerator": lambda: ImageDataGenerator(zoom_range=0.1, validation_split=0.5),
    "NumpyArrayIterator": lambda: ImageDataGenerator(zoom_range=0.1).flow(X, Y),
}  # fmt: skip


def example(name):
    """The arguments of a right call, of which none is shared with another call."""
    return {k: fresh(v) for k, v in EXAMPLES[name].items()}


def fresh(value):
    return value.copy() if isinstance(value, (np.ndarray, dict, list)) else value


def call(name, options):
    """Call it with these arguments, and use what comes of it as it is meant to be used."""
    _, thing, kind = SIGNATURES[name]
    if kind is None:
        return use(thing(**options))
    this = RECEIVERS.get(kind.__name__, lambda: kind(**example(kind.__name__)))()
    if kind is not Sequential:
        return run(this, thing, options)
    before = state(this)
    try:
        result = run(this, thing, options)
    except Exception:
        assert state(this) == before, "the refused call changed the model"
        this.train_on_batch(X, Y)
        raise
    if name == "Sequential.compile" and options["loss"] is not None:
        this.train_on_batch(X, Y)
    return result


def run(this, method, options):
    if isinstance(getattr(type(this), method), property):
        return setattr(this, method, options["value"])
    return getattr(this, method)(**options)


def state(model):
    rest = (model.built, model.unit_range, model.progress, model.history, model.stop_training)
    return bits(model), rest, model.optimizer, model.loss, list(model.metrics), model.layers[:]


def use(made):
    if isinstance(made, nanocnn.Layer) and type(made) is not nanocnn.Layer:
        images = type(made).__name__.endswith("2D") or isinstance(made, RandomTransform)
        shape = (4, 4, 1) if images else (4,)
        layers = [made, Flatten(), Dense(2)] if isinstance(made, Input) else [Input(shape), made]
        used = Sequential(layers, kernels="reference")
        used.layers[-1].forward(np.ones((2, *used.layers[-1].input_shape), np.float32), True)
        used.summary()
    if isinstance(made, ImageDataGenerator):
        made = made.flow(X, Y)
    if isinstance(made, NumpyArrayIterator):
        made[0]
    if isinstance(made, Loss):
        sparse = isinstance(made, nanocnn.SparseCategoricalCrossentropy)
        made([1] if sparse else [[0, 1]], [[0.2, 0.8]])
    if isinstance(made, nanocnn.L2):
        Dense(2, kernel_regularizer=made)
    if isinstance(made, nanocnn.Schedule):
        for step in (0, 1, 10**6):
            made(step)
        made = nanocnn.SGD(made)
    if isinstance(made, nanocnn.Optimizer) and type(made) is not nanocnn.Optimizer:
        used = model()
        used.compile(made, SPARSE)
        used.train_on_batch(X, Y)
    if isinstance(made, nanocnn.Callback):
        used = model()
        if isinstance(made, nanocnn.StopAugmentation):
            used = Sequential([Input(X.shape[1:]), nanocnn.RandomErasing(), Flatten(), Dense(3)])
            used.compile("sgd", SPARSE)
        used.optimizer = nanocnn.SGD(use_ema=isinstance(made, nanocnn.SwapEMAWeights))
        try:
            used.fit(X, Y, epochs=2, validation_data=(X, Y), callbacks=made, verbose=0)
        finally:
            getattr(made, "close", bool)()  # an Explorer's page
    if isinstance(made, Exploration):
        made.close()
    if isinstance(made, Sequential):
        made.add(Dense(2))
    if isinstance(made, (nanocnn.Layer, nanocnn.Schedule, nanocnn.Optimizer, Loss, Sequential)):
        json.dumps(made.get_config())  # as when it is saved
    return made


def complaint(error, name, argument):
    """What is wrong with an error that a wrong value gave; "" for nothing."""
    if (isinstance(error, OSError) and argument in PATHS) or argument == "print_fn":
        return ""  # the last: a function's own error
    kind = type(error)
    if kind is TypeError and re.search(r"\) missing \d+ required", str(error)):
        return ""  # Python's own, and as clear
    if kind is not ValueError and kind not in vars(nanocnn.common.errors).values():
        return f"{kind.__name__}: {error}"
    place = traceback.extract_tb(error.__traceback__)[-1].filename
    if not place.startswith(nanocnn.__path__[0]):
        return f"raised by {place}: {error}"
    words = [argument, argument.replace("_", " "), ALSO.get(argument, argument), *THINGS]
    words += name.split(".")[-2:]
    if not any(re.search(rf"\b{re.escape(word)}\b", str(error)) for word in words):
        return f"the message names neither {argument} nor {name}: {error}"
    return ""


# Other words by which messages speak of a thing or of an argument.
THINGS = ("thing", "dense", "conv2d", "input_layer", "MeanSquaredError")
ALSO = {
    "kernels": "kernel set", "name": "kernel set", "path": "model file", "filepath": "model file",
    "y_pred": "y_true", "source": "the array", "data": "mnist",
    "layers": "layer", "metrics": "metric", "validation_data": "validation",
}  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, set_threads):
    """A folder of its own, data without a network, and the number of threads put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NANOCNN_DATA", SAMPLE)
    monkeypatch.setattr("webbrowser.open", bool)
    data.idx.write("labels.idx", Y.astype("uint8"))
    MODEL.save("saved.npz")
    monkeypatch.setattr(Exploration, "wait", Exploration.close)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings(action="ignore"):
        yield


def test_everything_public_is_swept():
    names = set(SIGNATURES)
    assert not (new := names - set(EXAMPLES)), (
        f"public, and without a right call in EXAMPLES: {new}"
    )
    assert not (gone := set(EXAMPLES) - names), f"in EXAMPLES, and not public: {gone}"
    found = signatures(internal=())
    for pattern in INTERNAL:
        assert fnmatch.filter(found, pattern), f"{pattern} matches nothing"
    assert len(SIGNATURES) >= 79 and sum(len(each[0]) for each in SIGNATURES.values()) >= 300


def test_new_functions_and_arguments_are_found(monkeypatch):
    def new(model, width=3, *, height=4): ...

    new.__module__ = "nanocnn.metrics"
    monkeypatch.setattr(nanocnn.metrics, "new", new, raising=False)
    monkeypatch.setattr(
        nanocnn.gradcheck.check, "__signature__", inspect.signature(new), raising=False
    )
    monkeypatch.setattr(Sequential, "repeat", new, raising=False)
    found = signatures()
    assert found["metrics.new"][0] == ["model", "width", "height"] == found["gradcheck.check"][0]
    assert "Sequential.repeat" in found


@pytest.mark.parametrize("name", SIGNATURES)
def test_wrong_values_are_refused_by_name(name):
    call(name, example(name))
    wrong = []
    for argument in SIGNATURES[name][0]:
        for value in WRONG:
            try:
                call(name, {**example(name), argument: fresh(value)})
            except Exception as error:
                if found := complaint(error, name, argument):
                    wrong.append(f"{name}({argument}={value!r:.40}): {found}")
    assert not wrong, "\n".join(wrong)


def numpys(value):
    """The same value in NumPy's types, one after the other."""
    forms = {bool: "?", int: "qiB", float: "df", str: "U"}
    if type(value) in (tuple, list):
        yield type(value)(next(numpys(item), item) for item in value)
    elif type(value) is dict:
        yield {next(numpys(k), k): next(numpys(v), v) for k, v in value.items()}
    for form in forms.get(type(value), ()):
        if np.array(value).astype(form)[()] == value or form == "f":
            yield np.array(value).astype(form)[()]


# Right values of arguments that are None by default and not in EXAMPLES.
RIGHT = {
    "clipnorm": 1.0, "clipvalue": 1.0, "global_clipnorm": 1.0, "Dense.input_dim": 4,
    "Conv2D.input_shape": (4, 4, 1), "Dense.batch_input_shape": (None, 4), "weight_decay": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNATURES)
def test_right_values_of_numpys_types_are_accepted(name):
    names, thing, kind = SIGNATURES[name]
    given = example(name)
    function = thing if kind is None else getattr(kind, thing)
    function = function.fset if isinstance(function, property) else function
    classes = isinstance(thing, type) and issubclass(thing, Checked)
    found = arguments(thing) if classes else inspect.signature(function).parameters
    for argument in names:
        default = found[argument].default if argument in found else None
        short = RIGHT.get(argument, default)
        for value in numpys(given.get(argument, RIGHT.get(f"{name}.{argument}", short))):
            call(name, {**given, argument: value})


@pytest.mark.parametrize("value", [v for v in WRONG if not isinstance(v, np.ndarray)], ids=repr)
def test_wrong_data_leaves_a_model_that_is_not_built_as_it_was(value):
    made = Sequential([Flatten(), Dense(3, activation="softmax")], kernels="reference")
    made.compile("sgd", SPARSE)
    for each in (made.fit, made.evaluate, made.train_on_batch, made.trace):
        with pytest.raises(ValueError, match=r"^x: "):
            each(value, Y)
    with pytest.raises(ValueError, match=r"^x: "):
        made.predict(value)
    assert made.fit(X, Y, verbose=0).history["loss"]


def test_a_refused_fit_leaves_a_model_in_use_as_it_was():
    plain, used = model(), model()
    for name in ("validation_data", "callbacks", "class_weight", "epochs", "verbose"):
        with pytest.raises(ValueError, match=name):
            used.fit(200 * X, Y, **{name: -1})
    for each in (plain, used):
        each.fit(X, Y, epochs=2, verbose=0)
    assert bits(plain) == bits(used)
    assert plain.unit_range is used.unit_range is True
