"""`nanocnn.sklearn.CNNClassifier` in scikit-learn's own tools, and by scikit-learn's own checks."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", reason="scikit-learn: pip install 'scikit-learn>=1.6'")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer, StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from nanocnn import (  # noqa: E402
    Adam,
    Conv2D,
    Dense,
    EarlyStopping,
    Flatten,
    Input,
    MaxPooling2D,
    Sequential,
)
from nanocnn.data import mnist  # noqa: E402
from nanocnn.sklearn import CNNClassifier  # noqa: E402

(X, Y), _ = mnist.sample()
X, Y = X[:200, 4:24:2, 4:24:2].copy(), Y[:200]
WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def network(filters=4, rate=0.01, loss="sparse_categorical_crossentropy", seed=0):
    layers = [Input((10, 10, 1)), Conv2D(filters, 3, activation="relu"), MaxPooling2D(2),
              Flatten(), Dense(10, activation="softmax")]  # fmt: skip
    model = Sequential(layers, seed=seed)
    model.compile(Adam(rate), loss)
    return model


def dense(n_classes=2, seed=0):
    """Takes whatever the checks of scikit-learn have for it."""
    layers = [Dense(16, activation="relu"), Dense(n_classes, activation="softmax")]
    model = Sequential(layers, seed=seed)
    model.compile(Adam(0.01), "sparse_categorical_crossentropy")
    return model


def even(seed=0):
    model = Sequential([Flatten(), Dense(1, activation="sigmoid")], seed=seed)
    model.compile(Adam(0.01), "binary_crossentropy")
    return model


DO_NOT_APPLY = {
    "check_all_zero_sample_weights_error": "weights of 0 train nothing, as in `Sequential.fit`",
    "check_sample_weight_equivalence_on_dense_data": "minibatches see neither the copies of a "
    "sample nor its weight alike, and a loss is divided by the number of samples, as in Keras",
    "check_do_not_raise_errors_in_init_or_set_params": "arguments that build does not have are "
    "refused at once",
    "check_no_attributes_set_in_init": "the arguments of build are attributes too",
}


@parametrize_with_checks(
    [CNNClassifier(dense, epochs=20)], expected_failed_checks=lambda _: DO_NOT_APPLY
)
@pytest.mark.filterwarnings("ignore")  # skipped checks are said by a warning
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


def test_cross_validation_of_a_pipeline():
    flat = X.reshape(len(X), -1).astype("float64")
    scores = cross_val_score(
        make_pipeline(StandardScaler(), CNNClassifier(network, epochs=8)), flat, Y, cv=2
    )
    assert scores.shape == (2,) and scores.min() > 0.5


def test_a_grid_varies_arguments_of_build_and_of_fit():
    grid = {"filters": [1, 8], "rate": [0.01], "epochs": [1, 6]}
    search = GridSearchCV(CNNClassifier(network, random_state=0), grid, cv=2).fit(X, Y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_params_ == {"filters": 8, "rate": 0.01, "epochs": 6}
    best = search.best_estimator_
    assert best.model_.layers[0].filters == 8 and len(best.history_["loss"]) == 6
    assert best.score(X, Y) == np.mean(search.predict(X) == Y) > 0.7


def test_a_grid_of_a_pipeline_names_the_step():
    to_images = FunctionTransformer(lambda x: x.reshape(-1, 10, 10, 1))
    steps = make_pipeline(to_images, CNNClassifier(network, epochs=2))
    search = GridSearchCV(steps, {"cnnclassifier__filters": [2, 3]}, cv=2)
    search.fit(X.reshape(len(X), -1) / 255, Y)
    assert search.predict_proba(X.reshape(len(X), -1) / 255).shape == (200, 10)


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "mse"])
def test_words_are_classes_and_images_need_no_channel_axis(loss):
    words = WORDS[Y]
    model = CNNClassifier(network, epochs=8, rate=0.02, loss=loss).fit(X, words)
    assert model.classes_.tolist() == sorted(WORDS)
    assert model.score(X, words) > 0.7
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (model.predict(X) == model.classes_[p.argmax(axis=1)]).all()


def test_one_sigmoid_unit_is_two_classes():
    x, y = X.astype("float32") / 255, np.where(Y % 2, "odd", "even")
    model = CNNClassifier(even, epochs=40).fit(x, y)
    p = model.predict_proba(x)
    np.testing.assert_array_equal(p[:, 1:], model.model_.predict(x))
    np.testing.assert_allclose(p[:, 0], 1 - p[:, 1])
    assert model.classes_.tolist() == ["even", "odd"] and model.score(x, y) > 0.8


def test_pixels_in_bytes_are_scaled_and_wider_integers_are_not():
    by_bytes = CNNClassifier(network).fit(X, Y)
    by_floats = CNNClassifier(network).fit(X.astype("float32") / 255, Y)
    assert by_bytes.history_ == by_floats.history_
    by_integers = CNNClassifier(network).fit(X.astype("int64"), Y)
    assert by_integers.history_ == CNNClassifier(network).fit(X.astype("float64"), Y).history_


def test_random_state_is_the_seed_of_all():
    def first(state):
        return CNNClassifier(network, random_state=state).fit(X, Y).predict_proba(X)

    assert (first(3) == first(3)).all() and (first(3) != first(4)).any()
    assert (first(np.random.RandomState(3)) == first(3)).all()
    assert (first(None) == CNNClassifier(network).fit(X, Y).predict_proba(X)).all()


def test_sample_weights_reach_the_loss():
    weight = (Y < 5).astype(float)
    half = CNNClassifier(network, epochs=8).fit(X, Y, sample_weight=weight)
    assert set(half.predict(X)) <= set(range(5)) and half.score(X, Y, sample_weight=weight) > 0.8


def test_a_clone_has_the_arguments_and_a_pickle_the_network_too():
    fitted = CNNClassifier(network, epochs=2, filters=3).fit(X, Y)
    again = pickle.loads(pickle.dumps(fitted))
    assert (again.predict_proba(X) == fitted.predict_proba(X)).all()
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params() and not hasattr(copy, "model_")
    assert "filters=3" in repr(copy) and copy.set_params(filters=5).filters == 5
    assert fitted.get_params()["filters"] == 3 and fitted.get_params()["rate"] == 0.01


def test_callbacks_are_copied_and_hold_out_a_part():
    stopping = EarlyStopping(patience=1)
    model = CNNClassifier(network, epochs=50, rate=0.3, validation_split=0.2, callbacks=[stopping])
    model.fit(X, Y)
    assert len(model.history_["val_loss"]) < 50 and stopping.wait == 0
    assert clone(model).fit(X, Y).history_ == model.history_


def test_what_does_not_fit_is_said():
    def fit(build, y=Y, **options):
        return CNNClassifier(build, **options).fit(X, y)

    with pytest.raises(ValueError, match="argument of CNNClassifier 'filtres'; did you mean 'filt"):
        CNNClassifier(network, filtres=3)
    with pytest.raises(ValueError, match=r"output \(10,\), expected 2 units for y"):
        fit(network, Y % 2)
    with pytest.raises(ValueError, match=r"output \(1,\), expected 10 units"):
        fit(even)
    with pytest.raises(ValueError, match="build returned None, expected a compiled Sequential"):
        fit(lambda: None)
    with pytest.raises(ValueError, match="build=3, expected a function"):
        fit(3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'seed'"):
        fit(lambda: network(), random_state=1)
    with pytest.raises(ValueError, match="epochs=0"):
        fit(network, epochs=0)
    with pytest.raises(ValueError, match="y: only the class"):
        fit(network, np.zeros(len(X)))


def test_without_scikit_learn_the_import_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None\nimport nanocnn.sklearn"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr.splitlines()[-1].endswith(
        'MissingExtraError: nanocnn.sklearn needs scikit-learn: pip install "scikit-learn>=1.6"'
    )
