"""A reader of the page in a browser, with the session on the server: what tests do and compare."""

from contextlib import ExitStack, contextmanager

import numpy as np

from nanocnn import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, Sequential
from nanocnn.data import mnist
from nanocnn.explore.digits import Digits
from nanocnn.explore.server import serve
from nanocnn.explore.session import Session
from support.browser import opened, settled, until
from support.explored import TESTS

SEVEN = [(70, 75), (205, 75), (170, 140), (125, 235)]  # on paper of 280 x 280
ONE = [(140, 50), (140, 230)]
BOX = """(place) => {
  const element = typeof place === "string" ? document.querySelector(place) : place;
  element.scrollIntoView({block: "center", inline: "nearest"});
  const {left, top, width, height} = element.getBoundingClientRect();
  return [left, top, width, height];
}"""
SET = "async (fields) => (await import('nanocnn/state.js')).state.set(fields)"
DRAWN = """() => performance.getEntriesByName("stroke").at(-1)?.startTime
  === performance.getEntriesByName("stroke-start").at(-1).startTime"""
NEWEST = """(version) => {
  const {ready, version: shown} = document.documentElement.dataset;
  const panel = document.getElementById("panel-cell");
  return ready === "1" && Number(shown) === version
    && (panel.hidden || panel.dataset.version === shown);
}"""
GEOMETRY = """(layer) => {
  const canvas = document.querySelector(`.column canvas.values[data-layer="${layer}"]`);
  const {h, w, size, gap, across} = canvas.dataset;
  return [canvas, ...[h, w, size, gap, across].map(Number)];
}"""


def reading_model():
    """A network of two convolutions that learns to read digits within seconds; compiled."""
    layers = [
        Input((28, 28, 1)), Conv2D(6, 5, activation="relu"), MaxPooling2D(2),
        Conv2D(10, 3, activation="relu"), MaxPooling2D(2), Flatten(), Dropout(0.2),
        Dense(10, activation="softmax"),
    ]  # fmt: skip
    model = Sequential(layers, name="reader", seed=5)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def trained_model():
    """The same, trained on the digits in the package."""
    model = reading_model()
    model.fit(*mnist.sample()[0], 64, 6, verbose=0)
    return model


class Desk:
    """An open page and what the server knows of it.

    page      Playwright's
    shown     the `Exploration`
    sessions  all sessions so far; `session` is the last
    """

    def __init__(self, page, shown, sessions):
        self.page, self.shown, self.sessions = page, shown, sessions

    @property
    def session(self):
        return self.sessions[-1]

    def ask(self, function):
        """What a function of the session returns, in the session's thread."""
        return self.session.submit(function, self.session).result(30)

    def trace(self):
        """A new trace of what the page shows, by the session's model."""
        return self.ask(lambda one: one.model.trace(*one.sample, training=one.training_mode))

    def set(self, **fields):
        """Change what is looked at, as a link would."""
        self.page.evaluate(SET, fields)
        settled(self.page)

    def line(self, points, steps=6):
        """Draw a stroke on the paper with the mouse."""
        left, top, width, _ = self.page.evaluate(BOX, "#paper")
        scale = width / 280
        at = [(left + x * scale, top + y * scale) for x, y in points]
        self.page.mouse.move(*at[0])
        self.page.mouse.down()
        for x, y in at[1:]:
            self.page.mouse.move(x, y, steps=steps)
        self.page.mouse.up()

    def drawn(self):
        """Wait until what is drawn is shown everywhere."""
        until(self.page, DRAWN)
        settled(self.page)

    def newest(self):
        """Wait until the page, its panel of a cell too, shows what the server has."""
        up_to_date(self.page, self.session)

    def place(self, layer, cell):
        """The point of a cell of a layer's column in the window, scrolled to."""
        canvas, h, w, size, gap, across = self._geometry(layer)
        left, top, *_ = self.page.evaluate(BOX, canvas)
        i, j, m = cell if h * w > 1 else (0, 0, cell[-1])
        column, row = m % across, m // across
        x = column * (w * size + gap) + (j + 0.5) * size
        y = row * (h * size + gap) + (i + 0.5) * size
        return left + x, top + y

    def _geometry(self, layer):
        handle = self.page.evaluate_handle(GEOMETRY, layer)
        properties = handle.get_properties()
        canvas = properties.pop("0").as_element()
        return canvas, *(int(float(each.json_value())) for each in properties.values())

    def click(self, layer, cell):
        """Click a cell of a layer's column."""
        self.page.mouse.click(*self.place(layer, cell))

    def picture(self):
        """The alpha of the paper, uint8 (280,280): what is drawn."""
        data = self.page.evaluate(
            "() => { const paper = document.getElementById('paper');"
            " const {data} = paper.getContext('2d').getImageData(0, 0, 280, 280);"
            " return Array.from({length: 280 * 280}, (_, k) => data[4 * k + 3]); }"
        )
        return np.array(data, np.uint8).reshape(280, 280)


def up_to_date(page, session):
    """Wait until a page shows the newest version of its session."""
    until(page, NEWEST, session.submit(lambda: session.version).result(30))


@contextmanager
def seated(browser, model, x=None, y=None, address="", **options):
    """A desk with the page of a model; `address` is the part behind #."""
    sessions = []
    digits = Digits(model, x, y, tests=TESTS)

    def make():
        sessions.append(Session(model, digits))
        return sessions[-1]

    with ExitStack() as stack:
        shown = stack.enter_context(serve(make, open=False))
        url = f"{shown.url}#{address}" if address else shown.url
        page = stack.enter_context(opened(browser, url, **options))
        yield Desk(page, shown, sessions)
