"""The first training step ever: a second process compiles too, beginning at the other end.

numba compiles on one core, however many there are. So when a kernel that the first training step
asks for has to be compiled, another process is started. It finds out what the step will need
(nanocnn/rehearsal.py) and compiles that backwards, until it comes to what is being compiled here;
what it has finished is found in the cache. Who compiles what is settled by the one who first makes
a file of the kernel's name. If the second process fails, whatever the reason, nothing is lost.
"""

import atexit
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ... import threads

CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from nanocnn import rehearsal; rehearsal.main(*sys.argv[2:])"
)

PATIENCE = 60  # seconds that one kernel may take there; most take one or two
step: str | None = None  # what is about to be trained, as JSON: told by the model


class Helper:
    """The second process, and the folder where it and this one say what they compile."""

    def __init__(self, step: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="nanocnn-")
        arguments = [json.dumps(sys.path), self.folder.name, step]
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        atexit.register(self.stop)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


helper: Helper | None = None


def elsewhere(entry: Path) -> bool:
    """Whether the second process is the one to compile this cache entry; if so, wait for it."""
    global helper, step
    if helper is None:
        if step is None or threads.get_num_threads() == 1:
            return False
        started, step = step, None
        with suppress(OSError):
            helper = Helper(started)
    if helper is None or claimed(helper.folder.name, entry):
        return False
    end = time.monotonic() + PATIENCE
    while helper.process.poll() is None and not entry.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return True


def claimed(folder: str, entry: Path) -> bool:
    """Whether nobody had claimed this entry before."""
    try:
        (Path(folder) / entry.name).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        pass  # the folder is gone, or the disk full: then each for itself
    return True
