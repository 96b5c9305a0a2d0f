"""Sessions of small models, and hostile values for what a page sends."""

import base64
from contextlib import contextmanager

import numpy as np

from nanocnn import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, Sequential
from nanocnn.data import mnist
from nanocnn.explore.actions import ACTIONS
from nanocnn.explore.digits import Digits
from nanocnn.explore.session import Session

TESTS = mnist.sample()[1]
DEEP = [[[[[[[[[[]]]]]]]]]]
HOSTILE = [
    None, True, -1, 10**9, 10**400, 1.5, float("nan"), float("inf"), -float("inf"), 1e308, "", "x",
    "../../etc/passwd", "\0", "é" * 300, [], [0], [None, None], {}, {"a": DEEP}, DEEP, [10**30],
    ["nan"], b"bytes",
]  # fmt: skip


def small(compiled=True, kernels="fast", **options):
    """A convolutional network of a few hundred weights."""
    layers = [
        Input((28, 28, 1)), Conv2D(3, 5, strides=2, activation="relu"), MaxPooling2D(2),
        Dropout(0.5), Flatten(), Dense(10, activation="softmax"),
    ]  # fmt: skip
    model = Sequential(layers, name="small", seed=3, kernels=kernels, **options)
    if compiled:
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@contextmanager
def session_of(model, x=None, y=None, **options):
    """A session, closed at the end."""
    session = Session(model, Digits(model, x, y, **({"tests": TESTS} | options)))
    try:
        yield session
    finally:
        session.close()


def answer(session, action, body):
    """The result and the arrays of an action, run as the server runs it."""
    return session.call(ACTIONS[action], session, body)


def ask(session, action, body=None, **words):
    """The result of an action."""
    return answer(session, action, words if body is None else body)[0]


def arrays(session, *requests):
    """The arrays asked for as (layer, what) or (layer, what, index), without their descriptors."""
    asked = [dict(zip(("layer", "what", "index"), each, strict=False)) for each in requests]
    return [part.array for part in answer(session, "arrays", {"arrays": asked})[1]]


def drawn(ink, **words):
    """The body that shows a drawing, uint8 (H,W)."""
    text = base64.b64encode(np.ascontiguousarray(ink).tobytes()).decode()
    return {"drawing": text, "width": ink.shape[1], "height": ink.shape[0], **words}


def pixels_of(digit, **words):
    """The body that shows a digit, uint8 (28,28), as it is."""
    return {"pixels": base64.b64encode(digit.tobytes()).decode(), **words}


def weights(session):
    """All weights as bytes."""
    return [array.tobytes() for array in session.model.get_weights()]
