"""The same bits: in every run and process, for every number of threads, stopped or not."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from nanocnn import (
    Adam,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    load_model,
    presets,
)
from support.processes import ENVIRONMENT
from support.small_models import BOTH_SETS, OPTIMIZERS, bits, digits, every_layer

# Enough samples and pixels that the kernels cut the work into several parts.
X, Y = digits(150, shape=(24, 22))
VALIDATION = digits(70, seed=1, shape=(24, 22))


def wide(kernels, dtype="float32", optimizer="adam", seed=5):
    """`every_layer` for larger images."""
    from nanocnn import Input, Sequential

    small = every_layer(kernels, seed, dtype)
    config = [type(layer).from_config(layer.get_config()) for layer in small.layers]
    model = Sequential([Input((24, 22, 1)), *config], seed=seed, dtype=dtype, kernels=kernels)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@BOTH_SETS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads_gives_the_same_bits(set_threads, kernels, dtype):
    results = []
    for n in (1, 2, 4):
        set_threads(n)
        model = wide(kernels, dtype, Adam(0.01, global_clipnorm=1.0, weight_decay=0.01))
        history = model.fit(X, Y, 64, epochs=2, validation_data=VALIDATION, verbose=0)
        results.append((bits(model), history.history, model.predict(X).tobytes()))
    assert results[0] == results[1] == results[2]
    size = len(results[0][0][0])
    print(f"{kernels}, {dtype}: 1, 2 and 4 threads give the same {size:,} bytes")


@BOTH_SETS
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_gives_the_same_bits_and_goes_on_with_them(
    set_threads, kernels, optimizer, tmp_path
):
    x, y = digits(60)
    whole = every_layer(kernels, optimizer=OPTIMIZERS[optimizer]())
    set_threads(1)
    whole.fit(x, y, epochs=4, verbose=0)
    set_threads(2)
    part = every_layer(kernels, optimizer=OPTIMIZERS[optimizer]())
    part.fit(x, y, epochs=2, callbacks=[ModelCheckpoint(tmp_path / "a.npz")], verbose=0)
    resumed = load_model(tmp_path / "a.npz", kernels=kernels)
    resumed.fit(x, y, epochs=4, initial_epoch=2, verbose=0)
    assert bits(resumed) == bits(whole)


def callbacks(path):
    return [
        ModelCheckpoint(path),
        LearningRateScheduler(lambda epoch, rate: rate * 0.97),
        ReduceLROnPlateau("val_loss", patience=1, min_delta=0.1),
        EarlyStopping("val_accuracy", patience=8, restore_best_weights=True),
    ]


@BOTH_SETS
def test_a_resumed_run_with_callbacks_ends_with_the_same_file(set_threads, kernels, tmp_path):
    def train(model, epochs):
        model.fit(
            X, Y, 64, epochs, validation_data=VALIDATION, callbacks=callbacks(tmp_path / "a.npz"),
            initial_epoch=model.progress.get("epoch", 0), verbose=0,
        )  # fmt: skip
        return (tmp_path / "a.npz").read_bytes(), bits(model)

    set_threads(2)
    straight = train(wide(kernels), 5)
    train(wide(kernels), 1)
    set_threads(1)
    train(load_model(tmp_path / "a.npz", kernels=kernels), 3)
    set_threads(4)
    assert train(load_model(tmp_path / "a.npz", kernels=kernels), 5) == straight


PROGRAM = """
from test_determinism import digest
print(digest({kernels!r}))
"""


def digest(kernels):
    """A hash of a trained model's bits."""
    model = wide(kernels)
    model.fit(X, Y, 64, epochs=2, verbose=0)
    return hashlib.sha256(bits(model)[0]).hexdigest()


@BOTH_SETS
def test_another_process_gives_the_same_bits(kernels):
    program = PROGRAM.format(kernels=kernels)
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-1] == digest(kernels)


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_prediction_has_the_same_bits_in_any_batch(name, dtype):
    model = presets.build(name, dtype=dtype)
    x = np.random.default_rng(0).random((40, 28, 28, 1)).astype(dtype)
    expected = model.predict(x)
    for size in (1, 2, 7, 16, 39):
        assert model.predict(x, batch_size=size).tobytes() == expected.tobytes(), size
    reverse = np.ascontiguousarray(x[::-1])
    assert model.predict(reverse)[::-1].tobytes() == expected.tobytes()
