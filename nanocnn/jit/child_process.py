"""Python processes of our own: to read a file that may crash its library, and to compile ahead.

`sys.executable` need not be Python. In a packed program (PyInstaller) or one that embeds Python it
is the program, and one that starts itself to open a file does so without end. So a process is
started only where the executable is an interpreter beyond doubt; elsewhere `start` gives None and
the caller does without. A child finds modules where this process does, and nowhere else: not in
the current folder, not by PYTHONPATH, and nanocnn itself is the one that runs here.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

# python3.11, python3.13t, pythonw.exe, python_d.exe, macOS's Python, pypy3.10
INTERPRETER = re.compile(r"(python|pypy|graalpy)w?[\d.]*t?_?d?(\.exe)?", re.IGNORECASE)
INSIDE = "NANOCNN_CHILD"  # set in the environment of a child, which starts none itself
NOT_IMPORTED = 4  # a child's exit code when it does not find what is found here
HOME = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 2))
START = f"""
import json, sys
from importlib import machinery, util
sys.path[:], home = json.loads(sys.argv.pop(1))
spec = machinery.PathFinder.find_spec("nanocnn", [home])
if spec is None:
    sys.exit({NOT_IMPORTED})
sys.modules["nanocnn"] = util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["nanocnn"])
"""


def start(
    code: str, *arguments: str, environment: Mapping[str, str] | None = None, **pipes: Any
) -> subprocess.Popen[bytes] | None:
    """A Python process that runs `code` with sys.argv[1:] = `arguments`; None where none can be.

    `environment` is added to this process's; `pipes` are stdin, stdout and stderr, as in Popen.
    """
    command = interpreter()
    if command is None:
        return None
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env = {**inherited, **(environment or {}), INSIDE: "1"}
    command += ["-c", START + code, json.dumps([search_path(), HOME]), *arguments]
    with suppress(OSError):  # no such file, no process or memory left, arguments too long, ...
        child: subprocess.Popen[bytes] = subprocess.Popen(command, env=env, **pipes)
        return child
    return None


def interpreter() -> list[str] | None:
    """The command that starts the Python that runs here, or None if that may be a program."""
    path = sys.executable
    if not path or getattr(sys, "frozen", False) or os.environ.get(INSIDE):
        return None
    if not os.path.isabs(path) or not INTERPRETER.fullmatch(os.path.basename(path)):
        return None
    flags = {"-I": sys.flags.isolated, "-E": sys.flags.ignore_environment,
             "-s": sys.flags.no_user_site, "-S": sys.flags.no_site}  # fmt: skip
    return [path, "-P", *(flag for flag, given in flags.items() if given)]


def search_path() -> list[str]:
    """sys.path for a child, all absolute. Python ignores what is not text, and so do we.

    An entry that is relative to the current folder ("" is that folder itself) comes last: a file
    that happens to lie there, json.py say, takes the place of nothing that is found elsewhere.
    """
    entries = [entry for entry in sys.path if isinstance(entry, str)]
    absolute = [entry for entry in entries if os.path.isabs(entry)]
    with suppress(OSError):  # the current folder may be gone
        absolute += [os.path.abspath(entry) for entry in entries if not os.path.isabs(entry)]
    return absolute


def end_with_parent() -> None:
    """In a child whose standard input is a pipe from its parent: end at once when that ends."""

    def watch() -> None:
        os.read(0, 1)  # nothing is ever sent: it returns when nobody holds the other end any more
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
