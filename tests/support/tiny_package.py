"""A miniature of the package: its real compiler, and two kernels that share a callee elsewhere."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nanocnn

PACKAGE = Path(nanocnn.__file__).parent
MACHINERY = "compiler.py", "cache.py", "claims.py", "ahead.py"
CALLEE = """
from .compiler import inlined
@inlined
def factor():
    return 2
"""
KERNEL = """
from .callee import factor
from .compiler import compiled
@compiled
def scale(x):
    for i in range(x.size):
        x[i] *= factor()
def make(n):
    @compiled
    def add(x):
        for i in range(x.size):
            x[i] += n
    return add
"""
RUN = """
import json, sys
import numpy as np
from mini.kernels.fast.cache import cache_folder, counts
from mini.kernels.fast import kernel
x = np.ones(3, sys.argv[1])
kernel.scale(x)
for n in (10, 100):
    kernel.make(n)(x)
print(json.dumps({"x": x.tolist(), "folder": str(cache_folder()), **counts}))
"""


def make(tmp_path):
    """The package in `tmp_path`; returns the folder of its fast kernels."""
    fast = tmp_path / "mini" / "kernels" / "fast"
    fast.mkdir(parents=True)
    for folder in (fast, fast.parent, fast.parent.parent):
        (folder / "__init__.py").touch()
    sources = [*PACKAGE.glob("*.py"), *(PACKAGE / "kernels").glob("*.py")]
    sources += [PACKAGE / "kernels" / "fast" / name for name in MACHINERY]
    for source in sources:
        if source.stem != "__init__":
            shutil.copy(source, tmp_path / "mini" / source.relative_to(PACKAGE))
    (fast / "callee.py").write_text(CALLEE)
    (fast / "kernel.py").write_text(KERNEL)
    return fast


def start(mini, dtype="float32", code=RUN, folder=None, **environment):
    """A process that runs `code`, in `folder`, with `environment` added; None takes a name away."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "NANOCNN_CACHE")}
    kept |= {"XDG_CACHE_HOME": str(mini.parent / "user"), "PYTHONDONTWRITEBYTECODE": "1"}
    kept |= environment
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, dtype], text=True,
        cwd=folder or mini.parent.parent.parent,
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
