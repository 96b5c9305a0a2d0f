"""A layer of one's own, as anyone would write it: `forward` and `backward`, honoured everywhere."""

import copy
import pickle

import numpy as np
import pytest

from nanocnn import (
    Activation,
    Callback,
    Conv2D,
    Dense,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
    ModelCheckpoint,
    Sequential,
    gradcheck,
    plots,
    threads,
)
from nanocnn.kernels import get_kernels

RNG = np.random.default_rng(3)
X, Y = RNG.standard_normal((24, 6, 5, 2), dtype="f"), RNG.integers(0, 3, 24)
BOTH = pytest.mark.parametrize("kernels", ["fast", "reference"])

README = '''\
import numpy as np
from nanocnn import Layer, gradcheck

class Scale(Layer):
    """y = gain * x: every channel has a gain, which is learned."""
    def shapes(self, input_shape):      # of the output, and of the weights
        return input_shape, {"gain": input_shape[-1:]}
    def initial(self, name, shape):     # or an array
        return "ones"
    def forward(self, x):
        self.x = x
        return self.params["gain"] * x
    def backward(self, dy):             # from dL/dy to dL/dx, and dL/dgain on the way
        self.grads["gain"] = (dy * self.x).sum(axis=tuple(range(dy.ndim - 1)))
        return self.params["gain"] * dy

print(gradcheck.check(Scale(), np.random.default_rng(0).normal(size=(4, 8, 8, 3))))
'''


def test_the_example_of_the_readme(capsys):
    names = {"__name__": "example"}
    exec(README, names)
    assert "all gradients are right" in capsys.readouterr().out
    model = model_of(names["Scale"](), compiled=True)
    assert learns(model)


class Scale(Layer):
    """y = gain * x, by channel."""

    def shapes(self, input_shape):
        return input_shape, {"gain": input_shape[-1:]}

    def initial(self, name, shape):
        return np.linspace(0.5, 1.5, *shape)

    def forward(self, x):
        self.x = x
        return self.params["gain"] * x

    def backward(self, dy):
        self.grads["gain"] = (dy * self.x).sum(axis=tuple(range(dy.ndim - 1)))
        return self.params["gain"] * dy


class Leaky(Layer):
    """Made by its arguments, with a scalar for its weight and no shapes of its own."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope
        self.params["slope"] = np.float64(slope)

    def forward(self, x, training):
        self.kept, self.training = x, training
        return np.where(x > 0, x, self.params["slope"] * x)

    def backward(self, dy):
        self.grads["slope"] = np.sum(dy * np.minimum(self.kept, 0))
        return np.where(self.kept > 0, dy, self.params["slope"] * dy)


class Mirrored(Layer):
    """Returns views, written backwards in memory; no weights; the rest by NumPy."""

    def shapes(self, input_shape):
        return (input_shape[0] * input_shape[1], input_shape[2]), {}

    def forward(self, x, training=False):
        self.shape = x.shape
        return x.reshape(len(x), -1, x.shape[-1])[:, ::-1]

    def backward(self, dy):
        return dy[:, ::-1].reshape(self.shape)


class Noise(Layer):
    def forward(self, x, training=False):
        noise = self.rng.standard_normal(x.shape) if training else np.zeros(x.shape)
        return x + noise.astype(x.dtype)

    def backward(self, dy):
        return dy


class Doubled(Dense):
    """Both passes of a layer that is there, with something of one's own around."""

    def forward(self, x, training=False):
        return 2 * super().forward(x, training)

    def backward(self, dy):
        return super().backward(2 * dy)


