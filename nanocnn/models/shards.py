"""A training step whose batch is cut into shards, computed one after the other or by processes.

Each shard is a part of the batch for which forward and backward run by themselves; its losses are
divided by the number of samples of the whole batch, so that the sum of the shards' gradients is the
gradient of the batch. They are added in the order of a tree (distributed/tree.py) that depends on
the number of shards alone: the bits are the same for any number of processes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..common.arrays import Array, quiet
from ..common.errors import NonFiniteError
from ..distributed import Communicator
from ..distributed.tree import Node, Stack, own_shards, push
from ..kernels.memory import Arena, Memory
from ..layers import Dropout, is_builtin
from ..losses import Loss
from ..metrics import Metric
from ..optimizers import Optimizer
from .gradients import Gradients
from .inputs import Data
from .interrupts import Pressed
from .passes import Run, captured
from .step import Step
from .structure import Structure


class Shard(Step):
    """Forward and backward of one shard. `gradients`: where its gradients go."""

    def __init__(self, gradients: Gradients, *args: Any) -> None:
        self.gradients = gradients
        super().__init__(*args)

    def pieces(self, data: Data, index: slice | Array) -> Iterator[int]:
        """Run, and yield the number of each bucket of gradients when it is complete."""
        forward, *backward = self._parts
        self._fill_in(data, index)
        forward()
        for bucket, piece in enumerate(backward):
            piece()
            yield bucket

    def _functions(self) -> list[Run]:
        def piece(bucket: int) -> None:
            span = self.gradients.spans[bucket]
            if bucket == 0:
                self._d = self.loss_function.backward(self.share, self.model.kernels, self.memory)
            self._d = self.plan.backward(self._d, self.memory, span)
            self.gradients.collect(span)

        buckets = range(len(self.gradients.spans))
        return [self._forward, *(lambda bucket=bucket: piece(bucket) for bucket in buckets)]

    @property
    def mean(self) -> float:
        """The sum of the samples' losses, divided by the number of samples of the batch."""
        return float(self._mean[0])


