"""Passes are captured and replayed: the results have the bits of passes that are not."""

import functools
import threading

import numpy as np
import pytest

from nanocnn import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
    Sequential,
)
from nanocnn.jit import threads
from nanocnn.jit.program import Program
from nanocnn.kernels import fast
from nanocnn.layers import Layer
from nanocnn.models import inference, passes

X = np.random.default_rng(0).random((4, 12, 12, 1))


def model(*more: Layer) -> Sequential:
    layers = [Input((12, 12, 1)), Conv2D(5, 3, activation="relu"), MaxPooling2D(2), *more,
              Dropout(0.5), Flatten(), Dense(20, activation="relu"),
              Dense(3, activation="softmax")]  # fmt: skip
    made = Sequential(layers, seed=1, dtype="float64")
    made.compile("adam", "sparse_categorical_crossentropy")
    return made


def layer_by_layer(model: Sequential, x: np.ndarray) -> np.ndarray:
    for layer in model.layers:
        x = layer.forward(x)
    return x


def ordinary(model: Sequential, x: np.ndarray) -> np.ndarray:
    """Without a capture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "are_capturable", lambda kernels: False)
        plan = model.execution_plan
        found = inference.Inference(plan, len(x), plan.memory())
        found.x[...] = x
        found.run()
        return found.y.copy()


def replays(monkeypatch) -> list[int]:
    """The number of calls of each program that is replayed from now on."""
    seen: list[int] = []
    original = Program.replay

    def counted(self):
        seen.append(len(self.calls))
        original(self)

    monkeypatch.setattr(Program, "replay", counted)
    return seen


def captures(monkeypatch) -> list[int]:
    """The sizes of the batches of which passes are made from now on."""
    seen: list[int] = []
    original = inference.Inference.__init__

    def counted(self, plan, samples, memory):
        seen.append(samples)
        original(self, plan, samples, memory)

    monkeypatch.setattr(inference.Inference, "__init__", counted)
    return seen


@pytest.mark.parametrize("count", [1, 3])
def test_every_pass_is_replayed_with_its_own_images(monkeypatch, count):
    made, seen, m = captures(monkeypatch), replays(monkeypatch), model()
    batches = [X[start : start + count] for start in range(4 - count + 1)]
    found = [m.predict(x) for x in batches]
    assert len(seen) == len(batches) and made == [count]  # captured once
    for x, y in zip(batches, found, strict=True):
        np.testing.assert_array_equal(y, ordinary(m, x))


def test_changed_weights_are_seen(monkeypatch):
    seen, m = replays(monkeypatch), model()
    changes = (
        lambda: m.layers[0].params["kernel"].__imul__(-1),
        lambda: m.layers[0].params.update(bias=np.ones(5)),
        lambda: m.set_weights([w + 0.1 for w in m.get_weights()]),
        lambda: m.train_on_batch(X, np.zeros(4, int)),
    )
    before = m.predict(X[:1])
    for change in changes:
        change()
        after = m.predict(X[:1])
        assert not np.array_equal(before, after)
        np.testing.assert_array_equal(after, ordinary(m, X[:1]))
        before = m.predict(X[:1])
    assert seen


def test_another_thread_replays_the_same_program(monkeypatch):
    seen, m, results = replays(monkeypatch), model(), []
    m.predict(X[:1])
    thread = threading.Thread(target=lambda: results.append(m.predict(X[1:2])))
    thread.start()
    thread.join()
    assert len(seen) == 2  # work memory belongs to the program, not to a thread
    for y in (results[0], m.predict(X[1:2])):
        np.testing.assert_array_equal(y, ordinary(m, X[1:2]))


def test_another_number_of_threads_captures_anew(monkeypatch, set_threads):
    made, m = captures(monkeypatch), model()
    m.predict(X[:1])
    set_threads(threads.get_num_threads() + 1)  # the work is cut for so many
    y = m.predict(X[1:2])
    assert made == [1, 1]
    np.testing.assert_array_equal(y, ordinary(m, X[1:2]))


class Negate(Layer):
    """A layer of one's own, whose work is not done by kernels."""

    def _build(self, input_shape):
        return input_shape

    def _forward(self, x, training, memory):
        return -x


@pytest.mark.parametrize(
    "own",
    [
        Negate,
        BatchNormalization,
        lambda: Conv2D(8, 3, dilation_rate=2),
        lambda: Conv2D(4, 3, strides=2, dilation_rate=1, activation="tanh"),
        lambda: MaxPooling2D(3, strides=1),
    ],
)
def test_every_kind_of_layer_gives_the_same_bits(own, monkeypatch):
    m, seen = model(own()), replays(monkeypatch)
    if own is BatchNormalization:
        m.fit(X, np.zeros(4, int), verbose=0)
    for x in X:
        np.testing.assert_array_equal(m.predict(x[None]), ordinary(m, x[None]))
    assert (seen == []) == (own is Negate)


