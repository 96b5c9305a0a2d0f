"""Pictures of extremes: long names, many classes and layers, one pixel, NaN; and bad arguments."""

import warnings

import numpy as np
import pytest

from nanocnn import Activation, Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential, plots
from support.pictures import assert_readable, words

GARMENTS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
            "Bag", "Ankle boot"]  # fmt: skip
rng = np.random.default_rng(0)


def network(shape, *layers):
    model = Sequential([Input(shape), *layers], kernels="reference", seed=1)
    with warnings.catch_warnings(action="ignore"):  # a last layer that is no softmax is said
        model.compile("adam", "sparse_categorical_crossentropy")
    return model


def small(shape, filters=3, **options):
    return network(
        shape, Conv2D(filters, 3, activation="relu", **options), MaxPooling2D(2), Flatten(),
        Dense(3, activation="softmax"),
    )  # fmt: skip


def titles(figure):
    return [axis.get_title() for axis in figure.axes]


# --- network_pass ---


@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [
        ((8, 8, 1), {}, {"y\nchannel 0 of 3", "kernel\nfilter 0 of 3", "kernel\nrows 0-11 of 27"}),
        ((6, 6, 2), {}, {"x\nchannel 0 of 2", "kernel\nchannel 0 of 2\nfilter 0 of 3"}),
        ((8, 8, 3), {"padding": "same"}, {"dx\nchannel 0 of 3"}),
        ((6, 6, 1), {"filters": 1}, {"y", "kernel"}),
    ],
)
def test_network_pass_says_what_is_left_out(shape, options, said):
    model = small(shape, **options)
    figure = plots.network_pass(model.trace(rng.random((2, *shape)), [1, 2]))
    assert_readable(figure, width=1200, height=1600)
    assert said <= {text.get_text() for text in words(figure)}


def test_network_pass_of_one_pixel_of_long_names_and_of_nan():
    one = network((1, 1, 1), Flatten(), Dense(2, activation="softmax"))
    assert_readable(plots.network_pass(one.trace(np.ones((2, 1, 1, 1)), [0, 1])))
    name = "a_convolution_with_a_long_name"
    long = network((6, 6, 1), Conv2D(1, 3, name=name), Flatten(), Dense(2, activation="softmax"))
    assert_readable(plots.network_pass(long.trace(np.ones((2, 6, 6, 1)), [0, 1])), 1200, 1600)
    long.layers[0].params["kernel"][0, 0] = np.nan
    with np.errstate(invalid="ignore"):
        figure = plots.network_pass(long.trace(np.ones((2, 6, 6, 1)), [0, 1]))
    assert "nan" in [text.get_text() for text in words(figure)]


# --- Names of classes ---


def test_long_names_in_a_prediction_grid():
    y = np.arange(30) % 10
    for predictions in (y, (y + 7) % 10, np.eye(10)[(y + 7) % 10]):
        figure = plots.prediction_grid(rng.random((30, 8, 8)), y, predictions, 10, GARMENTS)
        assert_readable(figure)
        assert len([axis for axis in figure.axes if axis.images]) == 30
    assert "× Trouser,\nis Coat" in titles(figure) and "× Sneak…\nis T-shir…" in titles(figure)
    many = plots.prediction_grid(rng.random((20, 4, 4, 3)), y[:20], y[:20] ^ 1, 20, GARMENTS)
    assert_readable(many)
    assert_readable(plots.prediction_grid(rng.random((1, 1, 1)), [0], [3], 1, GARMENTS))
    assert_readable(plots.prediction_grid(rng.random((40, 4, 4)), np.arange(40) % 10, [1] * 40, 20))


@pytest.mark.parametrize("classes", [1, 2, 10, 26, 47, 100])
@pytest.mark.parametrize("name", ["{}", "class {}", "one of the many classes that is called {}"])
def test_many_classes_and_long_names_in_a_confusion_matrix(classes, name):
    true = np.arange(max(300, 3 * classes)) % classes
    guessed = np.where(rng.random(len(true)) < 0.8, true, rng.integers(0, classes, len(true)))
    figure = plots.confusion_matrix(true, guessed, [name.format(k) for k in range(classes)])
    assert_readable(figure, height=810)
    cells = np.count_nonzero(np.bincount(true * classes + guessed))
    written = len(figure.axes[0].texts)
    assert (
        written == cells
        if classes <= 26
        else written in (0, cells)
        if classes < 100
        else not written
    )
    assert len(figure.axes) == (1 if written else 2)  # with a bar that explains the shades
    labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert len(labels) >= min(classes, 24) and name.format(0)[:6] in labels[0]


