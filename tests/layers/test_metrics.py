"""Metrics of one's own: their mean whatever they return, their names, and whether they are kept."""

import copy
import pickle
import warnings
from functools import partial

import numpy as np
import pytest

from nanocnn import ModelCheckpoint, load_model
from support.small_models import bits, digits, small_model

X, Y = digits(40)
ONE_HOT = np.eye(10)[Y]


def hit(target, prediction):
    return target.argmax(axis=-1) == prediction.argmax(axis=-1)


def share(target, prediction):
    return float(hit(target, prediction).mean())


def share_of_numpy(target, prediction):
    return np.mean(hit(target, prediction))


def whole_number(target, prediction):
    return 1


def cells(target, prediction):
    return np.abs(target - prediction)


def column(target, prediction):
    return cells(target, prediction).mean(axis=-1, keepdims=True)


def listed(target, prediction):
    return column(target, prediction)[:, 0].tolist()


class Distance:
    def __init__(self, power):
        self.power = power

    def __call__(self, target, prediction):
        return cells(target, prediction) ** self.power


def measured(*metrics):
    model = small_model()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=list(metrics))
    return model


@pytest.mark.parametrize(
    "metric",
    [hit, share, share_of_numpy, whole_number, cells, column, listed],
    ids=lambda metric: metric.__name__,
)
def test_the_mean_is_over_all_samples_including_a_short_last_batch(metric):
    model = measured("accuracy", metric)
    name = metric.__name__
    expected = np.mean(metric(ONE_HOT, model.predict(X)))
    assert model.evaluate(X, Y, batch_size=15)[2] == pytest.approx(expected, rel=1e-5)
    model.optimizer.learning_rate = 0.0
    history = model.fit(X, Y, 15, validation_data=(X, Y), verbose=0).history
    assert history[name] == pytest.approx([expected], rel=1e-5)
    assert history[f"val_{name}"] == pytest.approx([expected], rel=1e-5)
    assert model.train_on_batch(X, Y, return_dict=True)[name] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(3), r"metric 'bad' returned shape \(3,\) for 40 samples, expected \(40,\): a"),
        (np.ones((10, 40)), r"returned shape \(10, 40\) for 40 samples"),
        (np.ones((40, 0)), r"returned shape \(40, 0\)"),
        (None, "metric 'bad' returned None, expected numbers"),
        ("0.5", "metric 'bad' returned '0.5', expected numbers"),
        (1j, "metric 'bad' returned 1j, expected numbers"),
        ([[1], [1, 2]], "metric 'bad': expected an array of numbers"),
        (np.nan, r"metric 'bad': sums \[nan 40.\], expected two finite numbers"),
        (np.r_[np.ones(39), np.inf], r"metric 'bad': sums \[inf 40.\], expected two finite"),
    ],
)
def test_a_result_that_is_not_a_number_names_the_metric(value, message):
    def bad(target, prediction):
        return value

    model = measured(bad)
    for use in (model.evaluate, model.train_on_batch, partial(model.fit, batch_size=40, verbose=0)):
        with pytest.raises(ValueError, match=message):
            use(X, Y)


def test_a_metric_may_keep_or_change_what_it_gets():
    kept = []

    def keep(target, prediction):
        kept.append(prediction)
        return 0.0

    def spoil(target, prediction):
        target[:] = prediction[:] = 0
        return 0.0

    model = measured(spoil, keep, "accuracy")
    plain = measured("accuracy")
    expected = plain.fit(X, Y, batch_size=8, epochs=2, verbose=0).history["accuracy"]
    assert model.fit(X, Y, batch_size=8, epochs=2, verbose=0).history["accuracy"] == expected
    kept.clear()
    model.evaluate(X, Y, batch_size=8)
    np.testing.assert_allclose(np.concatenate(kept), model.predict(X), rtol=1e-6)


def test_names():
    first, second = (lambda target, prediction: 1.0), (lambda target, prediction: 2.0)
    square = partial(Distance(2), prediction=None)
    model = measured(first, "acc", second, partial(hit), Distance(1))
    assert list(model.metrics) == ["<lambda>", "acc", "<lambda>_1", "hit", "Distance"]
    assert model.evaluate(X, Y)[1::2][:2] == [1.0, 2.0]
    for metrics, message in {
        ("accuracy", "accuracy"): "metrics: 'accuracy' is given twice",
        (hit, hit): "metrics: 'hit' is given twice",
        (Distance,): r"metric 'Distance': expected a function of \(y_true, y_pred\)",
        (len,): "metric 'len': expected a function of",
        (square,): "metric 'Distance': expected a function of",
    }.items():
        with pytest.raises(ValueError, match=message):
            measured(*metrics)
    for taken in ("loss", "val_loss", "epoch", "learning_rate"):
        metric = Distance(1)
        metric.__name__ = taken
        with pytest.raises(ValueError, match=f"metric '{taken}': expected another name"):
            measured(metric)
    for metrics in (0, {}, 3.0):
        with pytest.raises(ValueError, match=r"metrics=.*expected a list of names or functions"):
            small_model().compile("sgd", "mse", metrics=metrics)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=hit)
    assert list(model.metrics) == ["hit"]


COPIES = {
    "copy": copy.copy, "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "snapshot": lambda model: type(model).from_snapshot(model.snapshot(), "reference"),
}  # fmt: skip


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_measures_the_same_in_the_same_order(way):
    model = measured(Distance(2), "accuracy", hit)
    twin = COPIES[way](model)
    assert list(twin.metrics) == ["Distance", "accuracy", "hit"]
    assert twin.evaluate(X, Y) == model.evaluate(X, Y)
    assert bits(twin) == bits(model)


@pytest.mark.parametrize("way", ["copy", "deepcopy", "snapshot"])
def test_copying_in_this_process_keeps_a_lambda(way):
    model = measured("accuracy", lambda target, prediction: 0.25)
    assert COPIES[way](model).evaluate(X, Y)[2] == 0.25


def test_pickling_a_lambda_is_an_error_that_says_so():
    model = measured("accuracy", lambda target, prediction: 0.25, hit)
    with pytest.warns(UserWarning, match=r"a pickle cannot store the metric <lambda>: compile"):
        data = pickle.dumps(model)
    assert list(pickle.loads(data).metrics) == ["accuracy", "hit"]


@pytest.mark.parametrize("ending", ["npz", "h5", "keras"])
def test_saving_warns_once_by_name_of_what_a_file_cannot_hold(ending, tmp_path):
    def accuracy(target, prediction):  # not the one that is known by this name
        return 0.125

    model = measured(accuracy, "mae", hit)
    with pytest.warns(UserWarning, match=r"a file cannot store the metric accuracy, hit: compile"):
        model.save(tmp_path / f"model.{ending}")
    assert list(load_model(tmp_path / f"model.{ending}", kernels="reference").metrics) == ["mae"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save(tmp_path / f"model.{ending}")


def test_a_checkpoint_warns_once_before_the_first_step(tmp_path):
    model = measured("accuracy", hit)
    before = bits(model)
    checkpoint = ModelCheckpoint(tmp_path / "model.npz")
    with warnings.catch_warnings(), pytest.raises(UserWarning, match="cannot store the metric hit"):
        warnings.simplefilter("error")
        model.fit(X, Y, callbacks=[checkpoint], verbose=0)
    assert bits(model) == before
    model.fit(X, Y, epochs=2, callbacks=[checkpoint], verbose=0)
