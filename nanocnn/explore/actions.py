"""What a page may ask of a session: functions of (session, body) that check all of the body.

Each returns the result, JSON-able, and a list of arrays. They run in the session's thread. A body
that is not right raises a ValueError for the reader, before anything changes.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np

from ..common.errors import unknown
from ..data.photo import fit_drawing, read_digit
from . import body, study, tours
from .parts import MOST_NUMBERS, Answer, Request, cut, index, missing, requests
from .session import Session

MOST_SIDE = 280  # pixels, of a drawing
EDIT_WORDS = "kind", "layer", "name", "index", "value", "filter", "on", "rate"
SETTINGS = "learning_rate", "optimizer", "batch_size"


def open_session(session: Session, given: dict[str, Any]) -> Answer:
    """The model, what can be done with it, and the state."""
    body.mapping(given, "session", ())
    digits, live = session.digits, session.training.live
    result = {
        "model": session.description(), "can_draw": digits.can_draw,
        "can_train": session.training.can_train, "tests": digits.count,
        "labels": [str(label) for label in range(digits.classes)],
        "live": live, "tours": [] if live else list(tours.MODELS), "tour": session.tour,
        **session.state(),
    }  # fmt: skip
    return result, []


def tour(session: Session, given: dict[str, Any]) -> Answer:
    """Show the model of a guided tour, or the reader's again (null); the answer of `session`."""
    body.mapping(given, "tour", ("name",))
    name = body.name(given, "name", optional=True)
    if name is not None and name not in tours.MODELS:
        raise unknown("tour with a model of its own", name, tours.MODELS)
    tours.show(session, name)
    return open_session(session, {})


def get_state(session: Session, given: dict[str, Any]) -> Answer:
    """The state."""
    body.mapping(given, "state", ())
    return session.state(), []


def get_description(session: Session, given: dict[str, Any]) -> Answer:
    """The model again: formulas depend on the mode."""
    body.mapping(given, "describe", ())
    return {"model": session.description()}, []


def get_arrays(session: Session, given: dict[str, Any]) -> Answer:
    """Arrays of the trace."""
    asked = _asked(session, given, "arrays")
    return {"version": session.version}, session.arrays(asked)


def _asked(session: Session, given: Any, place: str, words: tuple[str, ...] = ()) -> list[Request]:
    """The arrays that a body of these words asks for, before anything changes."""
    return requests(session.model, body.mapping(given, place, (*words, "arrays")))


def _changed(session: Session, asked: list[Request]) -> Answer:
    """The state after a change, and the arrays that were asked for."""
    return session.state(), session.arrays(asked)


# --- The digit ---


def set_digit(session: Session, given: dict[str, Any]) -> Answer:
    """Show a drawing, pixels, or a test digit, with a label; the last array is its picture."""
    words = ("drawing", "width", "height", "pixels", "test", "label")
    asked = _asked(session, given, "digit", words)
    kinds = [kind for kind in ("drawing", "pixels", "test") if kind in given]
    if len(kinds) != 1:
        raise ValueError(f"digit: {kinds}, expected one of drawing, pixels and test")
    label = _label(session, given) if given.get("label") is not None else None
    if kinds == ["test"]:
        if not session.digits.count:
            raise ValueError("test: there are no test digits")
        session.show_sample(body.integer(given, "test", 0, session.digits.count - 1), label)
    elif kinds == ["pixels"]:
        pixels = np.frombuffer(body.octets(given, "pixels", 784), np.uint8).reshape(28, 28)
        session.show_pixels(pixels, "given", label)
    else:
        width, height = (body.integer(given, side, 1, MOST_SIDE) for side in ("width", "height"))
        ink = np.frombuffer(body.octets(given, "drawing", width * height), np.uint8)
        session.show_pixels(fit_drawing(ink.reshape(height, width)), "drawn", label)
    return session.state(), [*session.arrays(asked), session.picture]


class Upload(BytesIO):
    """An image file that a page has sent; messages about it begin with its name."""

    name = "the image"


def set_image(session: Session, given: dict[str, Any]) -> Answer:
    """Show the digit in an image file, whose bytes are given["file"]."""
    file = body.need(body.mapping(given, "image", ("file",)), "file")
    if not isinstance(file, bytes):
        raise ValueError(f"file={file!r:.80}, expected the bytes of an image file")
    session.show_pixels(read_digit(Upload(file)), "image")
    return session.state(), [session.picture]


