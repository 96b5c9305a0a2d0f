"""`ImageDataGenerator`, for scripts of old Keras: its batches, and training with them."""

import itertools
from itertools import islice

import numpy as np
import pytest

import nanocnn as keras
from nanocnn.common.errors import NonFiniteError, ShapeError
from nanocnn.preprocessing.image import ONLY, ImageDataGenerator, NumpyArrayIterator

Y = np.arange(20) % 5
MOVES = {"rotation_range": 10, "width_shift_range": 0.1, "height_shift_range": 0.1,
         "shear_range": 5, "zoom_range": 0.1}  # fmt: skip


@pytest.fixture
def x(rng):
    return rng.random((20, 8, 8, 1), np.float32)


def model():
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(5, "softmax")]
    made = keras.Sequential(layers)
    made.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


# --- Batches ---


def test_a_generator_without_ranges_yields_the_images_as_they_are(x):
    flow = ImageDataGenerator().flow(x, Y, batch_size=8, shuffle=False)
    assert (len(flow), flow.n, flow.batch_size) == (3, 20, 8)
    for images, labels in (next(flow), flow[0]):
        assert images.tobytes() == x[:8].tobytes() and labels.tolist() == Y[:8].tolist()
    assert [len(flow[i][0]) for i in range(3)] == [8, 8, 4]


def test_it_is_endless_and_each_round_has_each_image_once(x):
    flow = ImageDataGenerator().flow(x, np.arange(20), batch_size=8, seed=3)
    rounds = [np.concatenate([y for _, y in islice(flow, 3)]).tolist() for _ in range(3)]
    assert all(sorted(each) == list(range(20)) for each in rounds)
    assert rounds[0] != rounds[1] != rounds[2] and rounds[0] != list(range(20))
    assert iter(flow) is flow


def test_what_it_yields_is_what_it_was_given(x):
    plain = ImageDataGenerator()
    assert isinstance(next(plain.flow(x)), np.ndarray)
    weights = np.arange(20.0)
    images, labels, weight = next(plain.flow(x, Y, 4, False, weights))
    assert images.shape == (4, 8, 8, 1) and labels.tolist() == [0, 1, 2, 3]
    assert weight.tolist() == [0, 1, 2, 3]
    one_hot = np.eye(5)[Y]
    assert next(plain.flow(x, one_hot, shuffle=False))[1].tolist() == one_hot.tolist()


def test_pixels_are_floats_of_the_same_value_and_rescale_comes_last(x):
    pixels = (255 * x).astype("uint8")
    same = next(ImageDataGenerator().flow(pixels, shuffle=False))
    assert same.dtype == np.float32 and (same == pixels).all()
    scaled = next(ImageDataGenerator(rescale=1 / 255).flow(pixels, shuffle=False))
    np.testing.assert_allclose(scaled, pixels / 255, rtol=1e-6)
    shifted = ImageDataGenerator(
        width_shift_range=0.9, fill_mode="constant", cval=510, rescale=1 / 255
    )
    assert next(shifted.flow(pixels)).max() == pytest.approx(2)
    assert next(ImageDataGenerator(dtype="float64").flow(pixels)).dtype == np.float64
    assert (next(ImageDataGenerator(rescale=0).flow(x, shuffle=False)) == x).all()  # as in Keras


def test_two_runs_are_equal_and_another_seed_is_not(x):
    def run(seed=None):
        batches = islice(ImageDataGenerator(**MOVES).flow(x, Y, batch_size=8, seed=seed), 4)
        return [part.tobytes() for part in itertools.chain(*batches)]

    first = run()
    assert run() == first == run(0) != run(1)
    keras.utils.set_random_seed(1)
    assert run() == run(1)


def test_the_layers_do_the_work_in_one_map(x):
    datagen = ImageDataGenerator(**MOVES, fill_mode="constant", cval=0.5)
    layers = datagen.layers(8, 16)
    configs = [layer.get_config() for layer in layers]
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["RandomRotation", "RandomTranslation", "RandomShear", "RandomZoom"]
    assert {(each["fill_mode"], each["fill_value"]) for each in configs} == {("constant", 0.5)}
    assert configs[0]["factor"] == 10 / 360
    assert configs[1]["height_factor"] == configs[1]["width_factor"] == 0.1
    assert configs[2]["x_factor"] == np.sin(np.radians(5)) and configs[2]["y_factor"] == 0
    assert configs[3]["height_factor"] == configs[3]["width_factor"] == pytest.approx([-0.1, 0.1])
    plan = datagen.flow(x)._model.plan()
    assert "random_rotation+random_translation+random_shear+random_zoom" in str(plan)
    assert not np.array_equal(next(datagen.flow(x, shuffle=False)), x)


