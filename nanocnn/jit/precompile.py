"""A second process that compiles kernels while this one does, in reverse order.

numba compiles on a single core. A caller that knows which kernels it will need offers a function
that compiles them (`offered`); the first kernel that has to be compiled starts this function in
another process. That process skips kernels that are being compiled elsewhere (claims.py), and this
one finds its results in the cache. If it fails or cannot be started, this process compiles
everything itself. It ends when this process ends, whatever the cause.
"""

import atexit
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from . import child_process, threads

# sys.argv: the function's module and name, and its arguments as JSON
CODE = f"""
from {__package__} import child_process
child_process.end_with_parent()
from importlib import import_module
from operator import attrgetter
attrgetter(sys.argv[2])(import_module(sys.argv[1]))(*json.loads(sys.argv[3]))
"""

_offer: tuple[str, str, str] | None = None
second: subprocess.Popen[bytes] | None = None  # the second process


@contextmanager
def offered(function: Callable[..., object], *arguments: Any) -> Iterator[None]:
    """In this context, the first kernel that has to be compiled starts the second process.

    The second process imports the function's module and calls it with `arguments`, sent as JSON.
    """
    global _offer
    _offer = function.__module__, function.__qualname__, json.dumps(arguments)
    try:
        yield
    finally:
        withdraw()


def withdraw() -> None:
    """Cancel the offer: it is no longer needed, or another process has started the second one."""
    global _offer
    _offer = None


def start() -> None:
    """Start the second process, at most once, if it is offered: a kernel has to be compiled."""
    global second
    offer = _offer
    withdraw()
    if second is None and offer is not None and threads.get_num_threads() > 1:
        nowhere = subprocess.DEVNULL
        second = child_process.start(
            CODE, *offer, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere
        )
        if second is not None:
            atexit.register(_stop)
            with suppress(RuntimeError):  # no more threads: `_stop` waits for it
                threading.Thread(target=_reap, args=(second,), daemon=True).start()


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Leave neither a zombie nor an open pipe to a program that lives on."""
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _stop() -> None:
    if second is not None:
        second.kill()
        second.wait()


def _disown() -> None:
    """In a forked child: the second process is the parent's, and has to see when that ends."""
    global second
    if second is not None and second.stdin is not None:
        second.stdin.close()
        second.returncode = 0  # nothing to wait for here
    second = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
