"""Layers of one's own: copies, pickles and files of their models, and what is wrong with them."""

import copy
import pickle

import numpy as np
import pytest

from nanocnn import (
    Callback,
    Conv2D,
    Dense,
    Flatten,
    Input,
    Layer,
    ModelCheckpoint,
    NonFiniteError,
    Sequential,
    gradcheck,
)
from support.custom_layers import Doubled, Leaky, Scale, X, Y, learns, model_of
from support.small_models import BOTH_SETS

# --- Copies, pickles, files ---


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_copy_has_the_same_classes_and_trains_the_same(twin):
    model = model_of(Conv2D(2, 3, activation="relu"), Scale(name="mine"), Leaky(0.2), compiled=True)
    model.layers[2].trainable = False
    model.fit(X, Y, verbose=0)
    other = twin(model)
    assert [type(each) for each in other.layers] == [type(each) for each in model.layers]
    assert [each.name for each in other.layers] == [each.name for each in model.layers]
    assert other.layers[2].slope == 0.2 and not other.layers[2].trainable
    for each in (model, other):
        each.fit(X, Y, epochs=2, initial_epoch=1, verbose=0)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Forgetful(Scale):
    """Keeps no argument, so that no copy can be made of it."""

    def __init__(self, factor):
        super().__init__()


@pytest.mark.parametrize("layer", [Scale(), Forgetful(2)], ids=repr)
@pytest.mark.parametrize("ending", ["npz", "h5", "keras"])
def test_saving_a_custom_layer_is_refused_before_training(ending, layer, tmp_path):
    model = model_of(layer, compiled=True)
    before, path = model.get_weights(), tmp_path / f"model.{ending}"
    words = (
        f"layer 1: {type(layer).__name__} is a custom layer, which model files cannot store; save"
    )
    with pytest.raises(ValueError, match=words):
        model.save(path)
    with pytest.raises(ValueError, match=words):
        model.fit(X, Y, callbacks=ModelCheckpoint(path), verbose=0)
    assert all(map(np.array_equal, before, model.get_weights()))
    assert list(tmp_path.iterdir()) == []


def test_a_copy_needs_its_arguments():
    model = model_of(Forgetful(2), compiled=True)
    assert learns(model)
    with pytest.raises(TypeError, match="Forgetful: no attribute factor, expected one for each"):
        copy.copy(model)


def test_a_class_of_the_same_name_as_one_of_nanocnns_is_not_taken_for_it(tmp_path):
    own = type("Dense", (Doubled,), {})
    model = model_of(Flatten(), own(4))
    with pytest.raises(ValueError, match="layer 2: Dense is a custom layer"):
        model.save(tmp_path / "model.npz")
    assert type(copy.copy(model).layers[1]) is own


def test_the_advice_for_files_works(tmp_path):
    model, path = model_of(Scale(), compiled=True), tmp_path / "weights.npz"
    model.fit(X, Y, verbose=0)
    np.savez(path, *model.get_weights())
    twin = model_of(Scale())
    with np.load(path) as saved:
        twin.set_weights(list(saved.values()))
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))


# --- Mistakes ---


def own(base=Scale, **methods):
    return type("Wrong", (base,), methods)


