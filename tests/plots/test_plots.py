"""The pictures: right numbers in the right place, readable at 800 pixels and without colour."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from nanocnn import (
    Activation,
    Adam,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
    Sequential,
    plots,
)
from nanocnn.data import mnist
from nanocnn.kernels import reference
from nanocnn.kernels.geometry import sliding_window
from nanocnn.plots.explain import enlarged
from support.pictures import assert_readable


@pytest.fixture(scope="module")
def digits():
    (x, y), _ = mnist.sample()
    return x[:200], y[:200]  # twenty of each digit


@pytest.fixture(scope="module")
def trained(digits):
    """A small network after two epochs, its history and the recorded gradients."""
    model = Sequential(
        [
            Input((28, 28, 1)),
            Conv2D(4, 5, strides=2, padding="same", activation="relu"), MaxPooling2D(2),
            Conv2D(6, 3, activation="relu"), BatchNormalization(), Dropout(0.1), Flatten(),
            Dense(24, activation="relu"), Dense(10, activation="softmax"),
        ],
        kernels="reference",
    )  # fmt: skip
    model.compile(Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    recorder = plots.GradientRecorder(every=2)
    x, y = digits
    history = model.fit(x, y, 25, 2, validation_split=0.25, callbacks=[recorder], verbose=0)
    return model, history, recorder


@pytest.fixture(scope="module")
def tiny():
    """A network that fits on one picture, and its trace."""
    model = Sequential(
        [
            Input((6, 6, 1)), Conv2D(1, 3, activation="relu"), MaxPooling2D(2), Flatten(),
            Dense(3, activation="softmax"),
        ],
        dtype="float64", kernels="reference", seed=4,
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    return model, model.trace(np.random.default_rng(1).random((2, 6, 6, 1)), [1, 2])


SAME = sliding_window((4, 5), (3, 2), (2, 2), "same")
PICTURES = {
    "training_curves": lambda t, d, n: plots.training_curves(t[1]),
    "loss alone": lambda t, d, n: plots.training_curves({"loss": [3.0]}),
    "prediction_grid": lambda t, d, n: plots.prediction_grid(
        d[0][:25], d[1][:25], t[0].predict(d[0][:25])
    ),
    "all wrong": lambda t, d, n: plots.prediction_grid(d[0][:30], d[1][:30], d[1][:30] ^ 1),
    "confusion_matrix": lambda t, d, n: plots.confusion_matrix(d[1], t[0].predict(d[0])),
    "filters": lambda t, d, n: plots.filters(t[0]),
    "filters of depth": lambda t, d, n: plots.filters(t[0], "conv2d_1"),
    "activations": lambda t, d, n: plots.activations(t[0], d[0][3]),
    "gradient_flow of a trace": lambda t, d, n: plots.gradient_flow(t[0].trace(d[0], d[1])),
    "gradient_flow over time": lambda t, d, n: plots.gradient_flow(t[2]),
    "saliency": lambda t, d, n: plots.saliency(t[0], d[0][3]),
    "grad_cam": lambda t, d, n: plots.grad_cam(t[0], d[0][3]),
    "im2col": lambda t, d, n: plots.im2col(sliding_window((5, 5), (3, 3))),
    "im2col with padding": lambda t, d, n: plots.im2col(SAME),
    "network_pass": lambda t, d, n: plots.network_pass(n[1]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_can_be_read(name, trained, digits, tiny):
    """At most 800 pixels wide, no text cut off or smaller than 7.5 points, titles side by side."""
    figure = PICTURES[name](trained, digits, tiny)
    assert type(figure) is Figure
    assert_readable(figure)


def test_pictures_never_open_a_window():
    """They need no pyplot, no display, and loading nanocnn alone loads no matplotlib."""
    code = (
        "import sys, nanocnn; assert 'matplotlib' not in sys.modules\n"
        "nanocnn.plots.training_curves({'loss': [2.0, 1.0]}).savefig(sys.stdout.buffer)\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    assert run.stdout.startswith(b"\x89PNG")


def test_training_curves_show_the_history(trained):
    history = trained[1].history
    figure = plots.training_curves(history)
    assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy"]
    for axis in figure.axes:
        one, two = axis.get_lines()
        name = axis.get_title()
        assert list(one.get_ydata()) == history[name] and one.get_label() == "training"
        assert list(two.get_ydata()) == history[f"val_{name}"] and two.get_label() == "validation"
        assert list(one.get_xdata()) == [1, 2]
    with pytest.raises(ValueError, match="empty"):
        plots.training_curves({})


def test_the_prediction_grid_marks_what_is_wrong():
    x = np.zeros((3, 4, 4))
    figure = plots.prediction_grid(
        x, [0, 2, 1], np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0, 1, 0]])
    )
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["0 90%", "× 1, is 2", "1 100%"]
    frames = [axis.spines["left"].get_linewidth() for axis in figure.axes]
    assert frames[1] > 2 * frames[0] == 2 * frames[2]
    assert figure._suptitle.get_text().startswith("2 of 3 right")
    named = plots.prediction_grid(x, [0, 2, 1], [0, 1, 1], class_names=["coat", "bag", "boot"])
    assert named.axes[1].get_title() == "× bag, is boot"
    for wrong in ([0, 1], []):
        with pytest.raises(ValueError, match="expected as many"):
            plots.prediction_grid(x[: len(wrong) or 0], [0, 1, 2], wrong)


def test_the_confusion_matrix_counts():
    figure = plots.confusion_matrix([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 0, 0])
    (axis,) = figure.axes
    found = {text.get_position(): text.get_text() for text in axis.texts}
    assert found == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (0, 2): "2", (2, 2): "1"}
    assert axis.get_title() == "3 of 6 right (50.00%)"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    with pytest.raises(ValueError, match="2 labels and 1 predictions"):
        plots.confusion_matrix([0, 1], [0])


def images(figure):
    """The arrays shown, in order, without colour bars."""
    return [np.asarray(a.images[0].get_array()) for a in figure.axes if a.images]


def test_filters_are_the_weights(trained):
    model = trained[0]
    kernel = model.layers[0].params["kernel"]
    assert np.array_equal(images(plots.filters(model)), kernel[:, :, 0].transpose(2, 0, 1))
    deep = model.layers[2].params["kernel"]
    shown = np.reshape(images(plots.filters(model, "conv2d_1")), (4, 6, 3, 3))
    assert np.array_equal(shown, deep.transpose(2, 3, 0, 1))
    with pytest.raises(ValueError, match="conv2d_1"):
        plots.filters(model, "conv2d_2")
    dense = Sequential([Input((4,)), Dense(2)], kernels="reference")
    with pytest.raises(ValueError, match="no Conv2D"):
        plots.filters(dense)


def test_activations_are_what_the_layers_give(trained, digits):
    model, image = trained[0], digits[0][3]
    figure = plots.activations(model, image)
    shown = images(figure)
    x = image[None, ..., None] / np.float32(255)
    assert np.array_equal(shown[0], x[0, ..., 0])
    y = model.layers[0].forward(x.astype("float32"))
    for c in range(4):
        assert np.array_equal(shown[1 + c], y[0, ..., c])
    bars = [bar.get_height() for bar in figure.axes[-1].patches]
    assert np.allclose(bars, model.predict(image[None])[0], atol=1e-6)
    for shape in ((28, 28), (28, 28, 1), (1, 28, 28, 1)):
        assert isinstance(plots.activations(model, image.reshape(shape)), Figure)
    with pytest.raises(ValueError, match="image"):
        plots.activations(model, np.zeros((27, 28)))


def test_gradient_flow_shows_the_sizes(trained, digits):
    model = trained[0]
    trace = model.trace(*digits)
    dx, dz, dweight = plots.gradient_flow(trace).axes[0].get_lines()
    rms = [np.sqrt(np.mean(layer.dx**2)) for layer in trace]
    assert np.allclose(dx.get_ydata(), rms, rtol=1e-5)
    assert len(dz.get_ydata()) == len(trace)
    kernel = trace["conv2d"].dweight
    assert np.isclose(dweight.get_ydata()[0], np.sqrt(np.mean(kernel**2)), rtol=1e-5)
    assert list(dweight.get_xdata()) == [0, 2, 6, 7]


def test_the_recorder_sees_the_gradients_of_training(trained):
    recorder = trained[2]
    assert recorder.steps == [0, 2, 4, 6, 8, 10]  # 12 batches, every second one
    assert {"conv2d/kernel", "dense_1/bias", "batch_normalization/gamma"} <= set(recorder.sizes)
    assert all(len(sizes) == 6 for sizes in recorder.sizes.values())

    model = Sequential([Input((3,)), Dense(2)], dtype="float64", kernels="reference")
    model.compile("sgd", "mse")
    x, y = np.ones((4, 3)), np.zeros((4, 2))
    expected = model.trace(x, y)["dense"].dweight
    one = plots.GradientRecorder()
    model.fit(x, y, 4, 1, callbacks=[one], verbose=0)
    assert np.isclose(one.sizes["dense/kernel"][0], np.sqrt(np.mean(expected**2)), rtol=1e-12)
    with pytest.raises(ValueError, match="nothing recorded"):
        plots.gradient_flow(plots.GradientRecorder())


@pytest.mark.parametrize("last", ["inside", "own layer", "none"])
def test_saliency_is_the_gradient_of_the_score(last):
    """By moving pixels; the score is the logit, wherever the softmax stands."""
    ends = {
        "inside": [Dense(3, activation="softmax")],
        "own layer": [Dense(3), Activation("softmax")],
        "none": [Dense(3)],
    }
    layers = [Conv2D(2, 3, activation="tanh"), Flatten(), *ends[last]]
    model = Sequential([Input((5, 4, 1)), *layers], dtype="float64", kernels="reference", seed=1)
    image = np.random.default_rng(0).random((5, 4))
    shown = images(plots.saliency(model, image, label=2))[1]

    def score(x):
        y = model.layers[0].forward(x[None, :, :, None]).reshape(1, -1)
        return (y @ model.layers[2].params["kernel"] + model.layers[2].params["bias"])[0, 2]

    for place in np.ndindex(5, 4):
        up, down = image.copy(), image.copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        assert abs(shown[place] - abs(score(up) - score(down)) / 2e-5) < 1e-8
    assert all(layer.grads == {} for layer in model.layers)
    with pytest.raises(ValueError, match="label=3"):
        plots.saliency(model, image, label=3)


def test_grad_cam_weighs_the_maps_by_their_gradients():
    """Conv, Flatten, Dense: the gradient of a map is the dense kernel itself."""
    model = Sequential(
        [Input((6, 6, 1)), Conv2D(3, 3), Flatten(), Dense(2, activation="softmax")],
        dtype="float64", kernels="reference", seed=2,
    )  # fmt: skip
    image = np.random.default_rng(0).random((6, 6))
    maps = model.layers[0].forward(image[None, :, :, None])[0]
    kernel = model.layers[2].params["kernel"].reshape(4, 4, 3, 2)
    speaks = np.maximum((maps[..., None] * kernel.mean(axis=(0, 1))).sum(axis=2), 0)  # (4,4,2)
    label = int(speaks.max(axis=(0, 1)).argmax())
    expected = speaks[:, :, label]
    assert expected.max() > 0
    shown = images(plots.grad_cam(model, image, label=label))[1]
    assert np.allclose(shown, expected / expected.max(), atol=1e-12)
    likely = int(model.predict(image[None])[0].argmax())
    assert f"for {likely} in conv2d" in plots.grad_cam(model, image).axes[1].get_title()


def test_a_map_is_enlarged_between_the_centres_of_its_cells():
    big = enlarged(np.array([[0.0, 1.0], [2.0, 3.0]]), (4, 4))
    assert np.allclose(big[0], [0, 0.25, 0.75, 1]) and np.allclose(big[:, 0], [0, 0.5, 1.5, 2])
    assert np.array_equal(enlarged(np.ones((3, 2)), (7, 5)), np.ones((7, 5)))


def numbers(axis, rows, columns):
    """The numbers written into a table of cells."""
    table = np.full((rows, columns), "", object)
    for text in axis.texts:
        c, r = text.get_position()
        if r < rows and c < columns:
            table[int(r), int(c)] = text.get_text()
    return table


@pytest.mark.parametrize("window", [SAME, sliding_window((5, 5), (3, 3)),
                                    sliding_window((6, 5), (2, 2), dilation=(3, 2))])  # fmt: skip
def test_im2col_draws_the_matrix_of_the_kernels(window):
    """One more than the pixel's number, so that padding is 0 for im2col itself too."""
    pixels = np.arange(1.0, window.H * window.W + 1).reshape(1, window.H, window.W, 1)
    matrix = reference.im2col(pixels, window)
    figure = plots.im2col(window, place=1)
    left, right = figure.axes
    expected = np.where(matrix == 0, "0", (matrix - 1).astype(int).astype(str))
    assert np.array_equal(numbers(right, *matrix.shape), expected)
    framed = [p.get_xy() for p in left.patches if p.get_linewidth() > 2]
    assert len(framed) == window.KH * window.KW
    (row,) = [p for p in right.patches if p.get_linewidth() > 2]
    assert row.get_xy() == (0, 1) and row.get_width() == matrix.shape[1]
    hatched = [p for p in right.patches if p.get_hatch()]
    words = figure._supxlabel.get_text()
    star = int(words.split("pixel ")[1].split()[0])
    assert len(hatched) == (matrix == star + 1).sum() and f"({len(hatched)})" in words


