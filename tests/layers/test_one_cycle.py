"""`OneCycle` has the learning rates of PyTorch's OneCycleLR."""

import warnings

import pytest

from nanocnn import OneCycle

CASES = {
    "defaults": (1.0, 40, {}),
    "few steps": (0.3, 7, {"pct_start": 0.4}),
    "more down than up": (2e-3, 101, {"pct_start": 0.05, "div_factor": 3.0}),
    "more up than down": (0.1, 33, {"pct_start": 0.9, "final_div_factor": 7.0}),
    "only down": (0.1, 12, {"pct_start": 0.0}),
    "only up": (0.1, 12, {"pct_start": 1.0}),
    "less than a step up": (0.1, 10, {"pct_start": 0.04}),
    "two steps": (0.1, 2, {"pct_start": 0.75}),
    "it ends higher than it begins": (0.1, 20, {"div_factor": 100.0, "final_div_factor": 0.5}),
}


@pytest.mark.parametrize("case", CASES)
def test_each_rate_is_that_of_pytorch(case):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: extra [parity]")
    most, steps, options = CASES[case]
    schedule = OneCycle(most, steps, **options)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, most, steps, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optimizer.step() is not called
        for step in range(steps):
            assert schedule(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12), step
            if step < steps - 1:
                theirs.step()


def test_it_rises_falls_and_stays_at_its_end():
    schedule = OneCycle(1.0, 40)
    rates = [schedule(step) for step in range(40)]
    assert rates[0] == pytest.approx(1 / 25) and rates[11] == max(rates) == 1
    assert rates[:12] == sorted(rates[:12]) and rates[11:] == sorted(rates[11:], reverse=True)
    assert rates[39] == schedule(40) == schedule(10**9) == pytest.approx(1 / 25 / 1e4)


@pytest.mark.parametrize(("pct_start", "ends"), [(0.0, 1 / 250000), (0.5, 1 / 250000), (1.0, 1.0)])
def test_no_length_and_no_share_divides_by_zero(pct_start, ends):
    for steps in (1, 2, 3, 100):
        schedule = OneCycle(1.0, steps, pct_start)
        assert all(0 < schedule(step) <= 1 for step in range(steps + 3)), steps
        if steps > 2:
            assert schedule(steps - 1) == schedule(steps) == pytest.approx(ends)
    assert OneCycle(1.0, 10, 0.1)(0) == 1  # the maximum is the first step


@pytest.mark.parametrize(
    ("argument", "value"),
    [("total_steps", 0), ("div_factor", 0.0), ("final_div_factor", -1.0), ("pct_start", 1.01),
     ("pct_start", -0.1), ("pct_start", None), ("max_learning_rate", "0.1")],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(argument, value):
    with pytest.raises(ValueError, match=f"OneCycle: {argument}={value!r}, expected"):
        OneCycle(**{"max_learning_rate": 0.1, "total_steps": 10, argument: value})