CHANGES = {
    "params is a new dict": lambda m, set: set(
        m.layers[0], "params", {k: v * 2 for k, v in m.layers[0].params.items()}
    ),
    "the bias is gone": lambda m, set: m.layers[-1].params.pop("bias"),
    "another activation": lambda m, set: set(m.layers[-2], "activation", other(m.layers[-2])),
    "another function": lambda m, set: set(m.layers[-2].activation, "operation", "sigmoid"),
    "_forward of the object": lambda m, set: set(
        m.layers[-2], "_forward", lambda x, training, memory: np.zeros((len(x), 20))
    ),
    "transform of the class": lambda m, set: set(
        Dense, "transform", lambda self, x, memory, **fused: np.full((len(x), self.units), 0.5)
    ),
    "_forward of the base": lambda m, set: set(
        type(m.layers[1]).__mro__[1], "_forward", lambda self, x, training, memory: x, raising=False
    ),
    "kernel of a layer": lambda m, set: set(
        m.kernels, "dense_forward", lambda x, weight, *rest, **more: x @ weight * 3
    ),
    "a strided weight": lambda m, set: m.layers[-1].params.update(
        kernel=np.asfortranarray(m.layers[-1].params["kernel"] * 2)
    ),
}


def other(layer):
    made = Activation("sigmoid")
    made.build(layer.output_shape, rng=0, dtype="float64", kernels=layer.kernels)
    return made


def twice(layer, name):
    """`layer.name`, whose result is twice what it was."""
    function = getattr(layer, name)
    return lambda *args, **kwargs: function(*args, **kwargs) * 2


# Of layers that are fused, or left to the loss.
CHANGES |= {
    f"{name} of layer {i}": lambda m, set, i=i, name=name: set(
        m.layers[i], name, twice(m.layers[i], name)
    )
    for i, name in ((0, "_forward"), (1, "_forward"), (4, "_forward"), (5, "_forward"),
                    (0, "transform"), (4, "transform"), (5, "transform"))
} | {
    f"activation of layer {i}": lambda m, set, i=i: set(
        m.layers[i].activation, "_forward", twice(m.layers[i].activation, "_forward")
    )
    for i in (0, 4, 5)
} | {
    "another activation of the last layer": lambda m, set: set(
        m.layers[-1], "activation", other(m.layers[-1])
    ),
    "another activation of a convolution": lambda m, set: set(
        m.layers[0], "activation", other(m.layers[0])
    ),
    "another class": lambda m, set: set(m.layers[1], "__class__", Doubled),
}  # fmt: skip


class Doubled(MaxPooling2D):
    def _forward(self, x, training, memory):
        return super()._forward(x, training, memory) * 2


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_replaced_after_compile_is_seen(name, fused, monkeypatch):
    m = model()
    if not fused:
        m.layers[-2].activation.activation = m.layers[-2].activation.operation = "tanh"
        m.compile("adam", "sparse_categorical_crossentropy")
    for count in (1, 4):
        m.predict(X[:count])
    before = m.predict(X)
    CHANGES[name](m, monkeypatch.setattr)
    for count in (1, 4, 4):
        np.testing.assert_allclose(m.predict(X[:count]), ordinary(m, X[:count]), rtol=1e-12)
    if name != "kernel of a layer":  # others of the set do the same when they are fused
        np.testing.assert_allclose(m.predict(X), layer_by_layer(m, X), rtol=1e-6)
        same = name in ("the bias is gone", "_forward of the base")  # of zeros; overridden
        assert np.allclose(m.predict(X), before) == same


@pytest.mark.parametrize("name", ["_forward", "_backward"])
@pytest.mark.parametrize("compiled_again", [False, True])
@pytest.mark.parametrize("place", [0, 1, 4, 5])
def test_a_patched_layer_runs_in_training_too(place, compiled_again, name, monkeypatch):
    m, called = model(), []
    m.train_on_batch(X, np.zeros(4, int))
    function = getattr(m.layers[place], name)
    monkeypatch.setattr(m.layers[place], name, lambda *args: called.append(1) or function(*args))
    if compiled_again:
        m.compile("adam", "sparse_categorical_crossentropy")
    m.train_on_batch(X, np.zeros(4, int))
    assert called == [1]


@pytest.mark.parametrize("use", ["predict", "train_on_batch", "save", "get_weights"])
def test_a_modified_list_of_layers_is_refused(use, tmp_path):
    arguments = {"predict": (X,), "train_on_batch": (X, np.zeros(4, int)),
                 "save": (tmp_path / "m.npz",), "get_weights": ()}  # fmt: skip
    m = model()
    m.layers[-2] = model().layers[-2]
    with pytest.raises(RuntimeError, match="not the list of layers that was built"):
        getattr(m, use)(*arguments[use])
    m.build(m.input_shape)
    getattr(m, use)(*arguments[use])


