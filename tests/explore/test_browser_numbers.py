"""Every cell of a small network is clicked, and every number shown is the trace's, bit for bit."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from nanocnn import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential
from support.browser import has, settled, until

pytestmark = pytest.mark.slow

TITLE = """(title) => document.querySelector("#panel-cell h2")?.textContent.startsWith(title)
  && document.documentElement.dataset.ready === "1" """
NUMBERS = """() => [...document.querySelectorAll("#panel-cell [data-index]")].map(
  ({dataset: d, textContent}) => [d.layer, d.what, d.index, d.value, textContent])"""
LARGE = "() => document.getElementById('selected-value').textContent"
SHAPES = [(6, 6, 1), (4, 4, 2), (2, 2, 2), (8,), (3,)]  # of the image and the layers' outputs
# The colours of the middles of all cells of a column, as [r, g, b], and those that they should have
# for these numbers (flat, in the array's order).
COLOURS = """async ([layer, numbers, whole, kind]) => {
  const {colours} = await import("nanocnn/colours.js");
  const canvas = document.querySelector(`.column canvas.values[data-layer="${layer}"]`);
  const {h, w, size, gap, across} = Object.fromEntries(
    Object.entries(canvas.dataset).map(([name, value]) => [name, Number(value)]));
  const pen = canvas.getContext("2d");
  const colour = colours(whole, kind);
  const channels = numbers.length / (h * w);
  const wrong = [];
  numbers.forEach((number, k) => {
    const [m, place] = [k % channels, Math.floor(k / channels)];
    const [i, j] = [Math.floor(place / w), place % w];
    const x = (m % across) * (w * size + gap) + (j + 0.5) * size;
    const y = Math.floor(m / across) * (h * size + gap) + (i + 0.5) * size;
    const word = colour(number);
    const wanted = [word & 255, (word >> 8) & 255, (word >> 16) & 255];
    const found = [...pen.getImageData(Math.floor(x), Math.floor(y), 1, 1).data].slice(0, 3);
    if (found.join() !== wanted.join()) wrong.push([k, number, found, wanted]);
  });
  return wrong;
}"""


@pytest.fixture
def tiny(desk, rng):
    """A desk with a network of 87 cells, and two samples; its first convolution has a NaN-free
    pass with negative sums too."""
    layers = [
        Input((6, 6, 1)), Conv2D(2, 3, activation="relu"), MaxPooling2D(2), Flatten(),
        Dense(3, activation="softmax"),
    ]  # fmt: skip
    model = Sequential(layers, name="tiny", seed=2)
    model.compile("adam", "sparse_categorical_crossentropy")
    x = rng.random((2, 6, 6, 1)).astype(np.float32)
    return desk(model, x, np.array([2, 0]))


def array(model, trace, layer, what):
    """An array of a trace by the page's words, without the batch axis."""
    kind, _, name = what.partition(":")
    if not layer:
        return getattr(trace, what)[0]
    if kind == "param":
        return model.get_layer(layer).weights[name]
    if kind == "grad":
        return trace[layer].grads[name]
    return trace[layer].saved[name][0] if kind == "saved" else getattr(trace[layer], what)[0]


def check(one, trace, seen):
    """Compare all numbers in the panel; adds where they stand to `seen`."""
    for layer, what, index, value, text in one.page.evaluate(NUMBERS):
        place = tuple(map(int, index.split(","))) if index else ()
        wanted = array(one.session.model, trace, layer, what)[place]
        got = np.asarray(float(value), wanted.dtype)
        assert got.tobytes() == np.asarray(wanted).tobytes(), (layer, what, index, value, wanted)
        assert text == value or float(text) == pytest.approx(float(value), rel=6e-3), text
        seen.add((layer, what, index))


