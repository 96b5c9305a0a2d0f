"""What processes must have in common: a difference ends the run, before any work, named once."""

import os
import re
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import nanocnn
from nanocnn import Callback, load_model
from nanocnn.distributed import Communicator, get_communicator
from nanocnn.models import run as run_of_models
from support.mpi import needs_mpi, run, succeed
from support.paths import ROOT
from support.processes import ENVIRONMENT
from support.small_models import bits, digits, small_model

pytestmark = needs_mpi


class NoWork(Callback):
    """No event comes."""

    def on_train_begin(self):
        raise ValueError("work was done")


class SeesBatches(Callback):
    """Looks at each batch of the validation."""

    def on_test_batch_end(self, batch):
        pass


class Drift(Callback):
    """Changes something on the last process, before epoch 2."""

    def __init__(self, change):
        self.change = change

    def on_epoch_begin(self, epoch):
        if epoch == 1 and is_last():
            self.change(self.model)


class DriftInside(Drift):
    """The same, after its first batch."""

    def on_epoch_begin(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, batch):
        if batch == 0 and self.epoch == 1 and is_last():
            self.change(self.model)


def is_last():
    communicator = get_communicator()
    return communicator.rank == communicator.size - 1


def change_kernel(model):
    model.layers[0].params["kernel"][0, 0, 0, 0] += 1


def change_slot(model):
    model.optimizer.slots["conv2d/kernel/m"][0, 0, 0, 0] += 1


def change_rate(model):
    model.optimizer.learning_rate = 0.5


def draw(model):
    model.rng.random()


def differ_in(what):
    """Arguments of `fit` and a model, which differ on the last process; and what is expected."""
    other = is_last()
    x, y = digits(60, seed=int(other and what == "x"))
    model = small_model("fast", seed=int(other and what == "seed"))
    options = {"batch_size": 12, "epochs": 3}
    if what == "y" and other:
        y[0] = (y[0] + 1) % 10
    if what == "length" and other:
        x, y = x[:-1], y[:-1]
    if what == "sample_weight":
        options["sample_weight"] = np.full(60, 1.0 + other)
    if what == "validation":
        options["validation_data"] = digits(30, seed=int(other))
    if what == "no validation" and not other:
        options["validation_data"] = (x, y)
    if what == "batch_size" and other:
        options["batch_size"] = 24
    if what == "epochs" and other:
        options["epochs"] = 4
    if what == "shuffle":
        options["shuffle"] = other
    if what == "validation_freq":
        options["validation_freq"] = 1 + other
    if what == "steps" and other:
        options["steps_per_epoch"] = 2
    if what == "shards":
        options["shards"] = get_communicator().size * (2 if other else 1)
    if what == "the optimizer":
        model.compile(nanocnn.Adam(beta_1=0.8 if other else 0.9), "sparse_categorical_crossentropy")
    if what == "the loss":
        y = np.eye(10)[y]
        model.compile("adam", "mse" if other else "categorical_crossentropy")
    if what == "the metrics":
        model.compile(
            "adam", "sparse_categorical_crossentropy", metrics=["accuracy"] if other else None
        )
    if what == "the model":
        model.layers[0].trainable = not other
    if what == "kernels":
        model = small_model("reference" if other else "fast")
    if what == "callbacks":
        options["validation_data"] = (x, y)
        options["callbacks"] = [NoWork(), *[SeesBatches()] * other]
    if what in ("kernel", "slot", "random"):
        model.train_on_batch(x, y)
        if other:
            {"kernel": change_kernel, "slot": change_slot, "random": draw}[what](model)
    return model, x, y, options


# What differs, and what the message names.
DIFFERENCES = {
    "x": r"x is 60 rows, uint8 .* on process {last} and 60 rows, .* on process 0",
    "y": r"y is 60 rows, ",
    "length": r"x is 59 rows, .* on process {last} and 60 rows",
    "sample_weight": r"sample_weight is 60 rows",
    "validation": r"validation x is 30 rows",
    "no validation": r"validation x is None on process {last} and 60 rows",
    "seed": r"seed is 1 on process {last} and 0 on process 0",
    "batch_size": r"batch_size is 24 on process {last} and 12 on process 0",
    "epochs": r"epochs is 4 on process {last} and 3 on process 0",
    "shuffle": r"shuffle is True on process {last} and False on process 0",
    "validation_freq": r"validation_freq is 2 on process {last} and 1 on process 0",
    "steps": r"steps is 2 on process {last} and None on process 0",
    "shards": r"shards is \d+ on process {last} and \d+ on process 0",
    "the optimizer": r"the optimizer is .*0.8",
    "the loss": r"the loss is .*MeanSquaredError.* on process {last} and .*CategoricalCrossentropy",
    "the metrics": r"the list of metrics is \['accuracy'\] on process {last} and \[\] on process 0",
    "the model": r"the model is .*'trainable': False",
    "kernels": r"the kernel set is reference on process {last} and fast on process 0",
    "callbacks": r"a callback for batches of the validation is True on process {last} and False",
    "kernel": r"conv2d/kernel is float32 \(3, 3, 1, 6\) \w+ on process {last} and",
    "slot": r"conv2d/kernel/m of the optimizer is float32",
    "random": r"the random state",
}
DRIFTS = {
    "weights": (change_kernel, r"before epoch 2: conv2d/kernel"),
    "slots": (change_slot, r"before epoch 2: conv2d/kernel"),
    "learning rate": (
        change_rate,
        r"before epoch 2: the learning rate is 0.5 on process {last} and 0.001 on",
    ),
    "random state": (draw, r"before epoch 2: the random state"),
}


