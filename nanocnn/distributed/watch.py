"""A small process on each machine that names the training process that has died, if one dies.

A launcher ends all processes as soon as one has died, so that none of them is left to say which it
was; what MPICH prints names any of those that it has ended itself. Linux only.
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
#
# epoll tells events in their order. A process that dies closes its connections before its pidfd
# becomes readable; a launcher notices the former, and may have ended others before the latter.
# The pidfd counts where a forked child still holds the connection, or where there is none.
PROGRAM = """
import os, select, socket, struct, sys
size, host, *processes = sys.argv[1:]
epoll = select.epoll()
lines, found, connections = {}, {}, []
for process in processes:
    rank, pid = process.split(":")
    lines[int(pid)] = f"process {rank} of {size} (PID {pid} on {host}) has died: all are ended"
    try:
        pidfd = os.pidfd_open(int(pid))
    except OSError:
        continue
    found[pidfd] = lines[int(pid)]
    epoll.register(pidfd, select.EPOLLIN)
listener = socket.socket(socket.AF_UNIX)
listener.bind("")  # Linux chooses a name that is not in the file system
listener.listen(len(processes))
epoll.register(listener, select.EPOLLIN)
os.write(1, listener.getsockname())  # it is ready
os.close(1)
while found:
    ((event, _),) = epoll.poll(maxevents=1)
    if event != listener.fileno():
        os.write(2, f"{found[event]}\\n".encode())
        break
    connection, _ = listener.accept()
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", peer)
    if pid not in lines:  # none of ours
        connection.close()
        continue
    connections.append(connection)
    found[connection.fileno()] = lines[pid]
    epoll.register(connection, select.EPOLLRDHUP)
    try:
        connection.send(b"!")  # it is watched
    except OSError:  # it has died meanwhile, which is the next event
        pass
"""

FILES = 1000  # Linux closes the files of a process that ends from the highest number down


class Watch:
    """The watching process of this machine, from now on; the first process here starts it.

    `gather`: that of the communicator of process `rank`.
    """

    def __init__(self, gather: Callable[[Any], list[Any]], rank: int) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        host, name = socket.gethostname(), b""
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
                    name = ready.read()
        found = gather(None if self.process is None else (host, self.process.pid, name))
        watches = [each[1:] for each in found if each is not None and each[0] == host]
        self.pids = [pid for pid, _ in watches]
        for _, name in watches:
            connect(name)

    def end(self) -> None:
        """End it: what it would say is said otherwise, or nothing is to be said."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


def connect(name: bytes) -> int | None:
    """Make a connection that the end of this process ends, and nothing else; its number.

    The number is higher than that of a launcher's connection, so that it ends before that. None if
    nobody listens any more.
    """
    import fcntl
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = min(FILES, soft - 1) if soft > 0 else FILES  # negative: no limit
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(name)
            connection.recv(1)
            return fcntl.fcntl(connection, fcntl.F_DUPFD_CLOEXEC, number)
    except OSError:  # also: too many files
        return None
