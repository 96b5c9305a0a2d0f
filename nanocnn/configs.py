"""Keras's way to write down a layer, loss, optimizer or schedule: its class and its arguments.

{"class_name": "Dropout", "config": {"rate": 0.5}}: what saved files hold, and what makes it again.
"""

from collections.abc import Iterable, Mapping
from inspect import Parameter, signature
from typing import Any, TypeVar

from .errors import unknown

T = TypeVar("T")


class Configured:
    """Something that its arguments make again: it keeps each in an attribute of the same name."""

    def get_config(self) -> dict[str, Any]:
        """The arguments that make it again, by Keras's names, JSON-able."""
        names = arguments(type(self))
        if missing := [name for name in names if not hasattr(self, name)]:
            raise TypeError(
                f"{type(self).__name__}: no attribute {', '.join(missing)}, expected one for each "
                "argument of its __init__, or a get_config of its own"
            )
        return {name: _plain(getattr(self, name)) for name in names}


def arguments(kind: type) -> dict[str, Parameter]:
    """What a class is made from, including what it hands on to the class above as **options."""
    found: dict[str, Parameter] = {}
    for each in kind.__mro__:
        parameters = signature(each).parameters
        found = {**parameters, **found}
        if all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return {k: v for k, v in found.items() if v.kind is not Parameter.VAR_KEYWORD}


def described(thing: Any) -> dict[str, Any]:
    """The {"class_name", "config"} of what has a `get_config`."""
    return {"class_name": type(thing).__name__, "config": thing.get_config()}


def make(what: str, spec: Any, known: Mapping[str, type[T]]) -> T:
    """One of `known`, from its name or its {"class_name", "config"}; `what` is for the error."""
    given = spec if isinstance(spec, dict) else {"class_name": spec}
    kind = known[find(what, given.get("class_name"), known)]
    config = {k: v for k, v in dict(given.get("config", {})).items() if k != "name"}
    names = arguments(kind)
    for name in config:
        if name not in names:
            raise unknown(f"argument of {kind.__name__}", name, names)
    return kind(**config)


def find(what: str, name: object, known: Iterable[str]) -> str:
    """The one of `known` that is meant: Keras writes he_normal and HeNormal, adam and RMSprop."""
    known = tuple(known)
    for each in known:
        if _folded(each) == _folded(name):
            return each
    raise unknown(what, name, known)


def _folded(name: object) -> str:
    return str(name).replace("_", "").lower()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return described(value) if hasattr(value, "get_config") else value
