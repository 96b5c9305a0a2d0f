"""What all processes must have in common: compared before a training and after each epoch."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..common.arrays import Array
from .communicator import Communicator

ROWS = 64  # of a data set, that are compared


def digest(array: Array) -> str:
    """A hash of an array's numbers, with its type and shape."""
    content = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8)
    return f"{array.dtype} {array.shape} {content.hexdigest()}"


def sample(array: Any) -> str:
    """A hash of a data set's type and shape, and of some of its rows."""
    if array is None:
        return "none"
    rows = np.unique(np.linspace(0, len(array) - 1, ROWS).astype(np.intp))
    return f"{len(array):,} rows, {digest(array[rows])} of {len(rows)}"


def compare(communicator: Communicator, what: str, state: Mapping[str, Any]) -> None:
    """Raise ValueError on all processes, before or after `what`, if `state` differs on any."""
    found = communicator.gather(dict(state))
    for name in dict.fromkeys(name for each in found for name in each):
        first, *others = (each.get(name) for each in found)
        for rank, value in enumerate(others, 1):
            if value != first:
                raise communicator.agreed(
                    ValueError(
                        f"{what}: {name} is {value} on process {rank} and {first} on process 0, "
                        f"expected the same on all {communicator.size} processes"
                    )
                )
