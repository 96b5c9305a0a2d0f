"""Ctrl-C during fit: it ends soon, nothing is lost, and it says how to go on."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from nanocnn import Callback, ModelCheckpoint, load_model
from nanocnn.models import interrupts
from support.processes import ENVIRONMENT
from support.small_models import BOTH_SETS, bits, digits, every_layer, small_model

X, Y = digits(90)


class Press(Callback):
    """Presses Ctrl-C at one moment of the training."""

    def __init__(self, event, epoch=1, batch=1):
        self.event, self.epoch, self.batch, self.now = event, epoch, batch, 0

    def press(self, event):
        if event == self.event and self.now == self.epoch:
            signal.raise_signal(signal.SIGINT)

    def on_epoch_begin(self, epoch):
        self.now = epoch
        self.press("epoch begin")

    def on_batch_end(self, batch, logs):
        if batch == self.batch:
            self.press("batch end")

    def on_epoch_end(self, epoch, logs):
        self.press("epoch end")

    def on_epoch_saved(self, epoch, logs):
        self.press("saving")


@BOTH_SETS
@pytest.mark.parametrize("event", ["epoch begin", "batch end", "epoch end", "saving"])
def test_ctrl_c_leaves_model_and_checkpoint_and_the_run_ends_with_the_same_bits(
    event, kernels, tmp_path, capsys
):
    path = str(tmp_path / "last.npz")
    straight = every_layer(kernels)
    straight.fit(X, Y, epochs=3, verbose=0)

    model = every_layer(kernels)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=3, callbacks=[Press(event), ModelCheckpoint(path)], verbose=0)
    assert signal.getsignal(signal.SIGINT) is handler
    out = capsys.readouterr().out
    assert f"resume with model = load_model({path!r})" in out
    assert "model.fit(..., initial_epoch=model.progress['epoch'])" in out

    assert np.isfinite(model.predict(X)).all()
    model.fit(X, Y, verbose=0)  # it can be trained again
    resumed = load_model(path, kernels=kernels)
    epoch = resumed.progress["epoch"]
    assert epoch == (2 if event in ("epoch end", "saving") else 1)
    resumed.fit(X, Y, epochs=3, initial_epoch=epoch, verbose=0)
    assert bits(resumed) == bits(straight)


def test_without_a_checkpoint_it_says_how_to_keep_the_model(capsys):
    model = small_model()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, callbacks=[Press("batch end", epoch=0)], verbose=0)
    assert "model.save(path) saves them" in capsys.readouterr().out


def test_ctrl_c_in_the_last_epoch_is_not_forgotten():
    with pytest.raises(KeyboardInterrupt):
        small_model().fit(X, Y, epochs=2, callbacks=[Press("saving")], verbose=0)


def test_a_second_ctrl_c_does_not_wait():
    class Stuck(Callback):
        def on_batch_end(self, batch, logs):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second one was held back")

    with pytest.raises(KeyboardInterrupt):
        small_model().fit(X, Y, callbacks=[Stuck()], verbose=0)


def test_a_step_that_takes_long_is_not_waited_for():
    class Compile(Callback):
        def on_batch_end(self, batch, logs):
            signal.raise_signal(signal.SIGINT)
            held_back.append("for a while")
            end = time.monotonic() + 60
            while time.monotonic() < end:
                pass
            held_back.append("for a minute")

    held_back = []
    with pytest.raises(KeyboardInterrupt):
        small_model().fit(X, Y, callbacks=[Compile()], verbose=0)
    assert held_back == ["for a while"]
    threads = [thread.name for thread in threading.enumerate()]
    assert "nanocnn-interrupt" not in threads


def test_a_handler_of_the_program_stays_in_force():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        small_model().fit(X, Y, callbacks=[Press("batch end", epoch=0)], verbose=0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [signal.SIGINT]


def test_in_another_thread_fit_leaves_signals_alone():
    handlers = []

    class Look(Callback):
        def on_batch_end(self, batch, logs):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=lambda: small_model().fit(X, Y, callbacks=[Look()], verbose=0))
    thread.start()
    thread.join()
    assert handlers and set(handlers) == {signal.getsignal(signal.SIGINT)}


PROGRAM = """
from support.small_models import small_model
import numpy as np
from nanocnn import ModelCheckpoint
x = np.random.default_rng(0).integers(256, size=(20000, 12, 10), dtype=np.uint8)
y = np.arange(20000) % 10
model = small_model({kernels!r})
model.train_on_batch(x[:64], y[:64])
model.evaluate(x[:64], y[:64])
print("ready", flush=True)
validation = np.concatenate([x] * {validation}), np.tile(y, {validation})
try:
    model.fit(x, y, 64, 1000, validation_data=validation, callbacks=[ModelCheckpoint({path!r})])
