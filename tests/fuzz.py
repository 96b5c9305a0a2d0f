"""Fuzz a reader, guided by coverage: `python tests/fuzz.py h5 [--runs 100000]`.

The readers are idx, npz, h5, keras, weights and png. Needs the `[fuzz]` extra (atheris). Starts
from tests/corpus/FORMAT; what must hold is said in support/fuzz_targets.py. Each input has a limit
of time, and the process one of memory. Stops at the first input that breaks a promise, and says
where it lies. Damaged HDF5 can make its C library crash or loop forever: such inputs are counted,
must be an error when they are read as users read them (in a process of its own), and fuzzing goes
on.
"""

import argparse
import mmap
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

try:
    import atheris
except ImportError:
    sys.exit('fuzz: atheris is not installed (python -m pip install -e ".[fuzz]")')

from support import fuzz_targets

FOUND = 42  # exit code of a process in which a check failed
LONGEST = 1 << 17  # bytes of an input


class Shared:
    """What the fuzzing process tells its parent: how many inputs were begun, and the last one."""

    def __init__(self):
        self.memory = mmap.mmap(-1, 16 + LONGEST)

    @property
    def count(self):
        return struct.unpack("q", self.memory[:8])[0]

    @property
    def input(self):
        (size,) = struct.unpack("q", self.memory[8:16])
        return self.memory[16 : 16 + size]

    def begin(self, data):
        data = data[:LONGEST]
        self.memory[8 : 16 + len(data)] = struct.pack("q", len(data)) + data
        self.memory[:8] = struct.pack("q", self.count + 1)


def fuzz(target, work, folders, runs, seconds, shared):
    """In a process of its own: libFuzzer ends the process itself."""

    def one_input(data):
        shared.begin(data)
        try:
            fuzz_targets.attempt(target, data)
        except BaseException:
            traceback.print_exc()
            os._exit(FOUND)

    def mutate(data, max_size, seed):
        change = lambda part: atheris.Mutate(part, len(part) + 64)  # noqa: E731
        return target.mutate(data, Random(seed), change)[:max_size]

    limits = [f"-rss_limit_mb={target.memory}", f"-timeout={target.seconds}", "-max_len=50000"]
    limits += [f"-runs={runs}", f"-max_total_time={seconds}", f"-artifact_prefix={work}/"]
    options = [sys.argv[0], *limits, "-verbosity=0", "-reload=0", *map(str, folders)]
    atheris.Setup(options, one_input, custom_mutator=mutate)
    atheris.Fuzz()


def in_child(function, *arguments, patience, progress=lambda: None):
    """The exit code of a process that does it; killed after `patience` seconds without progress."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(FOUND)
        os._exit(0)
    seen, since = progress(), time.monotonic()
    while not (status := os.waitpid(pid, os.WNOHANG))[0]:
        time.sleep(0.02)
        if progress() != seen:
            seen, since = progress(), time.monotonic()
        elif time.monotonic() - since > patience:
            os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status[1])


def confirm(target, data):
    """Read an input again that the fuzzer's process did not survive."""
    (target.confirm or target.check)(target.pack(data))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("format", choices=fuzz_targets.TARGETS)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=0, help="stop earlier (0: after all runs)")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that reached new code")
    args = parser.parse_args()
    target = fuzz_targets.TARGETS[args.format]
    with atheris.instrument_imports(include=target.modules):  # made by the first attempts
        for data in fuzz_targets.mutants(args.format, 20, blind=False):
            fuzz_targets.attempt(target, data)
    start, shared, faults = time.monotonic(), Shared(), 0
    patience = 10 * target.seconds + 30
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        found = args.keep or work / "found"
        found.mkdir(exist_ok=True)
        folders = [found, fuzz_targets.CORPUS / args.format]
        failed = False
        while not failed and shared.count < args.runs:
            left = args.seconds and max(1, int(start + args.seconds - time.monotonic()))
            arguments = target, work, folders, args.runs - shared.count, left, shared
            code = in_child(fuzz, *arguments, patience=patience, progress=lambda: shared.count)
            if not code:
                break
            faults += 1
            data = shared.input
            failed = code == FOUND or in_child(confirm, target, data, patience=patience) != 0
            if failed:
                kept = Path(f"finding-{args.format}").absolute()
                kept.write_bytes(data)
                print(f"fuzz {args.format}: exit code {code} on the input in {kept}")
        new = len(list(found.iterdir()))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    seconds, again = time.monotonic() - start, f"process started anew {faults} times"
    print(
        f"fuzz {args.format}: {shared.count:,} inputs in {seconds:.0f} s, {new} of them reached "
        f"new code; peak memory {peak} MB; {again}: {'FAILED' if failed else 'passed'}"
    )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
