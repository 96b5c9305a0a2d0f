"""`import nanocnn as keras`: Keras's modules and names are here, or an error says what to use."""

import random
import re
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

import nanocnn as keras
from nanocnn import Dense, Input, Sequential
from nanocnn.common import seeds
from nanocnn.common.names import ADVICE, ALIASES, names_of
from nanocnn.utils import to_categorical
from support.paths import ROOT


def run(code):
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# --- Modules and names ---

FORMS = """
import nanocnn as keras; keras.layers.Dense(3)
import nanocnn as keras; keras.layers.MaxPool2D()
import nanocnn as keras; keras.MaxPool2D()
import nanocnn as keras; keras.models.Sequential; keras.models.load_model; keras.Sequential
import nanocnn as keras; keras.losses.MeanSquaredError()
import nanocnn as keras; keras.optimizers.Adam(1e-3)
import nanocnn as keras; keras.metrics.accuracy
import nanocnn as keras; keras.callbacks.EarlyStopping()
import nanocnn as keras; keras.regularizers.l2(0.01)
import nanocnn as keras; keras.initializers.HeNormal()
import nanocnn as keras; keras.activations.relu
import nanocnn as keras; keras.backend.clear_session()
import nanocnn as keras; keras.datasets.mnist.load_data
import nanocnn as keras; keras.utils.to_categorical
import nanocnn as keras; keras.utils.np_utils.to_categorical
import nanocnn as keras; keras.Input(shape=(28, 28, 1)); keras.layers.InputLayer((28, 28, 1))
from nanocnn import layers, models, losses, optimizers, callbacks, metrics, regularizers, utils
from nanocnn import activations, backend as K, datasets, initializers; K.image_data_format()
from nanocnn.layers import Dense, MaxPool2D, InputLayer, AvgPool2D
from nanocnn.models import Sequential, load_model
from nanocnn.datasets import mnist; mnist.load_data
from nanocnn.datasets.mnist import load_data
import nanocnn.datasets.mnist
from nanocnn.utils import to_categorical, set_random_seed, normalize, plot_model
from nanocnn.utils import np_utils; np_utils.to_categorical
from nanocnn.utils.np_utils import to_categorical
from nanocnn.regularizers import l2, L2
from nanocnn.initializers import HeNormal, glorot_uniform
from nanocnn.activations import relu, softmax
from nanocnn.layers.core import Dense, Dropout, Activation, Flatten
from nanocnn.layers.convolutional import Conv2D, MaxPooling2D
from nanocnn.layers.normalization import BatchNormalization
from nanocnn.layers.pooling import MaxPooling2D
from nanocnn.layers.experimental.preprocessing import RandomRotation, Rescaling
from nanocnn.layers.experimental import preprocessing; preprocessing.RandomZoom
from nanocnn.layers.preprocessing import Normalization
from nanocnn.preprocessing.image import ImageDataGenerator
from nanocnn.preprocessing import image; image.ImageDataGenerator
import nanocnn as keras; keras.preprocessing.image.ImageDataGenerator
import nanocnn as keras; keras.layers.experimental.preprocessing.RandomRotation(0.1)
""".strip().splitlines()


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_import_works_in_a_new_process(form):
    run(form)


def test_the_modules_are_attributes_and_one_module_each():
    code = """
import nanocnn as keras, nanocnn.datasets.mnist, sys
assert "nanocnn.layers" not in sys.modules and "nanocnn.models" not in sys.modules
import nanocnn.layers.core, nanocnn.utils.np_utils
assert keras.datasets.mnist is nanocnn.data.mnist is sys.modules["nanocnn.data.mnist"]
assert nanocnn.layers.core is keras.layers and keras.utils.np_utils is keras.utils
print(*keras.__dir__())"""
    assert {*keras._KERAS_MODULES, "Sequential", "data"} <= set(run(code))


def test_short_names_are_the_same_classes():
    assert keras.layers.MaxPool2D is keras.layers.MaxPooling2D is keras.MaxPool2D
    assert keras.layers.AvgPool2D is keras.AveragePooling2D
    assert keras.layers.InputLayer is keras.Input
    for name, other in ALIASES["nanocnn.layers"].items():
        if other in keras.layers.LAYERS or other == "Input":
            assert getattr(keras.layers, name) is getattr(keras.layers, other)


