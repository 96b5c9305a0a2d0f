"""The same bits for any number of processes: R = 1, 2, 3 and 4 share out 12 shards."""

import json
import os
import subprocess
import sys

import pytest

from nanocnn.distributed import get_communicator
from support.mpi import needs_mpi, succeed
from support.processes import ENVIRONMENT
from support.sharded import TRAININGS, result

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