def _label(session: Session, given: dict[str, Any]) -> int:
    if not session.digits.classes:
        raise ValueError("label: the outputs of this model are no classes, expected no label")
    return body.integer(given, "label", 0, session.digits.classes - 1)


def set_label(session: Session, given: dict[str, Any]) -> Answer:
    """Choose the true label."""
    asked = _asked(session, given, "label", ("label",))
    session.set_label(_label(session, given))
    return _changed(session, asked)


def set_mode(session: Session, given: dict[str, Any]) -> Answer:
    """Turn dropout and batch statistics on or off; the seed says which units are dropped."""
    asked = _asked(session, given, "mode", ("training", "seed"))
    seed = body.integer(given, "seed", 0, 2**31 - 1) if "seed" in given else session.seed
    session.set_mode(body.flag(given, "training"), seed)
    return _changed(session, asked)


# --- Edits ---


def edit(session: Session, given: dict[str, Any]) -> Answer:
    """Change the model: a weight, a filter, a layer that is frozen, the rate of a dropout."""
    asked = _asked(session, given, "edit", EDIT_WORDS)
    session.edits.make(given)
    session.changed(weights=True)
    return _changed(session, asked)


def undo(session: Session, given: dict[str, Any]) -> Answer:
    """Take back the last edit."""
    asked = _asked(session, given, "undo")
    session.edits.undo()
    session.changed(weights=True)
    return _changed(session, asked)


def reset(session: Session, given: dict[str, Any]) -> Answer:
    """Go back to the model as it was loaded."""
    asked = _asked(session, given, "reset")
    session.reset()
    return _changed(session, asked)


# --- The training ---


def train(session: Session, given: dict[str, Any]) -> Answer:
    """Start, pause, make one step or one epoch, or set something; then as `run`."""
    body.mapping(given, "train", ("do", "since", *SETTINGS))
    since, session.problem = _since(given), ""
    session.training.control(body.need(given, "do"), **{name: given.get(name) for name in SETTINGS})
    return _run(session, since)


def run(session: Session, given: dict[str, Any]) -> Answer:
    """Where the training is, and its curves after the step `since`."""
    body.mapping(given, "run", ("since",))
    return _run(session, _since(given))


def _since(given: dict[str, Any]) -> int:
    return body.integer(given, "since", -1, 2**53) if "since" in given else -1


def _run(session: Session, since: int) -> Answer:
    result, arrays = session.training.run(since)
    result["message"] = result["message"] or session.problem or None
    return result, arrays


def history(session: Session, given: dict[str, Any]) -> Answer:
    """The distribution of an array over the steps of the training."""
    body.mapping(given, "history", ("name", "of"))
    return session.training.history(body.name(given, "name"), given.get("of", "weights"))


def kept(session: Session, given: dict[str, Any]) -> Answer:
    """Weights as they were at a kept step, or a part of them; missing for a step not kept."""
    body.mapping(given, "kept", ("step", "name", "index"))
    step, name = body.integer(given, "step", 0, 2**53), body.name(given, "name")
    weights = session.model.weights
    if name not in weights:
        raise unknown("weights", name, weights)
    at = index(given, "kept")
    size = cut(weights[name], at, "kept").size
    if size > MOST_NUMBERS:
        raise ValueError(f"kept: {size:,} numbers, expected {MOST_NUMBERS:,} at most")
    found = dict(session.training.recorder.weights.entries).get(step)
    if found is None:  # it may have been forgotten since the page was told of it
        return {"step": step}, [missing(f"step {step} is not kept")]
    return {"step": step}, [cut(found.weights[name], at, "kept")]


def scrub(session: Session, given: dict[str, Any]) -> Answer:
    """Give the model the weights of a kept step; null follows a fit again."""
    asked = _asked(session, given, "scrub", ("step",))
    session.training.scrub(body.need(given, "step"))
    return _changed(session, asked)


ACTIONS: dict[str, Callable[[Session, dict[str, Any]], Answer]] = {
    "session": open_session, "tour": tour, "state": get_state, "describe": get_description,
    "arrays": get_arrays, "digit": set_digit, "image": set_image, "pick": study.pick,
    "label": set_label, "mode": set_mode, "edit": edit, "undo": undo, "reset": reset,
    "train": train, "run": run, "history": history, "kept": kept, "scrub": scrub,
    "accuracy": study.accuracy, "confusion": study.confusion, "nudge": study.nudge,
    "gradcheck": study.gradcheck, "download": study.download, "source": study.source,
    "step": study.step, "largest": study.largest, "excites": study.excites, "field": study.field,
}  # fmt: skip