# --- What is inside ---


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("most", "drawn"), [(50, 50), (17, 17), (1, 1), (99, 50)])
def test_as_many_filters_as_were_asked_for(channels, most, drawn):
    model = network((6, 6, channels), Conv2D(50, 3), Flatten(), Dense(2))
    figure = plots.filters(model, most=most)
    images = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(images) == drawn * channels
    kernel = model.layers[0].params["kernel"]
    assert np.array_equal(images[min(drawn, 16 if channels > 1 else 50) - 1],
                          kernel[:, :, 0, min(drawn, 16 if channels > 1 else 50) - 1])  # fmt: skip
    count = f"{drawn} of 50" if drawn < 50 else "50"
    assert figure._suptitle.get_text().startswith(f"conv2d: {count} filters of 3×3")
    if drawn < 50:
        assert_readable(figure)


def test_activations_say_how_many_of_the_maps_are_shown():
    model = network((8, 8, 3), Conv2D(50, 3), Flatten(), Dense(30), Dense(3))
    figure = plots.activations(model, rng.random((8, 8, 3)))
    assert_readable(figure)
    labels = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
    assert labels == ["input_layer\n8×8×3", "conv2d\n6×6×50\n8 of 50 maps", "dense\n30",
                      "dense_1\n3"]  # fmt: skip
    assert sum(bool(axis.images) for axis in plots.activations(model, np.ones((8, 8, 3)), 50).axes)
    figure = plots.activations(model, rng.random((8, 8, 3)), most=50)
    assert sum(bool(axis.images) for axis in figure.axes) == 3 + 50 + 1


def test_one_pixel_and_numbers_that_are_not_finite():
    one = network((1, 1, 1), Conv2D(3, 1), Flatten(), Dense(2, activation="softmax"))
    for image in (np.ones((1, 1)), np.ones((1, 1, 1)), np.zeros((1, 1, 1, 1))):
        assert_readable(plots.activations(one, image))
        assert_readable(plots.saliency(one, image))
        assert_readable(plots.grad_cam(one, image, label=1))
    assert_readable(plots.filters(one))
    one.layers[0].params["kernel"][..., 0] = np.nan
    assert "not all are finite" in plots.filters(one)._suptitle.get_text()
    with np.errstate(invalid="ignore"):
        figure = plots.activations(one, np.ones((1, 1)))
        for picture in (plots.saliency, plots.grad_cam):
            with pytest.raises(ValueError, match=r"scores of this image.* nan"):
                picture(one, np.ones((1, 1)))
    assert "conv2d\n1×1×3\nnot all finite" in [axis.get_ylabel() for axis in figure.axes]


@pytest.mark.parametrize("change", ["dead", "against", "no maps"])
def test_a_map_with_nothing_in_it_says_why(change):
    model = network((9, 9, 1), Conv2D(3, 3, activation="relu"), Conv2D(3, 3, activation="relu"),
                    Flatten(), Dense(4, activation="softmax"))  # fmt: skip
    params = [layer.params for layer in model.layers]
    if change == "dead":
        params[1]["bias"][...] = -99
    elif change == "no maps":
        params[0]["bias"][...] = -99
        params[1]["bias"][...] = 1
    else:
        params[1]["kernel"][...], params[3]["kernel"][...] = 1, -1
    figure = plots.grad_cam(model, rng.random((9, 9)), label=2, layer="conv2d")
    assert_readable(figure)
    assert titles(figure)[:3] == ["image", "no evidence for 2 in conv2d", "no contours"]
    reason = {"dead": "gradient is 0", "against": "negative", "no maps": "all of its maps are 0"}
    (text,) = figure.axes[1].texts
    assert reason[change] in text.get_text()
    picture = figure.axes[1].images[0]
    assert not picture.get_array().any() and picture.get_clim() == (0, 1)  # white, not grey
    if change == "dead":
        figure = plots.saliency(model, rng.random((9, 9)), label=2)
        assert titles(figure)[1] == "no pixel affects the score of 2"
        assert_readable(figure)


