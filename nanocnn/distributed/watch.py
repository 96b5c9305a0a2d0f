"""A small process on each machine that names the training process that has died, if one dies.

A launcher ends all processes as soon as one has died, so that none of them is left to say which it
was; what MPICH prints names any of those that it has ended itself. Linux only: pidfds become
readable in the order in which processes end.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..jit.child_process import interpreter

# Arguments: the number of all processes, the host, and RANK:PID of those on this machine. If there
# are more machines, the one whose process has died is the first that says so.
PROGRAM = """
import os, select, sys
size, host, *processes = sys.argv[1:]
epoll = select.epoll()
found = {}
for process in processes:
    rank, pid = process.split(":")
    try:
        pidfd = os.pidfd_open(int(pid))
    except OSError:
        continue
    found[pidfd] = f"process {rank} of {size} (PID {pid} on {host}) has died: all are ended"
    epoll.register(pidfd, select.EPOLLIN)
os.write(1, b"!")  # it is ready
os.close(1)
if found:
    ((pidfd, _),) = epoll.poll(maxevents=1)
    os.write(2, f"{found[pidfd]}\\n".encode())
"""


class Watch:
    """The watching process of this machine, from now on; the first process here starts it.

    `gather`: that of the communicator of process `rank`.
    """

    def __init__(self, gather: Callable[[Any], list[Any]], rank: int) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        host = socket.gethostname()
        places = gather((host, os.getpid()))
        here = {each: pid for each, (where, pid) in enumerate(places) if where == host}
        command = interpreter()
        if rank == min(here) and command is not None and hasattr(os, "pidfd_open"):
            command += ["-I", "-S", "-c", PROGRAM, str(len(places)), host]
            command += [f"{each}:{pid}" for each, pid in here.items()]
            with suppress(OSError):  # no process or memory left
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # launchers end the sessions of their processes
                )
                assert self.process.stdout is not None
                with self.process.stdout as ready:
                    ready.read(1)
        found = gather(None if self.process is None else (host, self.process.pid))
        self.pids = [each[1] for each in found if each is not None and each[0] == host]

    def end(self) -> None:
        """End it: what it would say is said otherwise, or nothing is to be said."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
