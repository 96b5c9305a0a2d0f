"""Kernels that will be needed, compiled by two processes at the same time.

numba compiles on a single core. So a second process compiles the same kernels in reverse order; it
skips those that are being compiled elsewhere (claims.py), and this one finds its results in the
cache. If it fails or cannot be started, this process compiles everything itself. It ends when this
process ends, whatever the cause.
"""

import atexit
import base64
import os
import pickle
import subprocess
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from . import child_process, threads

# sys.argv: the kernels and their argument types, pickled
CODE = f"""
from {__package__} import child_process
child_process.end_with_parent()
from {__package__} import precompile
precompile.work(sys.argv[1])
"""
MOST = 100_000  # characters of an argument of a process

second: subprocess.Popen[bytes] | None = None  # the second process


def compile_all(calls: Iterable[tuple[Any, Any]]) -> None:
    """Compile each kernel for its `Arguments`, or load it from the cache."""
    needed = dict.fromkeys((kernel, args.types, args.buffers) for kernel, args in calls)
    missing = [each for each in needed if not each[0].is_cached(*each[1:])]
    if len(missing) > 1:
        start(missing[::-1])
    for kernel, types, buffers in needed:
        kernel.address(types, buffers)


def start(kernels: list[Any]) -> None:
    """Start the second process, unless one is running."""
    global second
    if (second is not None and second.poll() is None) or threads.get_num_threads() == 1:
        return
    known = set(filter(_is_known_elsewhere, {each[0] for each in kernels}))
    text = base64.b64encode(pickle.dumps([each for each in kernels if each[0] in known])).decode()
    if not known or len(text) > MOST:
        return
    nowhere = subprocess.DEVNULL
    second = child_process.start(CODE, text, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere)
    if second is not None:
        with suppress(RuntimeError):  # no more threads: `_stop` waits for it
            threading.Thread(target=_reap, args=(second,), daemon=True).start()


def _is_known_elsewhere(kernel: Any) -> bool:
    try:
        pickle.dumps(kernel)
    except (pickle.PicklingError, AttributeError, TypeError):  # it has no name that can be imported
        return False
    return True


def work(text: str) -> None:
    """In the second process: compile what is not being compiled elsewhere."""
    for kernel, types, buffers in pickle.loads(base64.b64decode(text)):
        kernel.compile_ahead(types, buffers)


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


atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown)
