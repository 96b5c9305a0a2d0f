"""What a page is told about a session, apart from the model itself."""

from typing import Any

from ..common.arrays import Array
from .describe import describe
from .parts import Part, requests, select
from .session import Session

MOST_OUTPUTS = 1000  # that are told as numbers
Answer = tuple[dict[str, Any], list[Array | Part]]


def state(session: Session) -> dict[str, Any]:
    """The version, the digit and its label, what the model says to it, and what was edited."""
    trace, model, edits = session.trace(), session.model, session.edits
    layers = model.layers
    outputs = trace.prediction[0].reshape(-1)
    return {
        "version": session.version, "label": session.label, "digit": session.digit,
        "training": session.training_mode, "seed": session.seed,
        "running": session.training.runs,
        "prediction": [float(value) for value in outputs[:MOST_OUTPUTS]],
        "loss": trace.loss, "penalty": trace.penalty, "edits": len(edits),
        "off": {name: sorted(off) for name, off in edits.off.items() if off},
        "frozen": [layer.name for layer in layers if layer.weights and not layer.trainable],
        "rates": {layer.name: layer.rate for layer in layers if hasattr(layer, "rate")},
        "step": model.optimizer.iterations, "problem": session.problem,
    }  # fmt: skip


def description(session: Session) -> dict[str, Any]:
    """The model of a session."""
    return describe(session.model, session.trace(), session.training_mode, session.given_loss)


def answer_with_arrays(session: Session, given: dict[str, Any]) -> Answer:
    """The state, and the arrays that the body asks for."""
    asked = requests(session.model, given)
    result = state(session)
    return result, list(select(session.model, session.trace(), asked, session.ranges))