MISTAKES = {
    "float64": (
        {"forward": lambda self, x: np.float64(2) * x},
        r"wrong: forward returned float64 of shape \(8, 6, 5, 2\), expected float32 .*astype",
    ),
    "shape": (
        {"forward": lambda self, x: x[:, 1:]},
        r"wrong: forward returned float32 of shape \(8, 5, 5, 2\), expected .* \(8, 6, 5, 2\)$",
    ),
    "no result": (
        {"forward": lambda self, x: print(end="")},
        r"wrong: forward returned None, expected float32 of shape \(8, 6, 5, 2\)",
    ),
    "no dx": (
        {"backward": lambda self, dy: self.grads.update(gain=np.ones(2, "f"))},
        r"wrong: backward returned None, expected float32 of shape \(8, 6, 5, 2\)",
    ),
    "dx of another shape": (
        {"backward": lambda self, dy: self.grads.update(gain=np.ones(2, "f")) or dy[0]},
        r"wrong: backward returned float32 of shape \(6, 5, 2\), expected .* \(8, 6, 5, 2\)",
    ),
    "a gradient forgotten": (
        {"backward": lambda self, dy: dy},
        r"wrong: after backward self.grads\['gain'\] is None, expected float32 of shape \(2,\)",
    ),
    "a gradient of another shape": (
        {"backward": lambda self, dy: self.grads.update(gain=dy) or dy},
        r"wrong: after backward self.grads\['gain'\] is float32 of shape \(8, 6, 5, 2\), expected",
    ),
    "written into x": (
        {"forward": lambda self, x: np.multiply(x, 2, out=x)}, "read-only",
    ),
}  # fmt: skip


@BOTH_SETS
@pytest.mark.parametrize(("methods", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_result_names_the_layer_and_changes_no_weight(methods, words, kernels):
    model = model_of(Scale(), own(**methods)(), kernels=kernels, compiled=True)
    before = model.get_weights()
    with pytest.raises(ValueError, match=words):
        model.fit(X, Y, batch_size=8, verbose=0)
    assert all(map(np.array_equal, before, model.get_weights()))


def test_without_backward_it_predicts_but_fit_says_so_before_training():
    class Square(Layer):
        def forward(self, x):
            return x * x

    model = Sequential(
        [Input((60,)), Dense(4), Square(), Dense(3, activation="softmax")], kernels="reference"
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, heard = X.reshape(24, 60), []
    callback = Callback()
    callback.on_train_begin = heard.append
    model.predict(x)
    model.evaluate(x, Y)
    words = r"square: Square has no backward, expected a method backward\(self, dy\)"
    for use in (
        lambda: model.fit(x, Y, verbose=0, callbacks=callback),
        lambda: model.train_on_batch(x, Y),
        lambda: model.trace(x, Y),
        lambda: gradcheck.check(model, x, Y),
        lambda: gradcheck.check(Square(), x),
    ):
        with pytest.raises(ValueError, match=words):
            use()
    assert heard == []


def test_below_everything_that_is_trained_no_backward_is_needed():
    class Centred(Layer):
        def forward(self, x):
            return x - x.mean()

    model = model_of(Centred(), compiled=True)
    assert learns(model)


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ({"forward": lambda self, x, mode: x}, r"Wrong.forward\(x, mode\), expected forward\(x\)"),
        ({"forward": lambda self: 1}, r"Wrong.forward\(\), expected forward\(x\) or"),
        ({"backward": lambda self, dy, x: dy}, r"Wrong.backward\(dy, x\), expected backward\(dy\)"),
        ({"initial": lambda self, name, shape: np.ones(3)}, r"gain of shape \(3,\), .* \(2,\)"),
        ({"initial": lambda self, name, shape: "one"}, "unknown initializer 'one'"),
        ({"initial": Layer.initial}, "weight 'gain' has no initial value, expected a method"),
    ],
)
def test_methods_that_models_cannot_call_are_found_at_build(methods, words):
    with pytest.raises(ValueError, match=words):
        model_of(own(**methods)())


def test_a_layer_without_forward_and_an_input_with_one():
    with pytest.raises(ValueError, match=r"empty: Empty has no forward, expected forward\(self, x"):
        model_of(type("Empty", (Layer,), {})())
    with pytest.raises(ValueError, match="Wrong, an Input, overrides forward or backward"):
        Sequential([own(Input, forward=lambda self, x: 2 * x)((3,)), Dense(2)])


@BOTH_SETS
def test_nonfinite_values_name_the_custom_layer(kernels):
    model = model_of(own(forward=lambda self, x: x + np.float32(np.inf))(), kernels=kernels)
    with pytest.raises(NonFiniteError, match="first seen in the output of layer 'wrong'"):
        model.predict(X)
