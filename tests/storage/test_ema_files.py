"""`use_ema` and `OneCycle` in the files of Keras, and step by step against Keras itself."""

import warnings

import numpy as np
import pytest

import nanocnn

pytest.importorskip("h5py", reason="h5py is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SUFFIXES = pytest.mark.parametrize("suffix", [".h5", ".keras"])
# TensorFlow rounds constants to float32, in float64 too: these are exact.
ADAM = {"beta_1": 0.875, "beta_2": 0.9375, "epsilon": 2**-10}
OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.75}),
    ("Adam", {"amsgrad": True, "ema_overwrite_frequency": 3, **ADAM}),
    ("AdamW", {"clipnorm": 1.0, "weight_decay": 2**-8, **ADAM}),
    ("RMSprop", {"rho": 0.875, "momentum": 0.5, "centered": True, "epsilon": 2**-10}),
    ("Adadelta", {"rho": 0.875, "epsilon": 2**-10}),
    ("Nadam", {"ema_overwrite_frequency": 4, **ADAM}),
]
EMA = {"use_ema": True, "ema_momentum": 0.75}
RNG = np.random.default_rng(0)
X, Y = RNG.random((24, 6, 5, 1)), RNG.integers(0, 3, 24)


@pytest.fixture(autouse=True)
def float64(keras):
    """A gradient of nearly 0 is noise, which most optimizers enlarge: less so in float64."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")


def made(library, name, options, **kernels):
    """A frozen layer, moving averages and trained layers, compiled."""
    layers = getattr(library, "layers", library)
    model = library.Sequential(
        [
            library.Input((6, 5, 1)),
            layers.Conv2D(3, 3, activation="tanh"),
            layers.BatchNormalization(momentum=0.875, epsilon=2**-10),
            layers.Flatten(),
            layers.Dense(7, trainable=False),
            layers.Dense(3, activation="softmax"),
        ],
        **kernels,
    )
    kinds = library.optimizers if hasattr(library, "optimizers") else library
    model.compile(getattr(kinds, name)(2**-6, **EMA, **options), "sparse_categorical_crossentropy")
    return model


def pair(keras, name, options):
    """The same model in Keras and here."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    theirs = made(keras, name, options)
    ours = made(nanocnn, name, options, kernels="reference", dtype="float64")
    ours.set_weights(theirs.get_weights())
    return theirs, ours


def averages(model):
    """The averages of a model of Keras or of nanocnn, in the weights' order."""
    optimizer = model.optimizer
    if isinstance(optimizer, nanocnn.Optimizer):
        return list(optimizer.averages(model.trainable_weights).values())
    return [each.numpy() for each in optimizer._model_variables_moving_average]


def same(theirs, ours, rtol=1e-6, atol=1e-6):
    for part in (averages, lambda model: model.get_weights()):
        mine, others = part(ours), part(theirs)
        assert len(mine) == len(others) > 0
        for a, b in zip(mine, others, strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_each_step_and_the_end_of_fit_are_those_of_keras(keras, name, options):
    theirs, ours = pair(keras, name, options)
    for _ in range(7):
        theirs.train_on_batch(X, Y)
        ours.train_on_batch(X, Y)
        same(theirs, ours)
    for model in (theirs, ours):
        model.fit(X, Y, 8, 2, shuffle=False, verbose=0)
    same(theirs, ours)
    trained = ours.trainable_weights.values()
    assert all((a == b).all() for a, b in zip(trained, averages(ours), strict=True))


@SUFFIXES
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_what_keras_wrote_goes_on_here(keras, tmp_path, suffix, name, options):
    theirs, _ = pair(keras, name, options)
    for _ in range(2):
        theirs.train_on_batch(X, Y)
    theirs.save(tmp_path / f"theirs{suffix}")
    ours = nanocnn.load_model(tmp_path / f"theirs{suffix}", kernels="reference")
    assert ours.optimizer.ema_overwrite_frequency == options.get("ema_overwrite_frequency")
    same(theirs, ours, rtol=0, atol=0)
    for _ in range(3):
        theirs.train_on_batch(X, Y)
        ours.train_on_batch(X, Y)
    same(theirs, ours)


@SUFFIXES
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_keras_goes_on_with_what_was_written_here(keras, tmp_path, suffix, name, options):
    _, ours = pair(keras, name, options)
    for _ in range(2):
        ours.train_on_batch(X, Y)
    ours.save(tmp_path / f"ours{suffix}")
    theirs = keras.models.load_model(tmp_path / f"ours{suffix}")
    config, mine = theirs.optimizer.get_config(), ours.optimizer.get_config()
    for key in ("use_ema", "ema_momentum", "ema_overwrite_frequency"):
        assert config[key] == mine[key], key
    if suffix == ".keras":  # out of .h5, Keras 3 restores no optimizer: see keras_hdf5.py
        same(theirs, ours, rtol=0, atol=0)
        for _ in range(3):
            theirs.train_on_batch(X, Y)
            ours.train_on_batch(X, Y)
        same(theirs, ours)
    else:
        theirs.train_on_batch(X, Y)


def test_weights_files_carry_the_averages_both_ways(keras, tmp_path):
    theirs, ours = pair(keras, "Adam", {})
    theirs.train_on_batch(X, Y)
    ours.train_on_batch(X[::-1], Y)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.load_weights(tmp_path / "theirs.weights.h5")
    same(theirs, ours, rtol=0, atol=0)
    ours.train_on_batch(X, Y)
    ours.save_weights(tmp_path / "ours.weights.h5")
    theirs.load_weights(tmp_path / "ours.weights.h5")
    same(theirs, ours, rtol=0, atol=0)


@SUFFIXES
def test_keras_opens_a_file_of_a_training_with_one_cycle(keras, tmp_path, suffix):
    _, ours = pair(keras, "Adam", {})
    ours.optimizer.learning_rate = nanocnn.OneCycle(0.02, 10)
    ours.train_on_batch(X, Y)
    with pytest.warns(UserWarning, match="not how the model was compiled: Keras has no OneCycle"):
        ours.save(tmp_path / f"m{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no training configuration in the file
        theirs = keras.models.load_model(tmp_path / f"m{suffix}")
    np.testing.assert_allclose(theirs.predict(X, verbose=0), ours.predict(X), rtol=1e-9)
    assert not theirs.compiled
    ours.save(tmp_path / "m.npz")
    again = nanocnn.load_model(tmp_path / "m.npz", kernels="reference")
    assert again.optimizer.learning_rate == nanocnn.OneCycle(0.02, 10)
