"""Metrics as classes and as words: Keras's values and names, in training, shards and files."""

import copy
import pickle

import numpy as np
import pytest

from nanocnn import Dense, Flatten, Input, Sequential, load_model, metrics
from nanocnn.metrics import Metric, Precision, Recall
from support.small_models import BOTH_SETS, SPARSE, digits, small_model

X, Y = digits(60)
MANY = np.stack([Y > 4, Y % 2 == 0, Y < 3], -1).astype(int)
RNG = np.random.default_rng(3)
BINARY = (RNG.integers(0, 2, (40, 5)), RNG.random((40, 5), np.float32))
ROWS = (np.eye(5)[RNG.integers(0, 5, 40)], BINARY[1])
SPARSE_ROWS = (ROWS[0].argmax(1), BINARY[1])
POSITIVES = [
    {}, {"thresholds": 0.3}, {"thresholds": 0.0}, {"top_k": 2}, {"class_id": 3},
    {"top_k": 1, "class_id": 0}, {"top_k": 3, "thresholds": 0.7},
]  # fmt: skip
CASES = [
    ("BinaryAccuracy", {}, BINARY),
    ("BinaryAccuracy", {"threshold": 0.2}, BINARY),
    ("CategoricalAccuracy", {}, ROWS),
    ("SparseCategoricalAccuracy", {}, SPARSE_ROWS),
    ("TopKCategoricalAccuracy", {"k": 2}, ROWS),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, SPARSE_ROWS),
    ("MeanSquaredError", {}, BINARY),
    ("MeanAbsoluteError", {}, BINARY),
    *[(kind, options, BINARY) for kind in ("Precision", "Recall") for options in POSITIVES],
    *[(kind, options, (BINARY[0][:, 0], BINARY[1][:, 0]))
      for kind in ("Precision", "Recall") for options in ({}, {"top_k": 4})],
]  # fmt: skip


def with_keras(test):
    return pytest.mark.slow(pytest.mark.filterwarnings("ignore::DeprecationWarning")(test))


@with_keras
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kind", "options", "data"), CASES)
def test_keras_finds_the_same(keras, kind, options, data, weighted):
    ours, theirs = (getattr(place, kind)(**options) for place in (metrics, keras.metrics))
    y, p = data
    if weighted and p.ndim == 1 and "top_k" in options:
        return  # one sample
    for part in (slice(0, 25), slice(25, 40)):
        weight = np.linspace(0.5, 2, 40)[part] if weighted else None
        for each in (ours, theirs):
            each.update_state(y[part], p[part], weight)
    np.testing.assert_allclose(ours.result(), np.array(theirs.result()), rtol=1e-6)
    assert theirs.name.rstrip("_0123456789") == ours.name


def test_values_worked_out_by_hand():
    y, p = [0, 1, 1, 1], [0.9, 0.2, 0.8, 0.6]
    assert Precision()(y, p) == 2 / 3 == Recall()(y, p)
    assert Precision(0.7)(y, p) == 1 / 2 and Recall(0.7)(y, p) == 1 / 3
    assert Precision()(y, np.zeros(4)) == 0
    assert Precision()([0.1, 0.9], [0.8, 0.9]) == 0.5  # smoothed labels
    metric = Precision()
    metric.update_state(y, p, sample_weight=[1, 1, 3, 1])
    assert metric.result() == 4 / 5
    assert metric([1], [0.9]) == 5 / 6  # it goes on
    metric.reset_state()
    assert metric.result() == 0 and metric([1], [0.9]) == 1
    rows = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]])
    assert Precision(class_id=0)([0, 0], rows) == 1 and Recall(class_id=0)([0, 0], rows) == 0.5
    assert Recall(top_k=2)([2, 0], rows) == 0.5
    assert metrics.TopKCategoricalAccuracy(2)([2, 0], rows) == 0.5
    assert metrics.binary_accuracy([[1, 0, 0], [1, 1, 1]], rows).tolist() == [1, 1 / 3]


def binary(kernels="reference", chosen=("precision", "recall"), units=3, **options):
    made = Sequential([Input((12, 10, 1)), Flatten(), Dense(units, "sigmoid")], kernels=kernels,
                      **options)  # fmt: skip
    made.compile("adam", "binary_crossentropy", metrics=list(chosen))
    return made


@BOTH_SETS
@pytest.mark.parametrize("shards", [None, 4])
def test_training_reports_the_ratio_of_all_sums_not_the_mean_of_batches(kernels, shards):
    chosen = ["precision", Recall(0.4), "binary_accuracy", Precision(class_id=2, name="third")]
    made = binary(kernels, chosen)
    made.fit(X, MANY, 8, epochs=3, verbose=0)
    p = made.predict(X)
    expected = {
        "precision": Precision()(MANY, p),
        "recall": Recall(0.4)(MANY, p),
        "binary_accuracy": ((p > 0.5) == MANY).mean(),
        "third": Precision(class_id=2)(MANY, p),
    }
    batches = [Precision()(MANY[i : i + 16], p[i : i + 16]) for i in range(0, 60, 16)]
    assert expected["precision"] != pytest.approx(np.mean(batches), rel=1e-6)
    logs = made.evaluate(X, MANY, 16, return_dict=True)
    logs.pop("loss")
    assert logs == pytest.approx(expected, rel=1e-9)
    made.optimizer.learning_rate = 0.0
    history = made.fit(X, MANY, 16, validation_data=(X, MANY), verbose=0, shards=shards).history
    for name, value in expected.items():
        assert history[name] + history[f"val_{name}"] == pytest.approx([value] * 2, rel=1e-9)
    assert list(logs) == sorted(made.metrics) == sorted(expected)


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_every_word_is_a_key_of_the_history(name):
    made = small_model()
    made.compile("sgd", SPARSE, metrics=[name])
    assert list(made.fit(X, Y, verbose=0).history) == sorted(["loss", name])
    assert list(made.evaluate(X, Y, return_dict=True)) == sorted(["loss", name])
    assert np.isfinite(made.evaluate(X, Y)).all()


