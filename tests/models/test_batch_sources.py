"""`fit`, `evaluate` and `predict` from generators, and from objects that hold batches."""

import itertools

import numpy as np
import pytest

from nanocnn import Callback, Conv2D, Dense, Flatten, Sequential
from nanocnn.common.errors import NonFiniteError, ShapeError
from support.small_models import BOTH_SETS, SPARSE, bits, digits, small_model

X, Y = digits(60)
OUT = pytest.warns(UserWarning, match="Your input ran out of data; interrupting training")


def batches(size=20, x=X, y=Y):
    """One pass over the data."""
    for start in range(0, len(x), size):
        yield x[start : start + size], y[start : start + size]


class Indexed:
    """Batches by number; counts the calls."""

    def __init__(self, size=20):
        self.pairs, self.asked, self.ended = [*batches(size)], [], 0

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        self.asked.append(index)
        return self.pairs[index]

    def on_epoch_end(self):
        self.ended += 1


class Iterable:
    """What can be iterated anew, such as a data loader."""

    def __iter__(self):
        return batches()


@BOTH_SETS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_generator_trains_as_the_arrays_do(kernels, dtype):
    arrays, generator = (small_model(kernels, dtype=dtype) for _ in range(2))
    whole = arrays.fit(X, Y, 20, 3, 0, shuffle=False, validation_data=(X, Y), class_weight={1: 3.0})
    again = itertools.chain.from_iterable(batches() for _ in itertools.count())
    parts = generator.fit(
        again, epochs=3, verbose=0, steps_per_epoch=3, validation_data=(X, Y),
        validation_batch_size=20, class_weight={1: 3.0},
    )  # fmt: skip
    assert bits(arrays) == bits(generator)
    assert whole.history == parts.history and whole.params == parts.params


@pytest.mark.parametrize("floats", [True, False], ids=["floats", "uint8"])
@pytest.mark.parametrize("source", [Indexed, Iterable, batches])
def test_a_model_that_is_not_built_yet_is_built_for_the_first_batch_which_is_not_lost(
    source, floats, monkeypatch
):
    if floats:
        monkeypatch.setitem(globals(), "X", X / np.float32(255))
    given = source()
    if source is batches:
        given = batches(x=X)
    models = [Sequential([Conv2D(3, 3), Flatten(), Dense(10, "softmax")]) for _ in range(2)]
    for model in models:
        model.compile("sgd", SPARSE)
    first = models[0].fit(given, verbose=0, shuffle=False)
    second = models[1].fit(X, Y, 20, verbose=0, shuffle=False)
    assert first.history == second.history and bits(models[0]) == bits(models[1])
    assert models[0].input_shape == (12, 10, 1)


def test_batches_by_number_are_shuffled_like_arrays_and_told_of_the_epochs_end():
    source = Indexed()
    model = small_model()
    model.fit(source, epochs=4, verbose=0)
    orders = [tuple(source.asked[1 + i : 4 + i]) for i in range(0, 12, 3)]
    assert all(sorted(order) == [0, 1, 2] for order in orders) and len({*orders}) > 1
    assert source.ended == 4 and model.optimizer.iterations == 12
    again = Indexed()
    small_model().fit(again, epochs=4, verbose=0)
    assert again.asked == source.asked  # the seed decides


def test_keras_datasets_without_a_length_go_on_for_ever():
    class Endless(Indexed):
        num_batches = None

        def __iter__(self):
            return (self.pairs[i % 3] for i in itertools.count())

    model = small_model()
    model.fit(Endless(), epochs=2, steps_per_epoch=5, verbose=0)
    assert model.optimizer.iterations == 10


def test_batches_may_differ_in_size_and_come_as_lists_with_weights():
    sizes = (3, 20, 1, 30, 6)
    ends = np.cumsum(sizes)
    weight = np.linspace(0, 2, 60)
    parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    model = small_model()
    loss = model.evaluate([X[p], Y[p], weight[p]] for p in parts)
    np.testing.assert_allclose(loss, model.evaluate(X, Y, sample_weight=weight), rtol=1e-6)
    found = model.predict(iter([X[p] for p in parts]))
    np.testing.assert_allclose(found, model.predict(X), rtol=1e-6)
    history = model.fit(([X[p], Y[p], weight[p]] for p in parts), verbose=0)
    assert model.optimizer.iterations == 5 and history.params["steps"] is None


def test_an_epoch_goes_on_where_the_last_one_ended():
    seen = []

    def counted():
        for i in itertools.count():
            seen.append(i)
            yield X[:5], Y[:5]

    small_model().fit(counted(), epochs=3, steps_per_epoch=4, verbose=0)
    assert seen == list(range(12))  # none is read that is not used


def test_a_generator_that_ends_early_ends_the_training_with_a_warning():
    model, saved = small_model(), []
    watch = type("Watch", (Callback,), {"on_epoch_saved": lambda _, e, logs: saved.append(e)})()
    with OUT:
        history = model.fit(batches(), epochs=5, steps_per_epoch=2, verbose=0, callbacks=watch)
    assert history.epoch == [0, 1] == saved and model.optimizer.iterations == 3
    with OUT:  # the second epoch has none
        assert small_model().fit(batches(), epochs=2, verbose=0).epoch == [0]
    with OUT:  # nor has the second validation
        history = small_model().fit(X, Y, epochs=2, verbose=0, validation_data=batches()).history
    assert np.isnan(history["val_loss"]).tolist() == [False, True]


