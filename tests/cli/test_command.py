"""python -m nanocnn: every command, its help, and one line for every error."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nanocnn import Dense, Flatten, Input, Sequential, load_model, presets
from nanocnn.cli import main, training
from nanocnn.data import mnist
from support import mnist_folder

COMMANDS = (
    "train", "evaluate", "predict", "inspect", "gradcheck", "explore", "bench", "doctor",
)  # fmt: skip


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


def test_evaluate_prints_what_train_printed(model, data, capsys):
    assert main(["evaluate", model, "--data", data, "--kernels", "reference"]) == 0
    out = capsys.readouterr().out
    _, (x, y) = mnist.load(data, verbose=False)
    loss, accuracy = load_model(model, kernels="reference").evaluate(x, np.eye(10)[y])
    assert f"test loss {loss:.4f}, test accuracy {accuracy:.2%}" in out


def test_evaluate_compiles_an_uncompiled_model(data, tmp_path, capsys):
    plain = Sequential(
        [Input((28, 28, 1)), Flatten(), Dense(10, activation="softmax")], kernels="reference"
    )
    plain.save(tmp_path / "plain.npz")
    arguments = [str(tmp_path / "plain.npz"), "--data", data, "--kernels", "reference"]
    assert main(["evaluate", *arguments]) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_train_resumes(model, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "draw", lambda *arguments: [])
    options = ["--model", "two-block", "--data", data, "--kernels", "reference"]
    options += ["--out", str(tmp_path)]
    assert main(["train", *options, "--epochs", "1"]) == 0
    assert main(["train", *options, "--epochs", "2", "--resume"]) == 0
    assert "Epoch 2/2" in capsys.readouterr().out
    with open(model, "rb") as whole:
        assert (tmp_path / "checkpoint.npz").read_bytes() == whole.read()
    assert main(["train", *options, "--epochs", "1", "--require-accuracy", "1"]) == 1


@pytest.fixture
def resumable(data, tmp_path, monkeypatch):
    """Options to train in a folder that holds the checkpoint of one epoch of `simple`."""
    monkeypatch.setattr(training, "draw", lambda *arguments: [])
    options = ["train", "--data", data, "--kernels", "reference", "--out", str(tmp_path / "r")]
    assert main([*options, "--epochs", "1", "--seed", "3", "--batch-size", "60"]) == 0
    return options


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--model", "lenet"], "holds 'simple', not 'lenet'"),
        (["--optimizer", "sgd"], "was trained with optimizer adam, not sgd: omit --optimizer"),
        (["--seed", "0"], "was trained with seed 3, not 0: omit --seed"),
        (["--epochs", "1"], "was saved after epoch 1, expected --epochs 2 or more, got 1"),
        (["--data", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_options_that_contradict_the_checkpoint_are_refused(
    asked, message, resumable, tmp_path, capsys
):
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    capsys.readouterr()
    epochs = [] if "--epochs" in asked else ["--epochs", "2"]
    assert main([*resumable, "--resume", *epochs, *asked]) == 2
    out, err = capsys.readouterr()
    assert message in err and len(err.splitlines()) == 1 and "Epoch" not in out
    assert {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before


def test_a_resumed_training_takes_network_optimizer_and_seed_from_its_checkpoint(
    resumable, data, tmp_path, capsys
):
    agreeing = ["--model", "simple", "--optimizer", "Adam", "--seed", "3", "--batch-size", "60"]
    assert main([*resumable, "--resume", "--epochs", "2", *agreeing]) == 0
    assert "--resume: " not in capsys.readouterr().out
    assert main([*resumable, "--resume", "--epochs", "3"]) == 0  # --batch-size 128
    out = capsys.readouterr().out
    assert (
        "the checkpoint made 4 steps in 2 epochs, but an epoch now has 1: batch size or data differ"
        in out
    )
    lenet = [*resumable[:-1], str(tmp_path / "other"), "--batch-size", "120"]
    assert main([*lenet, "--model", "two-block", "--optimizer", "sgd", "--epochs", "1"]) == 0
    assert main([*lenet, "--resume", "--epochs", "2"]) == 0
    assert not (tmp_path / "other" / "mnist_simple.h5").exists()
    resumed = load_model(tmp_path / "other" / "mnist_two_block.h5", kernels="reference")
    assert type(resumed.optimizer).__name__ == "SGD" and resumed.name == "two-block"


def test_a_checkpoint_of_another_network_or_of_none_is_not_resumed(resumable, tmp_path, capsys):
    path = tmp_path / "r" / "checkpoint.npz"
    layers = [Input((28, 28, 1)), Flatten(), Dense(10, activation="softmax")]
    other = Sequential(layers, name="simple", kernels="reference")
    other.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    uncompiled = Sequential(presets.simple(), name="simple", kernels="reference")
    mse = presets.build("simple", kernels="reference")
    mse.compile("adam", "mse", metrics=["accuracy"])
    metrics = presets.build("simple", kernels="reference")
    metrics.compile("adam", metrics.loss, metrics=["mae"])
    for model in (
        other,
        Sequential(presets.simple(), name="mine", kernels="reference"),
        uncompiled,
        mse,
        metrics,
    ):
        model.save(path)
        assert main([*resumable, "--resume"]) == 2
        err = capsys.readouterr().err
        assert f"holds a model {model.name!r} that differs from the preset" in err
    path.write_bytes(b"no model")
    assert main([*resumable, "--resume"]) == 2
    path.unlink()
    assert main([*resumable, "--resume"]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert f"No such file or directory: '{path}'" in err and "without --resume" in err


def test_ctrl_c_names_a_checkpoint_of_this_training(resumable, monkeypatch, capsys):
    def press(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Sequential, "fit", press)
    assert main([*resumable, "--model", "lenet"]) == 130  # the one in --out is of `simple`
    assert "to resume" not in capsys.readouterr().out
    assert main([*resumable, "--resume"]) == 130
    assert "to resume: python -m nanocnn " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "-1"], "epochs=-1, expected an integer of at least 1"),
        (["--batch-size", "0"], "batch_size=0, expected an integer of at least 1"),
        (["--seed", "-1"], "seed=-1, expected an integer of at least 0"),
        (["--require-accuracy", "2"], "require_accuracy=2.0, expected a number from 0 to 1"),
        (["--require-accuracy", "nan"], "require_accuracy=nan, expected a number from 0 to 1"),
        (["--out", "file"], "--out file: cannot be written: "),
        (["--out", "file/below/it"], "--out file/below/it: cannot be written: "),
        (["--out", "/proc/results"], "--out /proc/results: cannot be written: "),
        (["--out", "folders"], "folders/checkpoint.npz is a folder"),
    ],
)
def test_bad_options_are_found_before_the_data_are_read(
    options, message, tmp_path, monkeypatch, capsys
):
    def load(*arguments):
        raise AssertionError("the data were read")

    monkeypatch.setattr(mnist, "load", load)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folders" / "checkpoint.npz").mkdir(parents=True)
    assert main(["train", *options, "--kernels", "reference"]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folders"}


def test_predict(model, tmp_path, capsys):
    image = np.full((60, 60), 240, np.uint8)
    image[10:50, 28:33] = 20  # a one
    Image.fromarray(image).save(tmp_path / "one.png")
    assert main(["predict", model, str(tmp_path / "one.png"), "--kernels", "reference"]) == 0
    assert re.fullmatch(r".*one\.png: \d \(.*%\), then .*\n", capsys.readouterr().out)


def test_inspect_shows_layers_stages_and_statistics(model, capsys):
    assert main(["inspect", model, "--kernels", "reference"]) == 0
    out = capsys.readouterr().out
    loaded = load_model(model, kernels="reference")
    assert "conv2d_1 (Conv2D)" in out and loaded.plan().splitlines()[0] in out
    kernel = loaded.weights["dense/kernel"]
    (line,) = re.findall(r"^dense/kernel +\(1600, 64\) .*$", out, re.M)
    for number in (kernel.mean(), kernel.std(), kernel.min(), kernel.max()):
        assert f"{number:+.4f}" in line
    assert "compiled with Adam and CategoricalCrossentropy, 2 training steps" in out
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
    assert re.search(r"^simple, 8 images per batch, \d+ threads, ", out, re.M)
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
        (["bench", "--seconds", "0"], "seconds=0.0, expected a number more than 0"),
        (["bench", "--seconds", "nan"], "seconds=nan, expected a number more than 0"),
        (["inspect", "folder.npz"], "folder.npz: a folder; expected a file"),
        (["evaluate", "text.npz"], "text.npz: "),
        (["gradcheck", "text.h5"], "text.h5: "),
        (["inspect", "text.keras"], "text.keras: "),
        (["predict", "text.npz", "folder.npz"], "folder.npz: expected an image, got a folder"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npz").mkdir()
    for ending in ("npz", "h5", "keras"):
        (tmp_path / f"text.{ending}").write_text("<html>no model</html>")
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


def test_a_closed_pipe_ends_the_command_without_a_traceback(model):
    command = [sys.executable, "-m", "nanocnn", "inspect", model, "--kernels", "reference"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 1


def test_ctrl_c_gives_130(monkeypatch, capsys):
    def press(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("nanocnn.cli.commands.load_model", press)
    assert main(["inspect", "a.npz"]) == 130