finally:
    print("ended", flush=True)
"""


@pytest.mark.parametrize(("validation", "wait"), [(1, 0.7), (1, 2.0), (40, 2.5)])
@BOTH_SETS
def test_the_process_ends_long_before_the_training_would(kernels, validation, wait, tmp_path):
    """In training, and in a long validation. How soon: benchmarks/steadiness.py."""
    path = tmp_path / "last.npz"
    program = PROGRAM.format(kernels=kernels, path=str(path), validation=validation)
    with subprocess.Popen(
        [sys.executable, "-c", program], env=ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert "KeyboardInterrupt" in err.splitlines()[-1]
    assert process.returncode == -signal.SIGINT
    assert "interrupted; " in out and out.endswith("ended\n")
    if path.exists():
        assert load_model(path, kernels=kernels).progress["epoch"] >= 1


class PressAtTheEnd(Callback):
    """Presses when fit has looked for the last time, and before it lets signals go."""

    def press(self, monkeypatch):
        original = interrupts.threading.Event.set

        def late(event):
            original(event)
            monkeypatch.undo()
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(interrupts.threading.Event, "set", late)

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch

    def on_epoch_saved(self, epoch, logs):
        self.press(self.monkeypatch)


def test_ctrl_c_at_the_very_end_is_not_lost(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        small_model().fit(X, Y, callbacks=[PressAtTheEnd(monkeypatch)], verbose=0)
    assert "interrupted; " in capsys.readouterr().out
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_ctrl_c_beside_another_error_is_not_lost():
    class Fail(Callback):
        def on_batch_end(self, batch, logs):
            signal.raise_signal(signal.SIGINT)
            raise ZeroDivisionError

    with pytest.raises(KeyboardInterrupt) as info:
        small_model().fit(X, Y, callbacks=[Fail()], verbose=0)
    assert isinstance(info.value.__context__, ZeroDivisionError)


def test_without_new_threads_ctrl_c_still_waits_for_the_step(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    press = Press("batch end", epoch=0)
    with pytest.raises(KeyboardInterrupt):
        small_model("reference").fit(X, Y, callbacks=[press], verbose=0)


@BOTH_SETS
def test_sigterm_says_how_to_resume_and_ends_with_143(kernels, tmp_path):
    path = tmp_path / "last.npz"
    program = PROGRAM.format(kernels=kernels, path=str(path), validation=1)
    program += "\nprint('not reached')"
    with subprocess.Popen(
        [sys.executable, "-c", program], env=ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        while not path.exists():
            time.sleep(0.01)
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"resume with model = load_model({str(path)!r})" in out
    assert out.endswith("ended\n") and "Traceback" not in err  # `finally` ran
    assert load_model(path, kernels=kernels).progress["epoch"] >= 1


def test_sigterm_lets_the_step_and_the_callbacks_end(capsys):
    ended = []

    class Terminate(Callback):
        def on_batch_end(self, batch, logs):
            signal.raise_signal(signal.SIGTERM)
            ended.append("step")

        def on_train_end(self):
            ended.append("training")

    with pytest.raises(SystemExit) as info:
        small_model().fit(X, Y, callbacks=[Terminate()], verbose=0)
    assert info.value.code == 143 and ended == ["step", "training"]
    assert "interrupted; " in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_with_a_handler_of_the_program_is_left_alone():
    pressed = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: pressed.append(number))

    class Terminate(Callback):
        def on_epoch_end(self, epoch, logs):
            signal.raise_signal(signal.SIGTERM)

    try:
        small_model().fit(X, Y, callbacks=[Terminate()], verbose=0)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert pressed == [signal.SIGTERM]


def test_training_in_a_training_of_the_same_model_is_refused():
    class Nested(Callback):
        def on_batch_end(self, batch, logs):
            self.model.train_on_batch(X, Y)

    model = small_model()
    with pytest.raises(RuntimeError, match="by this thread"):
        model.fit(X, Y, callbacks=[Nested()], verbose=0)
    model.train_on_batch(X, Y)
