"""The same bits for any number of processes: R = 1, 2, 3 and 4 share out 12 shards."""

import contextlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from nanocnn import Callback, NonFiniteError
from nanocnn.distributed import get_communicator
from nanocnn.distributed.state import compare, digest
from support.mpi import needs_mpi, succeed
from support.processes import ENVIRONMENT
from support.sharded import TRAININGS, network, result
from support.small_models import OPTIMIZERS, bits, digits

RESULTS = "from test_bits import write_results; write_results()"


def write_results():
    """In a process: train all; write what it got to FOLDER/RANK.json."""
    found = {case: result(case) for case in TRAININGS}
    with open(os.path.join(sys.argv[1], f"{get_communicator().rank}.json"), "w") as file:
        json.dump(found, file)


def read_results(folder):
    paths = sorted(folder.glob("*.json"))
    return [json.loads(path.read_text()) for path in paths]


@pytest.fixture(scope="module")
def alone():
    return {case: result(case) for case in TRAININGS}


@needs_mpi
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_get_the_bits_of_one(processes, alone, tmp_path):
    succeed(processes, RESULTS, tmp_path, timeout=300)
    found = read_results(tmp_path)
    assert len(found) == processes
    for rank, each in enumerate(found):
        for case in TRAININGS:
            assert each[case] == alone[case], f"{case}, process {rank} of {processes}"
    print(f"{processes} processes: 0 differing bytes in {len(TRAININGS)} trainings")


def as_many_shards_as_processes():
    """What trainings of two epochs leave, and those that an error ends: all processes have it.

    On one machine, each process updates its part of the weights, unless gradients are clipped by
    norm or a callback sees the batches.
    """
    shards, found = int(sys.argv[2]), {}
    for optimizer in OPTIMIZERS:
        for case in ("", "overflow", "callback"):
            normalized = case != "overflow"  # which would prevent it
            model = network(optimizer=OPTIMIZERS[optimizer](), normalized=normalized)
            x, y = digits(60)
            x = x / np.float32(255)
            if case == "overflow":
                x[45] = 3e38
                model.layers[0].params["kernel"][...] *= 100
            options = {"callbacks": [SeesBatches()] if case == "callback" else None, "verbose": 0}
            with contextlib.suppress(NonFiniteError):
                model.fit(x, y, 12, 2, shards=shards, shuffle=False, **options)
            assert (case == "overflow") == (model.optimizer.iterations == 3)
            found[f"{optimizer}, {case}"] = str(bits(model))
    with open(os.path.join(sys.argv[1], f"{get_communicator().rank}.json"), "w") as file:
        json.dump(found, file)


class SeesBatches(Callback):
    """Finds all of the optimizer's slots on every process."""

    def on_train_batch_end(self, batch):
        compare(get_communicator(), "test", {n: digest(a) for n, a in self.slots().items()})

    def slots(self):
        return self.model.optimizer.slots


@needs_mpi
@pytest.mark.parametrize("shards", [2, 4])
def test_as_many_shards_as_processes(shards, tmp_path):
    code = "from test_bits import as_many_shards_as_processes as run; run()"
    for processes in (1, shards):
        (tmp_path / str(processes)).mkdir()
        succeed(processes, code, tmp_path / str(processes), shards, timeout=300)
    (alone,) = read_results(tmp_path / "1")
    assert len({*alone.values()}) == 2 * len(OPTIMIZERS)  # a callback changes nothing
    assert read_results(tmp_path / str(shards)) == [alone] * shards


# The vector instructions of an AVX2 processor.
AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma,+avx,+bmi,+bmi2,+f16c,+movbe,+popcnt,+sse4.2",
}


@pytest.mark.slow
@needs_mpi
def test_avx2_gives_the_same_bits(alone, tmp_path):
    succeed(2, RESULTS, tmp_path, environment=AVX2, timeout=900)
    for each in read_results(tmp_path):
        assert each == alone


@pytest.mark.slow
def test_threads_give_the_same_bits(alone, tmp_path):
    environment = ENVIRONMENT | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RESULTS, str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=300)
    assert read_results(tmp_path) == [alone]
