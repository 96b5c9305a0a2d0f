"""Each process updates its part of the weights, and copies the rest from the others.

On one machine, where all read each other's vectors (distributed/shared.py): the gradients' sum is
then needed only where its weights are updated, and the optimizer's slots are read and written once
instead of by every process. Each number is updated as before, so the bits are the same. Slots are
spread at the end of an epoch; before that each process has only its part of them.
Source: Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter
Models", stage 1.
"""

from typing import NamedTuple

from ..common.arrays import Array
from ..distributed.communicator import AllReduce, Communicator
from ..optimizers import Optimizer
from .gradients import Gradients
from .structure import Structure

Copies = list[tuple[Array, Array]]


class Part(NamedTuple):
    """Items `span` of the parameter `name`, and where a process has them in its vector."""

    name: str
    span: slice
    place: Array


def can_split(optimizer: Optimizer) -> bool:
    """Whether the update of each number needs no other: norms do."""
    return optimizer.clipnorm is None and optimizer.global_clipnorm is None


class SplitUpdate:
    """The update of `model` from the sum that `total` makes in `gradients`."""

    def __init__(
        self, model: Structure, gradients: Gradients, total: AllReduce, communicator: Communicator
    ) -> None:
        self.model, self.optimizer, self.total = model, model.optimizer, total
        self.own: list[Part] = []
        self.others: list[Part] = []
        self.changes: Copies = []  # of the layers' state: here, and there
        start = sum(change.size for _, _, change in gradients.changes)
        for each in range(communicator.size):
            mine = self.own if each == communicator.rank else self.others
            for first, last, place in total.segments(each):
                at = start
                if each != communicator.rank and first < start:
                    here, end = gradients.vector[first:last], start - first
                    self.changes.append((here[:end], place[: len(here[:end])]))
                for (layer, name), view in gradients.views.items():
                    low, high = max(first, at), min(last, at + view.size)
                    if low < high:
                        part = place[low - first : high - first]
                        mine.append(Part(f"{layer.name}/{name}", slice(low - at, high - at), part))
                    at += view.size
        self.give, take = self._copies(model.trainable_weights)
        self.take = [*take, *self.changes]

    def apply(self) -> None:
        """Update this process's part."""
        params = self._parts(self.model.trainable_weights)
        grads = {part.name: part.place for part in self.own}
        self.model._add_penalties(params, grads)
        slots = {
            f"{name}/{slot}": array
            for slot in self.optimizer.used_slots
            for name, array in self._parts(self._slots(slot)).items()
        }
        self.optimizer.update(params, grads, self.model.kernels, slots)

    def spread(self) -> None:
        """Give the new weights to the others, and take theirs; and the changes of the state."""
        self.total.exchange(self.give, self.take)

    def spread_slots(self) -> None:
        """The same for the optimizer's slots."""
        for slot in self.optimizer.used_slots:
            self.total.exchange(*self._copies(self._slots(slot)))

    def _slots(self, slot: str) -> dict[str, Array]:
        return {
            name: self.optimizer.slots[f"{name}/{slot}"] for name in self.model.trainable_weights
        }

    def _parts(self, arrays: dict[str, Array]) -> dict[str, Array]:
        """This process's parts of these arrays; a parameter is in one bucket, so it has one."""
        return {part.name: arrays[part.name].reshape(-1)[part.span] for part in self.own}

    def _copies(self, arrays: dict[str, Array]) -> tuple[Copies, Copies]:
        """(to, from): into own segments of the vector, and from those of the others."""
        flat = {name: array.reshape(-1) for name, array in arrays.items()}
        return (
            [(part.place, flat[part.name][part.span]) for part in self.own],
            [(flat[part.name][part.span], part.place) for part in self.others],
        )
