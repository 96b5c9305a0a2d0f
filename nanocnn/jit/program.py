"""Programs: the captured calls of a pass, replayed by compiled code, as CUDA graphs are.

A program knows kernels and their arguments, arrays among them; when it is replayed the same arrays
are read and written again. Compiling ahead is to compile what the program lists, in two processes.
"""

from collections.abc import Sequence

import numpy as np

from . import pool, precompile
from .capture import Calls, KernelCall, PythonCall
from .executor import CONDITION, PYTHON, RECORD


def programs(captures: Sequence[Calls]) -> list["Program"]:
    """The captured calls as programs, compiled together."""
    precompile.compile_all(
        (call.kernel, call.arguments)
        for captured in captures
        for call in captured.calls
        if isinstance(call, KernelCall)
    )
    return [Program(captured) for captured in captures]


class Program:
    """Captured calls, ready to be replayed any number of times."""

    def __init__(self, captured: Calls) -> None:
        kernels = [call for call in captured.calls if isinstance(call, KernelCall)]
        self.calls = list(captured.calls)  # for those who look at a program
        self._kept = captured.buffers, captured.kept
        self._python: dict[int, PythonCall] = {}
        records: list[tuple[int, int, int]] = []
        for call in captured.calls:
            if isinstance(call, KernelCall):
                address = call.kernel.address(call.arguments.types, call.arguments.buffers)
                records.append((address, call.arguments.address, call.parts))
                continue
            if call.flags is not None:
                records.append((CONDITION, call.flags.ctypes.data, call.flags.size))
            self._python[len(records)] = call
            records.append((PYTHON, 0, 0))
        self.count = len(records)
        self._table = np.array(records or np.zeros((0, RECORD)), np.int64)
        self._address = self._table.ctypes.data
        self._memory = max((call.arguments.memory for call in kernels), default=0)
        self._parts = max((call.parts for call in kernels), default=0)

    def replay(self) -> None:
        """Make the calls again."""
        i = pool.execute(self._address, 0, self.count, self._parts, self._memory)
        while i < self.count:
            call = self._python[i]
            call.function(*call.args)
            i = pool.execute(self._address, i + 1, self.count, self._parts, self._memory)