ABSENT = [
    ("keras.Model", "use Sequential"),
    ("keras.models.Model", "use Sequential"),
    ("keras.layers.Concatenate", "use Sequential.*known: .*Dense"),
    ("keras.layers.Convolution2D", "use Conv2D"),
    ("keras.layers.Lambda", "subclass Layer"),
    ("keras.layers.Conv3D", "did you mean 'Conv2D'.*known: .*MaxPooling2D"),
    ("keras.layers.Densee", "did you mean 'Dense'"),
    ("keras.models.load_mdel", r"did you mean 'load_model'\? \(known: .*Sequential"),
    ("keras.datasets.fashion_mnist", r"nanocnn\.data\.mnist\.load\(name='fashion_mnist'\)"),
    ("keras.regularizers.l1", "L2 penalty only: use L2"),
    ("keras.preprocessing.text", "has no attribute 'text'"),
    ("keras.preprocessing.image.load_img", "read the images into an array"),
    ("keras.preprocessing.image_dataset_from_directory", "a generator"),
    ("keras.layers.RandomFlip", "a generator"),
    ("keras.layers.RandomElasticTransform", "use RandomElastic"),
    ("keras.utils.image_dataset_from_directory", "a generator"),
    ("keras.backend.set_image_dim_ordering", r"images are \(N, height, width, channels\)"),
    ("keras.backend.set_value", r"model\.optimizer\.learning_rate = "),
    ("keras.activations.swish", "known: .*softmax"),
    ("keras.nonsense", "has no attribute 'nonsense'"),
]


@pytest.mark.parametrize(("name", "message"), ABSENT)
def test_a_name_that_is_not_here_is_an_attribute_error_that_says_what_to_use(name, message):
    with pytest.raises(AttributeError, match=message):
        eval(name)
    module, _, last = name.replace("keras", "nanocnn").rpartition(".")
    is_package = hasattr(import_module(module), "__path__")  # others have Python's own message
    with pytest.raises(ImportError, match=message if is_package else last):
        exec(f"from {module} import {last}")
    assert not hasattr(import_module(module), last)


def test_a_module_that_is_not_here_is_an_import_error_that_says_what_to_use():
    with pytest.raises(ImportError, match="give fit a generator"):
        exec("from nanocnn.preprocessing import image_dataset_from_directory")
    with pytest.raises(ImportError, match=r"CNNClassifier"):
        exec("from nanocnn.wrappers.scikit_learn import KerasClassifier")


def test_advice_is_for_names_that_are_not_here():
    for module in ("", *keras._KERAS_MODULES):
        here = vars(import_module(f"nanocnn.{module}".rstrip(".")))
        assert not {name for name in ADVICE if callable(here.get(name))}


def test_names_of_a_module_that_has_none_of_its_own(monkeypatch):
    monkeypatch.setitem(sys.modules, "empty", type(sys)("empty"))
    with pytest.raises(AttributeError, match=r"^module 'empty' has no attribute 'x'$"):
        names_of("empty")("x")


# --- First contact ---

FIRST = [
    lambda: [keras.layers.InputLayer(input_shape=(4, 4, 1)), keras.layers.Flatten(), Dense(2)],
    lambda: [keras.layers.InputLayer((4, 4, 1)), keras.layers.Flatten(), Dense(2)],
    lambda: [keras.layers.InputLayer(batch_input_shape=(None, 4, 4, 1)), keras.layers.Flatten(),
             Dense(2)],
    lambda: [Input(shape=(4, 4, 1), batch_size=32, dtype="float32", name="image"),
             keras.layers.Flatten(), Dense(2)],
    lambda: [keras.layers.Conv2D(2, 3, padding="same", input_shape=(4, 4, 1), use_bias=False),
             keras.layers.Flatten(), Dense(2)],
    lambda: [keras.layers.MaxPool2D(1, input_shape=(4, 4, 1)), keras.layers.Flatten(), Dense(2)],
    lambda: [keras.layers.BatchNormalization(input_shape=(4, 4, 1)), keras.layers.Flatten(),
             Dense(2)],
    lambda: [keras.layers.Dropout(0.2, input_shape=(4, 4, 1)), keras.layers.Flatten(), Dense(2)],
    lambda: [keras.layers.Activation("relu", input_shape=(4, 4, 1)), keras.layers.Flatten(),
             Dense(2)],
    lambda: [keras.layers.Flatten(input_shape=(4, 4, 1)), Dense(2)],
]  # fmt: skip


@pytest.mark.parametrize("layers", FIRST)
def test_any_first_layer_may_have_the_input_shape(layers):
    model = Sequential(layers())
    assert model.built and model.input_shape == (4, 4, 1) and model.output_shape == (2,)
    one_by_one = Sequential()
    for layer in layers():
        one_by_one.add(layer)
    assert one_by_one.input_shape == (4, 4, 1) and one_by_one.output_shape == (2,)


def test_the_input_shape_of_dense_and_of_build():
    for layer in (Dense(2, input_dim=3), Dense(2, input_shape=(3,)), Dense(2, input_shape=[3])):
        assert Sequential([layer]).input_shape == (3,)
    model = Sequential([keras.layers.Flatten(), Dense(2)])
    model.build((None, 28, 28, 1))
    assert model.input_shape == (28, 28, 1) and model.layers[-1].params["kernel"].shape == (784, 2)