class ShardedStep:
    """As `Step`, for batches of `samples` that are cut into `shards`.

    After `run`, on every process: `loss` and what `measure` returns, of the whole batch, and
    `signal`, the number of a signal that a process has received, or 0.
    """

    def __init__(
        self,
        model: Structure,
        loss: Loss,
        metrics: Mapping[str, Metric],
        optimizer: Optimizer,
        samples: int,
        memory: Memory,
        shards: int,
        communicator: Communicator,
    ) -> None:
        self.model, self.optimizer, self.memory = model, optimizer, memory
        self.samples, self.shards, self.communicator = samples, shards, communicator
        self.plan, self.names = model.execution_plan, list(metrics)
        optimizer.allocate(model.trained())
        starts = [samples * shard // shards for shard in range(shards + 1)]
        self.ranges = {
            shard: range(starts[shard], starts[shard + 1])
            for shard in own_shards(communicator.rank, communicator.size, shards)
        }
        self.gradients = Gradients(self.plan, memory)
        self.passes = {
            n: Shard(self.gradients, model, loss, metrics, optimizer, n, memory, samples)
            for n in {len(each) for each in self.ranges.values()} - {0}
        }
        self.sum = communicator.all_reduce(self.gradients.vector, shards, self.gradients.bounds)
        self._spare: list[Array] = []
        self.draws = sum(isinstance(layer, Dropout) and layer.rate > 0 for layer in self.plan.layers)
        if not all(map(is_builtin, self.plan.layers)):
            self.draws += 1 << 64
        self._update = quiet(self._apply)
        if self.passes and all(each.is_captured for each in self.passes.values()):
            assert isinstance(memory, Arena)
            (self._update,) = captured([self._update], memory)

    @property
    def guard(self) -> "ShardedStep":
        return self

    def holds(self) -> bool:
        """Whether what the passes were captured from is still the same."""
        return all(each.guard.holds() for each in self.passes.values())

    def release(self) -> None:
        """Let go of the data that was filled in last."""
        for each in self.passes.values():
            each.release()

    def run(self, data: Data, index: slice | Array, pressed: Pressed) -> None:
        """The loss of the samples at `index`, and an update.

        Raises `NonFiniteError` before the update if the loss is NaN or infinite.
        """
        results = self._run_shards(data, index)
        results[:, -1] = pressed.first
        found = self.communicator.all_gather(results).reshape(self.shards, -1)
        self.sum.finish()
        stack: Stack[Array] = []
        for shard, row in enumerate(found):
            push(stack, Node(0, shard), row, self.shards, np.add)
        ((_, total),) = stack
        self.loss = float(total[0]) + self.model.penalty()
        self.sums = dict(zip(self.names, total[1:-1].tolist(), strict=True))
        self.signal = int(found[:, -1].max())
        if not np.isfinite(self.loss):
            raise self.communicator.agreed(NonFiniteError(f"the loss is {self.loss}"))
        for layer, name, change in self.gradients.changes:
            layer.state[name] += change
        self.optimizer.prepare()
        self._update()
        self.optimizer.advance()

    def measure(self) -> dict[str, float]:
        """Each metric's sum over the samples of the last run."""
        return self.sums

    def _apply(self) -> None:
        self.gradients.give()
        self.optimizer.update(*self.model.parameters(), self.model.kernels)

    def _run_shards(self, data: Data, index: slice | Array) -> Array:
        """Forward and backward of this process's shards: a row of results for each."""
        gradients, rng = self.gradients, self.model.rng.bit_generator
        before, random = [layer.state[name].copy() for layer, name, _ in gradients.changes], rng.state
        results = np.zeros((len(self.ranges), len(self.names) + 2))
        self._stacks: list[Stack[Array]] = [[] for _ in gradients.spans]
        for row, (shard, samples) in zip(results, self.ranges.items(), strict=True):
            rng.state = random  # all draw the same keys
            if not samples:
                gradients.vector[:] = 0
                for bucket in range(len(gradients.spans)):
                    self._add(bucket, shard)
                continue
            self.memory.first = samples.start
            own = self.passes[len(samples)]
            for bucket in own.pieces(data, _part(index, samples)):
                if bucket == 0:
                    share = len(samples) / self.samples
                    self._take_changes(before, share)
                self._add(bucket, shard)
                self.sum.poke()
            row[0], row[1:-1] = own.mean, list(own.measure().values())
        self.memory.first = 0
        rng.state = random
        rng.advance(self.draws)  # custom layers may have drawn more for a larger shard
        return results

    def _take_changes(self, before: list[Array], share: float) -> None:
        """What the pass has changed of the layers' state, weighted; the state is as before."""
        for (layer, name, change), old in zip(self.gradients.changes, before, strict=True):
            state = layer.state[name]
            np.multiply(state - old, share, out=change)
            state[...] = old

    def _add(self, bucket: int, shard: int) -> None:
        """Add this shard's gradients to those before it; the last shard's are sent."""
        stack, bounds = self._stacks[bucket], self.gradients.bounds
        part = self.sum.parts[bucket]
        push(stack, Node(0, shard), part, self.shards, self._add_arrays)
        if shard == max(self.ranges):
            self.sum.start(bucket, stack)
        elif stack[-1][1] is part:  # the next shard overwrites it
            node, _ = stack.pop()
            while len(self._spare) <= len(stack):
                self._spare.append(np.empty_like(self.gradients.vector))
            kept = self._spare[len(stack)][bounds[bucket] : bounds[bucket + 1]]
            kept[...] = part
            stack.append((node, kept))

    def _add_arrays(self, left: Array, right: Array) -> Array:
        return self.model.kernels.add(left, right)


def _part(index: slice | Array, samples: range) -> slice | Array:
    if isinstance(index, slice):
        return slice(index.start + samples.start, index.start + samples.stop)
    return index[samples.start : samples.stop]
