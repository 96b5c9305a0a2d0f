"""Answers that need more than one pass: picks, accuracy, difference quotients, checks, files."""

import inspect
import re
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .. import gradcheck as checks
from ..common.arrays import Array, quietly
from ..common.errors import MissingExtraError, unknown
from ..gradcheck.scalar import in_float64
from ..kernels import reference
from ..models.reach import receptive_field
from ..models.samples import top_activations
from ..models.sequential import Sequential
from ..models.update import optimizer_step
from . import body
from .digits import MOST
from .edits import weight
from .parts import Answer
from .session import FIRST_CHUNK, SECONDS, Session

ACCURACY_OF, EXCITES_OF = 1000, 5000  # test digits
MOST_SHOWN = 60  # test digits in one answer
SOURCES = {
    name: value
    for name, value in vars(reference).items()
    if inspect.isfunction(value) and value.__module__.startswith(reference.__name__)
}


def pick(session: Session, given: dict[str, Any]) -> Answer:
    """Test digits with their labels, predictions and losses.

    Which, says `by`: "class:7", "hardest" (the largest losses first), "wrong" (of them those taken
    for another class) or "random".
    """
    body.mapping(given, "pick", ("by", "count"))
    digits, by = session.digits, body.name(given, "by")
    count = body.integer(given, "count", 1, MOST_SHOWN) if "count" in given else 20
    if not digits.count:
        raise ValueError("pick: there are no test digits")
    chosen = re.fullmatch(r"class:(\d{1,4})", by)
    if by not in ("hardest", "wrong", "random") and not chosen:
        raise ValueError(f"by={by!r:.80}, expected 'class:7', 'hardest', 'wrong' or 'random'")
    if (chosen or by == "wrong") and digits.labels is None:
        raise ValueError(f"by={by!r}: the samples have no classes, expected 'random'")
    if by == "hardest" and digits.y is None:
        raise ValueError("by='hardest': the samples have no labels, expected 'random'")
    if chosen:
        found = np.flatnonzero(digits.labels == int(chosen[1]))[:count]
    elif by == "random":
        found = np.random.default_rng().permutation(digits.count)[:count]
    else:
        found = _hardest(session, only_wrong=by == "wrong")[:count]
    prediction = session.predict(digits.x[found])
    unknown_ones: list[None] = [None] * len(found)
    classes = session.predicted_classes(prediction).tolist() if digits.classes else unknown_ones
    return {
        "indices": found.tolist(), "predicted": classes,
        "labels": unknown_ones if digits.labels is None else digits.labels[found].tolist(),
        "losses": session.losses(prediction, found).tolist(),
    }, [digits.images[found]]  # fmt: skip


def _hardest(session: Session, only_wrong: bool) -> Array:
    """The numbers of the test digits, from the largest loss on; those taken for another class."""
    prediction = session.predictions(MOST)
    losses = session.losses(prediction)
    order = np.argsort(-np.nan_to_num(losses, nan=np.inf), kind="stable")
    if only_wrong:
        assert session.digits.labels is not None
        order = order[session.predicted_classes(prediction)[order] != session.digits.labels[order]]
    return order


def accuracy(session: Session, given: dict[str, Any]) -> Answer:
    """The accuracy and the mean loss on up to 1,000 test digits; null without labels."""
    body.mapping(given, "accuracy", ())
    digits = session.digits
    prediction = session.predictions(ACCURACY_OF)
    found: dict[str, Any] = {"accuracy": None, "loss": None, "count": len(prediction)}
    if digits.labels is not None and len(prediction):
        right = session.predicted_classes(prediction) == digits.labels[: len(prediction)]
        found["accuracy"] = float((right & ~np.isnan(prediction).any(axis=-1)).mean())
    if digits.y is not None and len(prediction):
        found["loss"] = float(session.losses(prediction).mean(dtype=np.float64))
    return {**found, "version": session.version}, []


