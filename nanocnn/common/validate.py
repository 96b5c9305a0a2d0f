"""Argument checks: each function returns the normalised value or raises a `ValueError`."""

import pickle
from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import numpy as np

from .arrays import Array
from .errors import unknown


def number(
    value: Any, name: str, valid: Callable[[Any], bool] = lambda value: True, expected: str = ""
) -> float:
    """Return a finite number for which `valid` is true as a float; `expected` is its range."""
    value = to_python(value)
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not real or not abs(value) <= 1e300 or not valid(value):
        raise ValueError(f"{name}={value!r:.80}, expected a number {expected}".rstrip())
    return float(value)


def to_python(value: Any) -> Any:
    """Convert a NumPy scalar to a Python one, for JSON; return anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def integer(value: Any, name: str, minimum: int = 1, bits: int = 31) -> int:
    """Return an integer of at least `minimum` and below 2**bits."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(f"{name}={value!r:.80}, expected an integer of at least {minimum}")
    if value >= 2**bits:
        raise ValueError(f"{name}={value!r:.80}, expected an integer below 2**{bits}")
    return int(value)


def pair(value: Any, name: str) -> tuple[int, int]:
    """Return an integer or a pair of them, each at least 1, as a pair."""
    items = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(items) != 2:
        raise ValueError(f"{name}={value!r:.80}, expected an integer or a pair of integers")
    return integer(items[0], name), integer(items[1], name)


def one_of(value: Any, known: Iterable[str], name: str) -> str:
    """Return one of the words `known` in lower case; upper case is accepted."""
    if not isinstance(value, str) or value.lower() not in known:
        raise unknown(name, value, known)
    return value.lower()


def float_type(value: Any, name: str = "dtype") -> np.dtype[Any]:
    """Return the dtype float32 or float64 for its name or NumPy type."""
    kind = getattr(value, "__name__", str(value))
    if kind not in ("float32", "float64"):
        raise ValueError(f"{name}={value!r:.80}, expected 'float32' or 'float64'")
    return np.dtype(kind)


def generator(value: Any, name: str) -> np.random.Generator:
    """Return a random generator, given itself or its seed."""
    if isinstance(value, np.random.Generator):
        return value
    return np.random.default_rng(integer(value, name, 0, bits=128))


def printable_name(value: Any, name: str) -> str:
    """Return a name that is valid in files and tables: printable, without slashes."""
    usable = isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()
    if not usable or "/" in value or value in (".", ".."):
        raise ValueError(
            f"{name}={value!r:.80}, expected 1 to 200 printable characters without '/', "
            "other than '.' and '..'"
        )
    return str(value)


def sample_shape(value: Any, name: str) -> tuple[int, ...]:
    """Return the shape of one sample: integers of at least 1, without the batch axis."""
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(items) > 1 and items[0] is None:
        raise ValueError(
            f"{name}={value!r:.80}, expected a shape without the batch axis: Input({items[1:]})"
        )
    return tuple(integer(item, name) for item in items)


def flag(value: Any, name: str) -> bool:
    """Return a boolean as Python's True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r:.80}, expected True or False")
    return bool(value)


def as_array(y: Any, where: str) -> Array:
    """Return `y` as an array; ValueError if NumPy cannot convert it."""
    try:
        return np.asarray(y)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{where}: expected an array of numbers: {error}") from error


def numbers(y: Any, where: str, axes: int = 0) -> Array:
    """Return `y` as an array of numbers with at least so many axes."""
    array = as_array(y, where)
    if array.ndim < axes:
        raise ValueError(f"{where}={y!r:.80}, expected an array of numbers")
    if array.dtype.kind not in "buif":
        hint = "; for text such as '5' use y.astype('int64')" if array.dtype.kind in "OUS" else ""
        raise ValueError(f"{where}: array of type {array.dtype}, expected numbers{hint}")
    return array


def refuse_where(
    bad: Array, array: Array, where: str, expected: str, error: type[ValueError] = ValueError
) -> None:
    """Raise `error`, which names the first element of `array` that is `bad`, if any is."""
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        place = index[0] if len(index) == 1 else index
        raise error(f"{where}[{place}] is {array[index]}, expected {expected}")


def verbosity(value: Any, name: str = "verbose") -> int | str:
    """Return a verbosity level: 0, 1, 2 or "auto"; False and True are 0 and 1."""
    if not isinstance(value, (int, np.integer, str)) or value not in (0, 1, 2, "auto"):
        raise ValueError(f"{name}={value!r:.80}, expected 0, 1, 2 or 'auto'")
    return value if isinstance(value, str) else int(value)


def accepts(function: Any, *args: Any, **options: Any) -> bool:
    """Whether `function` accepts these arguments; True if its signature is unknown."""
    try:
        signature(function).bind(*args, **options)
    except TypeError:
        return False
    except ValueError:  # a C function without a signature
        return True
    return True


def can_pickle(value: Any) -> bool:
    """Whether `value` can be pickled; a lambda or a local function cannot."""
    try:
        pickle.dumps(value)
    except Exception:  # PicklingError, AttributeError, TypeError, or the object's own
        return False
    return True
