"""Models of every kind of layer, and a reader of the panel of a cell who knows the trace."""

import numpy as np
import pytest

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
    LeakyReLU,
    MaxPooling2D,
    Normalization,
    RandomErasing,
    RandomRotation,
    ReLU,
    Rescaling,
    Reshape,
    Sequential,
    Softmax,
    SparseCategoricalCrossentropy,
    ZeroPadding2D,
)
from support.browser import until
from support.custom_layers import Leaky, Scale

STATE = """async (fields) => {
  const {state} = await import("nanocnn/state.js");
  state.set({view: "y", grad: null, weight: null, cell: null, panel: "cell", ...fields});
}"""
SHOWN = """([title]) => document.querySelector("#panel-cell h2")?.textContent.startsWith(title)
  && !document.querySelector("#panel-cell .error")"""
NUMBERS = """() => [...document.querySelectorAll("#panel-cell [data-index]")].map(
  ({dataset: d, textContent}) => [d.layer, d.what, d.index, d.value, textContent])"""
SUMS = """() => [...document.querySelectorAll("#panel-cell .ledger")].map(
  ({rows}) => [...rows].map((row) => [...row.cells].map((cell) => cell.textContent)))"""
CHAINS = {
    "small": lambda: [
        Conv2D(3, 5, strides=2, activation="relu"), MaxPooling2D(2), Dropout(0.5), Flatten(),
        Dense(10, activation="softmax"),
    ],
    "all kinds": lambda: [
        Rescaling(2.0, -1.0), ZeroPadding2D(1), Conv2D(4, 3, strides=2, activation="tanh"),
        BatchNormalization(), LeakyReLU(0.1), AveragePooling2D(3, 2, padding="same"),
        Conv2D(6, 3, dilation_rate=2, padding="same"), Activation("gelu"), Dropout(0.3),
        MaxPooling2D(3, 2, padding="same"), Conv2D(5, 1, activation="sigmoid"),
        GlobalMaxPooling2D(), Dense(8, activation="elu", use_bias=False), Dense(10), Softmax(),
    ],
    "odd ones": lambda: [
        Normalization(mean=[0.1], variance=[0.2]), RandomRotation(0.1), RandomErasing(0.5),
        Conv2D(3, 3, strides=3, activation="leaky_relu"), Scale(), Leaky(0.3), ReLU(6.0, 0.1, 0.2),
        GlobalMaxPooling2D(keepdims=True), Flatten(), Dense(10),
    ],
    "squares": lambda: [
        Conv2D(4, 3, activation="softmax"), GlobalAveragePooling2D(), Reshape((2, 2)), Flatten(),
        Dense(10, activation="sigmoid"),
    ],
}  # fmt: skip


def model_of(kind, dtype="float32"):
    model = Sequential([Input((28, 28, 1)), *CHAINS[kind]()], seed=1, dtype=dtype)
    logits = SparseCategoricalCrossentropy(from_logits=True)
    losses = {"squares": "mse", "odd ones": logits}
    model.compile("adam", losses.get(kind, "sparse_categorical_crossentropy"))
    return model


class Reader:
    """A page of a model, and the trace of what it shows."""

    def __init__(self, page, model, digits, training=False):
        self.page, self.model = page, model
        self.x, self.y = digits.x[:1], digits.y[:1]
        self.trace = model.trace(self.x, self.y, training=training)

    def show(self, title, **fields):
        self.page.evaluate(STATE, fields)
        until(self.page, SHOWN, [title])

    def array(self, layer, what):
        """The trace's array by the page's words, without the batch axis."""
        if not layer:
            return getattr(self.trace, what)[0]
        step, (kind, _, name) = self.trace[layer], what.partition(":")
        if kind == "param":
            return self.model.get_layer(layer).weights[name]
        if kind == "grad":
            return step.grads[name]
        if kind == "saved":
            found = step.saved[name]
            return found if name in ("mean", "variance") else found[0]
        return getattr(step, what)[0]

    def click(self, selector, title):
        self.page.locator(selector).first.click()
        until(self.page, SHOWN, [title])

    def title(self):
        return self.page.locator("#panel-cell h2").inner_text()

    def check(self):
        """Compare all numbers in view, and sums with their terms; returns how many."""
        for (words, first), *more in self.page.evaluate(SUMS):
            if words.startswith("sum of ") and "products" in words and more:
                total = float(first) + sum(float(v) for name, v in more if name.startswith("+ "))
                assert float(more[-1][1]) == pytest.approx(total, rel=3e-3, abs=1e-6), more
        numbers = self.page.evaluate(NUMBERS)
        for layer, what, index, value, text in numbers:
            place = tuple(map(int, index.split(","))) if index else ()
            wanted = self.array(layer, what)[place]
            got = wanted.dtype.type(float(value))
            assert got == wanted and np.signbit(got) == np.signbit(wanted), (layer, what, index)
            shown = float(text)
            assert text == value or np.isclose(shown, wanted, rtol=6e-2, atol=1e-30), (text, value)
        return len(numbers)


def cells(shape, rng):
    return [
        tuple(0 for _ in shape),
        tuple(n - 1 for n in shape),
        tuple(int(rng.integers(n)) for n in shape),
    ]
