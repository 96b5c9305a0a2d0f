"""A training step whose batch is cut into shards, computed one after the other or by processes.

Each shard is a part of the batch for which forward and backward run by themselves; its losses are
divided by the number of samples of the whole batch, so that the sum of the shards' gradients is the
gradient of the batch. They are added in the order of a tree (distributed/tree.py) that depends on
the number of shards alone: the bits are the same for any number of processes.
"""

from functools import cache
from math import prod
from typing import Any

import numpy as np

from ..common.arrays import Array, quiet
from ..common.errors import NonFiniteError
from ..distributed import Communicator
from ..distributed.tree import Node, Stack, own_shards, push, total
from ..kernels.memory import Memory
from ..layers import BatchNormalization, is_builtin
from .gradients import Gradients, gradients_of
from .inputs import Data
from .interrupts import Pressed
from .passes import Guard, Run, captured, read_of
from .shard import Piece, Shard, pieces_of
from .split_update import SplitUpdate, can_split
from .structure import Structure


class ShardedStep:
    """As `Step`, for batches of `samples` that are cut into `shards`.

    After `run`, on every process: `loss` and what `measure` returns, of the whole batch, and
    `signal`, the number of a signal that a process has received, or 0. `splits`: whether each
    process may update its part of the weights only, where that is possible.
    """

    def __init__(
        self, model: Structure, samples: int, memory: Memory, shards: int,
        communicator: Communicator, splits: bool = True,
    ) -> None:  # fmt: skip
        self.model, self.memory, self.plan = model, memory, model.execution_plan
        self.samples, self.shards, self.communicator = samples, shards, communicator
        self.optimizer = optimizer = model.optimizer
        self.columns = 2 + 2 * len(model.metrics)  # of the results
        optimizer.allocate(model.trainable_weights)
        starts = [samples * shard // shards for shard in range(shards + 1)]
        self.weights = np.diff(starts) / samples
        own = own_shards(communicator.rank, communicator.size, shards)
        self.ranges = {shard: range(starts[shard], starts[shard + 1]) for shard in own}
        self.pieces = pieces_of(self.plan)
        self.gradients = gradients_of(self.plan, memory, communicator)
        # Where shards are synchronized, all of them are in progress at the same time.
        together = any(each.is_synchronized for each in self.pieces)
        self.groups = [list(own)] if together else [[shard] for shard in own]
        self.all_gradients = {
            shard: gradients_of(self.plan, self.plan.memory(), Communicator())
            if together and shard != own[-1]
            else self.gradients
            for shard in own
        }

        @cache
        def pass_of(gradients: Gradients, n: int) -> Shard:
            return Shard(gradients, self.pieces, model, n, gradients.memory, True, samples)

        self.passes = {
            shard: pass_of(self.all_gradients[shard], len(place))
            for shard, place in self.ranges.items()
            if place
        }
        # All passes read the same. One process may have none, because its shards have no samples;
        # but all must agree on what is trained.
        guards = [each.guard for each in self.passes.values()]
        self.guard = (guards or [Guard(read_of(self.plan.layers, model.kernels, True))])[0]
        self.sum = communicator.all_reduce(self.gradients.vector, shards, self.gradients.bounds)
        self._spare: list[Array] = []
        self.draws = sum(layer.draws for layer in self.plan.layers)
        if not all(map(is_builtin, self.plan.layers)):
            self.draws += 1 << 64  # custom layers may draw any number
        self.split: SplitUpdate | None = None
        if splits and self.sum.is_shared and can_split(optimizer):
            self.split = SplitUpdate(model, self.gradients, self.sum, communicator)
        self._update: Run = quiet(self._apply if self.split is None else self.split.apply)
        if self.passes and all(each.is_captured for each in self.passes.values()):
            (self._update,) = captured([self._update], memory)

    def release(self) -> None:
        """Let go of the data that was filled in last."""
        for each in self.passes.values():
            each.release()

    def measure(self) -> list[float]:
        """The metrics' sums over the samples of the last run: see `measure`."""
        return self.sums

    @quiet
    def run(self, data: Data, index: slice | Array, pressed: Pressed) -> None:
        """The loss of the samples at `index`, and an update.

        Raises `NonFiniteError` before the update if the loss is NaN or infinite.
        """
        results = self._run_shards(data, index)
        results[:, -1] = pressed.first
        found = self._of_all_shards(results)
        if self.split is None:
            self.sum.finish()
        else:
            self.sum.add_up()
        loss, *self.sums = total(found[:, :-1]).tolist()
        self.loss = loss + self.model.penalty()
        self.signal = int(found[:, -1].max())
        if not np.isfinite(self.loss):
            raise self.communicator.agreed(NonFiniteError(f"the loss is {self.loss}"))
        self.optimizer.prepare()
        self._update()
        self.optimizer.advance()
        if self.split is not None:
            self.split.spread()
        for layer, name, change in self.gradients.changes:
            layer.state[name] += change

    def _apply(self) -> None:
        self.gradients.give()
        self.optimizer.update(*self.model.parameters(), self.model.kernels)

    def _of_all_shards(self, rows: Array) -> Array:
        """(shards, ...) from the rows of this process's shards."""
        return self.communicator.all_gather(rows).reshape(self.shards, *rows.shape[1:])

    # --- Forward and backward ---

    def _run_shards(self, data: Data, index: slice | Array) -> Array:
        """Forward and backward of this process's shards: a row of results for each."""
        generator: Any = self.model.rng.bit_generator  # PCG64
        random = generator.state if self.draws else None
        self._before = [layer.state[name].copy() for layer, name, _ in self.gradients.changes]
        self._stacks: list[Stack[Array]] = [[] for _ in self.gradients.spans]
        results = np.zeros((len(self.ranges), self.columns))
        rows = iter(results)
        for group in self.groups:
            if random is not None:
                generator.state = random
            for shard in group:
                if own := self.passes.get(shard):
                    place = self.ranges[shard]
                    own.begin(data, _part(index, place), place.start)
            for number, piece in enumerate(self.pieces):
                state = generator.state if self.draws else None
                for shard in group:
                    if own := self.passes.get(shard):
                        if state is not None:
                            generator.state = state  # all shards draw the same keys
                        own.run_piece(number)
                        if piece.is_forward:
                            self._take_changes(own, self.weights[shard])
                self._combine(piece, group)
            for shard, row in zip(group, rows, strict=False):
                if own := self.passes.get(shard):
                    row[:-1] = own.results()
        if random is not None:
            generator.state = random
            generator.advance(self.draws)
        return results

    def _take_changes(self, own: Shard, weight: float) -> None:
        """What the pass has changed of the layers' state, weighted; the state is as before."""
        for (layer, name, change), old in zip(own.gradients.changes, self._before, strict=True):
            state = layer.state[name]
            change += (state - old) * state.dtype.type(weight)
            state[...] = old

    def _combine(self, piece: Piece, group: list[int]) -> None:
        """What follows a piece that all shards of the group have done."""
        if isinstance(piece.end, int):
            for shard in group:
                self._add(piece.end, shard)
            self.sum.poke()
        elif piece.end is not None and piece.is_forward:
            self._combine_statistics(piece.end)
        elif piece.end is not None:
            self._combine_sums(piece.end)

    def _add(self, bucket: int, shard: int) -> None:
        """Add this shard's gradients to those before it; the last shard's are sent."""
        stack, gradients = self._stacks[bucket], self.all_gradients[shard]
        start, stop = gradients.bounds[bucket : bucket + 2]
        is_shared = gradients is self.gradients
        part = self.sum.parts[bucket] if is_shared else gradients.vector[start:stop]
        if shard not in self.passes:  # it has no samples
            part[...] = 0
        push(stack, Node(0, shard), part, self.shards, self.model.kernels.add)
        if shard == max(self.ranges):
            self.sum.start(bucket, stack)
        elif is_shared and stack[-1][1] is part:  # the next shard overwrites it
            node, _ = stack.pop()
            while len(self._spare) <= len(stack):
                self._spare.append(np.empty_like(self.gradients.vector))
            kept = self._spare[len(stack)][start:stop]
            kept[...] = part
            stack.append((node, kept))

    # --- Batch normalization over the whole batch ---

    def _combine_statistics(self, layer: BatchNormalization) -> None:
        """Mean and variance of the whole batch from those of all shards, in float64."""
        found = self._of_all_shards(self._rows(layer, "moments"))
        weights = self.weights[:, None]
        mean = total(found[:, 0] * weights)
        shift = found[:, 0] - mean
        variance = total((found[:, 1] + shift * shift) * weights)
        for own in self.passes.values():
            shard = own.numbers[layer]
            shard.mean[...], shard.variance[...] = mean, variance

    def _combine_sums(self, layer: BatchNormalization) -> None:
        """The sums of the backward pass over all shards, divided by the number of values."""
        found = self._of_all_shards(self._rows(layer, "sums"))
        size = self.samples * prod(layer.input_shape[:-1])
        for own in self.passes.values():
            own.numbers[layer].means[...] = total(found) / size

    def _rows(self, layer: BatchNormalization, what: str) -> Array:
        rows = np.zeros((len(self.ranges), 2, layer.input_shape[-1]))
        for row, shard in zip(rows, self.ranges, strict=True):
            if own := self.passes.get(shard):
                row[...] = getattr(own.numbers[layer], what)
        return rows


def _part(index: slice | Array, place: range) -> slice | Array:
    if isinstance(index, slice):
        return slice(index.start + place.start, index.start + place.stop)
    return index[place.start : place.stop]