def test_validation_and_evaluation_take_batches_in_steps():
    model = small_model()
    model.fit(X, Y, verbose=0)
    loss, accuracy = model.evaluate(X[:40], Y[:40])
    for given in (batches(), Indexed(), Iterable()):
        found = model.evaluate(given, steps=2, return_dict=True)
        np.testing.assert_allclose([found["loss"], found["accuracy"]], [loss, accuracy], rtol=1e-6)
    assert model.evaluate(X, Y, 20, steps=2) == pytest.approx([loss, accuracy])
    found = model.predict(Indexed(), steps=2)
    np.testing.assert_allclose(found, model.predict(X[:40]), rtol=1e-6)
    options = {"epochs": 2, "verbose": 0, "validation_steps": 2}
    one, other = (small_model() for _ in range(2))
    one = one.fit(X, Y, validation_data=Indexed(), **options).history["val_loss"]
    other = other.fit(X, Y, validation_data=(X[:40], Y[:40]), epochs=2, verbose=0)
    np.testing.assert_allclose(one, other.history["val_loss"], rtol=1e-6)


BAD = {
    "fewer labels": (lambda: (X[:9], Y[:8]), ShapeError, "x has 9 samples and y has 8"),
    "images of another size": (lambda: (X[:9, 1:], Y[:9]), ShapeError, r"x: expected \(N, 12"),
    "one image": (lambda: (X[0], Y[0]), ShapeError, "one image"),
    "no labels": (lambda: X[:9], ShapeError, "y: shape"),
    "a dict": (lambda: {"x": X}, ValueError, r"dict of 1, expected a tuple \(x, y\)"),
    "four parts": (lambda: (X, Y, Y, Y), ValueError, "tuple of 4, expected a tuple"),
    "unknown classes": (lambda: (X[:9], Y[:9] + 10), ValueError, "y"),
    "NaN": (lambda: (np.full((9, 12, 10), np.nan), Y[:9]), NonFiniteError, "x: .*finite"),
    "a weight too few": (lambda: (X[:9], Y[:9], Y[:3]), ShapeError, "sample_weight"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_batch_is_named_and_the_weights_are_those_before_it(name):
    batch, error, words = BAD[name]
    given = [*batches(), *batches()][:5]
    model, expected = small_model(), small_model()
    with pytest.raises(error, match=rf"^epoch 2, batch 3: .*{words}"):
        model.fit(iter([*given, batch()]), epochs=2, steps_per_epoch=3, verbose=0)
    expected.fit(iter(given), verbose=0)
    assert all(map(np.array_equal, model.get_weights(), expected.get_weights()))
    assert len(model.history.epoch) == 1
    with pytest.raises(error, match=rf"^x: batch 1: .*{words}"):
        model.fit(iter([batch()]), verbose=0)


def test_an_error_in_the_generator_is_its_own():
    def broken():
        yield X, Y
        raise OSError("no more")

    model = small_model()
    with pytest.raises(OSError, match="no more"):
        model.fit(broken(), epochs=2, verbose=0)
    assert model.optimizer.iterations == 1 and model.fit(X, Y, verbose=0).history


@pytest.mark.parametrize(
    "options, words",
    [
        ({"y": Y}, "x: a generator, .*expected no y"),
        ({"sample_weight": Y}, "expected no .*sample_weight beside"),
        ({"validation_split": 0.1}, "validation_split=0.1, expected 0 .*validation_data"),
        ({"steps_per_epoch": 0}, "steps_per_epoch=0"),
        ({"validation_data": 3}, "validation_data: int, expected a tuple"),
        ({"validation_data": iter(())}, "validation_data: yields no batch"),
        ({"validation_data": Indexed(), "validation_steps": -1}, "validation_steps=-1"),
        ({"shards": 2}, "shards=2: expected arrays"),
    ],
)
def test_what_does_not_go_with_batches_is_refused(options, words):
    model = small_model()
    before = bits(model)
    with pytest.raises(ValueError, match=words):
        model.fit(batches(), verbose=0, **options)
    assert bits(model) == before and model.unit_range is None
    with pytest.raises(ValueError, match="x: yields no batch"):
        model.fit(iter(()))


def test_values_of_all_batches_decide_the_range_that_is_remembered():
    model = small_model()
    large = np.zeros((5, 12, 10), "f")
    large[0, 0, 0] = 200
    model.fit(iter([(X[:5] / np.float32(255), Y[:5]), (large, Y[:5])]), verbose=0)
    assert model.unit_range is False


def test_progress_counts_the_images_of_a_generator(capsys):
    small_model().fit(batches(), verbose=2)
    line = capsys.readouterr().out
    assert line.startswith("Epoch 1/1 - ") and " 0 images/s" not in line
    assert line.index("accuracy: ") < line.index("loss: ")
