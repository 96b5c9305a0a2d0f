"""A process of a contestant that is one or several processes: the side that trains.

`processes.Group` starts it, by an MPI launcher where there are several, and asks all of them the
same by lines of JSON over a socket. Between questions a process sleeps.
"""

import json
import socket
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
from peers import Nanocnn, Torch
from processes import MESSAGES, SUM
from workers import task_of

now = time.perf_counter
ADDED = 1 << 26  # bytes that are added: more than a cache holds


class Clock:
    """When the calls of functions begin and end: (name, begin, end)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float, float]] = []

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            begin = now()
            result = function(*args, **options)
            self.calls.append((name, begin, now()))
            return result

        return timed

    def steps(self, end: str) -> list[list[tuple[str, float, float]]]:
        """The calls from one end of the call `end` to the next, that one included."""
        found: list[list[tuple[str, float, float]]] = []
        for call in self.calls:
            if found:
                found[-1].append(call)
            if call[0] == end:
                found.append([call])
        return found[:-1]


class Ours(Nanocnn):
    """nanocnn on this process and those that the launcher started with it."""

    def __init__(self, task: Any, shares_memory: bool = True) -> None:
        from nanocnn import distributed
        from nanocnn.optimizers import Optimizer

        super().__init__(task)
        self.clock = Clock()
        mock.patch.object(
            Optimizer, "advance", self.clock.around("step", Optimizer.advance)
        ).start()  # a step's last line
        self.communicator = distributed.get_communicator()
        self.communicator.shares_memory &= shares_memory
        self.watch(self.communicator)
        self.bytes: list[int] = []  # of each bucket of gradients

    def watch(self, communicator: Any) -> None:
        """Note when it is called during a step."""
        reduce = communicator.all_reduce

        def all_reduce(*args: Any) -> Any:
            whole = reduce(*args)
            self.bytes = (np.diff(whole.bounds) * args[0].itemsize).tolist()
            for name in SUM:
                setattr(whole, name, self.clock.around(name, getattr(whole, name)))
            return whole

        communicator.all_reduce = all_reduce
        communicator.all_gather = self.clock.around("gather", communicator.all_gather)

    def train(self, steps: int, batch: int) -> dict[str, Any]:
        """Median seconds of a step, and those of its calls of the communicator."""
        self.batch = batch
        self.clock.calls.clear()
        loss = self.fit(steps)
        found = self.clock.steps("step")
        parts: dict[str, float] = {}
        for name in ("gather", *SUM):
            spent = [sum(e - b for n, b, e in step[1:] if n == name) for step in found]
            parts[name] = statistics.median(spent)
        return {**periods(found), "parts": parts, "loss": loss}

    def compute(self, steps: int, shard: int, size: int) -> dict[str, Any]:
        """Median seconds of what one of `size` processes computes in a step, without the others.

        `pieces`: from the end of a sum, or of the message before, until the next bucket of
        gradients is complete; `rest`: until the sum is waited for.
        """
        from nanocnn import distributed

        class Nobody(distributed.Communicator):
            """The first of `size` processes; the others have the same numbers, at once."""

            def all_gather(self, array: Any) -> Any:
                return np.broadcast_to(array, (self.size, *array.shape))

            def gather(self, value: Any) -> list[Any]:
                return [value] * self.size

        nobody = Nobody()
        nobody.size = size
        self.watch(nobody)
        distributed.set_communicator(nobody)
        self.batch = shard * size
        self.clock.calls.clear()
        self.fit(steps)
        distributed.set_communicator(self.communicator)
        pieces = []
        for step in self.clock.steps("finish"):
            calls = [call for call in step if call[0] in ("start", "poke", "finish")]
            before = [end for name, _, end in calls if name != "start"]
            after = [begin for name, begin, _ in calls if name in ("start", "finish")]
            pieces.append([b - a for a, b in zip(before, after[1:], strict=False)])
        *times, rest = np.median(pieces, axis=0).tolist()
        return {"pieces": times, "rest": rest, "bytes": self.bytes}


class Distributed(Torch):
    """PyTorch's DistributedDataParallel, with gloo; each process has its part of the batch."""

    def __init__(self, task: Any, **settings: Any) -> None:
        import torch

        from nanocnn.jit.launcher import launch

        rank, self.size, _ = launch()
        file = task.folder / f"gloo-{settings}"
        torch.distributed.init_process_group(
            "gloo", init_method=file.as_uri(), rank=rank, world_size=self.size
        )
        super().__init__(task, **settings)
        self.call = torch.nn.parallel.DistributedDataParallel(
            self.model,
            gradient_as_bucket_view=True,  # saves a copy
        )
        self.clock = Clock()
        self.optimizer.register_step_post_hook(self.clock.around("step", lambda *_: None))

    def train(self, steps: int, batch: int) -> dict[str, Any]:
        self.batch = batch // self.size
        self.clock.calls.clear()
        loss = self.fit(steps)
        return {**periods(self.clock.steps("step")), "loss": loss}


