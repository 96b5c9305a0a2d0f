"""A layer of one's own, as anyone would write it: `forward` and `backward`, honoured everywhere."""

import numpy as np
import pytest

from nanocnn import (
    SGD,
    Activation,
    Conv2D,
    Dense,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
    Sequential,
    gradcheck,
    plots,
)
from nanocnn.jit import threads
from nanocnn.kernels import get_kernels
from support.custom_layers import RNG, Doubled, Leaky, Mirrored, Scale, X, Y, learns, model_of
from support.paths import ROOT
from support.small_models import BOTH_SETS

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = next(code for code in README.split("```python\n") if "class Scale" in code).split("```")[
    0
]


def test_the_example_of_the_readme(capsys):
    names = {"__name__": "example"}
    exec(EXAMPLE, names)
    assert "all gradients are right" in capsys.readouterr().out
    model = model_of(names["Scale"](), compiled=True)
    assert learns(model)


class Noise(Layer):
    def forward(self, x, training=False):
        noise = self.rng.standard_normal(x.shape) if training else np.zeros(x.shape)
        return x + noise.astype(x.dtype)

    def backward(self, dy):
        return dy


class Halved(Conv2D):
    """A wrong gradient on purpose, and nothing but that."""

    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["kernel"] /= 2
        return dx


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


@BOTH_SETS
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


@BOTH_SETS
@KINDS
def test_predictions_are_the_layers_one_after_the_other(make, kernels):
    model = model_of(*layers(make), kernels=kernels)
    for count in (1, 2, 2, 1, 24):  # few images are replayed where all is done by kernels
        x = RNG.random((count, 6, 5, 2), dtype="f")
        y = x
        for layer in model.layers:
            y = layer.run_forward(y, False, layer.memory)
        np.testing.assert_allclose(model.predict(x), y, rtol=1e-6)


@BOTH_SETS
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


def test_a_custom_formula_is_shown():
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
    np.testing.assert_allclose(trace["halved"].dkernel, model.layers[2].grads["kernel"], rtol=1e-5)


@BOTH_SETS
def test_a_method_set_on_the_instance_is_used_too(kernels):
    layer = Dense(3)
    layer.forward = lambda x: np.zeros((len(x), 3), x.dtype)
    model = Sequential([Input((4,)), layer], kernels=kernels)
    assert not model.predict(np.ones((2, 4))).any()
    activation = Activation("relu")
    model = Sequential([Input((4,)), Dense(2), activation], kernels=kernels)
    model.predict(np.ones((1, 4)))
    activation.forward = lambda x: x + 7  # after a pass was captured
    np.testing.assert_array_equal(
        model.predict(np.ones((1, 4))), model.layers[0].forward(np.ones((1, 4), "f")) + 7
    )


@BOTH_SETS
def test_a_gradient_may_be_a_view_of_what_is_given(kernels):
    """Clipping scales gradients in place."""

    class Shift(Layer):
        def shapes(self, input_shape):
            return input_shape, {"all": (), "each": input_shape}

        def initial(self, name, shape):
            return "zeros"

        def forward(self, x):
            return x + self.params["all"] + self.params["each"]

        def backward(self, dy):
            self.grads = {"all": dy.sum(), "each": dy[0]}
            return dy

    model = Sequential([Input((60,)), Dense(3), Shift()], kernels=kernels)
    model.compile(SGD(0.1, clipvalue=1e-3), "mse")
    x, y = X.reshape(24, 60)[:1], np.eye(3)[:1]
    assert gradcheck.check(model, x, y)
    assert model.train_on_batch(x, y) > model.train_on_batch(x, y)
    assert np.abs(model.layers[1].params["each"]).max() == pytest.approx(2e-4, rel=1e-3)


def test_training_is_passed_to_the_methods_that_take_it():
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
    assert model.layers[1].params["slope"] != 0.25
    model.build(model.input_shape)
    assert model.layers[1].params["slope"] == 0.25
    np.testing.assert_array_equal(model.layers[0].params["gain"], np.array([0.5, 1.5], "f"))


@BOTH_SETS
def test_it_can_be_first_last_and_frozen(kernels):
    model = Sequential([Input((60,)), Scale(), Dense(3), Scale()], kernels=kernels)
    model.compile("sgd", "mse")
    x, y = X.reshape(24, 60), np.eye(3, dtype="f")[Y]
    assert model.train_on_batch(x, y) > model.train_on_batch(x, y)
    model.layers[0].trainable = False
    gain = model.layers[0].params["gain"].copy()
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(model.layers[0].params["gain"], gain)


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


def test_what_its_output_means_is_not_guessed_from_its_base_class():
    class Certain(Dense):
        def forward(self, x):
            return np.full((len(x), 3), 1 / 3, x.dtype)

        def backward(self, dy):
            self.grads = {name: np.zeros_like(param) for name, param in self.params.items()}
            return np.zeros_like(self.memory.saved(self)[0])

    model = Sequential([Input((4,)), Certain(3)])
    model.compile("sgd", "sparse_categorical_crossentropy")  # without a warning of a 'linear' end
    assert model.evaluate(np.ones((2, 4)), [0, 1]) == pytest.approx(np.log(3), rel=1e-6)


def test_plots_use_its_own_forward_and_backward():
    class Last(Dense):
        def forward(self, x, training=False):
            return -super().forward(x, training)

        def backward(self, dy):
            return super().backward(-dy)

    layers = [Input((6, 5, 2)), Conv2D(2, 3), Scale(), Flatten(), Last(3, activation="softmax")]
    model = Sequential(layers, kernels="reference")
    model.compile("sgd", "mse")
    assert plots.activations(model, X[0]) and plots.grad_cam(model, X[0])


def test_it_can_be_built_and_called_on_its_own():
    layer = Scale()
    assert layer.build((4, 3), dtype="float64", kernels=get_kernels("reference")) == (4, 3)
    x = RNG.random((2, 4, 3))
    np.testing.assert_array_equal(layer.forward(x), x * [0.5, 1.0, 1.5])
    np.testing.assert_array_equal(layer.backward(x), x * [0.5, 1.0, 1.5])
    assert gradcheck.check(Scale(), x) and gradcheck.check(layer, x)
