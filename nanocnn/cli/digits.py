"""Saved models that classify digits: open one, give it images in the shape it takes, print answers.

Shared by `python -m nanocnn` and `examples/predict.py`. The models may come from nanocnn or Keras.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from ..common.arrays import Array
from ..common.errors import ShapeError, warn
from ..common.tables import sizes
from ..data.photo import read_digit
from ..models.sequential import Sequential
from ..presets import labels_for
from .program import complain

RAW_HELP = "pass pixels as 0 to 255, for a model that was trained on them (default: 0 to 1)"


def is_compiled(model: Sequential) -> bool:
    """Whether the model has a loss."""
    return getattr(model, "loss", None) is not None


def check_input(model: Sequential) -> None:
    """Raise ShapeError unless the model takes 28x28 pixels: with or without a channel, or flat."""
    if tuple(size for size in model.input_shape if size != 1) not in ((28, 28), (784,)):
        raise ShapeError(
            f"the model takes inputs of shape ({sizes(model.input_shape)}), expected (28, 28, 1), "
            "(28, 28) or (784): digits are 28x28 grey pixels, as in MNIST"
        )


def check_output(model: Sequential, classes: int = 1) -> None:
    """Raise ShapeError unless the model has one axis of at least `classes` outputs."""
    if len(model.output_shape) != 1 or model.output_shape[0] < classes:
        expected = "(10): one for each digit" if classes == 10 else "(K): one for each class"
        raise ShapeError(
            f"the model's outputs have shape ({sizes(model.output_shape)}), expected {expected}"
        )


def read_digits(paths: Iterable[str], program: str) -> tuple[list[str], Array]:
    """The digits in image files, uint8 (N,28,28), and the paths of those that could be read.

    The others are reported on stderr, each in a line that starts with `program`.
    """
    names, digits = [], []
    for path in paths:
        try:
            digits.append(read_digit(path))
            names.append(path)
        except (OSError, ValueError) as error:
            complain(program, error)
    return names, np.array(digits)


def pixels(model: Sequential, digits: Array, raw: bool = False) -> Array:
    """uint8 `digits` (N,28,28) in the model's input shape and dtype, scaled to 0 to 1.

    raw  do not scale. Floats mean the same to every model, made by nanocnn or Keras.

    Raises ShapeError as `check_input` does.
    """
    check_input(model)
    if model.unit_range is False and not raw:
        warn("the model was trained on values beyond 1.5: --raw-pixels passes pixels as 0 to 255")
    x: Array = np.divide(digits, 1 if raw else 255, dtype=model.dtype)
    return x.reshape(len(digits), *model.input_shape)


def measure(model: Sequential, digits: Array, labels: Array, raw: bool = False) -> dict[str, float]:
    """Loss, accuracy and the model's other metrics by name; accuracy only if it has no loss.

    digits, labels  uint8 (N,28,28) and (N,), 0 to 9. Accuracy is the share of digits whose label
                    has the largest output, whatever metrics the model was compiled with.

    Raises ShapeError as `check_input` and `check_output` do.
    """
    check_output(model, classes=10)
    x = pixels(model, digits, raw)
    if not is_compiled(model):
        return {"accuracy": float((model.predict(x).argmax(axis=1) == labels).mean())}
    others = [name for name in model.metrics if name != "accuracy"]
    model.compile("sgd", model.loss, metrics=["accuracy", *others])
    values = model.evaluate(x, labels_for(model, labels))
    return dict(zip(("loss", *model.metrics), values, strict=True))


def in_words(model: Sequential, outputs: Array) -> Iterator[str]:
    """For each of the model's outputs (N,K): the class with the largest one and the next two.

    Probabilities are written in per cent: outputs that are not negative and sum to 1, or the
    softmax of logits, if the model's loss takes logits. Other outputs are written as numbers.
    Raises ShapeError as `check_output` does.
    """
    check_output(model)
    outputs = outputs.astype(np.float64)
    several, total = outputs.shape[1] > 1, outputs.sum(axis=1)
    probable = bool(several and outputs.min() >= 0 and np.allclose(total, 1, atol=1e-3))
    if not probable and is_compiled(model) and getattr(model.loss, "from_logits", False):
        outputs = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        outputs /= outputs.sum(axis=1, keepdims=True)
        probable = True
    for output in outputs:
        if len(output) == 1:  # sigmoid or linear: it stands for no class
            yield f"output {output[0]:.4g} (the model has a single output, not one for each digit)"
            continue
        best = np.argsort(-output, kind="stable")[:3]
        first, *others = (
            f"{k} ({output[k]:.1%})" if probable else f"{k} (output {output[k]:.4g})" for k in best
        )
        yield f"{'' if len(output) == 10 else 'class '}{first}, then {', '.join(others)}"