MAKERS: dict[str, Callable[[Any], Any]] = {
    MESSAGES: partial(Ours, shares_memory=False),
    "nanocnn": Ours,
    "torch": Distributed,
    "torch-cl": lambda task: Distributed(task, channels_last=True),
}


def periods(steps: list[list[tuple[str, float, float]]]) -> dict[str, Any]:
    """The median time from the end of one step to that of the next."""
    times = [step[-1][2] - step[0][2] for step in steps]
    return {"step": statistics.median(times), "steps": len(times)}


def exchange(sizes: list[int], rounds: int) -> dict[str, Any]:
    """What the first two processes send each other, both at once, as a sum is exchanged.

    `seconds`: median, by bytes; `message`: seconds of processor time to send and receive one more.
    """
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    other = 1 - world.rank

    def once(sent: Any, received: Any, count: int) -> float:
        world.Barrier()
        begin = now()
        requests = [world.Irecv(received, other) for _ in range(count)]
        requests += [world.Isend(sent, other) for _ in range(count)]
        while not MPI.Request.Testall(requests):
            pass
        return now() - begin

    seconds = {}
    for size in sizes:
        arrays = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        seconds[size] = statistics.median(once(*arrays, 1) for _ in range(rounds))
    few, many = (
        statistics.median(once(np.zeros(8), np.zeros(8), count) for _ in range(rounds))
        for count in (1, 65)
    )
    return {"seconds": seconds, "message": max(many - few, 0) / 64}


def addition() -> dict[str, float]:
    """Seconds of one call of NumPy's addition, and of each byte of numbers that are in no cache."""
    n = ADDED // 4
    x, y = np.ones(n, np.float32), np.ones(n, np.float32)
    call = min(timed(lambda: np.add(x[:8], y[:8], out=y[:8])) for _ in range(100))
    whole = min(timed(lambda: np.add(x, y, out=y)) for _ in range(5))
    return {"call": call, "byte": whole / x.nbytes}


def timed(function: Callable[[], Any]) -> float:
    begin = now()
    function()
    return now() - begin


def serve(host: str, port: str) -> None:
    """Answer until the socket is closed; the first line chooses the contestant."""
    with socket.create_connection((host, int(port))) as connection:
        lines = connection.makefile("rw")

        def answer(**content: Any) -> None:
            print(json.dumps(content), file=lines, flush=True)

        setup = json.loads(lines.readline())
        try:
            contestant = MAKERS[setup["name"]](task_of(setup))
        except ModuleNotFoundError as error:
            return answer(missing=str(error))
        work = {"exchange": exchange, "addition": addition}
        answer(ready=True)
        for line in lines:
            request = json.loads(line)
            do = request.pop("do")
            answer(**(work[do] if do in work else getattr(contestant, do))(**request))


if __name__ == "__main__":
    serve(*sys.argv[1:])
