"""A miniature of the package: its real jit folder, and kernels with a callee in another file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nanocnn

PACKAGE = Path(nanocnn.__file__).parent
COPIED = "common", "jit", "kernels/fast/progress.py"
CALLEE = """
from .jit.inline import inline
@inline
def factor():
    return 2
"""
KERNEL = """
from .kernels.fast import progress
from .callee import factor
from .jit.compile import kernel
@kernel
def scale(part, parts, x):
    for i in range(x.size):
        x[i] *= factor()
def make(n):
    @kernel
    def add(part, parts, x):
        for i in range(x.size):
            x[i] += n
    return add
"""
RUN = """
import json, sys
import numpy as np
from mini.jit.cache import cache_folder, counts
from mini import kernel
x = np.ones(3, sys.argv[1])
kernel.scale(0, 1, x)
for n in (10, 100):
    kernel.make(n)(0, 1, x)
print(json.dumps({"x": x.tolist(), "folder": str(cache_folder()), **counts}))
"""


def make(tmp_path):
    """The package, called mini, in `tmp_path`; returns its folder."""
    mini = tmp_path / "mini"
    (mini / "kernels" / "fast").mkdir(parents=True)
    for folder in ("", "kernels", "kernels/fast"):
        (mini / folder / "__init__.py").touch()
    for name in COPIED:
        if (PACKAGE / name).is_dir():
            shutil.copytree(PACKAGE / name, mini / name, ignore=lambda *_: ["__pycache__"])
        else:
            shutil.copy(PACKAGE / name, mini / name)
    (mini / "callee.py").write_text(CALLEE)
    (mini / "kernel.py").write_text(KERNEL)
    return mini


def compiled(mini):
    """The folder where it keeps what it has compiled."""
    return mini / "jit" / "__pycache__" / "compiled"


def entries(mini):
    """The files of its kernels there, without that of the function that calls them."""
    return sorted(compiled(mini).glob("[!c]*.nbc"))


def start(mini, dtype="float32", code=RUN, folder=None, warnings="error", **environment):
    """A process that runs `code`, in `folder`, with `environment` added; None takes a name away."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "MINI_CACHE")}
    kept |= {"XDG_CACHE_HOME": str(mini.parent / "user"), "PYTHONDONTWRITEBYTECODE": "1"}
    kept |= environment
    return subprocess.Popen(
        [sys.executable, "-W", warnings, "-c", code, dtype], text=True,
        cwd=folder or mini.parent,
        env={k: v for k, v in kept.items() if v is not None},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process):
    """What it printed, and as "said" what it wrote to standard error."""
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return json.loads(output) | {"said": errors}


def run(mini, dtype="float32", **options):
    return finish(start(mini, dtype, **options))