def test_shifts_of_one_or_more_are_pixels():
    (layer,) = ImageDataGenerator(width_shift_range=4, height_shift_range=0.25).layers(8, 16)
    assert (layer.height_factor, layer.width_factor) == (0.25, 0.25)
    with pytest.raises(ValueError, match=r"height_shift_range=9.0, expected at most 8 pixels"):
        ImageDataGenerator(height_shift_range=9).layers(8, 16)


def test_a_height_shift_moves_rows_and_zoom_shows_a_share():
    x = np.zeros((50, 9, 9, 1), np.float32)
    x[:, 4, 4] = 1
    moved = next(ImageDataGenerator(height_shift_range=0.3, fill_mode="constant").flow(x))
    assert moved[:, :, [3, 5]].max() == 0 and moved[:, [2, 6], 4].max() > 0.5
    x[:, 3:6, 3:6] = 1
    near = next(ImageDataGenerator(zoom_range=(0.5, 0.5)).flow(x)).sum(axis=(1, 2))
    far = next(ImageDataGenerator(zoom_range=[2, 2]).flow(x)).sum(axis=(1, 2))
    assert (near > 20).all() and (far < 5).all()


def test_the_subset_of_validation_is_the_first_part(x):
    datagen = ImageDataGenerator(validation_split=0.25)
    parts = {subset: datagen.flow(x, np.arange(20), 32, False, subset=subset)[0]
             for subset in ("training", "validation")}  # fmt: skip
    assert parts["validation"][1].tolist() == list(range(5))
    assert parts["training"][1].tolist() == list(range(5, 20))
    assert (parts["training"][0] == x[5:]).all()
    with pytest.raises(ShapeError, match=r"subset='validation' of x has no image.*split is 0"):
        ImageDataGenerator().flow(x, subset="validation")


# --- Training ---


def test_fit_takes_it_with_steps_and_without(x):
    datagen = ImageDataGenerator(**MOVES)
    datagen.fit(x)
    history = model().fit(
        datagen.flow(x, Y, batch_size=8), epochs=3, steps_per_epoch=len(x) // 8,
        validation_data=(x, Y), verbose=0,
    ).history  # fmt: skip
    assert len(history["loss"]) == len(history["val_loss"]) == 3
    history = model().fit(datagen.flow(x, Y, batch_size=8), epochs=3, verbose=0).history
    assert len(history["loss"]) == 3


def test_every_image_is_used_once_an_epoch_with_steps_and_without(x):
    class Recorded(NumpyArrayIterator):
        def __getitem__(self, idx):
            images, numbers = super().__getitem__(idx)
            seen.extend(numbers.tolist())
            return images, Y[numbers]

    for steps in (None, 2):  # of 3 batches in all
        seen = []
        flow = ImageDataGenerator().flow(x, np.arange(20), batch_size=8, seed=0)
        flow.__class__ = Recorded
        model().fit(flow, epochs=4, steps_per_epoch=steps, verbose=0)
        if steps is None:
            del seen[:8]  # the first batch, which is checked before the first epoch
        assert sorted(seen[:20]) == sorted(seen[20:40]) == [*range(20)]
        assert seen[:20] != seen[20:40]


def test_evaluate_and_predict_take_it(x):
    made = model()
    plain = ImageDataGenerator()
    expected = made.evaluate(x, Y, verbose=0)
    assert made.evaluate(plain.flow(x, Y, 8), verbose=0) == pytest.approx(expected, rel=1e-5)
    found = made.predict(plain.flow(x, batch_size=8, shuffle=False))
    np.testing.assert_allclose(found, made.predict(x), rtol=1e-5)
    history = model().fit(x, Y, validation_data=plain.flow(x, Y, 8), verbose=0).history
    assert history["val_loss"]


def test_training_with_it_is_the_same_each_time(x):
    def weights():
        made = model()
        made.fit(ImageDataGenerator(**MOVES).flow(x, Y, 8), epochs=2, verbose=0)
        return made.get_weights()[0].tobytes()

    assert weights() == weights()


# --- Errors ---

