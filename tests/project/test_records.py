"""examples/records.py and handwriting.py: what they print, and the digits that they make."""

import re

import numpy as np
import pytest
from PIL import Image

from nanocnn import RandomRotation, load_model, presets
from nanocnn.data import mnist
from support import mnist_folder
from support.scripts import EXAMPLES, run


@pytest.fixture
def handwriting(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import handwriting

    return handwriting


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """400 digits to train on and 100 to test."""
    return mnist_folder.write(tmp_path_factory.mktemp("data") / "some", 400, 100)


@pytest.fixture(scope="module")
def digits():
    return mnist.sample()[1][0][:200]


def test_records_print_every_seed_the_mean_and_the_vote(data, tmp_path):
    options = ["--which", "sprint", "--seeds", 2, "--epochs", 3, "--data", data]
    done = run("records.py", *options, folder=tmp_path)
    assert "sprint: 215,194 parameters, 3 epochs of 400 images" in done.stdout
    seeds = re.findall(
        r"^seed (\d): ([\d.]+)%, (\d+) wrong, loss [\d.]+, [\d.]+ s$", done.stdout, re.M
    )
    assert [seed for seed, *_ in seeds] == ["0", "1"]
    shares = [float(share) for _, share, _ in seeds]
    assert [100 - int(wrong) for *_, wrong in seeds] == shares
    row = re.search(r"^as they are +([\d.]+)% +([\d.]+)% +([\d.]+)% +([\d.]+)%", done.stdout, re.M)
    mean, spread, lowest, highest = map(float, row.groups())
    assert mean == pytest.approx(np.mean(shares), abs=1e-3)
    assert spread == pytest.approx(np.std(shares, ddof=1), abs=6e-3)
    assert (lowest, highest) == (min(shares), max(shares))
    models = [load_model(tmp_path / f"results/records/mnist-400-3/sprint-{i}.npz") for i in (0, 1)]
    _, (x, y) = mnist.load(data, verbose=False)
    vote = np.mean([model.predict(x) for model in models], axis=0).argmax(axis=1)
    assert done.stdout.splitlines()[-2].split()[-1] == f"{(vote == y).mean():.2%}"
    again = run("records.py", *options, folder=tmp_path)
    assert again.stdout.count("trained before") == 2 and row[0] in again.stdout


def test_the_learning_rate_ends_with_the_last_step(data, tmp_path):
    run("records.py", "--which", "record", "--seeds", 1, "--epochs", 2, "--data", data,
        "--augment", 2, folder=tmp_path)  # fmt: skip
    model = load_model(tmp_path / "results/records/mnist-400-2/record-0.npz")
    rate = model.optimizer.learning_rate
    assert rate.total_steps == 8 == model.optimizer.iterations
    assert rate(7) == pytest.approx(rate.max_learning_rate / 25e4)
    assert model.optimizer.ema_momentum == 0  # of so few steps, the last weights


@pytest.mark.parametrize(("steps", "momentum"), [(30 * 469, 0.995), (700, 0.9), (10, 0)])
def test_an_average_is_one_of_the_last_steps(steps, momentum):
    model = presets.build("record")
    presets.end_with(model, steps)
    assert model.optimizer.ema_momentum == pytest.approx(momentum, abs=1e-15)


def test_held_back_images_are_tested_on_and_not_trained_on(data, tmp_path):
    done = run("records.py", "--which", "sprint", "--seeds", 1, "--data", data, "--hold-back", 100,
               folder=tmp_path)  # fmt: skip
    assert "1 epochs of 300 images" in done.stdout
    wrong = re.search(r"(\d+) wrong", done.stdout)[1]
    (x, y), _ = mnist.load(data, verbose=False)
    model = load_model(tmp_path / "results/records/mnist-300-1/sprint-0.npz")
    assert (model.predict(x[300:]).argmax(axis=1) != y[300:]).sum() == int(wrong)


@pytest.mark.parametrize("dataset", ["fashion_mnist", "kmnist", "emnist_digits"])
def test_other_data_sets_are_trained_by_the_same_recipe(dataset, tmp_path):
    folder = mnist_folder.write(tmp_path / dataset, 60, 40)
    if dataset == "emnist_digits":
        for file in list(folder.iterdir()):
            part = "train" if file.name.startswith("train") else "test"
            kind = re.search("images-idx3-ubyte|labels-idx1-ubyte", file.name)[0]
            file.rename(folder / f"emnist-digits-{part}-{kind}{file.suffix}")
    done = run("records.py", "--seeds", 1, "--epochs", 1, "--data", tmp_path, "--dataset", dataset,
               folder=tmp_path)  # fmt: skip
    assert "record: " in done.stdout and "1 epochs of 60 images" in done.stdout
    assert (tmp_path / f"results/records/{dataset}-60-1/record-0.npz").exists()


@pytest.mark.parametrize("part", ["RandomElastic", "BatchNormalization", "OneCycle", "use_ema"])
def test_parts_are_left_out(part, data, tmp_path):
    options = ["--seeds", 1, "--epochs", 1, "--data", data, "--without", part]
    done = run("records.py", *options, folder=tmp_path)
    assert re.search(r"seed 0: [\d.]+%", done.stdout)
    assert not (tmp_path / "results").exists()


def test_a_picture_shows_what_is_wrong(data, tmp_path):
    run("records.py", "--which", "sprint", "--seeds", 1, "--data", data, "--picture", "wrong.png",
        folder=tmp_path)  # fmt: skip
    with Image.open(tmp_path / "wrong.png") as picture:
        assert min(picture.size) >= 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0"], "--seeds=0, expected an integer of at least 1"),
        (["--hold-back", "400"], "--hold-back 400: expected fewer than 400 images"),
        (["--augment", "-1"], "--augment=-1, expected an integer of at least 0"),
        (["--which", "sprint", "--augment", "3"], "has no layer for augmentation"),
        (["--which", "best"], "invalid choice: 'best'"),
    ],
)
def test_bad_options_give_one_line_before_any_work(options, message, data, tmp_path):
    done = run("records.py", "--epochs", "1", "--data", data, *options, folder=tmp_path, expect=2)
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_handwriting_is_read_by_both_networks(data, tmp_path):
    done = run("records.py", "--which", "handwriting", "--epochs", 1, "--data", data,
               folder=tmp_path)  # fmt: skip
    lines = done.stdout.splitlines()[1:]
    assert lines[0].split() == ["test", "digits", "record", "lenet"]
    kinds = ["as they are", "off centre", "tilted", "thick", "thin"]
    found = {line[:11].strip(): line[11:].split() for line in lines[2:]}
    assert list(found) == kinds
    assert float(found["as they are"][1].rstrip("%")) > 60  # lenet, after ten epochs


