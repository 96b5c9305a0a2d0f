"""Passes of few images are captured and replayed: the results are those of an ordinary pass."""

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
from nanocnn.jit import pool, threads
from nanocnn.jit.capture import abort_capture, capture
from nanocnn.kernels import fast
from nanocnn.layers import Layer
from nanocnn.models import plan, replay

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
    """Without a replay: more images than are captured."""
    return model.predict(np.concatenate([x] * (replay.MAX_REPLAY_BATCH + 1)), batch_size=1000)[
        : len(x)
    ]


def replays(monkeypatch) -> list[int]:
    """The sizes of the passes that are replayed from now on."""
    seen: list[int] = []
    original = replay.Replay.replay

    def counted(self, x):
        seen.append(len(x))
        return original(self, x)

    monkeypatch.setattr(replay.Replay, "replay", counted)
    return seen


@pytest.mark.parametrize("count", [1, 3])
def test_every_pass_after_the_first_is_replayed_with_its_own_images(monkeypatch, count):
    seen, m = replays(monkeypatch), model()
    for start in range(0, 4 - count + 1):
        x = X[start : start + count]
        np.testing.assert_array_equal(m.predict(x), ordinary(m, x))
    assert seen == [count] * (4 - count)


def test_changed_weights_are_seen(monkeypatch):
    seen, m = replays(monkeypatch), model()
    changes = (
        lambda: m.layers[1].params["kernel"].__imul__(-1),
        lambda: m.layers[1].params.update(bias=np.ones(5)),
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
    assert seen == [1]  # work memory belongs to the program, not to a thread
    for y in (results[0], m.predict(X[1:2])):
        np.testing.assert_array_equal(y, ordinary(m, X[1:2]))


def test_another_number_of_threads_captures_anew(monkeypatch, set_threads):
    seen, m = replays(monkeypatch), model()
    m.predict(X[:1])
    set_threads(threads.get_num_threads() + 1)  # the work is cut for so many
    np.testing.assert_array_equal(m.predict(X[1:2]), ordinary(m, X[1:2]))
    assert seen == []


def test_a_pass_that_cannot_be_replayed_is_captured_once(monkeypatch):
    class Counted(replay.Replay):
        made = 0

        def __init__(self, *args):
            Counted.made += 1
            super().__init__(*args)

    monkeypatch.setattr(plan, "Replay", Counted)
    seen, images = replays(monkeypatch), np.random.default_rng(0).random((4, 2, 32, 32, 12))
    m = Sequential([Input((32, 32, 12)), Conv2D(16, 3, padding="same")], dtype="float64")
    m.compile("adam", "mse")
    assert "winograd" in m.plan(2)  # which looks at its results
    for x in images:
        np.testing.assert_array_equal(m.predict(x), ordinary(m, x))
    assert Counted.made == 1 and seen == []


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
        lambda: Conv2D(4, 3, strides=2, dilation_rate=1, activation="tanh"),
        lambda: MaxPooling2D(3, strides=1),
    ],
)
def test_passes_that_cannot_be_replayed_are_not(own):
    m = model(own())
    if own is BatchNormalization:
        m.fit(X, np.zeros(4, int), verbose=0)
    for x in X:
        np.testing.assert_array_equal(m.predict(x[None]), ordinary(m, x[None]))


def test_a_capture_that_was_aborted_is_empty():
    with capture() as program:
        pool.run(lambda part, parts: None, 2)
    assert len(program.calls) == 1
    with capture() as program:
        pool.run(lambda part, parts: None, 2)
        abort_capture()
        pool.run(lambda part, parts: None, 2)
    assert program.calls == []


def test_a_program_makes_the_calls_again_and_a_dry_one_did_not_make_them():
    done = np.zeros(3, int)

    def count(part, parts, step):
        done[part] += step

    for dry in (False, True):
        done[:] = 0
        with capture(dry=dry) as program:
            pool.run(count, 1, 10)
            pool.run(count, 3, 1)
            abort_capture() if dry else None  # all is noted all the same
        assert done.tolist() == ([0, 0, 0] if dry else [11, 1, 1])
        program.replay()
        assert done.tolist() == ([11, 1, 1] if dry else [22, 2, 2])


CHANGES = {
    "params is a new dict": lambda m, set: set(
        m.layers[1], "params", {k: v * 2 for k, v in m.layers[1].params.items()}
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
        type(m.layers[2]).__mro__[1], "_forward", lambda self, x, training, memory: x, raising=False
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
    made.build(layer.output_shape, 0, "float64", layer.kernels)
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
    for i, name in ((1, "_forward"), (2, "_forward"), (5, "_forward"), (6, "_forward"),
                    (1, "transform"), (5, "transform"), (6, "transform"))
} | {
    f"activation of layer {i}": lambda m, set, i=i: set(
        m.layers[i].activation, "_forward", twice(m.layers[i].activation, "_forward")
    )
    for i in (1, 5, 6)
} | {
    "another activation of the last layer": lambda m, set: set(
        m.layers[-1], "activation", other(m.layers[-1])
    ),
    "another activation of a convolution": lambda m, set: set(
        m.layers[1], "activation", other(m.layers[1])
    ),
    "another class": lambda m, set: set(m.layers[2], "__class__", Doubled),
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
@pytest.mark.parametrize("place", [1, 2, 5, 6])
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
    np.testing.assert_array_equal(m.predict(x), m.layers[1].forward(x))