def confusion(session: Session, given: dict[str, Any]) -> Answer:
    """How many test digits of each class (rows) were taken for each class (columns)."""
    body.mapping(given, "confusion", ())
    digits = session.digits
    if digits.labels is None:
        raise ValueError("confusion: the samples have no classes")
    prediction = session.predictions(MOST)
    table = np.zeros((digits.classes, digits.classes), np.int32)
    labels = digits.labels[: len(prediction)]
    np.add.at(table, (labels, session.predicted_classes(prediction)), 1)
    return {"count": len(prediction), "version": session.version}, [table]


def nudge(session: Session, given: dict[str, Any]) -> Answer:
    """The loss with one weight changed by e and by -e, and the difference quotient."""
    body.mapping(given, "nudge", ("layer", "name", "index", "e"))
    layer = body.layer(session.model, given)
    array = weight(layer, given)
    name, index = body.name(given, "name"), body.position(given, array.shape)
    e = body.number(given, "e", -1e6, 1e6)
    value = array[index]
    up, down = value + array.dtype.type(e), value - array.dtype.type(e)
    if up == down:
        raise ValueError(
            f"e={e!r} is lost beside {value} in {array.dtype}, expected a number of at least "
            f"{float(np.spacing(np.abs(value))):.1e}"
        )
    gradient = session.trace()[layer.name].grads.get(name)
    found = _quotient(session, session.model, layer.name, name, index, e)
    exact = in_float64(session.model)
    return {
        **found, "gradient": None if gradient is None else float(gradient[index]),
        "value": float(value),
        "exact": _quotient(session, exact, layer.name, name, index, e),
    }, []  # fmt: skip


def _quotient(
    session: Session, model: Sequential, layer: str, name: str, index: tuple[int, ...], e: float
) -> dict[str, float]:
    """The losses before and after, and the central difference; the weight keeps its bits."""
    array = model.get_layer(layer).weights[name]
    value = array[index]  # a NumPy scalar: no view
    before, losses, at = session.record(model).loss, [], []
    try:
        for by in (e, -e):
            array[index] = value + array.dtype.type(by)
            at.append(float(array[index]))
            losses.append(session.record(model).loss)
    finally:
        array[index] = value
    return {
        "before": before, "after": losses[0], "after_minus": losses[1],
        "quotient": (losses[0] - losses[1]) / (at[0] - at[1]),
    }  # fmt: skip


def step(session: Session, given: dict[str, Any]) -> Answer:
    """One optimizer step of one weight, with every number; nothing changes.

    It is the step of a training: dropout and batch statistics are on, with the session's seed.
    """
    body.mapping(given, "step", ("layer", "name", "index"))
    layer = body.layer(session.model, given)
    array, name = weight(layer, given), body.name(given, "name")
    if name not in layer.trainable_weights:
        why = "is not trained" if name in layer.state or not layer.params else "is frozen"
        raise ValueError(f"name={name!r}: {name} of layer {layer.name!r} {why}: no step changes it")
    index = body.position(given, array.shape)
    with session.seeded(session.model):
        made = quietly(optimizer_step, session.model, *session.sample)
    terms = made[f"{layer.name}/{name}"].terms(tuple(slice(i, i + 1) for i in index))
    return {
        "terms": {
            key: {"formula": term.formula, "value": np.asarray(term.value).item()}
            for key, term in terms.items()
        },
        "optimizer": made.optimizer, "t": made.t, "loss": made.loss,
    }, []  # fmt: skip


def largest(session: Session, given: dict[str, Any]) -> Answer:
    """Of each array of parameters the place of the largest gradient, in either direction."""
    body.mapping(given, "largest", ())
    found: dict[str, dict[str, Any]] = {}
    for layer in session.trace():
        for name, gradient in layer.grads.items():
            size = np.nan_to_num(np.abs(gradient), nan=-1.0, posinf=np.inf)
            place = np.unravel_index(int(size.argmax()), gradient.shape)
            found.setdefault(layer.name, {})[name] = {
                "index": [int(i) for i in place], "gradient": float(gradient[place]),
            }  # fmt: skip
    return {"layers": found, "version": session.version}, []


