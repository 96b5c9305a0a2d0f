"""The benchmarks: their statistics are right, and each command runs and writes what it says."""

import argparse
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from itertools import count

import pytest

from support.paths import ROOT
from support.pictures import assert_readable

FOLDER = ROOT / "benchmarks"
spec = importlib.util.spec_from_file_location("benchmark_harness", FOLDER / "harness.py")
harness = importlib.util.module_from_spec(spec)
spec.loader.exec_module(harness)


def test_summary_is_median_and_quartiles():
    summary = harness.summarize([5.0, 1.0, 4.0, 2.0, 3.0])
    assert summary == (3.0, 2.0, 4.0, 1.0, 5)
    assert harness.summarize([2.0, 4.0]).median == 3.0
    assert harness.summarize([7.0]) == (7.0, 7.0, 7.0, 7.0, 1)
    with pytest.raises(ValueError, match="no samples"):
        harness.summarize([])


def test_speed_up_compares_medians_and_pairs_rounds():
    # The second round was slow for both: their own ratio there is still 2.
    ratio = harness.speed_up([1.0, 9.0, 1.0], [2.0, 18.0, 3.0])
    assert ratio.median == 3.0  # of medians 3 and 1
    assert (ratio.best, ratio.low, ratio.high) == (2.0, 2.0, 2.5)
    with pytest.raises(ValueError, match="zip"):
        harness.speed_up([1.0], [1.0, 2.0])


def test_geometric_mean_treats_twice_and_half_alike():
    assert harness.geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert harness.geometric_mean([2.0, 4.0, 8.0]) == pytest.approx(4.0)


def test_fastest_is_by_median_among_those_measured():
    samples = {"steady": [2.0, 2.0, 2.0], "lucky once": [1.0, 3.0, 3.0]}
    assert harness.fastest(samples, ["steady", "lucky once", "absent"]) == "steady"
    assert harness.fastest(samples, ["absent"]) is None


def test_contestants_take_turns_and_each_begins_once():
    order, clock = [], count()

    def contestant(name):
        def run():
            order.append(name)
            return float(next(clock))

        return run

    contestants = {name: contestant(name) for name in "abc"}
    samples = harness.interleave(contestants, 3, pause=0, quiet=True)
    assert "".join(order) == "abcbcacab"
    assert samples == {"a": [0.0, 5.0, 7.0], "b": [1.0, 3.0, 8.0], "c": [2.0, 4.0, 6.0]}


def test_repeat_for_divides_by_the_calls(monkeypatch):
    # A clock that moves by one second a look: the start, then one look after each call.
    monkeypatch.setattr(harness.time, "perf_counter", count().__next__)
    calls = []
    assert harness.repeat_for(lambda: calls.append(1), seconds=3) == 1.0
    assert len(calls) == 3


def test_table_is_markdown_with_equal_columns():
    lines = harness.table(["what", "ms"], [["a", 12.3456], ["long name", 0.00123]]).splitlines()
    assert lines[2] == "| a         |    12.3 |"
    assert lines[3] == "| long name | 0.00123 |"
    assert lines[1] == "| --------- | ------: |"
    assert harness.number(1234.5) == "1234" and harness.number(0.0) == "0"


def test_machine_is_named():
    host = harness.machine(threads=1)
    assert host["cpu"] and host["cores"] >= 1 and "numpy" in host["versions"]
    assert host["cpu"] in harness.describe(host)


SCRIPTS = ["training.py", "inference.py", "startup.py", "kernels.py", "steadiness.py", "jit.py"]
VERDICTS = re.compile(r"\d[%x](?!\d)|faster by|ratio \||after / before|of import torch")


