"""The first training step ever: a second process compiles too, beginning at the other end.

numba compiles on one core, however many there are. So when a kernel that the first training step
asks for has to be compiled, another process is started. It finds out what the step will need
(nanocnn/models/warmup.py) and compiles that backwards, leaving out what is being compiled elsewhere
(claims.py); what it has finished is found in the cache. If it fails, or no process can be started,
nothing is lost. It ends when this process does, whatever ends that.
"""

import atexit
import os
import subprocess
import threading
from contextlib import suppress

from . import child_process, threads

CODE = """
from nanocnn.jit import child_process
child_process.end_with_parent()
from nanocnn.models import warmup
warmup.main(sys.argv[1])
"""

step: str | None = None  # what is about to be trained, as JSON: told by the model
helper: subprocess.Popen[bytes] | None = None


def start() -> None:
    """Start the second process, once, if a training step has come to its first missing kernel."""
    global helper, step
    started, step = step, None
    if helper is None and started is not None and threads.get_num_threads() > 1:
        nowhere = subprocess.DEVNULL
        helper = child_process.start(
            CODE, started, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere
        )
        if helper is not None:
            atexit.register(_stop)
            with suppress(RuntimeError):  # no more threads: it is waited for at the end
                threading.Thread(target=_reap, args=(helper,), daemon=True).start()


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Leave neither a zombie nor an open pipe to a program that lives on."""
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _stop() -> None:
    if helper is not None:
        helper.kill()
        helper.wait()


def _disown() -> None:
    """In a forked child: the second process is the parent's, and has to see when that ends."""
    global helper
    if helper is not None and helper.stdin is not None:
        helper.stdin.close()
        helper.returncode = 0  # nothing to wait for here
    helper = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
