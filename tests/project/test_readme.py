"""The README tells the truth: its code runs, its links lead somewhere, its commands exist."""

import inspect
import io
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import chdir, redirect_stdout
from functools import cache

import numpy as np
import pytest

from nanocnn import gradcheck, presets
from nanocnn.cli import main
from nanocnn.data import mnist
from nanocnn.explore import Exploration
from nanocnn.kernels import reference
from nanocnn.storage import FORMATS
from support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
CODE = [text for language, text in FENCES if language == "python"]
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S)
SPANS = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", PROSE)]
COMMANDS = [
    command
    for text in (*SPANS, *(line for language, text in FENCES if not language
                           for line in text.splitlines()))
    for command in text.split(" && ")
    if command.startswith("python ")
]  # fmt: skip
# what commands make, a derivative, a weight, and names of Kubernetes
OTHER = ("results/", "venv/", "dL/", "conv2d_1/", "kubeflow.org/")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The README's code, run from top to bottom on 640 + 200 digits: its names and what it said."""
    (x, y), (x_test, y_test) = mnist.sample()
    few = (x[:640], y[:640]), (x_test[:200], y_test[:200])
    names, said = {}, io.StringIO()
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch, chdir(folder), redirect_stdout(said):
        patch.setattr(mnist, "load", lambda *arguments, **options: few)
        patch.setitem(gradcheck.check.__kwdefaults__, "limit", 40)
        patch.setattr("webbrowser.open", bool)
        patch.setattr(Exploration, "wait", Exploration.close)  # a script serves until Ctrl-C
        for number, code in enumerate(CODE):
            exec(compile(code, f"README.md, code {number}", "exec"), names)
    return names, said.getvalue(), folder


def test_the_code_trains_a_model_that_learns_and_is_read_back(ran):
    names, said, folder = ran
    assert "Epoch 2/2" in said
    assert names["accuracy"] > 0.5 and np.isfinite(names["loss"])
    assert any(file.suffix in FORMATS for file in folder.iterdir())
    x = mnist.sample()[1][0][:8]
    assert str(names["model"].predict(x).argmax(axis=1)) in said


def test_the_code_shows_every_number_and_that_the_gradients_are_right(ran):
    names, said, _ = ran
    assert str(names["trace"]) in said
    assert "all gradients are right" in said
    kernel = dict(names["model"].weights)["conv2d_1/kernel"]
    assert names["trace"]["conv2d_1"].dweight.shape == kernel.shape


def test_where_the_second_convolutions_weight_gradient_is_computed(ran):
    answer = re.search(r"Where is dL/dW of the second.*?\n\n", README, re.S)[0]
    (function,) = re.findall(r"`(\w+)` of", answer)
    (path,) = re.findall(r"\]\((.*?)\)", answer)
    assert (ROOT / path).samefile(reference.__file__)
    source = inspect.getsource(getattr(reference, function))
    assert re.search(r"^    dweight = ", source, re.M)
    # The trace, printed above it, gives the line.
    backward = ran[1].split("\nBACKWARD\n")[1]
    layer = backward[backward.index("\nconv2d_1 (Conv2D)") :]
    (line,) = re.findall(rf"dweight = .*{function}, reference\.py:(\d+)", layer.split("\n\n")[0])
    assert "dweight = " in (ROOT / path).read_text().splitlines()[int(line) - 1]


def test_links_and_pictures_exist():
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", PROSE) if "://" not in target]
    assert len(targets) > 5
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_files_it_names_exist():
    paths = [
        word
        for text in (*SPANS, *(text for _, text in FENCES))
        for word in re.findall(r"(?<![\w./-])[\w.-]+/[\w./*-]*", text)
        if not word.startswith(OTHER)
    ]
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []
    files = [span for span in SPANS if re.fullmatch(r"[\w-]+\.(py|ipynb)", span)]
    made = {path.name for path in ROOT.rglob("*") if path.suffix in (".py", ".ipynb")}
    assert set(files) <= made


@cache
def help_of(*words):
    """What a script or module says to --help, with a name of a subcommand before it or not."""
    if words[0] == "-m":
        said = io.StringIO()
        with redirect_stdout(said), pytest.raises(SystemExit):
            main([*words[2:3], "--help"] if words[2:] and words[2][0] != "-" else ["--help"])
        return said.getvalue()
    command = [sys.executable, str(ROOT / words[0]), "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_numbers_of_lines_are_right():
    package = ROOT / "nanocnn"
    sizes = {
        path.relative_to(package).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in package.rglob("*.py")
    }
    engine = re.compile(
        r"(callbacks|layers|losses|metrics|models|optimizers)/(?!record|worked_example|reach|samples|"
        r"update)|"
        r"kernels/(reference|geometry|memory|transforms)|"
        r"common/(arrays|config|validate)|(initializers|regularizers)\.py"
    )
    found = {"engine": 0, "rest": 0, "fast": 0, "explore": 0}
    for path, size in sizes.items():
        fast, explore = path.startswith(("kernels/fast/", "jit/")), path.startswith("explore/")
        rest = "engine" if engine.match(path) else "rest"
        found["fast" if fast else "explore" if explore else rest] += size
    told = re.search(
        r"is ([\d,]+) lines, comments included\..*are ([\d,]+) more,\s+"
        r"the fast kernels and\s+`nanocnn/jit/` ([\d,]+), and `nanocnn/explore/` ([\d,]+)",
        PROSE, re.S,
    )  # fmt: skip
    expected = [int(number.replace(",", "")) for number in told.groups()]
    assert list(found.values()) == pytest.approx(expected, abs=100)


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_commands_exist_with_their_options(command):
    _, *words = shlex.split(command)
    if words[:2] == ["-m", "pip"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        asked = re.findall(r"\[(\w+)\]", words[-1])
        assert words[2:4] == ["install", "-e"] and set(asked) <= {*extras["optional-dependencies"]}
        return
    if words[:2] == ["-m", "pytest"]:
        return
    if words[0] == "-m":
        assert words[1] == "nanocnn"
    else:
        assert (ROOT / words[0]).is_file()
    if words[0].startswith("tests/"):
        return  # a fuzzer, which runs for as long as it is left alone
    text = help_of(*words)
    for word in words[1:]:
        if word.startswith("--") and word != "--help":
            assert re.search(rf"(?<![\w-]){word}(?![\w-])", text), f"{command}: no {word}"


def test_the_commands_to_start_with_are_there():
    assert "python -m pip install -e . && python examples/train_mnist.py" in README
    assert 'python -m pip install -e ".[test]" && python -m pytest' in README


def test_options_and_presets_named_on_their_own_exist():
    options = [word for span in SPANS if span.startswith("--") for word in span.split()]
    text = help_of("examples/train_mnist.py") + help_of("examples/records.py")
    for word in options:
        assert word in presets.PRESETS or re.search(rf"(?<![\w-]){word}(?![\w-])", text), word
    for name in ("inspect", "gradcheck", "bench", "train", "evaluate", "predict"):
        assert name in PROSE
        assert re.search(rf"^    {name}\s", help_of("-m", "nanocnn"), re.M)


def test_environment_variables_it_names_are_read():
    files = [*(ROOT / "nanocnn").rglob("*.py"), *(ROOT / "tests").rglob("test_c*.py")]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    for name in re.findall(r"\bNANOCNN_\w+", README):
        assert name in source