BAD = [
    ({"rotation_range": [10]}, r"rotation_range=\[10\], expected a number from 0 to 360"),
    ({"width_shift_range": [1, 2]}, r"width_shift_range=\[1, 2\], expected a number of at least 0"),
    ({"height_shift_range": -0.1}, "height_shift_range=-0.1, expected a number of at least 0"),
    ({"shear_range": 91}, "shear_range=91, expected a number from 0 to 90"),
    ({"zoom_range": 1.5}, "zoom_range=1.5, expected a number from 0 to 1"),
    ({"zoom_range": (0.5, 1, 2)}, r"zoom_range=\(0.5, 1, 2\), expected a number or \(lowest"),
    ({"fill_mode": "mirror"}, "fill_mode 'mirror'.*nearest"),
    ({"cval": None}, "cval=None, expected a number"),
    ({"validation_split": 1}, "validation_split=1, expected a number from 0 to 0.999"),
    ({"dtype": "float16"}, "dtype='float16'"),
    ({"horizontal_flip": True}, "horizontal_flip=True, expected False; give fit a generator"),
    ({"brightness_range": (0.5, 1)}, "brightness_range=.*expected None"),
    ({"featurewise_center": True}, "featurewise_center=True, expected False; use the layer Normal"),
    ({"preprocessing_function": len}, "preprocessing_function=.*apply it to the images before"),
    ({"data_format": "channels_first"}, "data_format='channels_first', expected None; images are"),
    ({"interpolation_order": 0}, "interpolation_order=0, expected 1"),
    ({"zca_whitening": np.ones(2)}, "zca_whitening=.*expected False"),
    ({"rotate_range": 1}, "unknown argument .*'rotate_range'; did you mean 'rotation_range'"),
]  # fmt: skip


@pytest.mark.parametrize("options, message", BAD)
def test_an_argument_that_is_not_supported_is_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        ImageDataGenerator(**options)
    assert "ImageDataGenerator" in str(caught.value)


def test_the_other_arguments_of_keras_may_have_their_defaults(x):
    off = {name: values[0] for name, (values, _) in ONLY.items()}
    more = {"channel_shift_range": 0.0, "data_format": "channels_last", "rescale": None}
    assert (next(ImageDataGenerator(**{**off, **more}).flow(x, shuffle=False)) == x).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_arguments_and_defaults_are_those_of_keras(keras):
    import inspect

    from keras.src.legacy.preprocessing.image import ImageDataGenerator as Theirs

    theirs = {k: v.default for k, v in inspect.signature(Theirs).parameters.items()}
    ours = {k: v.default for k, v in inspect.signature(ImageDataGenerator).parameters.items()}
    ours.pop("options")
    assert {**ours, **{name: values[0] for name, (values, _) in ONLY.items()}} == theirs
    for method in ("flow", "fit"):
        functions = [getattr(kind, method) for kind in (Theirs, ImageDataGenerator)]
        found = [[(k, v.default) for k, v in inspect.signature(each).parameters.items()]
                 for each in functions]  # fmt: skip
        assert found[0] == found[1]


@pytest.mark.parametrize("name, message", [
    ("flow_from_directory", "read the images into an array and use flow"),
    ("random_transform", r"next\(datagen.flow\(x\)\)"),
    ("standardize", "rescale"),
    ("flw", "did you mean 'flow'"),
])  # fmt: skip
def test_methods_that_are_not_here_say_what_to_use(name, message):
    with pytest.raises(AttributeError, match=f"ImageDataGenerator has no .*'{name}'.*{message}"):
        getattr(ImageDataGenerator(), name)


def test_wrong_data_is_refused_by_name(x):
    datagen = ImageDataGenerator(**MOVES)
    for call, error, message in (
        (lambda: datagen.flow(x[0]), ShapeError, r"flow: x: .*\(8, 8, 1\), expected images"),
        (lambda: datagen.fit(x[..., 0]), ShapeError, r"fit: x: .*\(20, 8, 8\), expected images"),
        (lambda: datagen.flow([x, x]), ShapeError, "flow: x"),
        (lambda: datagen.flow(x, Y[:3]), ShapeError, "flow: y has 3 entries, expected 20"),
        (lambda: datagen.flow(x, Y, sample_weight=[1]), ShapeError, "sample_weight has 1 entries"),
        (lambda: datagen.flow(x, sample_weight=Y), ValueError, "sample_weight, expected y"),
        (lambda: datagen.flow(x, subset="test"), ValueError, "flow: subset 'test'.*validation"),
        (lambda: datagen.flow(x, Y, batch_size=0), ValueError, "flow: batch_size=0"),
        (lambda: datagen.flow(x, save_to_dir="a"), ValueError, "save_to_dir='a', expected None"),
        (lambda: datagen.flow(x, seed=-1), ValueError, "flow: seed=-1"),
        (lambda: datagen.flow(x)[1], ValueError, "idx=1, expected 0 to 0"),
        (lambda: next(datagen.flow(x * np.nan)), NonFiniteError, "got nan"),
    ):
        with pytest.raises(error, match=message):
            call()
