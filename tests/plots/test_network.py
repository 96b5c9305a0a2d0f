"""The drawing of a network: a box for each layer, with what there is to say of it."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch

from nanocnn import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
    Sequential,
    plots,
)
from support.pictures import assert_readable, words


def lenet(**options):
    return Sequential(
        [
            Input((28, 28, 1)),
            Conv2D(20, 5, padding="same", activation="relu"), MaxPooling2D(2),
            Conv2D(50, 5, strides=2, activation="relu"), MaxPooling2D(2), Flatten(),
            Dense(500, activation="relu"), Dropout(0.0), Dense(10, activation="softmax"),
        ],
        kernels="reference", **options,
    )  # fmt: skip


def test_each_layer_has_its_name_settings_shape_and_parameters():
    model = lenet(name="LeNet")
    figure = model.plot()
    assert_readable(figure)
    texts = [text.get_text() for text in words(figure)]
    assert texts[0] == f"LeNet: {model.count_params():,} parameters"
    row = texts.index("conv2d_1 (Conv2D)")
    assert texts[row : row + 4] == [
        "conv2d_1 (Conv2D)", "kernel 5×5, stride 2×2, relu", "5×5×50", "25,050 parameters",
    ]  # fmt: skip
    assert "kernel 5×5, same padding, relu" in texts and "pool 2×2, stride 2×2" in texts
    assert "rate 0.0" in texts and "softmax" in texts


def test_the_boxes_stand_in_the_order_of_the_layers_with_an_arrow_between_two():
    model = lenet()
    (axis,) = plots.network(model).axes
    boxes = [patch for patch in axis.patches if isinstance(patch, FancyBboxPatch)]
    tops = [box.get_y() for box in boxes]
    assert len(boxes) == len(model.layers) + 1 and tops == sorted(tops)
    arrows = [text for text in axis.texts if getattr(text, "arrow_patch", None)]
    for arrow, (above, below) in zip(arrows, pairwise(boxes), strict=True):
        assert arrow.xyann[1] == pytest.approx(above.get_y() + above.get_height())
        assert arrow.xy[1] == pytest.approx(below.get_y())


def test_a_deep_network_with_long_names_is_readable():
    block = [Conv2D(100, 3, padding="same"), BatchNormalization(), Dropout(0.25)]
    layers = [Input((99, 99, 3), name="the pictures of the second camera, cut to size")]
    for number in range(7):
        layers += [type(each)(**each.get_config() | {"name": f"{each.name}_of_block_{number}"})
                   for each in block]  # fmt: skip
    layers[1].name = "W" * 200
    figure = Sequential(layers, kernels="reference").plot()
    assert_readable(figure, height=1700)
    assert "momentum 0.99" in [text.get_text() for text in words(figure)]  # nothing but numbers


def test_a_custom_layer_is_drawn():
    class Twice(Layer):
        def forward(self, x):
            return 2 * x

    figure = Sequential([Input((3,)), Twice()], kernels="reference").plot()
    assert "twice (Twice)" in [text.get_text() for text in words(figure)]


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_it_is_saved_in_the_format_of_its_ending(ending, start, tmp_path):
    path = tmp_path / f"net.{ending}"
    lenet().plot(path)
    assert path.read_bytes().startswith(start)


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"unknown path: ending '\.bmp'.*known: \.pdf, \.png"):
        lenet().plot(tmp_path / "net.bmp")
    with pytest.raises(RuntimeError, match="start it with Input"):
        Sequential([Dense(3)]).plot()
    with pytest.raises(ValueError, match="expected a Sequential"):
        plots.network(np.zeros(3))
    with pytest.raises(OSError):
        lenet().plot(tmp_path / "nowhere" / "net.png")