def test_words_and_classes_agree():
    made = small_model()
    pairs = {
        "accuracy": metrics.SparseCategoricalAccuracy(),
        "sparse_top_k_categorical_accuracy": metrics.TopKCategoricalAccuracy(name="five"),
        "categorical_accuracy": metrics.CategoricalAccuracy(name="first"),
        "binary_accuracy": metrics.BinaryAccuracy(name="cells"),
        "mae": metrics.MeanAbsoluteError(),
        "mse": metrics.MeanSquaredError(),
        "precision": metrics.Precision(name="exact"),
    }
    made.compile("sgd", SPARSE, metrics=[*pairs, *pairs.values(), Recall(), Recall()])
    names = [*pairs, *(each.name for each in pairs.values()), "recall", "recall_1"]
    assert list(made.metrics) == names
    logs = made.evaluate(X, Y, return_dict=True)
    for word, metric in pairs.items():
        assert logs[word] == pytest.approx(logs[metric.name], rel=1e-6)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".keras"])
def test_files_keep_names_and_arguments(tmp_path, suffix):
    chosen = ["recall", Precision(0.25, class_id=1, name="mine"), "mae",
              metrics.BinaryAccuracy("cells", threshold=0.75)]  # fmt: skip
    made = binary(chosen=chosen)
    made.fit(X, MANY, verbose=0)
    made.save(tmp_path / f"m{suffix}")
    again = load_model(tmp_path / f"m{suffix}", kernels="reference")
    assert again.evaluate(X, MANY, return_dict=True) == made.evaluate(X, MANY, return_dict=True)
    assert again.metrics["mine"].get_config() == made.metrics["mine"].get_config()
    for twin in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert twin.evaluate(X, MANY, return_dict=True) == made.evaluate(X, MANY, return_dict=True)


@with_keras
def test_keras_opens_the_file_and_finds_the_same(keras, tmp_path):
    made = binary(chosen=[Precision(0.25, name="mine"), Recall(class_id=1), "binary_accuracy"])
    made.fit(X, MANY, epochs=2, verbose=0)
    made.save(tmp_path / "m.keras")
    theirs = keras.models.load_model(tmp_path / "m.keras")
    logs = theirs.evaluate(X[..., None] / 255.0, MANY, verbose=0, return_dict=True)
    assert logs == pytest.approx(made.evaluate(X, MANY, return_dict=True), rel=1e-5)
    theirs.save(tmp_path / "theirs.keras")
    ours = load_model(tmp_path / "theirs.keras", kernels="reference")
    assert ours.evaluate(X / 255.0, MANY, return_dict=True) == pytest.approx(logs, rel=1e-5)


class Error(Metric):
    """The fraction that is wrong, as a metric of one's own."""

    def sums(self, y_true, y_pred, sample_weight=None):
        return np.array([(y_true.argmax(1) != y_pred.argmax(1)).sum(), len(y_true)])


class Bad(Metric):
    def sums(self, y_true, y_pred, sample_weight=None):
        return np.array([np.nan, 1.0])


def test_a_metric_of_ones_own(tmp_path):
    made = small_model()
    made.compile("sgd", SPARSE, metrics=["accuracy", Error()])
    _, accuracy, error = made.evaluate(X, Y, batch_size=7)
    assert accuracy + error == pytest.approx(1)
    with pytest.warns(UserWarning, match="a file cannot store the metric error"):
        made.save(tmp_path / "m.npz")
    made.compile("sgd", SPARSE, metrics=[Bad()])
    with pytest.raises(ValueError, match=r"metric 'bad': sums \[nan  1.\], expected two"):
        made.evaluate(X, Y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Precision(1.5), "Precision: thresholds=1.5, expected a number from 0 to 1"),
        (lambda: Precision([0.1]), r"Precision: thresholds=\[0.1\], expected a number"),
        (lambda: Recall(top_k=0), "Recall: top_k=0"),
        (lambda: Recall(class_id=-1), "Recall: class_id=-1"),
        (lambda: Recall(class_id=7)([0], [[0.5, 0.5]]), "class_id=7, expected one of 2"),
        (lambda: metrics.BinaryAccuracy("a/b"), "BinaryAccuracy: name='a/b'"),
        (lambda: metrics.BinaryAccuracy(dtype="int8"), "dtype='int8'"),
        (lambda: binary(chosen=[Precision(name="loss")]), "metric 'loss': expected another name"),
        (lambda: binary(chosen=["presicion"]), "did you mean 'precision'"),
        (lambda: metrics.accuracy([3, 0], [[0.5, 0.5]] * 2), r"y_true\[0\] is 3, expected a class"),
        (lambda: metrics.accuracy([[1, 0]], [[0.5, 0.5, 0]]), r"shapes \(1, 2\) and \(1, 3\)"),
        (lambda: Precision()([1, 0], [1, 0], [1, 2, 3]), r"sample_weight: shape \(3,\), expected"),
    ],
)
def test_what_is_wrong_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