class Halved(Conv2D):
    """A wrong gradient on purpose, and nothing but that."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["kernel"] /= 2
        return dx


def model_of(*layers, kernels="fast", compiled=False, dtype="float32", shape=(6, 5, 2)):
    layers = [Input(shape), *layers, Flatten(), Dense(3, activation="softmax")]
    model = Sequential(layers, seed=1, kernels=kernels, dtype=dtype)
    if compiled:
        model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return model


def learns(model):
    """Whether training moves every parameter of every layer and makes the loss smaller."""
    before = model.get_weights()
    losses = model.fit(X, Y, batch_size=8, epochs=3, verbose=0).history["loss"]
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    return all(moved) and losses[-1] < losses[0]


LAYERS = {
    "with shapes": Scale,
    "made by __init__": lambda: Leaky(0.1),
    "views": Mirrored,
    "a subclass": lambda: [Flatten(), Doubled(4, activation="relu")],
    "fused elsewhere": lambda: [
        Conv2D(4, 3, padding="same", activation="relu"), MaxPooling2D(2), Scale(),
        Conv2D(3, 2, activation="relu"), Scale(), Conv2D(4, 1), Leaky(0.3),
    ],
}  # fmt: skip
KINDS = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def layers(make):
    made = make()
    return made if isinstance(made, list) else [made]


@BOTH
@KINDS
def test_it_trains_and_its_gradients_are_right(make, kernels):
    model = model_of(*layers(make), kernels=kernels, compiled=True)
    report = gradcheck.check(model, X[:3], Y[:3], limit=20)
    assert report, str(report)
    assert len(report.arrays) == len(model.weights) + 1
    assert learns(model)


@KINDS
def test_both_kernel_sets_agree(make):
    fast, reference = (
        model_of(*layers(make), kernels=kernels, compiled=True, dtype="float64")
        for kernels in ("fast", "reference")
    )
    for model in (fast, reference):
        model.fit(X, Y, batch_size=7, epochs=2, verbose=0)
    for a, b in zip(fast.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert fast.evaluate(X, Y) == pytest.approx(reference.evaluate(X, Y), rel=1e-9)


@BOTH
@KINDS
def test_predictions_are_the_layers_one_after_the_other(make, kernels):
    model = model_of(*layers(make), kernels=kernels)
    for count in (1, 2, 2, 1, 24):  # few images are replayed where all is done by kernels
        x = RNG.random((count, 6, 5, 2), dtype="f")
        y = x
        for layer in model.layers:
            y = layer.run_forward(y, False, layer.memory)
        np.testing.assert_allclose(model.predict(x), y, rtol=1e-6)


@BOTH
@KINDS
def test_a_trace_shows_it_and_changes_nothing(make, kernels):
    model = model_of(*layers(make), kernels=kernels, compiled=True)
    model.train_on_batch(X, Y)
    before = [layer.grads for layer in model.layers]
    values = [{name: g.copy() for name, g in grads.items()} for grads in before]
    trace = model.trace(X[:4], Y[:4])
    for layer, grads, copies in zip(model.layers, before, values, strict=True):
        assert layer.grads is grads
        assert all(np.array_equal(grads[name], copies[name]) for name in copies)
    for above, below in zip(trace.layers[1:], trace.layers, strict=False):
        np.testing.assert_array_equal(above.x, below.y)
        np.testing.assert_array_equal(above.dx, below.dy)
    for step in trace.layers:
        assert {k: v.shape for k, v in step.grads.items()} == {
            k: v.shape for k, v in step.params.items()
        }
    model.train_on_batch(X[:4], Y[:4])
    assert str(trace)


def test_a_trace_names_the_methods_and_claims_no_formula_of_another_layer():
    model = model_of(Scale(), Flatten(), Doubled(4, activation="relu"), compiled=True)
    text = str(model.trace(X[:2], Y[:2]))
    assert "y = Scale.forward(x)" in text and "dgain = Scale.backward(dy)" in text
    assert "y = Doubled.forward(x)" in text and "dkernel = Doubled.backward(dy)" in text
    assert text.count("reshaped") == 2  # of the two Flatten
    assert text.count("x @ kernel") == 1  # of the Dense


def test_a_formula_of_ones_own_is_shown():
    class Named(Scale):
        def formula(self):
            return "y = gain[c] * x"

    assert "  y = gain[c] * x" in str(model_of(Named(), compiled=True).trace(X[:2], Y[:2]))


def test_an_overridden_backward_alone_is_not_bypassed():
    """Not fused with the pool either, though the convolution before it is."""
    model = model_of(
        Conv2D(3, 3, activation="relu"), MaxPooling2D(1), Halved(4, 2, activation="relu"),
        MaxPooling2D(2), compiled=True,
    )  # fmt: skip
    assert "halved+" not in model.plan() and "Halved, its own methods" in model.plan()
    report = gradcheck.check(model, X[:3], Y[:3], limit=20)
    assert [a.name for a in report.arrays if not a.passed] == ["halved/kernel"]
    trace = model.trace(X[:3], Y[:3])
    model.train_on_batch(X[:3], Y[:3])
    np.testing.assert_allclose(trace["halved"].dkernel, model.layers[3].grads["kernel"], rtol=1e-5)


@BOTH
def test_a_method_of_the_object_is_honoured_too(kernels):
    layer = Dense(3)
    layer.forward = lambda x: np.zeros((len(x), 3), x.dtype)
    model = Sequential([Input((4,)), layer], kernels=kernels)
    assert not model.predict(np.ones((2, 4))).any()
    activation = Activation("relu")
    model = Sequential([Input((4,)), Dense(2), activation], kernels=kernels)
    model.predict(np.ones((1, 4)))
    activation.forward = lambda x: x + 7  # after a pass was recorded
    np.testing.assert_array_equal(
        model.predict(np.ones((1, 4))), model.layers[1].forward(np.ones((1, 4), "f")) + 7
    )


def test_training_is_told_to_the_layers_that_ask():
    layer = Leaky(0.1)
    model = model_of(layer, Noise(), compiled=True)
    model.train_on_batch(X, Y)
    assert layer.training is True
    model.predict(X)
    assert layer.training is False
    assert gradcheck.check(model, X[:3], Y[:3], limit=20)  # with the noise held fixed
    np.testing.assert_array_equal(model.predict(X), model.predict(X))


def test_summary_and_plan_name_it(capsys):
    model = model_of(Scale(), Leaky(0.1))
    model.summary()
    said = capsys.readouterr().out
    assert "scale (Scale)" in said and "leaky (Leaky)" in said
    assert model.count_params() == 2 + 1 + 60 * 3 + 3
    assert "Scale, its own methods" in model.plan()
    assert list(model.weights)[:2] == ["scale/gain", "leaky/slope"]


def test_weights_have_the_models_dtype_and_are_new_in_a_model_built_anew():
    model = model_of(Scale(), Leaky(0.25), dtype="float32", compiled=True)
    assert {array.dtype.name for array in model.weights.values()} == {"float32"}
    model.fit(X, Y, verbose=0)
    assert model.layers[2].params["slope"] != 0.25
    model.add(Dense(3, activation="softmax"))
    assert model.layers[2].params["slope"] == 0.25
    np.testing.assert_array_equal(model.layers[1].params["gain"], np.array([0.5, 1.5], "f"))


@BOTH
def test_it_can_be_the_first_layer_and_the_last_and_frozen(kernels):
    model = Sequential([Input((60,)), Scale(), Dense(3), Scale()], kernels=kernels)
    model.compile("sgd", "mse")
    x, y = X.reshape(24, 60), np.eye(3, dtype="f")[Y]
    assert model.train_on_batch(x, y) > model.train_on_batch(x, y)
    model.layers[1].trainable = False
    gain = model.layers[1].params["gain"].copy()
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(model.layers[1].params["gain"], gain)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    """NumPy's products in a layer of one's own run on one thread, as those of the reference set."""

    class Product(Dense):
        def forward(self, x):
            self.x = x
            return x @ self.params["kernel"] + self.params["bias"]

        def backward(self, dy):
            self.grads = {"kernel": self.x.T @ dy, "bias": dy.sum(axis=0)}
            return dy @ self.params["kernel"].T

    found, before = set(), threads.get_num_threads()
    x, y = RNG.random((64, 300), dtype="f"), RNG.integers(0, 3, 64)
    try:
        for count in (1, 2):
            threads.set_num_threads(count)
            model = model_of(Product(400), compiled=True, shape=(300,))
            model.fit(x, y, verbose=0)
            found.add(b"".join(array.tobytes() for array in model.get_weights()))
    finally:
        threads.set_num_threads(before)
    assert len(found) == 1


def test_pictures_are_made_of_its_own_passes():
    class Last(Dense):
        def forward(self, x, training=False):
            return -super().forward(x, training)

        def backward(self, dy):
            return super().backward(-dy)

    layers = [Input((6, 5, 2)), Conv2D(2, 3), Scale(), Flatten(), Last(3, activation="softmax")]
    model = Sequential(layers, kernels="reference")
    model.compile("sgd", "mse")
    assert plots.activations(model, X[0]) and plots.grad_cam(model, X[0])


# --- Copies, pickles, files ---


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_copy_is_of_the_same_classes_and_goes_on_the_same(twin):
    model = model_of(
        Conv2D(2, 3, activation="relu"), Scale(name="mine"), Leaky(0.2), compiled=True
    )
    model.layers[3].trainable = False
    model.fit(X, Y, verbose=0)
    other = twin(model)
    assert [type(each) for each in other.layers] == [type(each) for each in model.layers]
    assert [each.name for each in other.layers] == [each.name for each in model.layers]
    assert other.layers[3].slope == 0.2 and not other.layers[3].trainable
    for each in (model, other):
        each.fit(X, Y, epochs=2, initial_epoch=1, verbose=0)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("ending", ["npz", "h5", "keras"])
def test_no_file_holds_it_which_is_said_before_training(ending, tmp_path):
    class Forgetful(Scale):
        def __init__(self, factor):
            super().__init__()

    for layer in (Scale(), Forgetful(2)):
        model = model_of(layer, compiled=True)
        before = model.get_weights()
        checkpoint = ModelCheckpoint(tmp_path / f"model.{ending}")
        words = f"layer 1: {type(layer).__name__} is a class of your own, which no file can hold"
        for save in (
            lambda: model.save(checkpoint.filepath),
            lambda: model.fit(X, Y, callbacks=checkpoint, verbose=0),
        ):
            with pytest.raises(ValueError, match=f"{words}; save its model's weights with"):
                save()
        assert all(map(np.array_equal, before, model.get_weights()))
    assert list(tmp_path.iterdir()) == []


def test_a_class_of_the_same_name_as_one_of_nanocnns_is_not_taken_for_it(tmp_path):
    own = type("Dense", (Doubled,), {})
    model = model_of(Flatten(), own(4))
    with pytest.raises(ValueError, match="layer 2: Dense is a class of your own"):
        model.save(tmp_path / "model.npz")
    assert type(copy.copy(model).layers[2]) is own


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
        r"wrong: backward left in self.grads\['gain'\] None, expected float32 of shape \(2,\)",
    ),
    "a gradient of another shape": (
        {"backward": lambda self, dy: self.grads.update(gain=dy) or dy},
        r"wrong: backward left in self.grads\['gain'\] float32 of shape \(8, 6, 5, 2\), expected",
    ),
    "written into x": (
        {"forward": lambda self, x: np.multiply(x, 2, out=x)}, "read-only",
    ),
}  # fmt: skip


@BOTH
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
def test_what_no_model_could_call_is_found_when_it_is_built(methods, words):
    with pytest.raises(ValueError, match=words):
        model_of(own(**methods)())


def test_a_layer_without_forward_and_an_input_with_one():
    with pytest.raises(ValueError, match=r"empty: Empty has no forward, expected forward\(self, x"):
        model_of(type("Empty", (Layer,), {})())
    with pytest.raises(ValueError, match="Wrong, an Input, has a forward or backward of its own"):
        Sequential([own(Input, forward=lambda self, x: 2 * x)((3,)), Dense(2)])


def test_alone_it_is_built_and_called_as_any_layer():
    layer = Scale()
    assert layer.build((4, 3), dtype="float64", kernels=get_kernels("reference")) == (4, 3)
    x = RNG.random((2, 4, 3))
    np.testing.assert_array_equal(layer.forward(x), x * [0.5, 1.0, 1.5])
    np.testing.assert_array_equal(layer.backward(x), x * [0.5, 1.0, 1.5])
    assert gradcheck.check(Scale(), x) and gradcheck.check(layer, x)
