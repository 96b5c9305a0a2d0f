"""A process that fails ends all others, soon, with one message that names it; nothing hangs."""

import os
import signal
import sys

import pytest

from nanocnn import Callback
from nanocnn.distributed import get_communicator
from support.mpi import needs_mpi, run
from support.small_models import digits, small_model

PROGRAM = "from test_faults import main; main()"
pytestmark = needs_mpi


def slow(*values):
    """Parameters of a test that is one of many like it."""
    return pytest.param(*values, marks=pytest.mark.slow)


class Fail(Callback):
    """Fails at one moment of the training, on process `rank`, or on all if it is None."""

    def __init__(self, how, event, rank):
        self.how, self.event = how, event
        self.fails = rank in (None, get_communicator().rank)

    def at(self, event):
        if self.fails and event == self.event:
            fail(self.how)

    def on_train_begin(self):
        self.at("train begin")

    def on_batch_end(self, batch):
        if batch == 3:
            self.at("batch end")

    def on_test_begin(self):
        self.at("validation")

    def on_epoch_saved(self, epoch, logs):
        self.at("saving")

    def on_train_end(self):
        self.at("train end")


def fail(how):
    if how == "raise":
        raise ZeroDivisionError(f"oops on process {get_communicator().rank}")
    if how == "exit":
        sys.exit(0)
    if how == "os._exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


def main():
    """In a process: train, and fail as the arguments say."""
    how, event, rank = sys.argv[1:]
    rank = None if rank == "all" else int(rank)
    if event == "before" and rank in (None, get_communicator().rank):
        fail(how)
    x, y = digits(90)
    model = small_model("fast")
    callback = Fail(how, event, rank)
    model.fit(x, y, 12, 3, validation_data=(x, y), callbacks=[callback], shards=12)
    if event == "after" and rank in (None, get_communicator().rank):
        fail(how)


@pytest.mark.parametrize(
    "event",
    [
        slow("before"),
        slow("train begin"),
        "batch end",
        slow("validation"),
        slow("saving"),
        slow("train end"),
        "after",
    ],
)
def test_an_exception_on_one_process(event):
    it = run(3, PROGRAM, "raise", event, "1")
    assert it.code not in (0, None) and it.seconds < 30
    assert it.err.count("ZeroDivisionError: oops on process 1") == 1, it.err
    assert it.err.count("Traceback") == 1 and "process 0" not in it.err
    if event not in ("train end", "after"):  # where the others end without it
        assert "process 1 of 3 has failed: all are ended" in it.err


@pytest.mark.parametrize("event", [slow("before"), "batch end", slow("after")])
def test_an_exception_on_all_processes_is_shown_once(event):
    it = run(3, PROGRAM, "raise", event, "all")
    assert it.code not in (0, None)
    assert it.err.count("Traceback") == 1 and it.err.count("ZeroDivisionError: oops") == 1, it.err
    assert "oops on process 0" in it.err and "BAD TERMINATION" not in it.err


@pytest.mark.parametrize(
    ("event", "rank"),
    [slow("before", "0"), ("before", "2"), ("batch end", "0"), slow("batch end", "2")],
)
def test_a_process_that_ends_while_others_train(event, rank):
    it = run(3, PROGRAM, "exit", event, rank)
    assert it.code not in (0, None)
    assert f"process {rank} of 3 has " in it.err, it.err
    assert it.err.count("Traceback") == 1


LATER = """
import sys, time
from nanocnn.distributed import get_communicator
time.sleep(get_communicator().rank == int(sys.argv[1]))
print("ended", flush=True)
"""


@pytest.mark.parametrize("last", [0, 1])
def test_a_process_that_ends_sooner_than_the_others_is_not_said_to_have_died(last):
    it = run(2, LATER, last)
    assert it.code == 0 and it.err == "" and it.out.count("ended") == 2


@pytest.mark.parametrize("event", [slow("before"), "batch end", slow("after")])
def test_all_processes_may_end(event):
    it = run(2, PROGRAM, "exit", event, "all")
    assert it.code == 0 and it.err == "", it.err


CAUGHT = """
import sys
from nanocnn.distributed import get_communicator
from support.small_models import digits, small_model
rank = get_communicator().rank
try:
    small_model("fast", seed=rank).fit(*digits(60), 12)
except ValueError as error:
    print("caught", flush=True)
    assert "seed is 1 on process 1" in str(error)
if rank == 1:
    sys.exit(0)
small_model("fast").fit(*digits(60), 12)
"""


def test_a_process_that_ends_after_an_error_that_all_have_caught():
    it = run(3, CAUGHT)
    assert it.code != 0 and it.out.count("caught") == 3
    assert it.err.count("RuntimeError: process 1 of 3 has ended, while others wait") == 1, it.err


AGAIN = """
from nanocnn import Callback
from support.small_models import digits, small_model

class Stop(Callback):
    def on_batch_end(self, batch):
        raise ZeroDivisionError

def metric(target, prediction):
    raise ZeroDivisionError

for metrics, callbacks in ([], [Stop()]), ([metric], []):
    model = small_model("fast")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=metrics)
    try:
        model.fit(*digits(60), 12, callbacks=callbacks, verbose=0)
    except ZeroDivisionError:
        model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*digits(60), 12, verbose=0)
    print("trained", flush=True)
"""


def test_a_training_after_an_error_that_all_have_caught():
    """Not after one within a step: its messages are still on their way."""
    it = run(3, AGAIN)
    assert it.code != 0 and it.out.count("trained") == 3
    assert it.err.count("RuntimeError: a training ended within a step") == 1, it.err


NONFINITE = """
import numpy as np
from support.small_models import digits, small_model
model = small_model("fast")
x, y = digits(60)
model.fit(x, y, 12, verbose=0)
model.layers[0].params["kernel"][0, 0, 0, 0] = np.inf
model.fit(x, y, 12, verbose=0)
"""


class SeesEpochs(Callback):
    def on_epoch_begin(self, epoch):
        """Look."""


def train_with_more_on_the_first_process():
    """As programs do that print or log on the first process only."""
    first = get_communicator().rank == 0
    callbacks = [SeesEpochs()] if first else None
    model = small_model("fast")
    model.fit(*digits(60), 12, 2, verbose=2 if first else 0, callbacks=callbacks)
    print("trained")


def test_the_first_process_may_show_more_and_have_a_callback_of_its_own():
    it = run(2, "from test_faults import train_with_more_on_the_first_process as run; run()")
    assert (it.code, it.err, it.out.count("trained"), it.out.count("Epoch")) == (0, "", 2, 2)
    assert it.out.count("2 processes on one machine, 2 shards of 6 samples") == 1


def test_a_loss_that_is_not_finite_is_reported_once():
    it = run(3, NONFINITE)
    assert it.code not in (0, None)
    assert it.err.count("NonFiniteError: epoch 1, batch 1: the loss is") == 1, it.err
    assert it.err.count("Traceback") == 1


@pytest.mark.parametrize(
    ("event", "how"),
    [
        slow("before", "os._exit"),
        slow("before", "kill"),
        ("batch end", "os._exit"),
        slow("batch end", "kill"),
        slow("after", "os._exit"),
        slow("after", "kill"),
    ],
)
def test_a_process_that_is_gone_ends_the_others(event, how):
    it = run(3, PROGRAM, how, event, "1")
    assert it.code not in (0, None), it.err
    if event != "after":  # the others may have said already that they end
        assert "process 1 of 3 (PID" in it.err and it.err.count("has died") == 1, it.err
    assert it.seconds < 30