# --- Gradients of deep networks ---


@pytest.fixture(scope="module")
def deep():
    """30 layers, and the gradients of their training."""
    layers = [Dense(5, activation="tanh") for _ in range(29)]
    model = network((4,), *layers, Dense(3), Activation("softmax"))
    recorder = plots.GradientRecorder(1)
    x, y = rng.random((40, 4)), np.arange(40) % 3
    model.fit(x, y, 10, 2, callbacks=[recorder], verbose=0)
    return model, recorder, x, y


def test_gradient_flow_of_30_layers(deep):
    model, recorder, x, y = deep
    figure = plots.gradient_flow(recorder)
    assert_readable(figure)  # which wants all styles to differ
    lines = figure.axes[1].get_lines()
    assert len(lines) == 30 and [line.get_label() for line in lines][-1] == "dense_29"
    assert_readable(plots.gradient_flow(model.trace(x, y)))


def test_gradient_flow_says_what_a_logarithm_cannot_show(deep):
    model, recorder, x, y = deep
    trace = model.trace(x, y)
    trace["dense_3"].grads["kernel"][...] = 0
    trace["dense_4"].grads["kernel"][...] = np.nan
    figure = plots.gradient_flow(trace)
    assert_readable(figure)
    dweight = figure.axes[0].get_lines()[2]
    assert dweight.get_label() == "kernel: dweight *" and len(dweight.get_xdata()) == 28
    assert figure._supxlabel.get_text() == "* not drawn where it is 0 or not finite"
    recorder.sizes["dense/kernel"] = [0.0, *recorder.sizes["dense/kernel"][1:]]
    figure = plots.gradient_flow(recorder)
    assert [line.get_label() for line in figure.axes[1].get_lines()][:2] == ["dense *", "dense_1"]
    recorder.sizes["dense/kernel"].append(1.0)
    with pytest.raises(ValueError, match="a new GradientRecorder for each model"):
        plots.gradient_flow(recorder)


def test_training_curves_of_many_metrics_and_of_nan():
    names = ["loss", "accuracy", "top_k_categorical_accuracy", "mean_absolute_error", "auc"]
    names += [f"val_{name}" for name in names[:3]] + ["learning_rate"]
    figure = plots.training_curves({name: list(rng.random(200)) for name in names})
    assert_readable(figure)
    assert len([axis for axis in figure.axes if axis.axison]) == 5
    figure = plots.training_curves({"loss": [1.0, float("nan"), float("nan")]})
    assert_readable(figure)
    assert figure.axes[0].get_lines()[0].get_label() == "training (nan in epoch 2)"
    assert_readable(plots.training_curves({"loss": [1.0, 2.0], "a_metric_" * 9: [1.0, 2.0]}))


# --- What is no history, no model, no image ---