# --- The digits ---


@pytest.mark.parametrize("kind", ["off centre", "tilted", "thick", "thin"])
def test_variants_depend_on_the_seed_alone(handwriting, digits, kind):
    found = handwriting.variant(digits, kind)
    assert found.dtype == np.uint8 and found.shape == digits.shape
    np.testing.assert_array_equal(found, handwriting.variant(digits, kind))
    assert (found != handwriting.variant(digits, kind, seed=1)).any()
    changed = (found != digits).any(axis=(1, 2))
    assert changed.mean() > 0.95


def test_off_centre_digits_move_by_up_to_four_pixels(handwriting, digits):
    def middle(x):
        ink = x.sum(axis=(1, 2), dtype=float)
        return np.array([(x.sum(axis=axis) @ np.arange(28.0)) / ink for axis in (1, 2)])

    inside = digits[:, 4:-4, 4:-4].sum(axis=(1, 2)) == digits.sum(axis=(1, 2))  # nothing is cut off
    moved = (middle(handwriting.variant(digits, "off centre")) - middle(digits))[:, inside]
    assert np.abs(moved).max() < 4.1 and np.abs(moved).max() > 3
    assert np.abs(moved.mean()) < 0.5


def test_tilted_digits_turn_by_up_to_fifteen_degrees(handwriting, digits):
    found = handwriting.variant(digits, "tilted")
    layer = RandomRotation(15 / 360, "constant")
    layer.build((28, 28, 1), rng=0)
    want = layer.forward(digits[..., None].astype("float32"), training=True)[..., 0]
    assert np.abs(found - want).max() <= 0.5


@pytest.mark.parametrize(("kind", "low", "high"), [("thick", 1.3, 1.8), ("thin", 0.5, 0.75)])
def test_strokes_grow_and_shrink(handwriting, digits, kind, low, high):
    found = handwriting.variant(digits, kind)
    ratio = found.sum(axis=(1, 2)) / digits.sum(axis=(1, 2), dtype=float)
    step = 0.5  # a quarter of a pixel on both sides of a thin stroke
    assert (ratio > low - step).all() and (ratio < high + step).all()
    assert low < np.median(ratio) < high
    grows = kind == "thick"
    assert ((found >= digits) if grows else (found <= digits)).all()


def test_handwriting_compares_models_and_draws_the_kinds(data, tmp_path):
    model = presets.build("sprint")
    model.save(tmp_path / "model.npz")
    done = run("handwriting.py", "model.npz", "--data", data, "--picture", "kinds.png",
               folder=tmp_path)  # fmt: skip
    assert re.search(r"^thin +[\d.]+%$", done.stdout, re.M)
    with Image.open(tmp_path / "kinds.png") as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 200


def test_an_unknown_kind_is_refused(handwriting, digits):
    with pytest.raises(ValueError, match="kind='bold', expected one of off centre, tilted"):
        handwriting.variant(digits, "bold")
