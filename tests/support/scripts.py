"""The example scripts, run in this process."""

import io
import runpy
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout

import pytest

from support.paths import ROOT

EXAMPLES = ROOT / "examples"


def run(script, *arguments, folder, expect=0):
    """Run a script in this process, as `python script arguments` does, but without pictures."""
    out, err = io.StringIO(), io.StringIO()
    argv = [str(EXAMPLES / script), *map(str, arguments)]
    with (
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.MonkeyPatch.context() as m,
    ):
        m.setattr(sys, "argv", argv)
        m.syspath_prepend(str(EXAMPLES))  # where Python finds what a script imports
        m.setattr("nanocnn.cli.training.draw", lambda *arguments: [])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(argv[0], run_name="__main__")
            sys.exit(0)  # a script that ran to its end
    done = subprocess.CompletedProcess(argv, ended.value.code, out.getvalue(), err.getvalue())
    assert done.returncode == expect, done.stdout + done.stderr
    return done
