"""TensorBoard: its event files, read back, have the folders, tags and steps of Keras's."""

import sys
from pathlib import Path

import numpy as np
import pytest

from nanocnn import SGD, MissingExtraError, TensorBoard
from support.small_models import digits, small_model

X, Y = digits(20)


def test_tensorboard_without_its_writer_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r'pip install "nanocnn\[tensorboard\]"'):
        TensorBoard()


def test_what_tensorboard_cannot_write_is_refused():
    pytest.importorskip("tensorboardX", reason="needs the extra [tensorboard]")
    for options, message in (
        (
            {"profile_batch": (2, 5)},
            r"profile_batch=\(2, 5\), expected 0 or False: there is",
        ),
        ({"embeddings_freq": 1}, "embeddings_freq=1, expected 0 or False: there are no embedding"),
        ({"write_images": True, "histogram_freq": 1}, "write_images=True, .* only histograms are"),
        ({"write_steps_per_second": True}, "write_steps_per_second=True, .*shows the speed"),
        ({"update_freq": "day"}, "update_freq other than 'epoch' and 'batch'='day'"),
        ({"write_grads": True}, "write_grads'; nanocnn.plots.GradientRecorder"),
    ):
        with pytest.raises(ValueError, match=message):
            TensorBoard(**options)


def events(folder):
    """{tag: [(step, value), ...]} of the event files in a folder."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in sorted(Path(folder).iterdir()):
        data = path.read_bytes()
        while data:  # a record: its length, a checksum, the event, a checksum
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for each in event.summary.value:
                value = each.histo.num if each.HasField("histo") else each.simple_value
                found.setdefault(each.tag, []).append((event.step, value))
    return found


def test_tensorboard_writes_the_folders_tags_and_steps_of_keras(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs the extra [tensorboard]")
    board = TensorBoard(tmp_path, 2, True, update_freq=2)
    model = small_model(optimizer=SGD(0.25))
    history = model.fit(
        X, Y, 5, epochs=3, validation_data=(X, Y), callbacks=[board], verbose=0
    ).history
    train, validation = events(tmp_path / "train"), events(tmp_path / "validation")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "validation"]
    for name in ("loss", "accuracy"):
        epochs = list(enumerate(np.float32(history[name]).tolist()))
        assert train[f"epoch_{name}"] == epochs
        measured = np.float32(history[f"val_{name}"]).tolist()
        assert validation.pop(f"epoch_{name}") == list(enumerate(measured))
        steps = validation.pop(f"evaluation_{name}_vs_iterations")
        assert steps == list(zip([4, 8, 12], measured, strict=True))
        assert [step for step, _ in train[f"batch_{name}"]] == [2, 4, 6, 8, 10, 12]
        assert train[f"batch_{name}"][1][1] == epochs[0][1]  # the mean of the whole epoch
    assert train["epoch_learning_rate"] == [(0, 0.25), (1, 0.25), (2, 0.25)]
    for name, weight in model.weights.items():
        tag = f"sequential/{name}/histogram"
        assert train[tag] == [(0, weight.size), (2, weight.size)]
    assert not validation


def test_tensorboard_writes_an_evaluation_after_a_training_to_a_file_of_its_own(tmp_path):
    pytest.importorskip("tensorboardX", reason="needs the extra [tensorboard]")
    board, model = TensorBoard(tmp_path), small_model()
    model.fit(X, Y, validation_data=(X, Y), callbacks=board, verbose=0)
    loss, _ = model.evaluate(X, Y, callbacks=board)
    found = events(tmp_path / "validation")["evaluation_loss_vs_iterations"]
    assert found == [(1, np.float32(loss))] * 2 and not board.writers
    assert "batch_loss" not in events(tmp_path / "train")
