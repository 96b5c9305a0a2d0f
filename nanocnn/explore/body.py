"""Checks of what a page sends: types, ranges and names, before any work."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from ..common import validate
from ..common.errors import ShapeError, advice
from ..layers import Layer


def mapping(given: Any, place: str, known: Iterable[str]) -> dict[str, Any]:
    """`given` if it is an object with no other names than the known ones."""
    if not isinstance(given, dict):
        raise ValueError(f"{place}={given!r:.80}, expected an object")
    known = tuple(known)
    for key in given:
        if key not in known:
            raise ValueError(f"{place}: unknown name {key!r:.80}{advice(key, known)}")
    return given


def need(given: dict[str, Any], key: str, place: str = "") -> Any:
    """given[key]; ValueError without it."""
    if key not in given:
        raise ValueError(f"{_at(place, key)} is missing (got: {', '.join(map(repr, given)):.80})")
    return given[key]


def name(given: dict[str, Any], key: str, place: str = "", optional: bool = False) -> Any:
    """A text of at most 200 characters; with `optional` also None, or nothing."""
    value = given.get(key) if optional else need(given, key, place)
    if value is None and optional:
        return None
    if not isinstance(value, str) or len(value) > 200:
        raise ValueError(f"{_at(place, key)}={value!r:.80}, expected a text")
    return value


def integer(given: dict[str, Any], key: str, low: int, high: int) -> int:
    """An integer from `low` to `high`."""
    value = need(given, key)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{key}={value!r:.80}, expected an integer from {low} to {high}")
    return value


def number(given: dict[str, Any], key: str, low: float = -3e38, high: float = 3e38) -> float:
    """A finite number from `low` to `high`."""
    return validate.number(
        need(given, key), key, lambda value: low <= value <= high, f"from {low:g} to {high:g}"
    )


def flag(given: dict[str, Any], key: str) -> bool:
    """True or False."""
    return validate.flag(need(given, key), key)


def word(given: dict[str, Any], key: str, known: Iterable[str]) -> str:
    """One of the known words."""
    return validate.one_of(need(given, key), known, key)


def position(given: dict[str, Any], shape: tuple[int, ...], key: str = "index") -> tuple[int, ...]:
    """The index of one element of an array of this shape."""
    value = need(given, key)
    if not isinstance(value, list) or len(value) != len(shape):
        raise ShapeError(
            f"{key}={value!r:.80}, expected a list of {len(shape)} integers: the array's shape is "
            f"{shape}"
        )
    for axis, (item, size) in enumerate(zip(value, shape, strict=True)):
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < size:
            raise ShapeError(f"{key}[{axis}]={item!r:.80}, expected 0 to {size - 1}")
    return tuple(value)


def layer(model: Any, given: dict[str, Any]) -> Layer:
    """The layer that given["layer"] names."""
    found: Layer = model.get_layer(name(given, "layer"))
    return found


def octets(given: dict[str, Any], key: str, count: int) -> bytes:
    """`count` bytes, in base64."""
    text = need(given, key)
    if not isinstance(text, str):
        raise ValueError(f"{key}={text!r:.80}, expected bytes in base64")
    try:
        found = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError(f"{key}: expected bytes in base64: {error}") from error
    if len(found) != count:
        raise ShapeError(f"{key}: {len(found):,} bytes, expected {count:,}: one a pixel")
    return found


def _at(place: str, key: str) -> str:
    return f"{place}: {key}" if place else key
