"""Child processes that run Python: to read a file that may crash its library, and to precompile.

`sys.executable` is not always Python. In a program packed by PyInstaller, or one that embeds
Python, it is the program itself, which would start itself endlessly. So a process is started only
if the executable is certainly an interpreter; otherwise `start` returns None and the caller does
without. A child imports modules from the same places as this process and from no others (neither
the current folder nor PYTHONPATH), and the same copy of the package that this module belongs to.
"""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from typing import Any

from . import launcher

# python3.11, python3.13t, pythonw.exe, python_d.exe, macOS's Python, pypy3.10
INTERPRETER = re.compile(r"(python|pypy|graalpy)w?[\d.]*t?_?d?(\.exe)?", re.IGNORECASE)
PACKAGE = __name__.partition(".")[0]  # the outermost, and the folder (or zip) that it is in
HOME = os.path.abspath(os.path.join(__file__, *[os.pardir] * (__name__.count(".") + 1)))
INSIDE = f"{PACKAGE.upper()}_CHILD"  # set in the environment of a child, which starts none itself
NOT_IMPORTED = 4  # a child's exit code when it does not find what is found here
START = f"""
import json, sys
from importlib import machinery, util
sys.path[:], home = json.loads(sys.argv.pop(1))
spec = machinery.PathFinder.find_spec("{PACKAGE}", [home])
if spec is None:
    sys.exit({NOT_IMPORTED})
sys.modules["{PACKAGE}"] = util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["{PACKAGE}"])
"""


def start(
    code: str, *arguments: str, environment: Mapping[str, str] | None = None, **pipes: Any
) -> subprocess.Popen[bytes] | None:
    """Start Python with `code` and sys.argv[1:] = `arguments`; None if that is not possible.

    `environment` is added to this process's; `pipes` are stdin, stdout and stderr, as in Popen.
    """
    command = interpreter()
    if command is None:
        return None
    left_out = {"PYTHONPATH", *chain.from_iterable(launcher.VARIABLES)}  # the child is no rank
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    env = {**inherited, **(environment or {}), INSIDE: "1"}
    command += ["-c", START + code, json.dumps([search_path(), HOME]), *arguments]
    with suppress(OSError):  # no such file, no process or memory left, arguments too long, ...
        child: subprocess.Popen[bytes] = subprocess.Popen(command, env=env, **pipes)
        return child
    return None


def interpreter() -> list[str] | None:
    """The command that starts this Python interpreter, or None if it may be another program."""
    path = sys.executable
    if not path or getattr(sys, "frozen", False) or os.environ.get(INSIDE):
        return None
    if not os.path.isabs(path) or not INTERPRETER.fullmatch(os.path.basename(path)):
        return None
    flags = {"-I": sys.flags.isolated, "-E": sys.flags.ignore_environment,
             "-s": sys.flags.no_user_site, "-S": sys.flags.no_site}  # fmt: skip
    return [path, "-P", *(flag for flag, given in flags.items() if given)]


def search_path() -> list[str]:
    """sys.path for a child, as absolute paths. As in Python, entries that are not str are ignored.

    Entries relative to the current folder ("" is that folder itself) come last, so that a file
    there, for example json.py, does not hide a module of the same name.
    """
    entries = [entry for entry in sys.path if isinstance(entry, str)]
    absolute = [entry for entry in entries if os.path.isabs(entry)]
    with suppress(OSError):  # the current folder may be gone
        absolute += [os.path.abspath(entry) for entry in entries if not os.path.isabs(entry)]
    return absolute


def end_with_parent() -> None:
    """In a child whose standard input is a pipe from its parent: exit when the parent exits."""

    def watch() -> None:
        os.read(0, 1)  # nothing is ever sent: this returns when the other end is closed
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
