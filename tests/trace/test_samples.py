"""Which samples excite a channel most, and the gradient of each."""

import numpy as np
import pytest

from nanocnn import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
    RandomTranslation,
    Reshape,
    Sequential,
)
from nanocnn.common.errors import NonFiniteError
from nanocnn.kernels import KERNEL_SETS
from nanocnn.trace import per_sample_gradients, receptive_field, top_activations
from support.compare import assert_close

rng = np.random.default_rng(8)
X, Y = rng.random((7, 8, 8, 1)), rng.integers(3, size=7)


def make(*more, kernels="reference", loss="sparse_categorical_crossentropy"):
    layers = [
        Input((8, 8, 1)), Conv2D(3, 3, activation="relu", kernel_regularizer=0.02),
        MaxPooling2D(2), *more, Flatten(), Dense(3, activation="softmax"),
    ]  # fmt: skip
    model = Sequential(layers, dtype="float64", kernels=kernels)
    model.compile("adam", loss)
    return model


# --- What excites a channel -----------------------------------------------------------------------


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_the_strongest_images_cells_and_boxes(kernels):
    model = make(kernels=kernels)
    x = rng.random((300, 8, 8, 1))  # more than a batch
    y = model.trace(x, np.zeros(300, int), training=False)["max_pooling2d"].y[..., 2]
    top = top_activations(model, x, "max_pooling2d", 2, count=5)
    order = np.argsort(-y.reshape(300, -1).max(axis=1))[:5]
    assert np.array_equal(top.indices, order)
    for i, value, cell, box in zip(top.indices, top.values, top.cells, top.boxes, strict=True):
        assert cell.shape == (3,) and cell[2] == 2
        assert_close(value, y[i].max(), 1e-12)
        assert y[(i, *cell[:2])] == y[i].max()
        field = receptive_field(model, "max_pooling2d", tuple(cell.tolist()))[""]
        assert tuple(box) == field.box
        assert x[i, box[0] : box[2], box[1] : box[3]].shape == (4, 4, 1)


def test_of_equal_images_and_cells_the_first_come_first():
    model = make()
    x = np.repeat(rng.random((1, 8, 8, 1)), 4, axis=0)
    x[2] *= 3
    x[:, :, 4:] = x[:, :, :4]
    model.layers[0].params["kernel"][:] = 1
    top = top_activations(model, x, 0, 1, count=9)
    assert top.indices.tolist() == [2, 0, 1, 3]
    columns = top.cells[:, 1]
    y = model.trace(x, np.zeros(4, int), training=False)["conv2d"].y[0, :, :, 1]
    assert (columns == np.unravel_index(y.argmax(), y.shape)[1]).all()


def test_units_of_a_dense_layer_have_the_whole_image():
    model = make()
    top = top_activations(model, X, "dense", 1, count=3)
    prediction = model.predict(X)[:, 1]
    assert np.array_equal(top.indices, np.argsort(-prediction)[:3])
    assert_close(top.values, np.sort(prediction)[::-1][:3], 1e-12)
    assert top.cells.tolist() == [[1]] * 3 and top.boxes.tolist() == [[0, 0, 8, 8]] * 3
    assert repr(top) == f"TopActivations({', '.join(f'{v:.4g}' for v in top.values)})"


def test_uint8_images_are_scaled_and_other_shapes_have_channels_too():
    model = make(Reshape((9, 3)))
    images = (X * 255).astype(np.uint8)
    top = top_activations(model, images[..., 0], "reshape", 0, count=2)
    assert top.cells.shape == (2, 2)
    y = model.trace(images / 255, Y, training=False)["reshape"].y
    assert_close(top.values[0], y[..., 0].max(), 1e-12)


@pytest.mark.parametrize("change, words", [
    ({"channel": 3}, r"channel=3, expected 0 to 2: layer 'conv2d'"),
    ({"channel": -1}, "channel=-1"),
    ({"layer": "conv"}, "unknown layer 'conv'; did you mean 'conv2d'"),
    ({"count": 0}, "count=0"),
    ({"x": X[:, 1:]}, "expected"),
    ({"model": "m"}, "model='m'"),
])  # fmt: skip
def test_wrong_use_of_top_activations_is_refused(change, words):
    given = {"model": make(), "x": X, "layer": "conv2d", "channel": 0, **change}
    with pytest.raises(ValueError, match=words):
        top_activations(**given)


def test_nothing_is_said_of_numbers_that_are_not_finite():
    model = make()
    model.layers[0].params["bias"][1] = np.inf
    assert len(top_activations(model, X, "conv2d", 0).indices) == 7
    with pytest.raises(NonFiniteError, match=r"x\[0\]: channel 1 of layer 'conv2d' has inf"):
        top_activations(model, X, "conv2d", 1)


# --- Gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_each_gradient_is_that_of_the_sample_alone(kernels):
    model = make(kernels=kernels)
    found = per_sample_gradients(model, X, Y)
    for n in range(7):
        trace = model.trace(X[n : n + 1], Y[n : n + 1])
        for layer in trace:
            for name, gradient in layer.grads.items():
                assert_close(found[f"{layer.name}/{name}"][n], gradient, 1e-12)
    assert list(found) == ["conv2d/kernel", "conv2d/bias", "dense/kernel", "dense/bias"]
    assert found["conv2d/kernel"].shape == (7, 3, 3, 1, 3)


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize("training", [True, False])
def test_their_mean_is_the_gradient_of_the_batch_with_the_same_masks(training, kernels):
    model = make(Dropout(0.5), RandomTranslation(0.3, 0.3), Dropout(0.2), kernels=kernels)
    before = model.rng.bit_generator.state, [w.tobytes() for w in model.get_weights()]
    found = per_sample_gradients(model, X, Y, training=training)
    assert before == (model.rng.bit_generator.state, [w.tobytes() for w in model.get_weights()])
    assert all(layer.grads == {} for layer in model.layers)
    trace = model.trace(X, Y, training=training)
    for layer in trace:
        for name, gradient in layer.grads.items():
            assert_close(found[f"{layer.name}/{name}"].mean(axis=0), gradient, 1e-12)


def test_samples_that_share_their_statistics_have_no_gradients_of_their_own():
    model = make(BatchNormalization())
    with pytest.raises(ValueError, match=r"training=True.*'batch_normalization'.*training=False"):
        per_sample_gradients(model, X, Y)
    assert per_sample_gradients(model, X, Y, training=False)["batch_normalization/gamma"].any()
    model.layers[2].trainable = False
    assert per_sample_gradients(model, X, Y)["batch_normalization/gamma"].shape == (7, 3)
    with pytest.raises(ValueError, match="7 samples and y has 2"):
        per_sample_gradients(model, X, Y[:2])