def run(script, *arguments, tmp_path, **environment):
    """Run a benchmark as its reader would; returns what it printed and the JSON it wrote."""
    file = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, FOLDER / script, "--quick", "--json", file, "--threads", "1", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    # Of two runs of some milliseconds nobody is the faster one, and it says so.
    assert not VERDICTS.search(done.stdout) and "--quick: a few runs, too short" in done.stdout
    return done.stdout, json.loads(file.read_text())


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains(script):
    done = subprocess.run(
        [sys.executable, FOLDER / script, "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{script}" in done.stdout and "--quick" in done.stdout


ALONE = ("--contestants", "nanocnn", "nanocnn-reference")


def test_training_runs(tmp_path):
    out, written = run("training.py", *ALONE, tmp_path=tmp_path)
    assert "| nanocnn " in out and "quartiles" in out
    tiny = written["results"]["networks"]["tiny"]
    assert {len(times) for times in tiny["step_seconds"].values()} == {2}
    # Both kernel sets start from the same weights and see the same batches.
    assert tiny["loss"]["nanocnn"] == pytest.approx(tiny["loss"]["nanocnn-reference"], rel=1e-3)
    assert tiny["memory"]["nanocnn"]["peak"] > tiny["memory"]["nanocnn"]["data"] > 0
    assert written["machine"]["threads"] == 1


def test_inference_runs(tmp_path):
    out, written = run("inference.py", *ALONE, tmp_path=tmp_path)
    assert "ms by number of images" in out
    tiny = written["results"]["networks"]["tiny"]
    assert set(tiny) == {"1", "8"} and tiny["8"]["forms"]["nanocnn"] == "predict"


@pytest.mark.slow
def test_startup_runs(tmp_path):
    out, written = run("startup.py", tmp_path=tmp_path)
    seconds = written["results"]["seconds"]
    assert "nanocnn, first step, cold" in out
    assert all(samples and min(samples) > 0 for samples in seconds.values())


@pytest.mark.slow
def test_kernels_are_proven_and_timed(tmp_path):
    out, written = run("kernels.py", "--only", "dense", tmp_path=tmp_path)
    assert "equals the reference's up to rounding" in out
    assert all(row["error"] <= 1e-5 and row["seconds"] for row in written["results"]["kernels"])
    assert (tmp_path / "result.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_steadiness_runs(tmp_path):
    out, written = run("steadiness.py", tmp_path=tmp_path)
    assert "predictions per second by 1 and by 16 threads" in out
    for found in written["results"].values():
        assert {len(found["predictions"][count]) for count in ("1", "16")} == {1}
        assert found["steps"]["clock"]["first"] and found["ctrl_c"]


def test_jit_runs(tmp_path):
    held = {"OPENBLAS_L2_SIZE": "1", "OPENBLAS_CORETYPE": "Haswell"}  # started again without them
    out, written = run("jit.py", tmp_path=tmp_path, **held)
    assert "| jit GFLOP/s |" in out and "matmul 64x64" in out
    for row in written["results"]:
        assert {len(times) for times in row["seconds"].values()} == {2}


def test_a_wrong_result_of_the_readmes_kernels_is_not_timed(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "jit", raising=False)
    jit = importlib.import_module("jit")
    case = jit.Case("three", 1, lambda: 3.1, lambda: 3.0)
    with pytest.raises(jit.Wrong, match=r"three differs from NumPy's by 3.3e-02"):
        case.check()


def test_a_table_names_the_algorithms_that_ran_and_leaves_out_those_that_cannot(monkeypatch):
    """Not the figure of another one under its name."""
    monkeypatch.syspath_prepend(FOLDER)
    kernels, cases = importlib.import_module("kernels"), importlib.import_module("cases")
    from nanocnn.kernels import fast

    options = argparse.Namespace(seconds=0, rounds=1, dtype="float32")
    found = {}
    for case in itertools.islice(cases.cases(fast, 2, "float32"), 4):  # 28x28x1, 5x5
        for row in kernels.measure(fast, case, options):
            found.setdefault(case.operation, {})[row["algorithm"]] = row["by"]
    chosen = {name: rows.pop("chosen") for name, rows in found.items()}
    both = {"direct": "direct, direct", "winograd": "direct, winograd"}
    assert found == {
        "conv2d_forward": {name: name for name in ("direct", "im2col", "winograd")},
        "conv2d_backward": {**both, "im2col": "im2col, im2col"},
        "conv2d_relu_pool_forward": {"direct": "direct", "winograd": "winograd"},
        "conv2d_relu_pool_backward": {**both, "sparse": "sparse, direct"},
    }
    assert all(words.startswith("chosen: ") for words in chosen.values())


def test_stairs_are_proven_and_printed(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    kernels, stairs = importlib.import_module("kernels"), importlib.import_module("stairs")
    from nanocnn.kernels import fast

    options = argparse.Namespace(
        batch=2, dtype="float32", rounds=1, seconds=0, quick=False, json=tmp_path / "stairs.json"
    )
    host = harness.machine(threads=1)
    kernels.climb_stairs(fast, options, host)
    table = capsys.readouterr().out
    steps = "loops", "im2col", "blocked", "implicit", "fused", "Winograd", "sparse"
    for name, before in zip(steps, (None, *steps), strict=False):
        line = re.search(rf"\| {name} .*", table)[0]
        assert line.count("x |") == (0 if before is None else 1 if name == "sparse" else 2)
    readme = FOLDER.parent / "nanocnn/kernels/fast/README.md"
    text = readme.read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| \d\. (\w+)", text, re.MULTILINE)) == steps
    assert all((readme.parent / link).exists() for link in re.findall(r"\]\((.*?)\)", text))
    written = json.loads(options.json.read_text())["results"]["steps"]
    assert len(written) == 13 and all(row["error"] <= 1e-4 for row in written)
    options.quick, real = True, stairs.loops_forward
    kernels.climb_stairs(fast, options, host)
    assert not VERDICTS.search(capsys.readouterr().out)
    monkeypatch.setattr(stairs, "loops_forward", lambda *args: real(*args) + 1)
    with pytest.raises(kernels.Wrong, match="differs from the reference"):
        kernels.climb_stairs(fast, options, host)


def test_every_point_of_the_roofline_has_a_number_and_a_name(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    roofline = importlib.import_module("roofline")
    rows = [
        {"group": group, "operation": f"operation_{i}", "shape": "28x28x1 5x5 20", "flops": 1e9,
         "bytes": 1e9 / (10 ** (i % 5)), "seconds": [0.1 / (1 + i)], "algorithm": algorithm}
        for i, group in enumerate(6 * list(roofline.MARKS))
        for algorithm in ("chosen", "direct")
    ]  # fmt: skip
    figure = roofline.picture(rows, {"flops": 1e11, "bytes": 2e10}, "kernels")
    assert_readable(figure, apart=False)
    words = [text.get_text() for text in figure.texts]
    assert len(words) == 36 and words[0] == " 1 operation_0 28x28x1 5x5 20"
    (axes,) = figure.axes
    written = [text.get_text() for text in axes.texts]
    assert {str(i) for i in range(1, 37)} <= set(written)
    assert any(text.startswith("Over the roof: Winograd") for text in written)
    points = [line.get_xdata() for line in axes.get_lines()][1:]
    assert sum(map(len, points)) == 36  # those of the kernels' own choice


OTHERS = ("--contestants", "torch", "nanocnn-reference")


def test_a_missing_library_is_left_out(tmp_path):
    """With torch made unimportable, the rest is measured."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    out, _ = run("training.py", *OTHERS, tmp_path=tmp_path, PYTHONPATH=str(tmp_path))
    assert "NumPy" in out and "PyTorch" not in out
