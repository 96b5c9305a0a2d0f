"""Files of models that augment: layers come back, Keras opens them, and those of Keras are opened.

What is not supported of such a layer only matters in training: the file is opened to predict.
"""

import warnings

import numpy as np
import pytest

import nanocnn
from nanocnn import storage
from nanocnn.common.errors import ModelFileError
from support.snapshots import small

pytest.importorskip("h5py", reason="h5py is not installed")
from support.model_files import SUFFIXES, load_here, rewrite_json

LAYERS = [
    ("RandomRotation", {"factor": 0.1, "fill_mode": "nearest"}),
    ("RandomTranslation", {"height_factor": (-0.1, 0.2), "width_factor": 0.1}),
    ("RandomZoom", {"height_factor": 0.1, "fill_mode": "constant", "fill_value": 0.5}),
    ("RandomZoom", {"height_factor": 0.1, "width_factor": (0.1, 0.2), "fill_mode": "wrap"}),
    ("RandomShear", {"x_factor": 0.1}),
    ("RandomShear", {"x_factor": (0.0, 0.1), "y_factor": 0.2}),
    ("RandomErasing", {"factor": 0.5, "scale": (0.1, 0.2), "fill_value": 0.25}),
]
OWN = [
    ("RandomElastic", {"factor": 0.1, "cells": 3}),
    ("RandomMorphology", {"factor": (-0.4, 0.8)}),
]


