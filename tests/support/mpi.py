"""Programs that tests start on several processes, by the launcher of MPI."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

from support.processes import ENVIRONMENT

LAUNCHER = which("mpiexec", path=str(Path(sys.executable).parent)) or which("mpiexec")
LACKS = "mpi4py" if find_spec("mpi4py") is None else "mpiexec" if LAUNCHER is None else ""
SHARED = Path("/dev/shm")
needs_mpi = pytest.mark.skipif(bool(LACKS), reason=f"{LACKS} is not installed: pip install .[mpi]")


class Run:
    """`mpiexec -n processes python -c code arguments`, and after `wait` what came of it.

    Raises AssertionError if it has not ended after `timeout` seconds: it hangs.
    """

    def __init__(self, processes, code, *arguments, environment=None, command=("-c",)):
        self.command = [LAUNCHER, "-n", str(processes), sys.executable, *command, code]
        self.command += map(str, arguments)
        self.process = subprocess.Popen(
            self.command, env=ENVIRONMENT | (environment or {}), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.out = self.err = ""

    def wait(self, timeout=60):
        start = time.monotonic()
        try:
            self.out, self.err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(
                f"hangs: not ended after {timeout} s\n{self.out}\n{self.err}"
            ) from None
        self.seconds = time.monotonic() - start
        self.code = self.process.returncode
        return self

    def end(self):
        """End all processes, if they have not ended."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    self.out, self.err = self.process.communicate(timeout=5)


@contextmanager
def started(processes, code, *arguments, **options):
    """A `Run` in progress; it is ended at the end."""
    before = left_by_mpich()
    run = Run(processes, code, *arguments, **options)
    try:
        yield run
    finally:
        run.end()
        for path in left_by_mpich() - before:
            path.unlink(missing_ok=True)


def left_by_mpich():
    """Files of shared memory, 2 MB each, that stay when processes were killed or aborted."""
    return set(SHARED.glob("mpich_shm_*"))


def run(processes, code, *arguments, timeout=60, **options):
    """A `Run` that has ended."""
    with started(processes, code, *arguments, **options) as it:
        return it.wait(timeout)


def succeed(processes, code, *arguments, **options):
    """A `Run` that has ended with exit code 0."""
    it = run(processes, code, *arguments, **options)
    assert it.code == 0, f"exit code {it.code}\n{it.out}\n{it.err}"
    return it
