"""How this process was started: alone, or as one of several by an MPI launcher.

Read from the environment, so that it is known before MPI is loaded, and without it.
"""

import os
from typing import NamedTuple

# The variables that launchers set: rank, number of processes, and how many of them on this machine.
VARIABLES = (
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"),  # MPICH, Intel MPI, Slurm with pmi2
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),  # Open MPI
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"),  # srun
)


class Launch(NamedTuple):
    """This process is number `rank`, from 0, of `size`; `local` of them run on this machine."""

    rank: int
    size: int
    local: int


ALONE = Launch(0, 1, 1)


def launch() -> Launch:
    """What the environment says."""
    for names in VARIABLES:
        rank, size, local = (_number(os.environ.get(name, "")) for name in names)
        if rank is not None and size is not None and size > 1:
            return Launch(rank, size, min(local or 1, size))
    return ALONE


def _number(text: str) -> int | None:
    """The integer that `text` begins with: Slurm writes "4(x2)"."""
    digits = text.partition("(")[0].partition(",")[0]
    return int(digits) if digits.isdecimal() else None