def test_an_input_has_one_shape():
    for options in ({"input_shape": (3,)}, {"batch_shape": (None, 3)}):
        with pytest.raises(ValueError, match=r"Input: shape=\(3,\), .*expected only one"):
            Input((3,), **options)
    with pytest.raises(ValueError, match="expected only one"):
        Input(batch_shape=(None, 3), input_shape=(3,))


# --- Helpers ---


def test_to_categorical():
    for x in ([0, 2, 1], np.array([0, 2, 1], "uint8"), np.array([[0], [2], [1]]), [0.0, 2.0, 1.0]):
        assert to_categorical(x).tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert to_categorical([1], 4).tolist() == [[0, 1, 0, 0]]
    assert to_categorical([1], num_classes=2).dtype == np.float64
    assert to_categorical([[0, 1], [1, 1]]).shape == (2, 2, 2)
    assert to_categorical(1, 3).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("x", "classes", "message"),
    [
        ([0, -1], 10, "x has -1, expected classes from 0 to 9"),
        ([0, 10], 10, "x has 10, expected classes from 0 to 9"),
        ([0.5], None, "expected class numbers"),
        ([np.nan], None, "expected class numbers"),
        (["a"], None, "expected class numbers"),
        ([], 3, "expected class numbers"),
        ([1], 0, "num_classes=0"),
    ],
)
def test_to_categorical_of_what_is_no_class(x, classes, message):
    with pytest.raises(ValueError, match=f"to_categorical: .*{message}"):
        to_categorical(x, classes)


def test_normalize():
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert keras.utils.normalize(x).tolist() == [[0.6, 0.8], [0.0, 0.0]]
    assert keras.utils.normalize(x, axis=0, order=1).tolist() == [[1.0, 1.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match=r"normalize: x, axis=3, order=2"):
        keras.utils.normalize(x, axis=3)


def test_set_random_seed_seeds_all_generators_and_models_without_a_seed(monkeypatch):
    states = random.getstate(), np.random.get_state()
    monkeypatch.setattr(seeds, "default", 0)

    def draw():
        model = Sequential([Input((3,)), Dense(2)])
        return random.random(), np.random.rand(), model.get_weights()[0].tolist()

    keras.utils.set_random_seed(7)
    first = draw()
    keras.utils.set_random_seed(7)
    assert draw() == first
    assert first[2] == Sequential([Input((3,)), Dense(2)], seed=7).get_weights()[0].tolist()
    keras.utils.set_random_seed(8)
    assert all(new != old for new, old in zip(draw(), first, strict=True))
    with pytest.raises(ValueError, match="set_random_seed: seed=-1"):
        keras.utils.set_random_seed(-1)
    random.setstate(states[0])
    np.random.set_state(states[1])


def test_load_data_is_the_data_of_load(monkeypatch, capsys):
    mnist = keras.datasets.mnist
    monkeypatch.setattr(mnist, "load", lambda verbose: ("data", verbose))
    assert mnist.load_data() == mnist.load_data(path="mnist.npz") == ("data", False)


def test_the_backend():
    K = keras.backend
    assert K.image_data_format() == "channels_last" and K.clear_session() is None


def test_activations_and_initializers_as_attributes():
    relu, he_normal = keras.activations.relu, keras.initializers.HeNormal()
    layer = Dense(2, activation=relu, kernel_initializer=he_normal)
    assert layer.get_config()["activation"] == "relu"
    assert layer.get_config()["kernel_initializer"]["class_name"] == "HeNormal"
    with pytest.raises(ValueError, match=r"he_normal: seed=1, expected None; .*Sequential\("):
        keras.initializers.HeNormal(seed=1)


def test_a_dataset_of_batches_is_subclassed_as_in_keras():
    class Batches(keras.utils.Sequence):
        def __init__(self, **options):
            super().__init__(**options)

    batches = Batches(workers=2, use_multiprocessing=True)
    assert isinstance(batches, keras.utils.PyDataset) and batches.on_epoch_end() is None


# --- The table in the README ---

README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLE = README.split("\n## Keras -> nanocnn\n")[1].split("\n## ")[0]
HAS, _, LACKS = TABLE.split("\n\n| ")[1:]
ROWS = re.findall(r"^\| `(\w+)` \| (.*) \|$", HAS, re.M)


@pytest.mark.parametrize(("place", "names"), ROWS, ids=[place for place, _ in ROWS])
def test_what_the_readme_says_is_here_is_here(place, names):
    names = re.findall(r"`(\w+)`", names)
    assert names
    missing = [name for name in names if not hasattr(getattr(keras, place), name)]
    assert missing == []


def test_what_the_readme_says_is_lacking_is_lacking():
    names = re.findall(r"`([A-Z]\w+)`", LACKS)
    assert len(names) > 10 and len(ROWS) > 10
    places = [keras, *(getattr(keras, place) for place, _ in ROWS)]
    assert [name for name in names if any(hasattr(place, name) for place in places)] == []