@contextmanager
def version(number):
    before, run_of_models.VERSION = run_of_models.VERSION, number
    try:
        yield
    finally:
        run_of_models.VERSION = before


def check_all():
    """In each process: every difference raises the same ValueError on all; then training works."""
    last = get_communicator().size - 1

    def raises(pattern, name, model, x, y, **options):
        try:
            model.fit(x, y, verbose=0, **options)
        except ValueError as error:
            found = str(error)
            good = re.search(pattern.format(last=last), found) and "expected the same" in found
        else:
            found, good = "nothing", False
        if not good:
            print(f"process {get_communicator().rank}: {name}: raised {found}", flush=True)

    for what, pattern in DIFFERENCES.items():
        model, x, y, options = differ_in(what)
        raises("^fit: .*" + pattern, what, model, x, y, **{"callbacks": [NoWork()], **options})
    with version("0.0.1" if is_last() else "0.1.0"):
        model, x, y, options = differ_in("")
        pattern = r"^fit: the version of nanocnn is 0.0.1 on process {last} and 0.1.0"
        raises(pattern, "version", model, x, y, callbacks=[NoWork()], **options)
    for what, (change, pattern) in DRIFTS.items():
        model, x, y, options = differ_in("")
        raises(pattern, what, model, x, y, callbacks=[Drift(change)], **options)
        model, x, y, options = differ_in("")
        pattern = pattern.replace("before", "after")
        raises(pattern, what, model, x, y, callbacks=[DriftInside(change)], **options)
    model, x, y, options = differ_in("")
    model.fit(x, y, verbose=0, **options)
    print("checked", flush=True)


@pytest.mark.parametrize("processes", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_a_difference_is_an_error_on_all_processes(processes):
    it = succeed(processes, "from test_bad_processes import check_all; check_all()")
    assert "".join(it.out.split()) == "checked" * processes, it.out
    print(f"{len(DIFFERENCES) + 1} differences before a training, {len(DRIFTS)} during one")


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def fit():
    """In a process: train with the arguments `fit` gets from the command line."""
    model, x, y, options = differ_in(sys.argv[1])
    shards = int(sys.argv[2]) if len(sys.argv) > 2 else None
    model.fit(x, y, callbacks=[NoWork()], **{"shards": shards, **options})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed"], "fit: seed is 1 on process 2 and 0 on process 0, expected the same on all 3"),
        slow(["", "5"], "shards=5, batch_size=12, expected a batch size that is a multiple of 5"),
        slow(["", "4"], "shards=4 on 3 processes, expected a number of shards that is a multiple"),
        slow(["batch_size", "24"], "shards=24, batch_size=12, expected a batch size"),
    ],
)
def test_the_error_is_shown_once_and_the_exit_code_is_not_0(arguments, message):
    """The last one is an error on one process only: the others begin."""
    it = run(3, "from test_bad_processes import fit; fit()", *arguments)
    assert it.code not in (0, None)
    assert it.err.count("ValueError: ") == 1 and it.err.count("Traceback") == 1, it.err
    assert f"ValueError: {message}" in it.err
    assert it.out == ""


USER = """
from support.small_models import digits, small_model
small_model().fit(*digits(60), 12)
print("trained")
"""


@pytest.fixture
def no_mpi4py(tmp_path):
    """The environment of a program that cannot import mpi4py."""
    (tmp_path / "mpi4py.py").write_text("raise ImportError('No module named mpi4py')")
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])}


def test_without_mpi4py_a_program_says_so_once(no_mpi4py):
    it = run(3, USER, environment=no_mpi4py)
    assert it.code not in (0, None) and it.out == ""
    assert it.err.count("Traceback") == it.err.count('pip install "nanocnn[mpi]"') == 1, it.err
    assert "an MPI launcher started 3 processes, but mpi4py cannot be imported" in it.err


def test_without_mpi4py_the_example_says_so_once(no_mpi4py, tmp_path):
    example = str(ROOT / "examples" / "train_mnist.py")
    options = ("--epochs", "1", "--out", tmp_path)
    it = run(3, example, *options, command=(), environment=no_mpi4py)
    assert it.code not in (0, None)
    assert it.err.count('pip install "nanocnn[mpi]"') == 1, it.err
    assert len(it.err.strip().splitlines()) == 1, it.err


def each_for_itself():
    """In a process: a model of its own, although a launcher started several."""
    rank = get_communicator().rank
    nanocnn.distributed.set_communicator(Communicator())
    model = small_model("fast", seed=rank)
    x, y = digits(60 + rank, seed=rank)
    path = f"{sys.argv[1]}/{rank}.npz"
    model.fit(x, y, 12, 2, callbacks=[nanocnn.ModelCheckpoint(path)], verbose=2)
    assert load_model(path).progress["shards"] == 1


def test_each_process_can_train_a_model_of_its_own(tmp_path):
    it = succeed(3, "from test_bad_processes import each_for_itself; each_for_itself()", tmp_path)
    assert it.out.count("Epoch 2/2") == 3
    for rank in range(3):
        expected = small_model("fast", seed=rank)
        expected.fit(*digits(60 + rank, seed=rank), 12, 2, verbose=0)
        assert bits(load_model(tmp_path / f"{rank}.npz")) == bits(expected)
