"""Keras's models in models as one chain of layers."""

import re
from typing import Any, NamedTuple


class Place(NamedTuple):
    """Where Keras's files keep a layer: of the models around it and of itself, the name, and the
    class in snake case with its number among those of its class in the same model.
    """

    names: tuple[Any, ...] = ()
    steps: tuple[tuple[str, int], ...] = ()


def snake_case(class_name: str) -> str:
    """Return Keras's name for a class: max_pooling2d (source: keras/src/utils/naming.py)."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def flatten(model: Any) -> tuple[Any, dict[str, Place]]:
    """Return a model's config with the layers of inner models in their place; places by layer.

    The first InputLayer has no place. With inner models, layers of equal names are numbered. What
    is no config of a model is returned as it is.
    """
    layers = _layers(model)
    if layers is None:
        return model, {}
    found: list[tuple[Place, Any]] = []
    _collect(layers, Place(), False, found)  # read_architecture freezes an outermost model
    nested = any(len(place.names) > 1 for place, _ in found)
    entries: list[Any] = []
    places: dict[str, Place] = {}
    counts: dict[str, int] = {}
    for place, entry in found:
        config = _config(entry)
        name = base = str(config.get("name"))
        while nested and name in places:
            counts[base] = counts.get(base, 0) + 1
            name = f"{base}_{counts[base]}"
        if config and name != base:
            entry = {**entry, "config": {**config, "name": name}}
        entries.append(entry)
        if place.names:
            places[name] = place
    return {"class_name": "Sequential", "config": {**_config(model), "layers": entries}}, places


def _config(entry: Any) -> dict[str, Any]:
    config = entry.get("config") if isinstance(entry, dict) else None
    return config if isinstance(config, dict) else {}


def _layers(entry: Any) -> list[Any] | None:
    """Return the layers of a model (its whole config before Keras 2.2.3); None for a layer."""
    if not isinstance(entry, dict) or entry.get("class_name") != "Sequential":
        return None
    config = entry.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    return layers if isinstance(layers, list) else None


def _collect(layers: list[Any], outer: Place, frozen: bool, found: list[tuple[Place, Any]]) -> None:
    """Append the layers of a model, which is at the place `outer`, and their places."""
    counts: dict[str, int] = {}
    for entry in layers:
        class_name = entry.get("class_name") if isinstance(entry, dict) else None
        if class_name == "InputLayer" and (outer.names or not found):
            found += [(outer, entry)] * (not found)  # an inner model's input is known
            continue
        step = snake_case(str(class_name)[:80])
        number = counts.get(step, 0)
        counts[step] = number + 1
        config = _config(entry)
        place = Place((*outer.names, config.get("name")), (*outer.steps, (step, number)))
        if (inner := _layers(entry)) is not None:
            _collect(inner, place, frozen or config.get("trainable") is False, found)
        else:
            if frozen and config:
                entry = {**entry, "config": {**config, "trainable": False}}
            found.append((place, entry))