@pytest.mark.parametrize("side", ["Values", "Gradients"])
def test_every_cell_is_clicked_and_every_number_is_the_traces(tiny, side):
    one, seen, clicked = tiny, set(), 0
    trace = one.trace()
    one.page.click(f"#switch button:text('{side}')")
    names = ["", *(layer.name for layer in one.session.model.layers)]
    for name, shape in zip(names, SHAPES, strict=True):
        letter = "y" if name else "x"
        if side == "Gradients":
            letter = "dz" if name == names[-1] else f"d{letter}"  # softmax is one with the loss
        title = letter.replace("d", "dL/d")
        for cell in np.ndindex(shape):
            index = ",".join(map(str, cell))
            one.click(name, cell)
            until(one.page, TITLE, f"{title}[{index}] of {name or 'the image'}")
            check(one, trace, seen)
            wanted = array(one.session.model, trace, name, letter)[cell]
            large = one.page.evaluate(LARGE).split(" = ")
            assert large[0] == f"{letter}[{', '.join(map(str, cell))}]"
            assert np.float32(large[1]).tobytes() == wanted.tobytes(), (name, cell, large)
            assert (name, letter, index) in seen
            clicked += 1
    assert clicked == 36 + 32 + 8 + 8 + 3
    kinds = {what for _, what, _ in seen}
    if side == "Values":
        assert {"x", "y", "z", "param:kernel", "param:bias"} <= kinds
        kernel = {
            index for layer, what, index in seen if (layer, what) == (names[1], "param:kernel")
        }
        assert len(kernel) == 18  # every weight of every window
    else:
        assert {"dx", "dy", "dz", "param:kernel"} <= kinds


def test_a_pointer_reads_every_cell_and_the_maps_have_the_colours_of_the_numbers(tiny):
    one = tiny
    for side in ("Values", "Gradients"):
        one.page.click(f"#switch button:text('{side}')")
        settled(one.page)
        trace = one.trace()
        names = ["", *(layer.name for layer in one.session.model.layers)]
        for name, shape in zip(names, SHAPES, strict=True):
            what = "y" if name else "x"
            if side == "Gradients":
                what = "dz" if name == names[-1] else f"d{what}"
            numbers = array(one.session.model, trace, name, what)
            kind = "image" if what == "x" else "diverging"
            whole = [float(numbers.min()), float(numbers.max())]
            flat = [float(v) for v in numbers.reshape(-1)]
            assert one.page.evaluate(COLOURS, [name, flat, whole, kind]) == []
            for cell in [tuple(0 for _ in shape), tuple(n - 1 for n in shape)]:
                one.page.mouse.move(*one.place(name, cell))
                has(one.page, "#readout", f"{what}[{', '.join(map(str, cell))}] = ")
                said = one.page.text_content("#readout").split(" = ")[1]
                assert np.float32(said).tobytes() == numbers[cell].tobytes()


def test_a_broken_weight_shows_as_nan_wherever_it_reaches(desk, rng):
    layers = [Input((6, 6, 1)), Conv2D(2, 3), MaxPooling2D(2), Flatten(), Dense(3)]
    model = Sequential(layers, seed=2)
    model.compile("sgd", "mse")
    kernel, bias = model.get_layer("conv2d").get_weights()
    bias[1] = np.inf
    kernel[0, 0, 0, 1] = np.nan
    model.get_layer("conv2d").set_weights([kernel, bias])
    one = desk(model, rng.random((1, 6, 6, 1)).astype(np.float32), np.zeros((1, 3), np.float32))
    y = one.ask(lambda session: session.trace())["conv2d"].y[0]
    assert np.isnan(y[..., 1]).all() and np.isfinite(y[..., 0]).all()
    whole = [float(y[..., 0].min()), float(y[..., 0].max())]
    flat = ["NaN" if np.isnan(v) else float(v) for v in y.reshape(-1)]
    script = COLOURS.replace("colour(number)", "colour(Number(number))")
    assert one.page.evaluate(script, ["conv2d", flat, whole, "diverging"]) == []
    left, top = one.place("conv2d", (1, 1, 1))
    shot = Image.open(BytesIO(one.page.screenshot())).convert("RGB")
    assert shot.getpixel((int(left), int(top))) == (204, 60, 150)  # magenta, as the legend says
    one.click("conv2d", (1, 1, 1))
    until(one.page, TITLE, "y[1,1,1] of conv2d")
    assert one.page.text_content("#panel-cell .value") == "NaN"
    assert one.page.text_content("#selected-value") == "y[1, 1, 1] = NaN"
    assert "NaN" in one.page.text_content("#summary")
