"""What every program needs: its exit code, its errors in one line, and how it was started."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from ..common import processes
from ..distributed import get_communicator


def run(main: Callable[[], int], name: str) -> int:
    """The exit code of `main()`, or 2 after bad input, 130 after Ctrl-C.

    An error is printed as one line that starts with `name`, the program's.
    """
    try:
        code = main()
        print(end="", flush=True)
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is still in the buffer
        return 1
    except (OSError, ValueError, ImportError, MemoryError, RuntimeError) as error:
        if _shows(error):
            complain(name, error)
        return 2


def _shows(error: Exception) -> bool:
    """Whether this process is the one, of several, that prints the error."""
    try:
        return get_communicator().shows(error)
    except (ImportError, RuntimeError):  # there is no MPI, or not the right one
        return processes.first


def complain(name: str, error: BaseException) -> None:
    """Print an error in one line to stderr."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.strerror}: {error.filename!r}"
    text = " ".join((text or type(error).__name__).split())
    print(f"{name}: {text}", file=sys.stderr)


def started_as() -> str:
    """How the command line was started: by the command that pip installs, or as a module."""
    return "nanocnn" if Path(sys.argv[0]).stem == "nanocnn" else "python -m nanocnn"
