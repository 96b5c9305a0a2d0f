"""Errors for bad input, which name the value, its place and what was expected; warnings."""

import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from types import FrameType

from . import processes


class DatasetError(ValueError):
    """A data file is missing, damaged or of the wrong kind."""


class ModelFileError(ValueError):
    """A file cannot be read as a model, or a model cannot be written to a file."""


class ShapeError(ValueError):
    """An array has the wrong shape, or a layer does not accept its input shape."""


class NonFiniteError(ValueError):
    """The input, the loss or a metric is NaN or infinite."""


class MissingExtraError(ImportError):
    """An optional library is not installed; the message has the command that installs it."""


def unknown(kind: str, name: object, known: Iterable[str], hint: str = "") -> ValueError:
    """The error for an unknown name, with `hint` or the closest known name, and all known names."""
    return ValueError(f"unknown {kind} {name!r}{advice(name, known, hint)}")


def advice(name: object, known: Iterable[str], hint: str = "") -> str:
    """The end of a message about an unknown name: `hint` or the closest known name, and all."""
    names = sorted(known)
    folded = {each.lower(): each for each in names}
    if not hint and (near := get_close_matches(str(name).lower(), folded, n=1, cutoff=0.5)):
        hint = f"did you mean {folded[near[0]]!r}?"
    listed = f" (known: {', '.join(names)})" if names else ""
    return f"; {hint}{listed}" if hint else listed


def warn(message: str) -> None:
    """Issue a `UserWarning` that points at the calling line outside nanocnn.

    Errors in printing it, such as to a closed stream, are ignored.
    """
    if not processes.first:
        return
    level = 2
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("nanocnn."):
        level, frame = level + 1, frame.f_back
    with suppress(AttributeError, OSError, ValueError):
        warnings.warn(message, UserWarning, stacklevel=level)
