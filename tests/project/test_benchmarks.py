"""The benchmarks: each command runs, and prints and writes what it says."""

import argparse
import importlib
import itertools
import json
import os
import platform
import re
import subprocess
import sys

import harness
import pytest

from support.browser import chromium
from support.paths import ROOT
from support.pictures import assert_readable

FOLDER = ROOT / "benchmarks"

SCRIPTS = ["training.py", "inference.py", "lenet5.py", "startup.py", "kernels.py", "scaling.py",
           "steadiness.py", "augmentation.py", "explore.py", "explore_page.py",
           "jit.py", "targets.py"]  # fmt: skip
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
    said = re.sub(r"http://\S+", "", done.stdout)  # random tokens
    assert not VERDICTS.search(said) and "--quick: a few runs, too short" in said
    return done.stdout, json.loads(file.read_text())


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains(script):
    done = subprocess.run(
        [sys.executable, FOLDER / script, "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{script}" in done.stdout and "--quick" in done.stdout


def test_augmentation_runs(tmp_path):
    out, written = run("augmentation.py", tmp_path=tmp_path)
    assert "| lenet, augmented | " in out
    times = written["results"]["step_seconds"]
    assert list(times) == ["lenet", "lenet, augmented"]
    assert all(len(each) == 2 and min(each) > 0 for each in times.values())


def test_explore_runs(tmp_path):
    pytest.importorskip("uvicorn", reason='uvicorn: pip install ".[explore]"')
    out, written = run("explore.py", tmp_path=tmp_path)
    assert "| lenet5, polled " in out
    times = written["results"]["step_seconds"]
    assert list(times) == ["lenet", "lenet5"]
    for each in times.values():
        assert list(each) == ["plain", "watched", "polled"]
        assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in each.values())


@pytest.mark.slow
def test_explore_page_runs(tmp_path):
    with chromium():
        pass  # skips where there is no browser
    out, written = run("explore_page.py", tmp_path=tmp_path)
    for what in ("stroke to screen, lenet: median", "page ready, dropout", "first view, dropout"):
        assert f"| {what} " in out
    results = written["results"]
    assert len(results["stroke_ms"]) == 4 and min(map(min, results["stroke_ms"])) > 0
    assert all(
        0 < each < 300 * 1024 for each in results["dropout_bytes"]
    )  # the same on all machines
    assert len(results["ready_ms"]) == len(results["dropout_ready_ms"]) == 2


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
def test_the_peers_that_only_predict_run_what_pytorch_exports(tmp_path):
    """Their predictions are compared with the reference's before they are timed."""
    for library in ("torch", "onnxruntime", "openvino", "onnxscript"):
        pytest.importorskip(library, reason=f"{library}: pip install '.[parity,peers]'")
    names = ("nanocnn", "onnxruntime", "onnxruntime-1", "openvino", "openvino-1")
    _, written = run("inference.py", "--contestants", *names, tmp_path=tmp_path)
    tiny = written["results"]["networks"]["tiny"]
    assert set(tiny["8"]["call_seconds"]) == set(names)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is of x86")
def test_widths_are_compared(tmp_path):
    _, written = run("training.py", "--widths", tmp_path=tmp_path)
    assert set(written["results"]["networks"]["tiny"]["loss"]) == {"nanocnn", "nanocnn-avx2"}


@pytest.mark.slow
def test_the_race_runs(tmp_path):
    out, written = run("lenet5.py", tmp_path=tmp_path)
    assert "first epoch, with nothing compiled" in out
    results = written["results"]
    assert results["images"] == 4000 and len(results["seconds"]) == 1
    assert 0.1 < results["accuracy"][0] < 1


def test_scaling_runs(tmp_path):
    out, written = run("scaling.py", tmp_path=tmp_path)
    assert "fewer parts than threads" in out
    calls = written["results"]["tiny"]
    assert set(calls) == {"1", "64"}
    assert [kernel for kernel, _ in calls["1"]] == [kernel for kernel, _ in calls["64"]]
    assert all(len(seconds) >= 1 and min(seconds) > 0 for _, seconds in calls["64"])


@pytest.mark.slow
def test_processes_and_machines_run(tmp_path):
    pytest.importorskip("mpi4py", reason="mpi4py: pip install '.[mpi]'")
    out, written = run("scaling.py", "--processes", "--machines", tmp_path=tmp_path)
    assert "2 processes x 1 thread" in out and "R machines of 1 thread," in out
    found = written["results"]["networks"]["tiny"]
    ours = {(*row["team"], row["batch"]): row["runs"] for row in found["processes"]}
    (two,) = ours[2, 1, "nanocnn", 16]
    parts = two["parts"]  # the update is split, so that nothing is left to finish
    assert two["step"] > sum(parts.values()) and min(parts.values()) >= 0
    assert min(parts[name] for name in ("gather", "start", "add_up", "exchange")) > 0
    assert two["loss"] == pytest.approx(ours[1, 1, "nanocnn", 16][0]["loss"], rel=0.2)
    model = found["machines"]
    assert min(model["here"][:2]) > 0 and model["checks"][0]["model"] > 0


@pytest.mark.slow
def test_targets_run(tmp_path):
    parts = ("lenet5", "memory", "startup")  # .ci/run runs all
    out, written = run("targets.py", "--only", *parts, tmp_path=tmp_path)
    assert "### what must be reached" in out
    targets = importlib.import_module("targets")
    numbers = written["results"]
    assert tuple(numbers) == parts
    assert all(len(numbers[part]) == len(targets.TARGETS[part]) for part in parts)
    assert 0 < numbers["startup"][0] < 60
    assert json.loads((tmp_path / "result-memory.json").read_text())["benchmark"] == "training"


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


def test_a_shape_of_ones_own_is_proven_and_timed(tmp_path):
    shapes = "9x8x3,3x3,5,same,pool", "9x8x3,3x2,5,strides2"
    out, written = run("kernels.py", "--conv", *shapes, tmp_path=tmp_path)
    assert "### 9x8x3,3x3,5,same,pool" in out and "Peak of multiply-adds" in out
    rows = written["results"]["products"]
    for shape in shapes:
        chosen = [row["product"] for row in rows if row["shape"] == shape and row["chosen"]]
        assert chosen == ["forward", "dweight", "dx"]
    ways = {(row["product"], row["by"]) for row in rows if row["shape"] == shapes[0]}
    assert {("forward", "winograd"), ("dweight", "sparse"), ("dx", "direct")} <= ways
    for row in rows:
        assert row["calls"] and min(row["seconds"]) > 0 and min(row["limits"].values()) >= 0
    forward = next(row for row in rows if row["by"] == "direct" and row["shape"] == shapes[1])
    assert forward["flops"] == 2 * 2 * (4 * 4) * (3 * 2 * 3) * 5  # two images


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
        "conv2d_forward": {name: name for name in ("direct", "im2col", "planar", "winograd")},
        "conv2d_backward": {**both, "im2col": "im2col, im2col", "planar": "direct, planar"},
        "conv2d_relu_pool_forward": {name: name for name in ("direct", "planar", "winograd")},
        "conv2d_relu_pool_backward": {
            **both,
            "planar": "planar, planar",
            "scatter": "direct, scatter",
            "sparse": "sparse, direct",
        },
    }
    assert all(words.startswith("chosen: ") for words in chosen.values())


def test_cases_that_are_no_convolutions_agree_with_the_reference(monkeypatch):
    """`prepare` raises Wrong if one differs."""
    monkeypatch.syspath_prepend(FOLDER)
    cases, verify = importlib.import_module("cases"), importlib.import_module("verify")
    from nanocnn.kernels import fast

    found = set()
    for case in cases.cases(fast, 2, "float32"):
        if "convolution" not in case.group:
            verify.prepare(getattr(fast, case.operation), case, None)
            found.add(case.operation)
    assert {"dense_forward", "max_pool_backward", "sgd_update", "adam_update"} <= found


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


@pytest.mark.parametrize(
    "script, library", [("training.py", "torch"), ("inference.py", "onnxruntime")]
)
def test_a_missing_library_is_left_out(script, library, tmp_path):
    """With it made unimportable, the rest is measured."""
    code = f"raise ModuleNotFoundError('no {library}', name='{library}')"
    (tmp_path / f"{library}.py").write_text(code)
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    names = ("--contestants", library, "nanocnn-reference")
    out, _ = run(script, *names, tmp_path=tmp_path, PYTHONPATH=path)
    assert "NumPy" in out and "PyTorch" not in out and "ONNX" not in out
