"""A saved model and digits: opened, given pixels in its input's shape, its outputs in words.

Shared by `python -m nanocnn` and `examples/predict.py`, which take models made anywhere.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .common.arrays import Array
from .common.errors import ModelFileError, ShapeError, warn
from .common.tables import sizes
from .models.sequential import Sequential, load_model
from .presets import labels_for

RAW_HELP = "give the model pixels of 0 to 255, for one that was trained on them (default: 0 to 1)"


def open_model(path: str | Path, kernels: str = "fast") -> tuple[Sequential, str]:
    """The model saved at `path`, and "" or why it was opened without optimizer, loss and metrics.

    These are training's: a model whose optimizer is unknown here still predicts. Raises as
    `load_model` does for a file that is no model.
    """
    try:
        return load_model(path, kernels), ""
    except ModelFileError as error:
        reason = str(error)
    return load_model(path, kernels, compile=False), reason


def is_compiled(model: Sequential) -> bool:
    """Whether the model has a loss."""
    return getattr(model, "loss", None) is not None


def check_shapes(model: Sequential, classes: int = 1) -> None:
    """Raise ShapeError unless the model takes one MNIST digit and gives `classes` numbers or more.

    Inputs of 28x28 with one channel or none, and of 784 values, row after row, are served.
    """
    if tuple(size for size in model.input_shape if size != 1) not in ((28, 28), (784,)):
        raise ShapeError(
            f"the model takes inputs of shape ({sizes(model.input_shape)}), expected (28, 28, 1), "
            "(28, 28) or (784): digits are 28x28 pixels in grey, as in MNIST"
        )
    if len(model.output_shape) != 1 or model.output_shape[0] < classes:
        expected = "(10): one for each digit" if classes == 10 else "(K): one for each class"
        raise ShapeError(
            f"the model's outputs have shape ({sizes(model.output_shape)}), expected {expected}"
        )


def pixels(model: Sequential, digits: Array, raw: bool = False) -> Array:
    """The uint8 `digits` (N,28,28) in the model's input shape and dtype, from 0 to 1.

    raw  leave them from 0 to 255. Floats mean the same to every model, from nanocnn or Keras.
    """
    if model.unit_range is False and not raw:
        warn("the model was trained on values beyond 1.5: --raw-pixels gives it those of 0 to 255")
    x: Array = np.divide(digits, 1 if raw else 255, dtype=model.dtype)
    return x.reshape(len(digits), *model.input_shape)


def measure(model: Sequential, digits: Array, labels: Array, raw: bool = False) -> dict[str, float]:
    """Loss, accuracy and the model's other metrics, by name; accuracy alone without a loss.

    digits, labels  uint8 (N,28,28) and (N,), 0 to 9. Accuracy is the share of digits for which the
                    largest output is that of the label, whatever the model was compiled with.

    Raises ShapeError as `check_shapes` does.
    """
    check_shapes(model, classes=10)
    x = pixels(model, digits, raw)
    if not is_compiled(model):
        return {"accuracy": float((model.predict(x).argmax(axis=1) == labels).mean())}
    others = [name for name in model.metrics if name != "accuracy"]
    model.compile("sgd", model.loss, ["accuracy", *others])
    values = model.evaluate(x, labels_for(model, labels))
    return dict(zip(("loss", *model.metrics), values, strict=True))


def answers(model: Sequential, digits: Array, raw: bool = False) -> Iterator[str]:
    """For each of `digits` (N,28,28), uint8: the class with the largest output and the runners-up.

    Probabilities are written in per cent: outputs that are not negative and sum to 1, or the
    softmax of outputs that the model's loss takes as logits. Others are written as numbers.
    Raises ShapeError as `check_shapes` does.
    """
    check_shapes(model)
    outputs = model.predict(pixels(model, digits, raw)).astype(np.float64)
    probable = _are_probabilities(outputs)
    if not probable and is_compiled(model) and getattr(model.loss, "from_logits", False):
        outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        outputs /= outputs.sum(axis=1, keepdims=True)
        probable = True
    for output in outputs:
        if len(output) == 1:  # sigmoid or linear: one number has no class that it stands for
            yield f"output {output[0]:.4g} (the model has one, not one for each digit)"
            continue
        best = np.argsort(-output, kind="stable")[:3]
        first, *others = (
            f"{k} ({output[k]:.1%})" if probable else f"{k} (output {output[k]:.4g})" for k in best
        )
        yield f"{'' if len(output) == 10 else 'class '}{first}, then {', '.join(others)}"


def _are_probabilities(outputs: Array) -> bool:
    """Whether every row is one of probabilities of classes; one output alone is none."""
    several = outputs.shape[1] > 1
    return bool(several and outputs.min() >= 0 and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))