MODEL = small((8, 8, 1))
TRACE = MODEL.trace(rng.random((2, 8, 8, 1)), [1, 2])
IMAGE, X = np.ones((8, 8)), np.ones((3, 8, 8))
FILM = plots.FilmstripRecorder(IMAGE)
MODEL.fit(rng.random((4, 8, 8, 1)), np.arange(4) % 3, callbacks=[FILM], verbose=0)
WRONG = {
    "training_curves": [(None,), (3,), ([1, 2],), ("loss",), ({"loss": 3.0},), ({"loss": None},),
                        ({"loss": ["a"]},), ({"val_loss": [1.0]},), (MODEL,)],
    "prediction_grid": [
        (None, [0], [0]), (X, None, [0, 1, 2]), (X, [0, 1, 2], None), (X, [0, 1], [0, 1, 2]),
        (X, [0, 1, 2], [0.5, 1, 2]), (X, [0, 1, -1], [0, 1, 2]), (X, ["a", "b", "c"], [0, 1, 2]),
        (X, [0, 1, 2], [0, 1, 2], 0), (X, [0, 1, 2], [0, 1, 2], None),
        (X, [0, 1, 2], [0, 1, 2], 21),
        (X, [0, 1, 2], [0, 1, 2], 3, ["one"]), (X, [0, 1, 2], [0, 1, 2], 3, 7),
        (np.ones((3, 8)), [0, 1, 2], [0, 1, 2]), (np.ones((3, 8, 8, 2)), [0, 1, 2], [0, 1, 2]),
        (X, [0, 1, 2], np.full((3, 4), np.nan)), (X, [0, 1, 2], np.ones((3, 4, 5))),
        (5, 5, 5), ([[1], [1, 2]], [0, 1], [0, 1]), (np.ones((2, 0, 4)), [0, 1], [0, 1]),
    ],
    "confusion_matrix": [(None, None), (3, 3), ([], []), ([0, 1], [0]), ([0], ["a"]), ([0], [-1]),
                         ([0], [1e12]), ([0], [np.nan]), ([0, 201], [0, 1]), ([0.5], [0]),
                         ([0, 1], [0, 1], ["a"])],
    "filters": [(None,), (3,), (MODEL, "dense"), (MODEL, "conv"), (MODEL, 3), (MODEL, None, 0),
                (MODEL, None, "all"), (Sequential([Conv2D(2, 3)]),), (Sequential([]),)],
    "activations": [(None, IMAGE), (MODEL, None), (MODEL, "x"), (MODEL, 3), (MODEL, X),
                    (MODEL, np.ones((7, 8))), (MODEL, IMAGE * np.nan), (MODEL, IMAGE, 0),
                    (MODEL, IMAGE, None), (Sequential([Conv2D(2, 3)]), IMAGE)],
    "saliency": [(None, IMAGE), (MODEL, None), (MODEL, IMAGE, 3), (MODEL, IMAGE, "1"),
                 (MODEL, IMAGE, -1), (MODEL, IMAGE, 1.5), (MODEL, IMAGE, True), (MODEL, X),
                 (small((8, 8, 1)).layers, IMAGE), (network((4,), Dense(3)), np.ones(4)),
                 (network((4, 4, 1), Conv2D(1, 3)), np.ones((4, 4)))],
    "grad_cam": [(None, IMAGE), (MODEL, None), (MODEL, IMAGE, 9), (MODEL, IMAGE, "1"),
                 (MODEL, IMAGE, 0, "dense"), (MODEL, IMAGE, 0, "conv"), (MODEL, IMAGE, 0, 7),
                 (network((4, 4, 1), Flatten(), Dense(3)), np.ones((4, 4)))],
    "gradient_flow": [(None,), (3,), (MODEL,), ({"loss": [1]},), (plots.GradientRecorder(),)],
    "GradientRecorder": [(0,), (None,), ("2",), (1.5,)],
    "FilmstripRecorder": [(IMAGE, -1), (IMAGE, 1.5), (IMAGE, "1"), (IMAGE, True)],
    "filmstrip": [(None,), (3,), (MODEL,), (TRACE,), (plots.GradientRecorder(),),
                  (plots.FilmstripRecorder(IMAGE),), (FILM, "a.bmp"), (FILM, "a"), (FILM, ""),
                  (FILM, 3)],
    "im2col": [(None,), (3,), ((3, 3),)],
    "network": [(None,), (3,), (MODEL, 3), (MODEL, "a.bmp"), (MODEL, "")],
    "network_pass": [(None,), (MODEL,), (TRACE, 2), (TRACE, -1), (TRACE, None), (TRACE, "0")],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_bad_arguments_are_value_errors_that_say_what_was_expected(name):
    for arguments in WRONG[name]:
        with pytest.raises(ValueError) as caught:
            getattr(plots, name)(*arguments)
        words = str(caught.value)
        assert any(w in words for w in ("expected", "known", "nothing recorded", "no Conv2D",
                                        "labels and", "no weights")), words  # fmt: skip


def test_every_picture_is_tried_with_bad_arguments():
    assert set(WRONG) == set(plots.__all__)