@pytest.mark.parametrize("window, place", [(sliding_window((9, 9), (2, 2)), None), (SAME, 6)])
def test_im2col_refuses_what_cannot_be_drawn(window, place):
    with pytest.raises(ValueError, match=r"im2col: .*expected"):
        plots.im2col(window, place)


def test_network_pass_writes_every_number(tiny):
    _, trace = tiny
    (axis,) = plots.network_pass(trace, sample=1).axes
    written = [text.get_text() for text in axis.texts]
    for word in ("input", "conv2d", "relu", "max_pooling2d", "dense", "softmax", "dweight"):
        assert word in written
    short = [f"{v:.2f}".replace("0.", ".") for v in trace["dense"].dweight.ravel()]
    assert all(s.replace("-.00", ".00") in written or s == ".00" for s in short)
    prediction = [f"{p:.2f}".replace("0.", ".") for p in trace.prediction[1]]
    assert all(p in written for p in prediction)
    assert any(f"sample 1, true class 2: loss {trace.losses[1]:.4f}" in text for text in written)
    assert any("dx = col2im(dz @ kernel^T)" in text.replace("\xa0", " ") for text in written)


def test_network_pass_refuses_what_cannot_be_read(tiny, trained, digits):
    with pytest.raises(ValueError, match=r"print\(trace\) shows any"):
        plots.network_pass(trained[0].trace(*digits))
    with pytest.raises(ValueError, match="sample=2"):
        plots.network_pass(tiny[1], sample=2)
