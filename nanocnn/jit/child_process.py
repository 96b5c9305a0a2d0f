"""Child processes that run Python: to read a file that may crash its library, and to precompile.

`sys.executable` need not be Python. In a packed program (PyInstaller) or one that embeds Python it
is the program, which would start itself, and so on without end. So a process is started only where
the executable is certainly an interpreter; elsewhere `start` gives None and the caller does
without. A child finds modules where this process does, and nowhere else: not in the current folder,
not by PYTHONPATH, and of the package that this module belongs to it runs the same copy.
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
