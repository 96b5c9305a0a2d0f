"""Ready models that guided tours show in the place of the reader's."""

from collections.abc import Callable

import numpy as np

from ..layers import Dense, Flatten, Input
from ..models.sequential import Sequential
from .digits import Digits
from .session import Session

DEEP, WIDTH = 10, 32


def vanish() -> Sequential:
    """An untrained network of ten sigmoid layers, in whose first layers gradients are tiny."""
    hidden = [Dense(WIDTH, activation="sigmoid", name=f"sigmoid_{i + 1}") for i in range(DEEP)]
    layers = [Input((28, 28, 1)), Flatten(), *hidden, Dense(10, activation="softmax", name="out")]
    model = Sequential(layers, name="ten sigmoid layers", seed=1)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


MODELS: dict[str, Callable[[], Sequential]] = {"vanish": vanish}


def show(session: Session, name: str | None) -> None:
    """Show the model of a tour, or bring back the reader's (None), as the reader left it."""
    if name == session.tour:
        return
    if name is not None and session.training.live:
        raise ValueError("tour: a script trains the model that is shown, expected none to run")
    session.give_back()
    if name is not None:
        model = MODELS[name]()
        session.lend(name, model, Digits(model, tests=_tests(session.digits)))


def _tests(digits: Digits) -> tuple[np.ndarray, np.ndarray] | None:
    """The reader's test digits, if they are pictures of MNIST's size with labels."""
    if digits.labels is None or not digits.count or digits.images.shape[1:] != (28, 28):
        return None
    return digits.images, digits.labels
