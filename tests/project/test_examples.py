"""The example scripts, run as a user runs them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nanocnn import load_model
from nanocnn.data import mnist
from nanocnn.presets import PRESETS
from support import mnist_folder
from support.scripts import EXAMPLES, run

PICTURES = ("training_curves.png", "predictions.png", "confusion_matrix.png", "filters.png")


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """120 digits to train on and 60 to test."""
    return mnist_folder.write(tmp_path_factory.mktemp("data") / "few", 120, 60)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which the `simple` preset was trained on 2,000 digits with the fast kernels."""
    folder = tmp_path_factory.mktemp("trained")
    data = mnist_folder.write(folder / "data", 2000, 200)
    command = [sys.executable, str(EXAMPLES / "train_mnist.py"), "--model", "simple"]
    command += ["--data", str(data), "--epochs", "4"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_train_prints_what_it_does_and_writes_model_checkpoint_and_pictures(trained):
    folder, out = trained
    assert f"mnist: 2,000 + 200 images from {folder / 'data'}" in out
    assert "conv2d (Conv2D)" in out and "Total params: 693,962 (" in out
    line = r"^Epoch \d/4 - .* images/s - accuracy: .* loss: .* val_accuracy: .* val_loss: "
    assert len(re.findall(line, out, re.M)) == 4
    (accuracy,) = re.findall(r"^test loss \d\.\d{4}, test accuracy (\d\d\.\d\d)%$", out, re.M)
    assert float(accuracy) > 80
    results = folder / "results" / "simple"
    assert (
        f"in {Path('results/simple')}: mnist_simple.h5, checkpoint.npz, {', '.join(PICTURES)}"
        in out
    )
    assert {file.name for file in results.iterdir()} == {
        "mnist_simple.h5", "checkpoint.npz", *PICTURES
    }  # fmt: skip
    for name in PICTURES:
        with Image.open(results / name) as picture:
            assert min(picture.size) >= 200
            assert np.ptp(np.asarray(picture.convert("L"))) > 200


def test_the_saved_model_is_the_one_that_was_trained(trained):
    folder, out = trained
    _, (x, y) = mnist.load(folder / "data", verbose=False)
    model = load_model(folder / "results/simple/mnist_simple.h5")
    loss, accuracy = model.evaluate(x, y)
    assert f"test loss {loss:.4f}, test accuracy {accuracy:.2%}" in out


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_and_is_saved_under_its_name(preset, few, tmp_path):
    options = ["--model", preset, "--data", few, "--epochs", 1, "--kernels", "reference"]
    run("train_mnist.py", *options, "--out", "here", folder=tmp_path)
    names = {"lenet": "mnist_LeNet.h5", "dropout": "cnn_model.h5", "record": "mnist_record.npz",
             "sprint": "mnist_sprint.npz"}  # fmt: skip
    name = names.get(preset, f"mnist_{preset.replace('-', '_')}.h5")
    model = load_model(tmp_path / "here" / name, kernels="reference")
    optimizers = {"dropout": "RMSprop", "record": "AdamW"}
    assert type(model.optimizer).__name__ == optimizers.get(preset, "Adam")


def test_options_reach_the_training(few, tmp_path):
    options = ["--model", "simple", "--data", few, "--epochs", 1, "--kernels", "reference",
               "--optimizer", "sgd", "--batch-size", 60, "--seed", 3]  # fmt: skip
    run("train_mnist.py", *options, folder=tmp_path)
    model = load_model(tmp_path / "results/simple/checkpoint.npz", kernels="reference")
    assert type(model.optimizer).__name__ == "SGD"
    assert model.optimizer.iterations == 2 and model.seed == 3


def test_resume_ends_with_the_same_bits(few, tmp_path):
    options = ["--model", "simple", "--data", few, "--kernels", "reference"]
    run("train_mnist.py", *options, "--epochs", 3, "--out", "whole", folder=tmp_path)
    run("train_mnist.py", *options, "--epochs", 1, "--out", "part", folder=tmp_path)
    done = run(
        "train_mnist.py", *options, "--epochs", 3, "--out", "part", "--resume", folder=tmp_path
    )
    assert "Epoch 1/3" not in done.stdout and "Epoch 2/3" in done.stdout
    resumed, whole = (tmp_path / out / "checkpoint.npz" for out in ("part", "whole"))
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_network_put_into_the_script_trains_and_resumes(few, tmp_path):
    source = (EXAMPLES / "train_mnist.py").read_text()
    for old, new in (
        ("preset.layers()", "[Input((28, 28, 1)), Flatten(), Dense(10, activation='softmax')]"),
        ("from nanocnn import ", "from nanocnn import Dense, Flatten, Input, "),
    ):
        assert source.count(old) == 1
        source = source.replace(old, new)
    (tmp_path / "mine.py").write_text(source)
    options = ["--data", few, "--kernels", "reference", "--out", "here"]
    run(tmp_path / "mine.py", *options, "--epochs", 1, folder=tmp_path)
    done = run(tmp_path / "mine.py", *options, "--epochs", 2, "--resume", folder=tmp_path)
    assert "Epoch 2/2" in done.stdout and "Total params: 7,850 (" in done.stdout
    options += ["--epochs", 3, "--resume"]
    done = run("train_mnist.py", *options, folder=tmp_path, expect=2)
    assert "holds a model 'simple' that differs from the preset" in done.stderr


def test_ctrl_c_ends_with_130_and_says_how_to_resume(few, tmp_path):
    command = [sys.executable, str(EXAMPLES / "train_mnist.py"), "--model", "simple", "--data",
               str(few), "--epochs", "500", "--kernels", "reference"]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        while not (line := process.stdout.readline()).startswith("Epoch 1/500"):
            assert line
        process.send_signal(signal.SIGINT)
        out = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    (again,) = re.findall(r"^to resume: python (.*)$", out, re.M)
    assert again.endswith("--kernels reference --resume")
    epoch = load_model(tmp_path / "results/simple/checkpoint.npz", kernels="reference").progress[
        "epoch"
    ]
    script, *arguments = again.split()
    arguments[arguments.index("500")] = str(epoch + 1)
    done = run(script, *arguments, folder=tmp_path)
    assert f"Epoch {epoch + 1}/{epoch + 1}" in done.stdout


def test_an_accuracy_that_is_required_and_missed_gives_exit_code_1(few, tmp_path):
    options = ["--model", "simple", "--data", few, "--epochs", 1, "--kernels", "reference"]
    run("train_mnist.py", *options, "--require-accuracy", 0.05, folder=tmp_path)
    done = run("train_mnist.py", *options, "--require-accuracy", 0.999, folder=tmp_path, expect=1)
    assert re.search(r"test accuracy 0\.\d{4} is below 0\.999", done.stderr)
    assert (tmp_path / "results/simple/mnist_simple.h5").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere"], "nowhere is not a folder"),
        (["--batch-size", "0"], "batch_size=0, expected an integer of at least 1"),
        (["--epochs", "0"], "epochs=0, expected an integer of at least 1"),
        (["--resume"], "No such file or directory: 'results/simple/checkpoint.npz'"),
        (["--seed", "-1"], "seed=-1, expected an integer of at least 0"),
        (["--model", "lenett"], "invalid choice: 'lenett'"),
    ],
)
def test_bad_options_give_one_line_and_exit_code_2(options, message, few, tmp_path):
    data = [] if "--data" in options else ["--data", few]
    done = run(
        "train_mnist.py", "--kernels", "reference", *data, *options, folder=tmp_path, expect=2
    )
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_matplotlib_and_numba_are_not_loaded_before_they_are_needed(tmp_path):
    command = [sys.executable, "-X", "importtime", str(EXAMPLES / "train_mnist.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "--require-accuracy" in done.stdout
    assert "nanocnn.presets" in done.stderr
    for library in ("matplotlib", "numba", "h5py", "PIL"):
        assert f"| {library}" not in re.sub(r"\| +", "| ", done.stderr), library


# --- predict.py ---


def test_predict_reads_digits_from_pictures(trained, tmp_path):
    folder, _ = trained
    _, (x, y) = mnist.load(folder / "data", verbose=False)
    names = []
    for i in range(8):
        image = Image.fromarray(255 - x[i]).resize((140, 140))  # dark on light, five times as large
        names.append(tmp_path / f"{i}.png")
        image.save(names[-1])
    done = run("predict.py", folder / "results/simple/mnist_simple.h5", *names, folder=tmp_path)
    lines = done.stdout.splitlines()
    found = [re.fullmatch(r".*\d\.png: (\d) \((\d+\.\d)%\), then \d \(.*%\), \d \(.*%\)", line)
             for line in lines]  # fmt: skip
    assert len(lines) == 8 and all(found), done.stdout
    assert sum(int(match[1]) == label for match, label in zip(found, y, strict=False)) >= 6


def test_predict_tells_what_is_wrong_in_one_line(trained, tmp_path):
    model = trained[0] / "results/simple/mnist_simple.h5"
    (tmp_path / "text.png").write_text("this is no picture")
    Image.new("L", (50, 50), 255).save(tmp_path / "blank.png")
    Image.new("L", (50, 50), 0).save(tmp_path / "other.png")
    for arguments, message in (
        ([model, "text.png"], "text.png"),
        ([model, "missing.png"], "No such file or directory: 'missing.png'"),
        ([model, "blank.png"], "blank.png"),
        (["missing.h5", "other.png"], "other.png"),
        ([model], "the following arguments are required: IMAGE"),
    ):
        done = run("predict.py", *arguments, folder=tmp_path, expect=2)
        assert message in done.stderr and "Traceback" not in done.stderr
        assert done.stdout == ""


def test_predict_continues_after_a_file_that_is_no_image(trained, tmp_path):
    model = trained[0] / "results/simple/mnist_simple.h5"
    Image.fromarray(mnist.sample()[1][0][3]).save(tmp_path / "digit.png")
    (tmp_path / "text.png").write_text("this is no picture")
    names = ["text.png", "digit.png", "missing.png", "digit.png"]
    done = run("predict.py", model, *names, folder=tmp_path, expect=2)
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["digit.png"] * 2
    errors = done.stderr.splitlines()
    assert len(errors) == 2 and "text.png: expected an image" in errors[0]
    assert "No such file or directory: 'missing.png'" in errors[1]


# --- What the presets must reach (longer) ---


@pytest.mark.slow
def test_lenet_reaches_96_percent_on_the_embedded_sample(tmp_path):
    data = mnist_folder.write(tmp_path / "data", 4000, 1000)
    run(
        "train_mnist.py", "--model", "lenet", "--data", data, "--require-accuracy", 0.96,
        folder=tmp_path,
    )  # fmt: skip


FULL = os.environ.get("NANOCNN_DATA", "")
# With how many seeds the mean must reach it: one seed's accuracy varies by 0.1%.
GOALS = {"lenet": (0.99, 3), "simple": (0.985, 1), "dropout": (0.989, 1), "two-block": (0.989, 3)}


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="NANOCNN_DATA does not name a folder with the full MNIST")
@pytest.mark.parametrize("preset", GOALS)
def test_presets_reach_their_accuracy_on_the_full_mnist(preset, tmp_path):
    goal, seeds = GOALS[preset]
    found = []
    for seed in range(seeds):
        done = run(
            "train_mnist.py", "--model", preset, "--data", FULL, "--seed", seed, folder=tmp_path
        )
        found.append(float(re.search(r"test accuracy ([\d.]+)%", done.stdout)[1]) / 100)
        print(preset, f"seed {seed}", re.search("test loss.*", done.stdout)[0])
    assert sum(found) / seeds >= goal
