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
from . import body, runs, study, tours
from .parts import requests, select
from .session import Session
from .state import Answer, answer_with_arrays, description, state

MOST_SIDE = 280  # pixels, of a drawing
MOST_PICKED = 60
EDIT_WORDS = "kind", "layer", "arrays", "name", "index", "value", "filter", "on", "rate"


def open_session(session: Session, given: dict[str, Any]) -> Answer:
    """The model, what can be done with it, and the state."""
    body.mapping(given, "session", ())
    digits, live = session.digits, session.training.live
    result = {
        "model": description(session), "can_draw": digits.can_draw,
        "can_train": session.training.can_train, "tests": digits.count,
        "labels": [str(label) for label in range(digits.classes)],
        "live": live, "tours": [] if live else list(tours.MODELS), "tour": session.tour,
        **state(session),
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
    return state(session), []


def get_description(session: Session, given: dict[str, Any]) -> Answer:
    """The model again: formulas depend on the mode."""
    body.mapping(given, "describe", ())
    return {"model": description(session)}, []


def get_arrays(session: Session, given: dict[str, Any]) -> Answer:
    """Arrays of the trace."""
    body.mapping(given, "arrays", ("arrays",))
    asked = requests(session.model, given)
    parts = select(session.model, session.trace(), asked, session.ranges)
    return {"version": session.version}, list(parts)


def set_digit(session: Session, given: dict[str, Any]) -> Answer:
    """Show a drawing, pixels, or a test digit, with a label."""
    words = ("drawing", "width", "height", "pixels", "test", "label", "arrays")
    body.mapping(given, "digit", words)
    kinds = [kind for kind in ("drawing", "pixels", "test") if kind in given]
    if len(kinds) != 1:
        raise ValueError(f"digit: {kinds}, expected one of drawing, pixels and test")
    label = _label(session, given) if given.get("label") is not None else None
    requests(session.model, given)
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
    return _with_picture(session, given)


class Upload(BytesIO):
    """An image file that a page has sent; messages about it begin with its name."""

    name = "the image"


def set_image(session: Session, given: dict[str, Any]) -> Answer:
    """Show the digit in an image file, whose bytes are given["file"]."""
    file = body.need(body.mapping(given, "image", ("file",)), "file")
    if not isinstance(file, bytes):
        raise ValueError(f"file={file!r:.80}, expected the bytes of an image file")
    session.show_pixels(read_digit(Upload(file)), "image")
    return _with_picture(session, {})


def _with_picture(session: Session, given: dict[str, Any]) -> Answer:
    result, arrays = answer_with_arrays(session, given)
    return result, [*arrays, session.picture]


def _label(session: Session, given: dict[str, Any]) -> int:
    if not session.digits.classes:
        raise ValueError("label: the outputs of this model are no classes, expected no label")
    return body.integer(given, "label", 0, session.digits.classes - 1)


def set_label(session: Session, given: dict[str, Any]) -> Answer:
    """Choose the true label."""
    body.mapping(given, "label", ("label", "arrays"))
    requests(session.model, given)
    session.set_label(_label(session, given))
    return answer_with_arrays(session, given)


def set_mode(session: Session, given: dict[str, Any]) -> Answer:
    """Turn dropout and batch statistics on or off; the seed says which units are dropped."""
    body.mapping(given, "mode", ("training", "seed", "arrays"))
    requests(session.model, given)
    seed = body.integer(given, "seed", 0, 2**31 - 1) if "seed" in given else session.seed
    session.set_mode(body.flag(given, "training"), seed)
    return answer_with_arrays(session, given)


def edit(session: Session, given: dict[str, Any]) -> Answer:
    """Change the model: a weight, a filter, a layer that is frozen, the rate of a dropout."""
    requests(session.model, body.mapping(given, "edit", EDIT_WORDS))
    session.edits.make(given)
    session.changed(weights=True)
    return answer_with_arrays(session, given)


def undo(session: Session, given: dict[str, Any]) -> Answer:
    """Take back the last edit."""
    requests(session.model, body.mapping(given, "undo", ("arrays",)))
    session.edits.undo()
    session.changed(weights=True)
    return answer_with_arrays(session, given)


def reset(session: Session, given: dict[str, Any]) -> Answer:
    """Go back to the model as it was loaded."""
    requests(session.model, body.mapping(given, "reset", ("arrays",)))
    session.reset()
    return answer_with_arrays(session, given)


def pick(session: Session, given: dict[str, Any]) -> Answer:
    """Test digits: of a class, those with the largest loss, those taken for another, or any."""
    body.mapping(given, "pick", ("by", "count"))
    by = body.name(given, "by")
    count = body.integer(given, "count", 1, MOST_PICKED) if "count" in given else 20
    found, picture = study.pick(session, by, count), session.digits.images
    return found, [picture[found["indices"]]]


ACTIONS: dict[str, Callable[[Session, dict[str, Any]], Answer]] = {
    "session": open_session, "tour": tour, "state": get_state, "describe": get_description,
    "arrays": get_arrays, "digit": set_digit, "image": set_image, "pick": pick,
    "label": set_label, "mode": set_mode, "edit": edit, "undo": undo, "reset": reset,
    "accuracy": study.accuracy, "confusion": study.confusion, "nudge": study.nudge,
    "gradcheck": study.gradcheck, "download": study.download, "source": study.source,
    "step": study.step, "largest": study.largest, "excites": study.excites, "field": study.field,
    "train": runs.train, "run": runs.run, "history": runs.history, "kept": runs.kept,
    "scrub": runs.scrub,
}  # fmt: skip


def answer(session: Session, name: str, given: Any) -> Answer:
    """Run an action in the session's thread and wait for its answer."""
    if name not in ACTIONS:
        raise unknown("action", name, ACTIONS)
    found: Answer = session.call(ACTIONS[name], session, given)
    return found