def model(library, layers=LAYERS):
    make = getattr(library, "layers", library)
    first = [getattr(make, kind)(**options) for kind, options in layers]
    last = [make.Flatten(), make.Dense(3, activation="softmax")]
    made = library.Sequential([library.Input((6, 5, 1)), *first, *last])
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def images(seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((8, 6, 5, 1), np.float32), rng.integers(0, 3, 8)


def configs(made):
    return [{**layer.get_config(), "kind": type(layer).__name__} for layer in made.layers]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_layers_come_back_and_augment_alike(tmp_path, suffix):
    made, (x, y) = model(nanocnn), images()
    made.save(tmp_path / f"m{suffix}")
    again = nanocnn.load_model(tmp_path / f"m{suffix}")
    assert configs(again) == configs(made)
    assert again.predict(x).tobytes() == made.predict(x).tobytes()
    for each in (made, again):
        each.train_on_batch(x, y)
    if suffix == ".npz":  # the others do not store the state of the random numbers
        assert again.get_weights()[0].tobytes() == made.get_weights()[0].tobytes()


@pytest.mark.parametrize("own", [OWN[:1], OWN[1:], OWN])
def test_npz_keeps_layers_that_keras_lacks_and_the_others_say_that_they_do_not(tmp_path, own):
    made, (x, _) = model(nanocnn, [LAYERS[0], *own, LAYERS[1]]), images()
    names = ", ".join(kind for kind, _ in own)
    made.save(tmp_path / "m.npz")
    assert configs(nanocnn.load_model(tmp_path / "m.npz")) == configs(made)
    for suffix in (".h5", ".keras"):
        with pytest.warns(UserWarning, match=f"not store {names}, which.*npz files") as caught:
            made.save(tmp_path / f"m{suffix}")
        assert len(caught) == 1 and caught[0].filename == __file__
        again = nanocnn.load_model(tmp_path / f"m{suffix}")
        assert configs(again) == [each for each in configs(made) if each["kind"] not in names]
        assert again.predict(x).tobytes() == made.predict(x).tobytes()
    alone = nanocnn.Sequential(
        [nanocnn.Input((6, 5, 1)), *[getattr(nanocnn, kind)(**options) for kind, options in own]]
    )
    with pytest.raises(
        ModelFileError, match=rf"no {names}, and .*no other layer; save it as \.npz"
    ):
        alone.save(tmp_path / "alone.keras")
    assert not (tmp_path / "alone.keras").exists()


def test_weights_files_of_a_model_with_such_layers_have_all_weights(tmp_path):
    made, other = model(nanocnn, OWN), model(nanocnn, [])
    made.save_weights(tmp_path / "m.weights.h5")
    other.load_weights(tmp_path / "m.weights.h5")
    assert [w.tobytes() for w in other.get_weights()] == [w.tobytes() for w in made.get_weights()]


# --- Changed files ---


def changed(tmp_path, suffix, class_name, config):
    """A file in which the dropout of `small` is another layer, as Keras writes one."""
    path = tmp_path / f"m{suffix}"
    storage.save(small(), path)
    always = {"name": "dropout", "trainable": True, "data_format": "channels_last", "seed": 7}
    entry = {"class_name": class_name, "config": {**always, **config}}
    rewrite_json(path, lambda model: model["layers"][4].update(entry))
    return path


READ = [
    ("RandomRotation", {"factor": [-0.1, 0.1], "interpolation": "bilinear"},
     {"factor": [-0.1, 0.1]}),
    ("RandomZoom", {"height_factor": 0.1, "width_factor": None}, {"width_factor": None}),
    ("RandomShear", {"x_factor": [-0.2, 0.2], "y_factor": [-0.0, 0.0]},
     {"x_factor": 0.2, "y_factor": 0.0}),  # of RandomShear(0.2): Keras itself fails to read it
    ("RandomShear", {"x_factor": [-1, 1]}, {"x_factor": 1}),
    ("RandomShear", {"x_factor": [0.1, 0.2]}, {"x_factor": [0.1, 0.2]}),
    ("RandomErasing", {"fill_value": 0.5, "value_range": [0, 1]},
     {"fill_value": 0.5, "value_range": [0, 1]}),
]  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("class_name, config, want", READ)
def test_what_keras_writes_is_read(tmp_path, suffix, class_name, config, want):
    snapshot = load_here(changed(tmp_path, suffix, class_name, config))
    found = snapshot.config["layers"][4]
    assert found["class_name"] == class_name and snapshot.compile_config
    assert {name: found["config"][name] for name in want} == want


TO_PREDICT = [
    ("RandomErasing", {"fill_value": None}, "fill_value=None is not supported, only a number"),
    ("RandomErasing", {"fill_value": [1, 2, 3]}, r"fill_value=\[1, 2, 3\] is not supported"),
    ("RandomZoom", {"height_factor": 0.1, "interpolation": "nearest"},
     "interpolation='nearest' is not supported, only 'bilinear'"),
]  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("class_name, config, message", TO_PREDICT)
def test_what_only_training_needs_is_left_out_to_predict(
    tmp_path, suffix, class_name, config, message
):
    path = changed(tmp_path, suffix, class_name, config)
    with pytest.warns(UserWarning, match=f"opened to predict: layer 'dropout'.*{message}"):
        snapshot = load_here(path)
    assert snapshot.compile_config is None
    assert snapshot.config["layers"][4]["class_name"] == class_name


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("class_name", storage.architecture.TRAINING_LAYERS)
def test_a_layer_that_is_not_here_and_only_acts_in_training_is_left_out(
    tmp_path, suffix, class_name
):
    path = changed(tmp_path, suffix, class_name, {"mode": "horizontal"})
    message = rf"opened to predict: layer 'dropout' \({class_name}\) is not supported; compile"
    with pytest.warns(UserWarning, match=message):
        snapshot = load_here(path)
    assert snapshot.compile_config is None and snapshot.weights.keys() == small().weights.keys()
    assert "dropout" not in [each["config"]["name"] for each in snapshot.config["layers"]]
    rewrite_json(path, lambda model: model["layers"][4].update(config=None))
    with pytest.raises(ModelFileError, match="layer 4: expected an object"):
        load_here(path)


HOSTILE = [
    ("RandomRotation", {"factor": 1e300}, "factor=1e[+]300, expected a number from -1 to 1"),
    ("RandomRotation", {"factor": float("nan")}, "factor=nan, expected"),
    ("RandomRotation", {"factor": "0.1"}, "factor='0.1', expected"),
    ("RandomRotation", {"factor": [0.1, 0.2, 0.3]}, "factor=.0.1, 0.2, 0.3., expected"),
    ("RandomRotation", {"factor": [[0.1], 0.2]}, "factor=.0.1., expected"),
    ("RandomRotation", {"factor": True}, "factor=True, expected"),
    ("RandomRotation", {}, "missing 1 required.*factor"),
    ("RandomRotation", {"factor": 0.1, "fill_mode": "mirror"}, "unknown .*fill_mode 'mirror'"),
    ("RandomRotation", {"factor": 0.1, "fill_mode": ["a"]}, "unknown .*fill_mode .'a'."),
    ("RandomRotation", {"factor": 0.1, "fill_value": float("inf")}, "fill_value=inf, expected"),
    ("RandomRotation", {"factor": 0.1, "data_format": "channels_first"}, "only 'channels_last'"),
    ("RandomRotation", {"factor": 0.1, "bounding_box_format": "xyxy"}, "box_format='xyxy' is not"),
    ("RandomRotation", {"factor": 0.1, "height_factor": 0.1}, "height_factor=0.1 is not supported"),
    ("RandomZoom", {"height_factor": [-1, 0]}, "height_factor=-1, expected"),
    ("RandomZoom", {"height_factor": 10**400}, "height_factor=1000.*, expected"),
    ("RandomTranslation", {"height_factor": 0.1}, "missing 1 required.*width_factor"),
    ("RandomShear", {"x_factor": [-0.2, 0.1]}, "x_factor=-0.2, expected a number from 0 to 1"),
    ("RandomShear", {"x_factor": ["a", "b"]}, "x_factor='a', expected"),
    ("RandomShear", {"x_factor": [-5, 5]}, "x_factor=5, expected"),
    ("RandomShear", {"x_factor": [{}, None]}, "x_factor={}, expected"),
    ("RandomErasing", {"scale": [0.1, 9]}, "scale=9, expected"),
    ("RandomErasing", {"fill_value": "x"}, "fill_value='x', expected"),
    ("RandomErasing", {"fill_value": 300}, "fill_value=300, expected .* from 0 to 255"),
    ("RandomErasing", {"value_range": [0]}, r"value_range=\[0\], expected \(lowest, highest\)"),
    ("RandomErasing", {"value_range": ["a", 1]}, "value_range='a', expected"),
    ("RandomElastic", {"factor": 0.1, "cells": 10**9}, "cells=1000000000, expected 1 to 64"),
    ("RandomElastic", {"factor": 0.1, "cells": 2.5}, "cells=2.5, expected an integer"),
    ("RandomMorphology", {"factor": [-1, 9]}, "factor=9, expected a number from -1 to 1"),
    ("RandomMorphology", {"factor": 0.1, "fill_mode": "wrap"}, "fill_mode='wrap' is not supported"),
    ("RandomTransform", {}, "expected one of InputLayer"),
    ("RandomCrop", {"height": 4, "width": 4}, r"\(RandomCrop\): expected one of InputLayer"),
]  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("class_name, config, message", HOSTILE)
def test_hostile_arguments(tmp_path, suffix, class_name, config, message):
    path = changed(tmp_path, suffix, class_name, config)
    with pytest.raises(ModelFileError, match=rf"(?s)layer 'dropout' .*{message}"):
        load_here(path)


# --- With Keras itself ---

with_keras = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
class TestWithKeras:
    pytestmark = with_keras

    def test_keras_opens_the_layers_and_they_work_there(self, keras, tmp_path, suffix):
        made, (x, y) = model(nanocnn, [*LAYERS, *OWN]), images()
        with pytest.warns(UserWarning, match="not store RandomElastic, RandomMorphology"):
            made.save(tmp_path / f"m{suffix}")
        opened = keras.models.load_model(tmp_path / f"m{suffix}")
        for layer, twin in zip(opened.layers, model(keras).layers, strict=True):
            found, want = layer.get_config(), twin.get_config()
            assert type(layer) is type(twin)
            for name in want.keys() - {"name", "kernel_initializer", "bias_initializer"}:
                assert plain(found[name]) == plain(want[name]), name
        np.testing.assert_allclose(opened.predict(x, verbose=0), made.predict(x), atol=1e-6)
        expected = made.evaluate(x, y, verbose=0)
        assert opened.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-4)
        first = opened.layers[0](x, training=True)
        assert np.abs(np.asarray(first) - x).max() > 0.01
        assert np.isfinite(opened.fit(x, y, verbose=0).history["loss"][0])

    def test_a_fixed_amount_is_the_same_there(self, keras, tmp_path, suffix):
        fixed = [("RandomRotation", {"factor": (0.1, 0.1), "fill_mode": "constant"}),
                 ("RandomZoom", {"height_factor": (0.2, 0.2), "fill_mode": "nearest"}),
                 ("RandomTranslation", {"height_factor": (0.2, 0.2), "width_factor": (0.1, 0.1),
                                        "fill_value": 0.5, "fill_mode": "constant"})]  # fmt: skip
        made, (x, _) = model(nanocnn, fixed), images()
        made.save(tmp_path / f"m{suffix}")
        opened = keras.models.load_model(tmp_path / f"m{suffix}")
        found = np.asarray(opened(x, training=True))
        np.testing.assert_allclose(made(x, training=True), found, atol=1e-5)

    def test_an_inner_model_of_keras_is_opened(self, keras, tmp_path, suffix):
        """The form of Keras's tutorials: data_augmentation, a model, as the first layer."""
        augmentation = keras.Sequential(
            [keras.layers.RandomRotation(0.1, seed=3), keras.layers.RandomZoom(0.1),
             keras.layers.RandomShear(0.2), keras.layers.RandomTranslation((-0.1, 0.1), 0.2),
             keras.layers.RandomErasing(0.3, fill_value=0)],
            name="data_augmentation",
        )  # fmt: skip
        made = keras.Sequential([keras.Input((6, 5, 1)), augmentation, keras.layers.Rescaling(2.0),
                                 keras.layers.Flatten(), keras.layers.Dense(3)])  # fmt: skip
        made.compile("sgd", "mse")
        made.save(tmp_path / f"m{suffix}")
        with warnings.catch_warnings(action="error"):
            opened = nanocnn.load_model(tmp_path / f"m{suffix}")
        kinds = [type(layer).__name__ for layer in opened.layers]
        assert kinds == ["RandomRotation", "RandomZoom", "RandomShear", "RandomTranslation",
                         "RandomErasing", "Rescaling", "Flatten", "Dense"]  # fmt: skip
        x, _ = images()
        np.testing.assert_allclose(opened.predict(x), made.predict(x, verbose=0), atol=1e-5)
        opened.fit(x, np.zeros((8, 3)), verbose=0)
        assert np.abs(opened(x, training=True) - opened.predict(x)).max() > 1e-3

    def test_the_tutorial_with_a_flip_is_opened_to_predict(self, keras, tmp_path, suffix):
        make, (x, _) = keras.layers, images()
        kinds = [make.RandomFlip("horizontal"), make.RandomRotation(0.1), make.RandomZoom(0.1),
                 make.RandomContrast(0.2), make.GaussianNoise(0.1)]  # fmt: skip
        if suffix == ".keras":  # Keras cannot write it to the other
            kinds.append(make.RandomBrightness(0.2))
            assert {*storage.architecture.TRAINING_LAYERS} < {type(each).__name__ for each in kinds}
        made = keras.Sequential([keras.Input((6, 5, 1)), keras.Sequential(kinds, name="inner"),
                                 make.Conv2D(2, 3), make.Flatten(), make.Dense(3)])  # fmt: skip
        made.save(tmp_path / f"m{suffix}")
        with pytest.warns(UserWarning, match=r"layer 'random_flip\w*' \(RandomFlip\) is not"):
            opened = nanocnn.load_model(tmp_path / f"m{suffix}")
        assert [type(layer).__name__ for layer in opened.layers[:2]] == [
            "RandomRotation", "RandomZoom"
        ]  # fmt: skip
        np.testing.assert_allclose(opened.predict(x), made.predict(x, verbose=0), atol=1e-5)

    def test_noise_of_keras_is_opened_to_predict(self, keras, tmp_path, suffix):
        made, (x, y) = model(keras, [("RandomErasing", {"factor": 0.5})]), images()
        made.fit(x, y, verbose=0)
        made.save(tmp_path / f"m{suffix}")
        with pytest.warns(UserWarning, match="opened to predict: .*fill_value=None"):
            opened = nanocnn.load_model(tmp_path / f"m{suffix}")
        np.testing.assert_allclose(opened.predict(x), made.predict(x, verbose=0), atol=1e-5)