def test_a_strided_weight_that_changes_later_is_seen():
    m = model()
    m.layers[-1].params["kernel"] = np.asfortranarray(m.layers[-1].params["kernel"])
    before = m.predict(X)
    m.layers[-1].params["kernel"] *= -1
    assert not np.array_equal(m.predict(X), before)
    np.testing.assert_allclose(m.predict(X), ordinary(m, X), rtol=1e-12)


def test_kernels_that_do_not_opt_in_are_never_replayed(monkeypatch):
    """One's own may compute with NumPy between two calls."""
    m, scale, original = model(), [1.0], fast.dense_forward

    def own(x, weight, *rest, **more):
        return original(x, weight * scale[0], *rest, **more)

    monkeypatch.setattr(fast, "dense_forward", functools.wraps(original)(own))
    m.predict(X[:1])
    scale[0] = -2.0
    np.testing.assert_array_equal(m.predict(X[:1]), ordinary(m, X[:1]))


def test_a_subclass_that_overrides_forward_is_not_fused():
    class Half(Dense):
        def _forward(self, x, training, memory):
            return super()._forward(x, training, memory) / 2

    m = Sequential([Input((12,)), Half(3, activation="relu")], seed=1)
    x = np.ones((2, 12), "f")
    np.testing.assert_array_equal(m.predict(x), m.layers[0].forward(x))


# --- Training and evaluation ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_a_captured_training_has_the_bits_of_one_that_is_not(optimizer, dtype, monkeypatch):
    def train():
        layers = [Input((12, 12, 1)), Conv2D(5, 3, kernel_regularizer=0.01),
                  BatchNormalization(), Activation("relu"), MaxPooling2D(2), Conv2D(6, 3),
                  Dropout(0.5), Flatten(), Dense(20, activation="tanh"),
                  Dense(3, activation="softmax")]  # fmt: skip
        m = Sequential(layers, seed=1, dtype=dtype)
        m.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        x, y = np.random.default_rng(0).random((50, 12, 12, 1)), np.arange(50) % 3
        history = m.fit(x, y, batch_size=16, epochs=3, validation_split=0.2, verbose=0)
        return [*m.get_weights(), m.evaluate(x, y), m.predict(x)], history.history

    seen = replays(monkeypatch)
    weights, history = train()
    assert seen
    monkeypatch.setattr(passes, "are_capturable", lambda kernels: False)
    seen.clear()
    eager, eager_history = train()
    assert not seen and history == eager_history
    for a, b in zip(weights, eager, strict=True):
        np.testing.assert_array_equal(a, b)


TRAINING_CHANGES = {
    "a frozen layer": lambda m: setattr(m.layers[0], "trainable", False),
    "the rate of the dropout": lambda m: setattr(m.layers[2], "rate", 0.1),
    "no dropout": lambda m: setattr(m.layers[2], "rate", 0),
    "another penalty": lambda m: m.layers[0].penalties.update(kernel=0.5),
    "smoothed labels": lambda m: setattr(m.loss, "label_smoothing", 0.3),
    "logits": lambda m: setattr(m.loss, "from_logits", True),
    "a momentum": lambda m: setattr(m.optimizer, "beta_1", 0.1),
    "a learning rate": lambda m: setattr(m.optimizer, "learning_rate", 0.5),
    "clipping": lambda m: setattr(m.optimizer, "clipvalue", 1e-6),
    "other slots": lambda m: m.optimizer.set_state(
        {k: np.ones_like(v) for k, v in m.optimizer.get_state().items()}
    ),
    "other weights": lambda m: m.set_weights([w * 2 for w in m.get_weights()]),
    "another array": lambda m: m.layers[0].params.update(bias=np.ones(5)),
    "no metric": lambda m: m.metrics.clear(),
    "another loss": lambda m: setattr(m, "loss", type(m.loss)(label_smoothing=0.5)),
}


@pytest.mark.parametrize("name", TRAINING_CHANGES)
def test_what_is_changed_between_two_steps_is_seen(name, monkeypatch):
    def train():
        m, numbers = model(), []
        for place in range(4):
            if place == 2:
                TRAINING_CHANGES[name](m)
            numbers.append(m.train_on_batch(X, [0, 1, 2, 0]))
        return [*m.get_weights(), *map(np.array, numbers)]

    captured = train()
    monkeypatch.setattr(passes, "are_capturable", lambda kernels: False)
    for a, b in zip(captured, train(), strict=True):
        np.testing.assert_array_equal(a, b)
    monkeypatch.setitem(TRAINING_CHANGES, name, lambda m: None)
    same = "no metric", "logits"  # the loss has had logits before: the softmax is left to it
    assert name in same or not all(map(np.array_equal, captured, train()))
