"""What the benchmarks of processes and the model of machines compute, on numbers made up here."""

import argparse
import importlib
import math
import shutil

import pytest

machines, processes = importlib.import_module("machines"), importlib.import_module("processes")
Compute, Network, Software = machines.Compute, machines.Network, machines.Software

TWO = Compute([10.0, 4.0], 1.0, [8e6, 1e6])  # two buckets
SLOW = Network(0.5, 1e6)


def test_without_messages_many_machines_are_as_fast_as_one():
    for count in (2, 3, 8, 1024):
        assert machines.step(TWO, count, machines.FREE, Software()) == TWO.total == 15.0
    case = machines.Case({1: TWO, 128: TWO}, Software(), 128, True)
    assert [case.efficiency(count, machines.FREE) for count in machines.COUNTS] == [1.0] * 8


def test_one_machine_sends_nothing():
    assert machines.step(TWO, 1, SLOW, Software(1, 1, 1, 1)) == 15.0


def test_a_step_of_two_machines_computed_by_hand():
    # Bucket 1: complete at 10, 4 s of bytes, 0.5 of latency: there at 14.5, after the backward.
    # Bucket 2: complete at 14, when the first one's bytes are gone: there at 15.
    # Loss and metrics at 14 + 1 + 0.5 = 15.5. The sums, one after the other: 4.5 and 1.
    assert machines.step(TWO, 2, SLOW, Software()) == 21.0


def test_messages_wait_for_the_network():
    # Bucket 1: its bytes leave from 10 to 10.5. Bucket 2, complete at 10.2: from 10.5 to 14.5,
    # there at 15. Bucket 1's sum, from 11.7 on, leaves at 14.5 and takes 1; bucket 2's takes 4.5.
    small_first = Compute([10.0, 0.2], 1.0, [1e6, 8e6])
    assert machines.step(small_first, 2, SLOW, Software()) == pytest.approx(20.0)


def test_what_the_processor_moves_itself_takes_its_time():
    # 10 + 4.5 (segments) + 4.5 (sums) + 4 + 1 + 1 (the second bucket's) + 1 + 0.5
    assert machines.step(TWO, 2, SLOW._replace(carries=False), Software()) == 26.5


def test_what_is_there_before_the_backward_ends_is_added_and_gathered_meanwhile():
    fast = Network(0.5, 8e6)
    # Segments at 11, found at the end of the second piece; its sum is sent behind the second
    # bucket's segments: 14 + 0.0625 + 0.5 + 0.5 = 15.0625. Loss and metrics are there at 15.5, and
    # so are the second bucket's segments; its sum takes 0.0625 + 0.5.
    assert machines.step(TWO, 2, fast, Software()) == pytest.approx(16.0625)


def test_each_machine_adds_the_segments_of_all_others():
    one = Compute([1.0], 0.0, [4e6])
    time = machines.step(one, 4, machines.FREE, Software(message=0.1, call=0.01, byte=1e-6, row=1))
    assert time == pytest.approx(1 + 3 * 0.1 + 3 * (0.01 + 1e6 * 1e-6) + 3 * 1)


def test_large_sums_go_round_in_a_ring_and_small_ones_in_doubling_steps():
    far = Network(1.0, math.inf)
    large, small = (Compute([0.0], 0.0, [size]) for size in (1 << 19, (1 << 19) - 1))
    assert machines.step(large, 8, far, Software()) == 3 + 7
    assert machines.step(small, 8, far, Software()) == 3 + 3


def test_more_machines_or_a_worse_network_never_help():
    software = Software(1e-3, 1e-4, 1e-9, 1e-4)
    case = machines.Case({1: TWO, 1024: TWO}, software, 128, True)
    for network in (SLOW, Network(0.1, 1e7), Network(0.1, 1e7, carries=False)):
        found = [case.efficiency(count, network) for count in machines.COUNTS]
        assert found == sorted(found, reverse=True) and 0 < found[-1] < found[0] < 1
        for worse in (network._replace(latency=1.0), network._replace(bandwidth=1e5)):
            assert all(case.efficiency(n, worse) < case.efficiency(n, network) for n in (2, 64))


