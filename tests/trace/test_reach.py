"""The receptive field, judged by gradients: they are zero outside of it, and nowhere zero inside
where nothing is subtracted."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nanocnn import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    Layer,
    LeakyReLU,
    MaxPooling2D,
    RandomErasing,
    RandomTranslation,
    ReLU,
    Rescaling,
    Reshape,
    Sequential,
    Softmax,
    ZeroPadding2D,
)
from nanocnn.common.errors import ShapeError
from nanocnn.trace import Reach, reach, receptive_field

SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3))
PADDINGS = st.sampled_from(["valid", "same"])
POOL = st.tuples(SIZES, SIZES, PADDINGS)
KERNEL = st.tuples(st.integers(1, 3), SIZES, SIZES, PADDINGS)
DILATED = st.tuples(st.integers(1, 3), SIZES, PADDINGS, SIZES)


def dilated(args):
    filters, size, padding, dilation = args
    return Conv2D(filters, size, 1, padding, dilation_rate=dilation)


# Layers whose result grows with every cell that it is computed from, if the weights are positive.
GROWING = [
    KERNEL.map(lambda args: Conv2D(*args)),
    DILATED.map(dilated),
    POOL.map(lambda args: AveragePooling2D(*args)),
    st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2).map(ZeroPadding2D),
    st.builds(BatchNormalization),
    st.builds(Dropout, st.just(0.5)),
    st.builds(Rescaling, st.just(0.5)),
    st.sampled_from(["columns", "channels", "line"]),  # a Reshape
]
OTHERS = [
    POOL.map(lambda args: MaxPooling2D(*args)),
    st.builds(Softmax),
    st.builds(ReLU),
    st.builds(LeakyReLU),
    KERNEL.map(lambda args: Conv2D(*args, activation="softmax")),
    KERNEL.map(lambda args: Conv2D(*args, activation="gelu")),
    st.builds(RandomTranslation, st.just(0.2), st.just(0.2)),
]
ENDS = [[], [Flatten, lambda: Dense(3)], [GlobalAveragePooling2D, lambda: Dense(2)],
        [lambda: GlobalAveragePooling2D(keepdims=True)], [Flatten]]  # fmt: skip


def reshaped(word, shape):
    H, W, C = shape
    return Reshape({"columns": (W, H, C), "channels": (H, W * C, 1), "line": (1, C * H, W)}[word])


@st.composite
def stacks(draw, kinds, ends):
    """A model of those layers that fit, with positive weights."""
    model = Sequential(
        [Input((draw(st.integers(4, 9)), draw(st.integers(4, 9)), 2))],
        kernels="reference", dtype="float64",
    )  # fmt: skip
    model.add(Rescaling(1.0))
    for each in draw(st.lists(st.one_of(kinds), min_size=1, max_size=5)):
        layer = reshaped(each, model.output_shape) if isinstance(each, str) else each
        try:
            layer.shapes(model.output_shape)
        except ShapeError:
            continue
        model.add(layer)
    for kind in draw(st.sampled_from(ends)):
        model.add(kind())
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    model.set_weights([rng.uniform(0.1, 1, w.shape) for w in model.get_weights()])
    cell = tuple(draw(st.integers(0, n - 1)) for n in model.output_shape)
    return model, rng.uniform(0.5, 1, (1, *model.input_shape)), cell


def gradients(model, x, cell):
    """{name: gradient of this cell by the layer's output}, and by the input, as ""."""
    for layer in model.layers:
        x = layer.forward(x)
    d, found = np.zeros_like(x), {}
    d[(0, *cell)] = 1
    for i in reversed(range(len(model.layers))):
        d = model.layers[i].backward(d)
        found[model.layers[i - 1].name if i else ""] = d[0]
    return found


def assert_boxes(found):
    """That each box is the smallest around the cells of its mask."""
    for field in found.values():
        mask = field.mask
        cells = mask.reshape(*((1, *mask.shape)[-2:] if mask.ndim < 3 else mask.shape[:2]), -1)
        box = cells[field.top : field.bottom, field.left : field.right, slice(*field.channels)]
        assert box.sum() == mask.sum()
        if mask.any():
            for axis in range(3):
                ends = np.take(box, [0, -1], axis).any(axis=tuple({0, 1, 2} - {axis}))
                assert ends.all()
        else:
            assert field.box == (0, 0, 0, 0)


@settings(max_examples=150)
@given(stacks(GROWING, ENDS))
def test_the_field_is_exactly_where_the_gradient_is_not_zero(case):
    model, x, cell = case
    found = receptive_field(model, model.layers[-1].name, cell)
    expected = gradients(model, x, cell)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        assert np.array_equal(found[name].mask, gradient > 0), name
    assert_boxes(found)


@settings(max_examples=150)
@given(stacks(GROWING + OTHERS, [*ENDS, [GlobalMaxPooling2D]]))
def test_outside_of_the_field_every_gradient_is_zero(case):
    model, x, cell = case
    found = receptive_field(model, model.layers[-1].name, cell)
    for name, gradient in gradients(model, x, cell).items():
        assert not gradient[~found[name].mask].any(), name


@given(POOL)
def test_max_pooling_sees_what_average_pooling_sees(args):
    layers = MaxPooling2D(*args), AveragePooling2D(*args)
    for layer in layers:
        layer.build((7, 6, 2))
    assert reach(layers[0]) == reach(layers[1])


def lenet():
    return Sequential([
        Input((28, 28, 1)), Conv2D(6, 5, padding="same"), MaxPooling2D(2), Conv2D(16, 5),
        MaxPooling2D(2), Flatten(), Dense(10),
    ], kernels="reference")  # fmt: skip


def test_the_fields_in_lenet():
    found = receptive_field(lenet(), "max_pooling2d_1", (0, 1, 3))
    assert list(found) == ["", "conv2d", "max_pooling2d", "conv2d_1"]
    assert found["conv2d_1"].box == (0, 2, 2, 4) and found["conv2d_1"].channels == (3, 4)
    assert found["max_pooling2d"].box == (0, 2, 6, 8) and found["max_pooling2d"].channels == (0, 6)
    assert found["conv2d"].box == (0, 4, 12, 16)
    assert found[""].box == (0, 2, 14, 18)  # two more on each side, but for the image's border
    assert repr(found[""]) == "Field(box=(0, 2, 14, 18), channels=(0, 1), cells=224)"


def test_the_field_of_a_place_is_that_of_all_its_channels():
    model = lenet()
    place = receptive_field(model, "max_pooling2d_1", (0, 1))["conv2d_1"]
    assert place.box == (0, 2, 2, 4) and place.channels == (0, 16)
    assert receptive_field(model, "flatten", 19)["max_pooling2d_1"].box == (0, 1, 1, 2)
    assert receptive_field(model, "dense", 3)[""].box == (0, 0, 28, 28)
    assert receptive_field(model, "dense", 3)["flatten"].box == (0, 0, 1, 400)


def test_a_cell_of_padding_sees_nothing():
    model = Sequential([Input((4, 4, 1)), ZeroPadding2D(1)], kernels="reference")
    field = receptive_field(model, "zero_padding2d", (0, 0, 0))[""]
    assert field.box == (0, 0, 0, 0) and not field.mask.any()


@pytest.mark.parametrize("layer, shape, expected", [
    (Conv2D(2, (3, 2), (2, 1), "same"), (8, 7, 1),
     {"kind": "window", "size": [3, 2], "strides": [2, 1], "start": [0, 0], "dilation": [1, 1],
      "channels": "all"}),
    (Conv2D(2, 3, padding="same", dilation_rate=2), (8, 7, 1),
     {"kind": "window", "size": [3, 3], "strides": [1, 1], "start": [-2, -2], "dilation": [2, 2],
      "channels": "all"}),
    (ZeroPadding2D(((1, 2), (3, 4))), (4, 4, 1),
     {"kind": "window", "size": [1, 1], "strides": [1, 1], "start": [-1, -3], "dilation": [1, 1],
      "channels": "same"}),
    (Dense(2), (3,), {"kind": "all"}),
    (BatchNormalization(), (3,), {"kind": "same"}),
    (Activation("relu"), (3,), {"kind": "same"}),
    (Activation("softmax"), (3,), {"kind": "row"}),
    (Softmax(), (4, 4, 3), {"kind": "row"}),
    (Flatten(), (4, 4, 1), {"kind": "reshape"}),
    (Reshape((16,)), (4, 4, 1), {"kind": "reshape"}),
    (GlobalMaxPooling2D(), (4, 4, 1), {"kind": "channel"}),
])  # fmt: skip
def test_what_is_said_of_each_kind_of_layer(layer, shape, expected):
    layer.build(shape)
    assert reach(layer).as_dict() == expected


def test_random_maps_of_the_image_are_unknown_in_training_only():
    for layer, kind in ((RandomTranslation(0.1, 0.1), "unknown"), (RandomErasing(), "same")):
        layer.build((4, 4, 1))
        assert reach(layer).kind == "same" and reach(layer, training=True).kind == kind
    layer = RandomTranslation(0.1, 0.1)
    layer.build((4, 4, 1))
    layer.active = False
    assert reach(layer, training=True).kind == "same"


class Mirror(Layer):
    def forward(self, x):
        return x[:, ::-1].copy()

    def backward(self, dy):
        return dy[:, ::-1].copy()


def test_a_layer_of_ones_own_may_see_everything():
    model = Sequential([Input((4, 4, 1)), Conv2D(1, 1), Mirror()], kernels="reference")
    assert reach(model.layers[1]) == Reach("unknown")
    assert receptive_field(model, "mirror", (0, 0, 0))["conv2d"].box == (0, 0, 4, 4)


def test_a_trace_knows_the_fields_of_its_own_pass():
    model = Sequential(
        [Input((6, 6, 1)), RandomTranslation(0.2, 0.2), Conv2D(2, 3), Flatten(), Dense(2)],
        kernels="reference",
    )
    model.compile("sgd", "mse")
    x = np.ones((1, 6, 6, 1), np.float32)
    inference, training = (model.trace(x, [[0, 1]], training=flag) for flag in (False, True))
    assert inference.receptive_field("conv2d", (1, 2, 0))[""].box == (1, 2, 4, 5)
    field = training.receptive_field(1, (1, 2, 0))
    assert field["random_translation"].box == (1, 2, 4, 5) and field[""].box == (0, 0, 6, 6)
    for name, found in receptive_field(model, "dense", 1).items():
        assert found.box == inference.receptive_field("dense", 1)[name].box


@pytest.mark.parametrize("layer, cell, words", [
    ("conv2d", (28, 0, 0), r"cell=\(28, 0, 0\).*output of layer 'conv2d', shape .28, 28, 6"),
    ("conv2d", (0, 0, 0, 0), "expected an index"),
    ("conv2d", (), "expected an index"),
    ("conv2d", (0, -1), "cell=-1, expected an integer of at least 0"),
    ("dense", 10, "cell=10"),
    ("dense", None, "cell=None"),
    ("nowhere", 0, "unknown layer 'nowhere'"),
])  # fmt: skip
def test_what_does_not_exist_is_refused(layer, cell, words):
    with pytest.raises(ValueError, match=words):
        receptive_field(lenet(), layer, cell)


def test_a_layer_that_is_not_built_has_no_geometry():
    with pytest.raises(ValueError, match="'conv2d' is not built"):
        reach(Conv2D(2, 3))
