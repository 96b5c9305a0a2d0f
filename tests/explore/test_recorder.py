"""What a training leaves behind: curves, distributions, and weights to scrub through."""

import threading

import numpy as np
import pytest

from nanocnn import Adam
from nanocnn.explore import distributions, recorder as module
from nanocnn.explore.distributions import BINS, distribution
from nanocnn.explore.recorder import Budget, Curves, Recorder, Series
from support.small_models import SPARSE, bits, digits, small_model


@pytest.fixture
def model():
    made = small_model()
    made.compile(Adam(0.01), SPARSE, metrics=["accuracy"])
    return made


@pytest.fixture
def data():
    return digits(64)


def train(model, recorder, data, steps):
    recorder.begin()
    for step in range(steps):
        loss, accuracy = model.train_on_batch(*data)
        recorder.batch(loss, accuracy, (0, step + 1))
    recorder.end()


def generous(model, **options):
    """A recorder that takes everything after each step."""
    made = Recorder(model, 1.0, **options)
    made._budgets = Budget(1e9), Budget(1e9)
    return made


def test_the_curve_has_each_batchs_own_numbers(model, data):
    recorder, losses = Recorder(model), []
    recorder.begin()
    for _ in range(5):
        losses.append(model.train_on_batch(*data)[0])
        recorder.batch(losses[-1], 0.5)
    assert recorder.curves.steps == [1, 2, 3, 4, 5]
    assert recorder.curves.losses == losses and losses[0] != losses[-1]
    assert recorder.curves.part(2, 4) == Curves([2, 3, 4], losses[1:4], [0.5] * 3)


def test_long_curves_are_thinned_to_means(model, monkeypatch):
    monkeypatch.setattr(module, "POINTS", 8)
    recorder = Recorder(model, 0.0)
    for step in range(8):
        recorder.batch(float(step), 1.0)
    assert recorder.curves.steps == [2, 4, 6, 8]
    assert recorder.curves.losses == [0.5, 2.5, 4.5, 6.5]
    recorder.batch(8.0, 1.0)
    assert recorder.curves.steps[-1] == 9 and recorder.curves.losses[-1] == 8.0
    assert Curves([1, 2, 3], [1.0, 2.0, 6.0], [0.0, 1.0, 1.0]).thinned(2) == Curves(
        [2, 3], [1.5, 6.0], [0.5, 1.0]
    )


def test_kept_weights_are_those_of_their_step(model, data):
    recorder, found = generous(model), {}
    recorder.begin()
    found[0] = bits(model)
    for step in range(1, 4):
        recorder.batch(*model.train_on_batch(*data))
        found[step] = bits(model)
    assert recorder.weights.steps == [0, 1, 2, 3] and len(set(map(str, found.values()))) == 4
    for step in (2, 0, 3):
        assert recorder.kept(step).restore(model)
        assert bits(model) == found[step]


def test_what_is_kept_suffices_to_train_on_with_the_same_bits(model, data):
    recorder = generous(model)
    train(model, recorder, data, 3)
    for _ in range(2):
        model.train_on_batch(*data)
    expected = bits(model)
    recorder.kept(3).restore(model)
    for _ in range(2):
        model.train_on_batch(*data)
    assert bits(model) == expected and model.optimizer.iterations == 5


def test_the_optimizers_state_is_left_out_where_memory_is_small(model, data):
    model.train_on_batch(*data)
    small = generous(model, memory=20 * sum(w.nbytes for w in model.get_weights()))
    without = generous(model, keeps_state=False)
    for recorder in (small, without):
        train(model, recorder, data, 2)
        kept = recorder.kept(recorder.step)
        assert kept.slots is None
        assert kept.restore(model) is False and model.optimizer.iterations == 0


def test_memory_is_limited_and_the_first_and_the_last_step_stay(model, data):
    weights = sum(each.nbytes for each in model.get_weights())
    recorder = generous(model, memory=6 * weights, keeps_state=False)
    train(model, recorder, data, 40)
    steps = recorder.weights.steps
    assert steps[0] == 0 and steps[-1] == 40 and 3 <= len(steps) <= 6
    assert sum(kept.nbytes for _, kept in recorder.weights.entries) <= recorder.memory
    assert min(np.diff(steps)[:-1]) >= 4, "they are spread over the whole training"


def test_a_memory_for_less_than_two_keeps_two(model, data):
    recorder = generous(model, memory=1)
    train(model, recorder, data, 5)
    assert recorder.weights.steps == [0, 5]


def test_series_are_thinned_evenly():
    series = Series()
    for step in range(1000):
        if series.is_due(step):
            series.add(step, None, 10)
    gaps = np.diff(series.steps)
    assert series.steps[0] == 0 and series.steps[-1] > 800 and len(gaps) >= 5
    assert max(gaps) <= 3 * min(gaps)
    series.cut(500)
    assert series.steps[-1] <= 500