def test_shards_between_two_sizes_are_interpolated():
    measured = {1: Compute([1.0, 2.0], 3.0, [8, 4]), 5: Compute([5.0, 4.0], 3.0, [8, 4])}
    assert machines.interpolate(measured, 3) == Compute([3.0, 3.0], 3.0, [8, 4])
    assert machines.interpolate(measured, 5) == measured[5]


def test_a_batch_has_no_fewer_images_than_machines():
    case = machines.Case({1: TWO, 128: TWO}, Software(), 16, False)
    assert case.efficiency(16, SLOW) is not None and case.efficiency(32, SLOW) is None


@pytest.mark.parametrize(
    "network, is_weak, why",
    [
        (Network(9.0, math.inf), True, "lost to latency"),
        (Network(0.0, 1e4), True, "lost to bandwidth"),
        (machines.FREE, False, "lost to a shard too small"),
    ],
)
def test_it_is_said_where_it_ends_and_why(network, is_weak, why):
    measured = {1: TWO, 128: Compute([100.0, 40.0], 1.0, TWO.sizes)}
    case = machines.Case(measured, Software(), 128, is_weak)
    said = machines.where_it_ends(case, network, machines.COUNTS)
    first = next(n for n in machines.COUNTS if case.efficiency(n, network) < 0.5)
    assert said.startswith(f"below 50% from {first} machines on") and why in said


def test_it_is_said_if_it_does_not_end():
    case = machines.Case({1: TWO, 128: TWO}, Software(), 128, True)
    said = machines.where_it_ends(case, Network(1e-4, 1e9), machines.COUNTS)
    assert said.startswith("99.3%") and "at 1,024 machines" in said


def rows_of(times):
    parts = {"start": 0.1, "poke": 0.2, "finish": 0.3, "gather": 0.4}
    return [
        {"team": processes.Team(*team), "batch": batch,
         "runs": [{"step": each, "parts": parts} for each in steps]}
        for (team, batch), steps in times.items()
    ]  # fmt: skip


def test_processes_are_compared_with_threads_and_with_pytorch(capsys):
    rows = rows_of({
        ((1, 1), 8): [4.0] * 3, ((2, 1), 8): [2.0] * 3, ((1, 2), 8): [1.5] * 3,
        ((2, 1), 16): [5.0] * 3, ((1, 2), 16): [5.0] * 3,
        ((2, 1, "torch"), 8): [8.0] * 3, ((2, 1, "torch-cl"), 8): [5.0] * 3,
    })  # fmt: skip
    options = argparse.Namespace(quick=False, processes=[2], batches=[8])
    ratios = processes.report("net", rows, options)
    assert ratios == {"2 processes, batch 8": 0.75, "2 processes, batch 16": 1.0,
                      "DDP, batch 8": 2.5}  # fmt: skip
    out = capsys.readouterr().out
    assert "30.0%" in out and "20.0%" in out and "0.75x" in out  # the sum, and waiting, of 2 s
    assert "faster than PyTorch DDP, channels-last, fused Adam, gloo, by 2.50x" in out
    assert "| 2         |          16 | 5000 |     3.20 |        80% |" in out


def test_teams_share_a_batch_or_have_one_each():
    Team = processes.Team
    found = list(processes.cells([2], [128, 1024], peers=False))
    assert found == [
        (Team(1, 1), 128), (Team(1, 1), 1024),
        *((team, batch) for batch in (128, 256, 1024) for team in (Team(2, 1), Team(1, 2))),
    ]  # fmt: skip
    peers = set(processes.cells([2], [128], peers=True)) - set(found)
    assert peers == {(Team(2, 1, "torch"), 128), (Team(2, 1, "torch-cl"), 128)}


def test_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert processes.missing().startswith("mpiexec is not installed")
    assert "[mpi]" in processes.missing()


def test_what_cannot_be_shared_out_is_refused():
    assert processes.refused([2, 4], [128, 1024]) == ""
    assert "--processes 3 --batches 128" in processes.refused([3], [128])
    assert "2 or more processes" in processes.refused([1], [128])


def test_the_calls_of_a_step_end_with_its_last_line():
    clock = importlib.import_module("ranks").Clock()
    clock.calls = [(name, i, i) for i, name in enumerate("abxabxab")]
    names = ["".join(name for name, _, _ in step) for step in clock.steps("x")]
    assert names == ["xabx"]
