"""What the benchmarks compute from their samples, and what they refuse, on numbers made up here."""

import importlib
import re
from itertools import count

import harness
import numpy as np
import pytest

from support.paths import ROOT


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


def test_the_mean_and_the_worst_are_named():
    words = harness.mean_and_worst({"a": 2.0, "b": 0.5})
    assert words == "Geometric mean over a, b: 1.00x; the worst: 0.50x (b)"


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


def test_each_call_is_timed(monkeypatch):
    # The start, then one look after each call: they take 1, 2 and 4 seconds.
    monkeypatch.setattr(harness.time, "perf_counter", iter([0, 1, 3, 7]).__next__)
    assert harness.call_times(lambda: None, seconds=5) == [1, 2, 4]


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


def test_wrong_predictions_are_not_timed():
    workers = importlib.import_module("workers")
    forms = {"predict": lambda x: x, "compiled call": lambda x: x + 2e-4}
    with pytest.raises(workers.Wrong, match=r"compiled call: 2\.0e-04 from the reference"):
        workers.pick(forms, np.ones((3, 10)), np.ones((2, 10)))


def test_what_cannot_be_limited_to_avx2_is_left_out():
    workers = importlib.import_module("workers")
    with pytest.raises(workers.Missing, match="nothing limits it to avx2"):
        workers.Worker("onnxruntime", "tiny", ROOT / "none", 8, 1, isa="avx2")


def test_parts_are_given_to_the_thread_that_is_free():
    scaling = importlib.import_module("scaling")
    parts = [3.0, 1.0, 1.0, 1.0, 2.0]  # the second thread takes three, then the last is left
    assert [scaling.finish_time(parts, threads) for threads in (1, 2, 64)] == [8.0, 5.0, 3.0]
    found = {1: [scaling.Call("a", [8.0]), scaling.Call("b", [2.0])],
             2: [scaling.Call("a", parts), scaling.Call("b", [2.0])]}  # fmt: skip
    assert scaling.bound(found, 2) == pytest.approx(10 / 7)
    assert scaling.worst(found[2], 2) == [["a", 1, 5, "71%", "14%"], ["b", 1, 1, "29%", "14%"]]


def test_targets_are_judged(capsys):
    targets = importlib.import_module("targets")
    ratio, seconds = targets.Target("speed", 2.3, 3), targets.Target("s", 12, 5.3, True)
    assert [ratio.verdict(x) for x in (2.2, 2.3, 3)] == ["MISSED", "reached", "aim reached"]
    assert [seconds.verdict(x) for x in (12.1, 12, 5)] == ["MISSED", "reached", "aim reached"]
    targets.report({"training": [2.5, None], "lenet5": [13.0]}, compare=True)
    lines = capsys.readouterr().out.splitlines()[-3:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[1:] for row in cells] == [
        [">= 2.3", ">= 3", "2.50", "reached"],
        [">= 1.6", ">= 2", "not measured", ""],
        ["<= 12 s", "<= 5.3 s", "13.0 s", "MISSED"],
    ]


def test_shapes_are_read_and_wrong_ones_refused():
    shapes = importlib.import_module("conv_shape")
    assert shapes.parse("56x48x64,3x5,128") == (56, 48, 64, 3, 5, 128, 1, "valid", False)
    assert shapes.parse("9x9x1,3x3,4,pool,same") == (9, 9, 1, 3, 3, 4, 1, "same", True)
    assert shapes.parse("9x9x1,3x3,4,strides2").strides == 2
    for text in ("9x9,3x3,4", "9x9x1,3x3,4,stride2", "9x9x0,3x3,4", "9x9x1,3x3,4,strides0"):
        with pytest.raises(SystemExit, match="expected HxWxC,KHxKW,F"):
            shapes.parse(text)
    with pytest.raises(SystemExit, match="strides 1 only"):
        shapes.parse("9x9x1,3x3,4,strides2,pool")


def test_a_width_is_called_slower_if_it_is(capsys):
    training = importlib.import_module("training")
    samples = {"fast": (2.0, 3.0), "tie": (2.0, 2.0), "slow": (3.0, 2.0)}
    results = {
        name: {"step_seconds": {"nanocnn": [full] * 3, "nanocnn-avx2": [avx2] * 3}}
        for name, (full, avx2) in samples.items()
    }
    assert training.compare_widths(results)["slow"] == pytest.approx(2 / 3)
    (line,) = re.findall(r"\| slow .*", capsys.readouterr().out)
    assert line.endswith(" slower |")
