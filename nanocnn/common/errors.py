"""The errors for bad input: each a `ValueError` that names value, place and expectation.

And warnings, for what is probably not meant.
"""

import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from types import FrameType


class DatasetError(ValueError):
    """A data file that is not what it claims to be: its name, what was expected and found."""


class ModelFileError(ValueError):
    """A model file that cannot be read as one."""


class ShapeError(ValueError):
    """An array or a layer whose shape does not fit its place."""


class NonFiniteError(ValueError):
    """NaN or infinity where only finite numbers make sense: in the input, or in the loss."""


class MissingExtraError(ImportError):
    """An optional library is not installed; the message has the command that installs it."""


def unknown(kind: str, name: object, known: Iterable[str], hint: str = "") -> ValueError:
    """The error for a name that is not known, with a hint (or the nearest known) and the list."""
    names = sorted(known)
    if not hint and (near := get_close_matches(str(name), names, n=1, cutoff=0.5)):
        hint = f"did you mean {near[0]!r}?"
    hint = hint and f"; {hint}"
    return ValueError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names)})")


def warn(message: str) -> None:
    """A `UserWarning` that points at the line outside nanocnn from which it came.

    Where it is printed to a stream that is closed, nobody hears it: that is no error.
    """
    level = 2
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("nanocnn."):
        level, frame = level + 1, frame.f_back
    with suppress(AttributeError, OSError, ValueError):
        warnings.warn(message, UserWarning, stacklevel=level)
