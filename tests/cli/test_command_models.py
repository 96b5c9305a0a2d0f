"""python -m nanocnn with models from anywhere: what they were compiled with, take and give."""

import json
import re

import h5py
import numpy as np
import pytest
from PIL import Image, ImageDraw

from nanocnn import (
    CategoricalCrossentropy,
    Conv2D,
    Dense,
    Flatten,
    Input,
    Sequential,
    SparseCategoricalCrossentropy,
    load_model,
)
from nanocnn.cli import main
from nanocnn.data import mnist
from nanocnn.data.photo import read_digit
from support import mnist_folder

X, Y = (array[:60] for array in mnist.sample()[1])
REFERENCE = ("--kernels", "reference")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(mnist_folder.write(tmp_path_factory.mktemp("data") / "few", 120, 60))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A drawn seven."""
    image = Image.new("L", (90, 90), 255)
    ImageDraw.Draw(image).line([(20, 15), (65, 15), (45, 75)], fill=0, width=8)
    path = tmp_path_factory.mktemp("photo") / "seven.png"
    image.save(path)
    return str(path)


def flat(shape=(28, 28, 1), units=10, activation="softmax", scale=1):
    """A model whose kernel is `scale` times as large as it began."""
    layers = [Input(shape), *[Flatten()] * (len(shape) > 1), Dense(units, activation=activation)]
    model = Sequential(layers, seed=3, kernels="reference")
    kernel, bias = model.get_weights()
    model.set_weights([kernel * scale, bias])
    return model


def run(capsys, command, model, *arguments, folder, expect=0, ending="npz"):
    """Save the model, run the command on it, return what it printed and the error."""
    path = folder / f"model.{ending}"
    model.save(path)
    assert main([command, str(path), *map(str, arguments), *REFERENCE]) == expect
    return capsys.readouterr()


SPARSE, ONE_HOT = "sparse_categorical_crossentropy", "categorical_crossentropy"


@pytest.mark.parametrize("ending", ["npz", "h5", "keras"])
@pytest.mark.parametrize(
    ("loss", "metrics"),
    [
        (SPARSE, None),
        (SPARSE, ["accuracy"]),
        (SPARSE, ["mae"]),
        (SPARSE, ["mae", "acc", "accuracy", "mse"]),
        (ONE_HOT, ["top_k_categorical_accuracy"]),
        ("mse", ["sparse_categorical_accuracy"]),
        (SparseCategoricalCrossentropy(from_logits=True), None),
        (CategoricalCrossentropy(from_logits=True), ["mae"]),
    ],
)
def test_evaluate_prints_the_true_accuracy(loss, metrics, ending, data, tmp_path, capsys):
    logits = getattr(loss, "from_logits", False)
    model = flat(activation=None if logits else "softmax", scale=5)
    model.compile("adam", loss, metrics=metrics)
    out = run(capsys, "evaluate", model, "--data", data, folder=tmp_path, ending=ending).out
    accuracy = (model.predict(X).argmax(axis=1) == Y).mean()
    values = np.atleast_1d(model.evaluate(X, Y if "sparse" in _name(loss) else np.eye(10)[Y]))
    assert f"test loss {values[0]:.4f}, test accuracy {accuracy:.2%}\n" in out
    others = [
        (name, value)
        for name, value in zip(metrics or (), values[1:], strict=True)
        if name != "accuracy"
    ]
    lines = re.findall(r"^test (\w+) (\d\.\d{4})$", out, re.M)
    assert lines == [(name, f"{value:.4f}") for name, value in others]


def _name(loss):
    return (loss if isinstance(loss, str) else type(loss).__name__).lower()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_evaluate_without_a_loss_prints_accuracy_only(activation, data, tmp_path, capsys):
    model = flat(activation=activation)
    out = run(capsys, "evaluate", model, "--data", data, folder=tmp_path).out
    accuracy = (model.predict(X).argmax(axis=1) == Y).mean()
    assert "accuracy only: the model has no loss" in out
    assert f"test accuracy {accuracy:.2%}\n" in out and "test loss" not in out


@pytest.mark.filterwarnings("ignore:opened to predict")
def test_a_model_with_an_unknown_optimizer_is_opened_to_predict(data, photo, tmp_path, capsys):
    model = flat()
    model.compile("adam", ONE_HOT)
    path = tmp_path / "model.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        training = json.loads(file.attrs["training_config"])
        training["optimizer_config"] = {"class_name": "Yogi", "config": {}}
        file.attrs["training_config"] = json.dumps(training)
    with pytest.warns(UserWarning, match="opened to predict: .*Yogi"):
        load_model(path)
    assert main(["predict", str(path), photo, *REFERENCE]) == 0
    assert re.fullmatch(r".*seven\.png: \d \(.*%\), then .*\n", capsys.readouterr().out)
    assert main(["inspect", str(path), *REFERENCE]) == 0
    assert "not compiled: " in capsys.readouterr().out
    assert main(["evaluate", str(path), "--data", data, *REFERENCE]) == 0
    out = capsys.readouterr().out
    assert "accuracy only: the model has no loss" in out
    assert f"test accuracy {(model.predict(X).argmax(axis=1) == Y).mean():.2%}" in out
    assert main(["gradcheck", str(path), *REFERENCE]) == 0


@pytest.mark.parametrize("ending", ["npz", "h5", "keras"])
def test_a_float64_model_is_saved_and_predicts(ending, data, photo, tmp_path, capsys):
    layers = [Input((28, 28, 1)), Flatten(), Dense(10, activation="softmax")]
    model = Sequential(layers, dtype="float64", kernels="reference")
    model.compile("adam", SPARSE)
    here = {"folder": tmp_path, "ending": ending}
    for command, arguments in (
        ("predict", [photo]),
        ("evaluate", ["--data", data]),
        ("gradcheck", []),
    ):
        run(capsys, command, model, *arguments, **here)
    assert "\n float64, reference kernels\n" in run(capsys, "inspect", model, **here).out


@pytest.mark.parametrize(
    "progress",
    [
        {"epoch": "x"},
        {"epoch": [1], "history": {}},
        {"epoch": 1, "history": 3},
        {"epoch": 1, "history": {"loss": ["a"]}},
    ],
)
def test_a_file_whose_progress_is_none_is_one_line_to_inspect(progress, tmp_path, capsys):
    model = flat()
    model.progress = progress
    err = run(capsys, "inspect", model, folder=tmp_path, expect=2).err
    assert len(err.splitlines()) == 1
    model.progress = {"epoch": 2, "history": {"loss": [], "mae": [0.5, 0.25]}}
    out = run(capsys, "inspect", model, folder=tmp_path).out
    assert "mae after 2 epochs: 0.2500\n" in out and "loss after" not in out


# --- What predict says ---


def said(capsys, model, photo, tmp_path, *arguments):
    out = run(capsys, "predict", model, photo, *arguments, folder=tmp_path).out
    return out.removeprefix(f"{photo}: ").rstrip("\n")


@pytest.mark.parametrize(
    "loss", [SparseCategoricalCrossentropy, CategoricalCrossentropy], ids=["sparse", "one-hot"]
)
def test_logits_are_shown_as_their_softmax_if_the_loss_says_so(loss, photo, tmp_path, capsys):
    model = flat(activation=None, scale=9)
    model.compile("adam", loss(from_logits=True))
    logits = model.predict(read_digit(photo)[np.newaxis])[0].astype(float)
    p = np.exp(logits) / np.exp(logits).sum()
    a, b, c = np.argsort(-p)[:3]
    expected = f"{a} ({p[a]:.1%}), then {b} ({p[b]:.1%}), {c} ({p[c]:.1%})"
    assert said(capsys, model, photo, tmp_path) == expected


def test_a_softmax_is_not_applied_to_probabilities(photo, tmp_path, capsys):
    model = flat(scale=9)
    best = model.predict(read_digit(photo)[np.newaxis]).max()
    for compiled in (False, True):
        if compiled:
            model.compile("adam", SPARSE)
        assert f"({best:.1%})" in said(capsys, model, photo, tmp_path)


@pytest.mark.parametrize("activation", [None, "sigmoid", "relu"])
def test_outputs_that_are_no_probabilities_have_no_per_cent_sign(
    activation, photo, tmp_path, capsys
):
    model = flat(activation=activation, scale=9)
    outputs = model.predict(read_digit(photo)[np.newaxis])[0].astype(float)
    best = int(outputs.argmax())
    for loss in (None, "mse"):
        if loss:
            model.compile("adam", loss)
        text = said(capsys, model, photo, tmp_path)
        assert text.startswith(f"{best} (output {outputs[best]:.4g}), then ") and "%" not in text


def test_one_output_and_other_numbers_of_classes(photo, tmp_path, capsys):
    text = said(capsys, flat(units=1, activation="sigmoid"), photo, tmp_path)
    assert re.fullmatch(
        r"output 0\.\d+ \(the model has a single output, not one for each digit\)", text
    )
    text = said(capsys, flat(units=2), photo, tmp_path)
    assert re.fullmatch(r"class \d \(\d+\.\d%\), then \d \(\d+\.\d%\)", text)
    text = said(capsys, flat(units=26), photo, tmp_path)
    assert re.fullmatch(r"class \d+ \(\d+\.\d%\), then \d+ \(\d+\.\d%\), \d+ \(\d+\.\d%\)", text)


# --- Inputs ---


@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1), (1, 784)])
def test_models_of_784_inputs_are_supported(shape, data, photo, tmp_path, capsys):
    model, square = flat(shape), flat()
    for each in (model, square):
        each.compile("adam", SPARSE, metrics=["accuracy"])
    for command, arguments in (
        ("predict", [photo]),
        ("evaluate", ["--data", data]),
    ):
        expected = run(capsys, command, square, *arguments, folder=tmp_path).out
        assert run(capsys, command, model, *arguments, folder=tmp_path).out == expected
    assert "dense/kernel  (784, 10)" in run(capsys, "inspect", model, folder=tmp_path).out
    assert "all gradients are right" in run(capsys, "gradcheck", model, folder=tmp_path).out


@pytest.mark.parametrize("shape", [(32, 32, 1), (28, 28, 3), (100,), (14, 56, 1)])
def test_other_inputs_are_refused_by_their_shape(shape, photo, tmp_path, capsys):
    model = flat(shape)
    words = re.escape(f"inputs of shape ({', '.join(map(str, shape))}), expected (28, 28, 1)")
    for command, arguments in (("predict", [photo]), ("evaluate", ["--data", "not looked for"])):
        err = run(capsys, command, model, *arguments, folder=tmp_path, expect=2).err
        assert re.search(words, err) and len(err.splitlines()) == 1
    run(capsys, "inspect", model, folder=tmp_path)


def test_outputs_that_fit_no_digits_are_refused_by_their_shape(photo, tmp_path, capsys):
    maps = Sequential([Input((28, 28, 1)), Conv2D(2, 3)], kernels="reference")
    for model, shape in ((flat(units=9), "(9)"), (flat(units=1), "(1)"), (maps, "(26, 26, 2)")):
        err = run(capsys, "evaluate", model, folder=tmp_path, expect=2).err
        assert f"outputs have shape {shape}, expected (10): one for each digit" in err
    err = run(capsys, "predict", maps, photo, folder=tmp_path, expect=2).err
    assert "outputs have shape (26, 26, 2), expected (K): one for each class" in err


@pytest.mark.parametrize("ending", ["npz", "h5", "keras"])
def test_pixels_go_from_0_to_1_unless_raw_ones_are_asked_for(ending, data, photo, tmp_path, capsys):
    model, raw = flat(activation=None), flat(activation=None, scale=1 / 255)
    for each in (model, raw):
        each.compile("adam", SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    for command, arguments in (("predict", [photo]), ("evaluate", ["--data", data])):
        here = {"folder": tmp_path, "ending": ending}
        expected = run(capsys, command, model, *arguments, **here).out
        got = run(capsys, command, raw, *arguments, "--raw-pixels", **here).out
        assert got == expected != run(capsys, command, raw, *arguments, **here).out
        raw.unit_range = False
        with pytest.warns(UserWarning, match="values beyond 1.5: --raw-pixels passes pixels as"):
            run(capsys, command, raw, *arguments, **here)
        raw.unit_range = None