def excites(session: Session, given: dict[str, Any]) -> Answer:
    """The test digits that excite a channel most, where, and what that cell sees of them."""
    body.mapping(given, "excites", ("layer", "channel", "count"))
    model, digits = session.model, session.digits
    layer = body.layer(model, given)
    channel = body.integer(given, "channel", 0, layer.output_shape[-1] - 1)
    count = body.integer(given, "count", 1, MOST_SHOWN) if "count" in given else 12
    if not digits.count:
        raise ValueError("excites: there are no test digits")
    start = perf_counter()
    quietly(top_activations, model, digits.x[:FIRST_CHUNK], layer.name, channel, 1)
    most = int(FIRST_CHUNK * SECONDS / (perf_counter() - start))
    x = digits.x[: max(FIRST_CHUNK, min(EXCITES_OF, most))]
    top = quietly(top_activations, model, x, layer.name, channel, count)
    whole = [0, 0, *digits.images.shape[1:3]]  # of a flat input there are no rows and columns
    return {
        "indices": top.indices.tolist(), "values": top.values.tolist(),
        "cells": top.cells.tolist(), "searched": len(x),
        "boxes": top.boxes.tolist() if len(model.input_shape) > 1 else [whole] * len(top.indices),
    }, [digits.images[top.indices]]  # fmt: skip


def field(session: Session, given: dict[str, Any]) -> Answer:
    """The receptive field of a cell of a layer's output, in every layer before; "": the input."""
    body.mapping(given, "field", ("layer", "cell"))
    layer = body.layer(session.model, given)
    cell = body.position(given, layer.output_shape, "cell")
    found = receptive_field(session.model, layer.name, cell)
    return {
        "boxes": {name: list(each.box) for name, each in found.items()},
        "channels": {name: list(each.channels) for name, each in found.items()},
    }, []


def gradcheck(session: Session, given: dict[str, Any]) -> Answer:
    """Check the gradient of one array of weights, or of the input, by differences in float64."""
    body.mapping(given, "gradcheck", ("layer", "name"))
    name, shown = body.name(given, "name"), "the input"
    if name != "x":
        layer = body.layer(session.model, given)
        if name not in layer.params:
            raise unknown(f"parameter of layer {layer.name!r}", name, [*layer.params, "x"])
        shown = f"{layer.name}/{name}"
    x, y = session.sample
    report = quietly(
        checks.check, session.model, x, y, training=session.training_mode, limit=100,
        seed=session.seed, arrays=["input" if name == "x" else shown],
    )  # fmt: skip
    (array,) = report.arrays
    return {
        "checked": array.checked, "wrong": array.wrong, "error": array.error,
        "passed": array.passed, "text": f"dL/d {shown}: {array.looked_at} checked, "
        f"{array.verdict}; largest error {array.error:.1e}",
    }, []  # fmt: skip


def download(session: Session, given: dict[str, Any]) -> Answer:
    """The model as a file, as it is now."""
    body.mapping(given, "download", ("format",))
    ending = body.word(given, "format", ("npz", "h5", "keras"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{ending}"
        try:
            session.model.save(path)
        except (MissingExtraError, TypeError) as error:  # such as a loss that is a function
            raise ValueError(f"download: {error}") from error
        content: Array = np.frombuffer(path.read_bytes(), np.uint8)
    name = re.sub(r"[^\w.-]+", "_", session.model.name)[:60] or "model"
    return {"name": f"{name}.{ending}"}, [content]


def source(session: Session, given: dict[str, Any]) -> Answer:
    """The source of a function of the reference kernels."""
    body.mapping(given, "source", ("function",))
    name = body.name(given, "function")
    if name not in SOURCES:
        raise ValueError(
            f"function={name!r:.80}, expected one of the reference kernels, such as conv2d_forward"
        )
    function: Any = SOURCES[name]
    lines, line = inspect.getsourcelines(function)
    file = function.__module__.rpartition(".")[2]
    return {"file": f"{file}.py", "line": line, "text": "".join(lines), "name": name}, []
