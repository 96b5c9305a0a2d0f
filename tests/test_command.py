"""python -m nanocnn: every command, its help, and one line for every error."""

import re
import subprocess
import sys

import mnist_folder
import numpy as np
import pytest
from PIL import Image

from nanocnn import Dense, Flatten, Input, Sequential, load_model, presets
from nanocnn.__main__ import main
from nanocnn.data import mnist

COMMANDS = ("train", "evaluate", "predict", "inspect", "gradcheck", "bench")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(mnist_folder.write(tmp_path_factory.mktemp("data") / "few", 120, 60))


@pytest.fixture(scope="module")
def model(tmp_path_factory, data):
    """A saved model that was trained for two epochs by `train`."""
    out = tmp_path_factory.mktemp("out")
    options = ["--model", "two-block", "--data", data, "--epochs", "2", "--kernels", "reference"]
    assert main(["train", *options, "--out", str(out)]) == 0
    assert (out / "training_curves.png").exists()
    return str(out / "checkpoint.npz")


def test_help_names_every_command_in_words(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^    {command}\s+\w+", out, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_without_jargon(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: python -m nanocnn {command}")
    for line in re.findall(r"^  (--?[a-z-]+|[A-Z]+).*\n((?: {8,}.*\n)*)", out, re.M):
        assert line  # every argument is followed by its explanation
    assert "options:" in out


def test_evaluate_is_what_train_said(model, data, capsys):
    assert main(["evaluate", model, "--data", data, "--kernels", "reference"]) == 0
    out = capsys.readouterr().out
    _, (x, y) = mnist.load(data, verbose=False)
    loss, accuracy = load_model(model, "reference").evaluate(x, np.eye(10)[y])
    assert f"test loss {loss:.4f}, test accuracy {accuracy:.2%}" in out


def test_evaluate_compiles_a_model_that_is_not(data, tmp_path, capsys):
    plain = Sequential(
        [Input((28, 28, 1)), Flatten(), Dense(10, activation="softmax")], kernels="reference"
    )
    plain.save(tmp_path / "plain.npz")
    arguments = [str(tmp_path / "plain.npz"), "--data", data, "--kernels", "reference"]
    assert main(["evaluate", *arguments]) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_train_goes_on(model, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(presets, "draw", lambda *arguments: [])
    options = ["--model", "two-block", "--data", data, "--kernels", "reference"]
    options += ["--out", str(tmp_path)]
    assert main(["train", *options, "--epochs", "1"]) == 0
    assert main(["train", *options, "--epochs", "2", "--resume"]) == 0
    assert "Epoch 2/2" in capsys.readouterr().out
    with open(model, "rb") as whole:
        assert (tmp_path / "checkpoint.npz").read_bytes() == whole.read()
    assert main(["train", *options, "--epochs", "1", "--require-accuracy", "1.01"]) == 1


def test_predict(model, tmp_path, capsys):
    image = np.full((60, 60), 240, np.uint8)
    image[10:50, 28:33] = 20  # a one
    Image.fromarray(image).save(tmp_path / "one.png")
    assert main(["predict", model, str(tmp_path / "one.png"), "--kernels", "reference"]) == 0
    assert re.fullmatch(r".*one\.png: \d \(.*%\), then .*\n", capsys.readouterr().out)


def test_inspect_shows_layers_stages_and_statistics(model, capsys):
    assert main(["inspect", model, "--kernels", "reference"]) == 0
    out = capsys.readouterr().out
    loaded = load_model(model, "reference")
    assert "conv2d_1 (Conv2D)" in out and loaded.plan().splitlines()[0] in out
    kernel = loaded.weights["dense/kernel"]
    (line,) = re.findall(r"^dense/kernel +\(1600, 64\) .*$", out, re.M)
    for number in (kernel.mean(), kernel.std(), kernel.min(), kernel.max()):
        assert f"{number:+.4f}" in line
    assert "compiled with Adam and CategoricalCrossentropy, 2 steps made" in out
    assert re.search(r"^val_accuracy after 2 epochs: 0\.\d{4}$", out, re.M)


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_gradcheck_of_every_preset(preset, capsys):
    assert main(["gradcheck", preset, "--kernels", "reference"]) == 0
    out = capsys.readouterr().out
    assert "dL/d conv2d/kernel" in out and "all gradients are right" in out


def test_gradcheck_of_a_saved_model_and_of_a_wrong_one(model, monkeypatch, capsys):
    assert main(["gradcheck", model, "--kernels", "reference"]) == 0
    assert "all gradients are right" in capsys.readouterr().out
    backward = Flatten._backward
    monkeypatch.setattr(Flatten, "_backward", lambda *args: 1.001 * backward(*args))
    assert main(["gradcheck", model, "--kernels", "reference"]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_bench(capsys):
    assert main(["bench", "simple", "--seconds", "0.2", "--batch-size", "8"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^simple, 8 images a batch, \d+ threads, ", out, re.M)
    for row in ("training step", "prediction"):
        assert re.search(rf"^{row} +\d+\.\d\d ms +\d+\.\d\d ms +\d+\.\d times as fast", out, re.M)
    assert "benchmarks/training.py" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "missing.npz"], "No such file or directory: 'missing.npz'"),
        (["inspect", "model.pkl"], "model.pkl: unknown kind of model file"),
        (["predict", "missing.npz", "missing.png"], "No such file or directory: 'missing.png'"),
        (["gradcheck", "lenett"], "unknown preset 'lenett'; did you mean 'lenet'?"),
        (["evaluate", "missing.h5"], "No such file or directory: 'missing.h5'"),
        (["train", "--data", "nowhere"], "nowhere is not a folder"),
        (["bench", "--batch-size", "0"], "batch_size"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"nanocnn {arguments[0]}: ") and message in err
    assert len(err.splitlines()) == 1


def test_as_a_program():
    command = [sys.executable, "-m", "nanocnn"]
    done = subprocess.run([*command, "inspect", "x.npz"], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "COMMAND" in done.stderr


def test_ctrl_c_gives_130(monkeypatch, capsys):
    def press(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("nanocnn.__main__.load_model", press)
    assert main(["inspect", "a.npz"]) == 130
