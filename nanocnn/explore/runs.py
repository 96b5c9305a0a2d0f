"""The actions on a training: start, pause and set it, its curves and distributions, kept steps."""

from typing import Any

import numpy as np

from ..common.errors import unknown
from . import body
from .parts import MOST_NUMBERS, Part, cut, index, requests
from .session import Session
from .state import Answer, answer_with_arrays

SETTINGS = "learning_rate", "optimizer", "batch_size"


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
    return result, list(arrays)


def history(session: Session, given: dict[str, Any]) -> Answer:
    """The distribution of an array over the steps of the training."""
    body.mapping(given, "history", ("name", "of"))
    result, arrays = session.training.history(body.name(given, "name"), given.get("of", "weights"))
    return result, list(arrays)


def kept(session: Session, given: dict[str, Any]) -> Answer:
    """Weights as they were at a kept step, or a part of them; none of a step that is forgotten."""
    body.mapping(given, "kept", ("step", "name", "index"))
    step, name = body.integer(given, "step", 0, 2**53), body.name(given, "name")
    try:
        weights = session.training.recorder.kept(step).weights
    except ValueError as error:  # no mistake: the page heard of it when it was still kept
        return {"step": step}, [Part(np.empty(0, np.float32), {"missing": str(error)})]
    if name not in weights:
        raise unknown("weights", name, weights)
    found = cut(weights[name], index(given, "kept"), "kept")
    if found.size > MOST_NUMBERS:
        raise ValueError(f"kept: {found.size:,} numbers, expected {MOST_NUMBERS:,} at most")
    return {"step": step}, [found]


def scrub(session: Session, given: dict[str, Any]) -> Answer:
    """Give the model the weights of a kept step; null follows a fit again."""
    requests(session.model, body.mapping(given, "scrub", ("step", "arrays")))
    session.training.scrub(body.need(given, "step"))
    return answer_with_arrays(session, given)
