"""class_weight: which class a sample has, in every form of labels, and what is no weight."""

import numpy as np
import pytest

from nanocnn import Dense, Input, Sequential
from nanocnn.models.inputs import class_weighted
from support.small_models import digits, small_model

X, Y = digits(30)
POINTS = np.linspace(-1, 1, 8, dtype="float32")[:, None]


def model_of(units, loss="mse"):
    activation = None if loss == "mse" else "softmax"
    model = Sequential([Input((1,)), Dense(units, activation)], kernels="reference")
    model.compile("sgd", loss)
    return model


def weights(model, x, y, class_weight, sample_weight=None):
    """The weight of each sample."""
    data = model._checked_data(x, y, sample_weight)
    return class_weighted(data, class_weight, model).weight


@pytest.mark.parametrize("kind", ["i8", "u1", "f4", "?"])
def test_one_output_weighs_by_its_label_0_or_1(kind):
    y = np.array([0, 1, 1, 0, 0, 0, 1, 0], kind)[:, None]
    expected = np.where(y[:, 0] == 1, 5.0, 0.5)
    got = weights(model_of(1), POINTS, y, {0: 0.5, 1: 5.0})
    np.testing.assert_array_equal(got, expected)
    got = weights(model_of(1), POINTS, y, {1: 5.0}, np.full(8, 2.0))
    np.testing.assert_array_equal(got, np.where(y[:, 0] == 1, 10.0, 2.0))
    model = model_of(1)
    plain = np.square(model.predict(POINTS) - y)[:, 0]
    loss = model.train_on_batch(POINTS, y, class_weight={0: 0.5, 1: 5.0})
    assert loss == pytest.approx((plain * expected).mean(), rel=1e-5)


@pytest.mark.parametrize("y", [POINTS, np.full((8, 1), 2.0), np.array([[0.9]] * 4 + [[0.1]] * 4)])
def test_other_targets_of_one_output_have_no_class(y):
    with pytest.raises(ValueError, match=r"class_weight: y holds .*, expected classes 0 and 1"):
        model_of(1).fit(POINTS, y, class_weight={0: 1.0, 1: 5.0}, verbose=0)


def test_one_hot_and_soft_targets_have_the_class_of_their_largest():
    one_hot = np.eye(3)[[0, 1, 2, 2, 1, 0, 0, 0]]
    expected = np.array([1, 2, 3, 3, 2, 1, 1, 1.0])
    by_class = {1: 2.0, 2: 3.0}
    for y in (one_hot, 2 * one_hot - 1):
        np.testing.assert_array_equal(weights(model_of(3), POINTS, y, by_class), expected)
    soft = one_hot * 0.7 + 0.1
    model = model_of(3, "categorical_crossentropy")
    np.testing.assert_array_equal(weights(model, POINTS, soft, by_class), expected)


@pytest.mark.parametrize(
    "y", [POINTS * [1, 2, 3], np.ones((8, 3)), np.zeros((8, 3)), np.array([[0, 1, 1]] * 8)]
)
def test_targets_of_a_regression_have_no_class(y):
    with pytest.raises(ValueError, match=r"class_weight: y of shape \(8, 3\) names no class"):
        model_of(3).fit(POINTS, y, class_weight={0: 1.0}, verbose=0)


@pytest.mark.parametrize("bad", [np.ones(10), [1.0] * 10, "balanced", 2.0, {1, 2}, ((0, 1.0),)])
def test_a_class_weight_that_is_no_dict_tells_how_to_make_one(bad):
    model = small_model()
    for use in (model.fit, model.train_on_batch):
        with pytest.raises(ValueError, match=r"class_weight: .*expected a dict.*dict\(enumerate\("):
            use(X, Y, class_weight=bad)


@pytest.mark.parametrize(
    ("label", "weight"),
    [(10, 1.0), (-1, 1.0), (0.5, 1.0), ("0", 1.0), (None, 1.0), ((0,), 1.0), (np.nan, 1.0),
     (0, None), (0, "2"), (0, [1.0]), (0, np.nan), (0, np.inf), (0, -1.0), (0, 1j), (0, 1e200)],
)  # fmt: skip
def test_invalid_classes_and_weights_are_named(label, weight):
    with pytest.raises(ValueError) as caught:
        small_model().fit(X, Y, class_weight={label: weight}, verbose=0)
    assert f"class_weight[{label!r}] = {weight!r}, expected a finite weight" in str(caught.value)


@pytest.mark.parametrize("label", [3.0, np.int64(3), np.uint8(3), np.float32(3)])
@pytest.mark.parametrize("weight", [7, np.float32(7), np.int16(7)])
def test_integers_of_any_type_are_classes(label, weight):
    expected = np.where(Y == 3, 7.0, 1.0)
    np.testing.assert_array_equal(weights(small_model(), X, Y, {label: weight}), expected)


@pytest.mark.parametrize(
    "bad", [["1"] * 30, [None] * 30, np.full(30, 1j), np.full(30, 1e300), [[1], [1, 2]], "1"]
)
def test_sample_weights_are_numbers(bad):
    with pytest.raises(ValueError, match="sample_weight: "):
        small_model().fit(X, Y, sample_weight=bad, verbose=0)