def test_no_more_than_the_share_of_the_time_is_spent(model, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(module, "perf_counter", lambda: clock[0])
    recorder = Recorder(model, 0.1)

    def slow(*_):
        clock[0] += 1.0

    recorder.begin()
    monkeypatch.setattr(recorder, "_distribute", slow)
    monkeypatch.setattr(recorder, "_keep", slow)
    for _ in range(1000):
        clock[0] += 1.0  # a step
        recorder.batch(0.0, 0.0)
    assert 0.05 < recorder.cost <= 0.1


def test_what_is_kept_is_spread_evenly_whatever_a_step_and_keeping_take(model, monkeypatch):
    clock, kept = [0.0], []
    monkeypatch.setattr(module, "perf_counter", lambda: clock[0])
    recorder = Recorder(model, 0.02)

    def keep():
        kept.append(recorder.step)
        recorder.weights.add(recorder.step, None, 256)
        clock[0] += 0.02 if len(kept) == 2 else 0.002  # the second one takes longer

    monkeypatch.setattr(recorder, "_keep", keep)
    monkeypatch.setattr(recorder, "_distribute", lambda: None)
    recorder.begin()
    for step in range(8000):
        clock[0] += 3.0 if step == 0 else 0.001  # so does the first step: it compiles
        recorder.batch(0.0, 0.0)
    gaps = np.diff(kept)
    assert len(kept) > 8 and max(gaps[1:]) < 1200
    assert min(gaps[1:]) > 100, "none of them in bursts"


def test_a_share_of_nothing_keeps_only_the_ends(model, data):
    recorder = Recorder(model, 0.0)
    train(model, recorder, data, 30)
    assert recorder.weights.steps == [0, 30]
    assert len(recorder.curves.steps) == 30


def test_steps_that_are_not_kept_are_refused_with_those_near(model, data):
    recorder = generous(model)
    train(model, recorder, data, 6)
    with pytest.raises(ValueError, match=r"step=9, expected a kept step, such as \[4, 5, 6\]"):
        recorder.kept(9)


def test_cutting_forgets_what_came_later(model, data):
    recorder = generous(model)
    train(model, recorder, data, 6)
    recorder.test(1.0, 0.5)
    recorder.cut(3)
    assert recorder.step == 3 and recorder.branch == 1 and recorder.tests == []
    assert recorder.weights.steps == [0, 1, 2, 3] == [0, *recorder.curves.steps]
    recorder.cut(3)
    assert recorder.branch == 1, "nothing was forgotten"


def test_others_may_read_while_it_records(model, data, monkeypatch):
    monkeypatch.setattr(module, "POINTS", 64)
    recorder, errors, done = generous(model, memory=100_000), [], threading.Event()

    def read():
        while not done.wait(0.001):  # without a rest it would keep the GIL from the training
            try:
                curves = recorder.curves.part(0, 10**9)
                assert len(curves.steps) == len(curves.losses) == len(curves.accuracies)
                recorder.history("dense/kernel") if recorder.names() else None
                assert all(kept.weights for _, kept in recorder.weights.entries)
            except Exception as error:
                errors.append(error)

    recorder.begin()
    reader = threading.Thread(target=read)
    reader.start()
    train(model, recorder, data, 300)
    done.set()
    reader.join()
    assert errors == []


@pytest.mark.parametrize("share", [-0.1, 1.5, "x", None, float("nan")])
def test_a_wrong_share_is_refused(model, share):
    with pytest.raises(ValueError, match="share"):
        Recorder(model, share)


# --- Distributions ---


def test_distributions_count_every_number_of_small_arrays(model, data, monkeypatch):
    monkeypatch.setattr(distributions, "SAMPLE", 10_000)
    model.train_on_batch(*data)
    found = distribution(model.layers)
    params, grads = model.parameters()
    assert set(found.names) == {
        f"{of}:{name}" for of in ("weights", "gradients") for name in params
    }
    for name, exponent, counts in zip(*found, strict=True):
        of, _, key = name.partition(":")
        array = (params if of == "weights" else grads)[key]
        edges = np.linspace(-(2.0**exponent), 2.0**exponent, BINS + 1)
        expected, _ = np.histogram(array, edges)
        assert counts.tolist() == expected.tolist() and counts.sum() == array.size


def test_long_arrays_are_sampled_and_every_column_is_seen(model, monkeypatch):
    monkeypatch.setattr(distributions, "SAMPLE", 50)
    layer = model.get_layer("dense")
    layer.params["kernel"][...] = np.linspace(-1, 1, layer.params["kernel"].shape[1])
    found = distribution([layer])
    counts = found.counts[found.names.index("weights:dense/kernel")]
    assert counts.sum() == pytest.approx(layer.params["kernel"].size)
    assert np.count_nonzero(counts) == layer.params["kernel"].shape[1]


def test_numbers_that_are_not_finite_are_left_out(model):
    layer = model.get_layer("dense")
    layer.params["bias"][...] = 0.25
    layer.params["bias"][:2] = np.nan, -np.inf
    found = distribution([layer])
    counts = found.counts[found.names.index("weights:dense/bias")]
    assert counts.sum() == len(layer.params["bias"]) - 2


def test_the_range_widens_and_earlier_counts_fit_in(model):
    recorder, layer = generous(model), model.get_layer("dense")
    recorder.begin()
    for scale in (0.0, 0.3, 3.0, -40.0):
        layer.params["bias"][...] = scale
        recorder.batch(0.0, 0.0)
    steps, edges, counts = recorder.history("dense/bias")
    n = len(layer.params["bias"])
    assert steps.tolist() == [1, 2, 3, 4] and edges[0] == -64 and edges[-1] == 64
    assert counts.sum(axis=1).tolist() == [n] * 4
    for row, value in zip(counts, (0.0, 0.3, 3.0, -40.0), strict=True):
        place = int(row.argmax())
        assert row[place] == n and edges[place] <= value <= edges[place + 1]


@pytest.mark.parametrize("name, of", [("x", "weights"), ("dense/kernel", "x"), (3, None)])
def test_an_array_that_is_not_recorded_is_refused(model, data, name, of):
    recorder = generous(model)
    train(model, recorder, data, 2)
    with pytest.raises(ValueError, match="name="):
        recorder.history(name, of)
