"""Keras's models in models, and chains in its functional form, as one chain of layers."""

import re
from typing import Any, NamedTuple

from ..common.errors import ModelFileError

MODELS = ("Sequential", "Functional", "Model")  # the last before Keras 2.4


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

    The first InputLayer has no place. With inner models, layers of equal names are numbered. Raises
    `ModelFileError` for layers that are no chain. What is no config of a model is returned as it
    is.
    """
    if not _is_model(model):
        return model, {}
    found: list[tuple[Place, Any]] = []
    _collect(model, Place(), found)
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
        entries.append(entry if name == base else {**entry, "config": {**config, "name": name}})
        if place.names:
            places[name] = place
    return {"class_name": "Sequential", "config": {**_config(model), "layers": entries}}, places


def _config(entry: Any) -> dict[str, Any]:
    config = entry.get("config") if isinstance(entry, dict) else None
    return config if isinstance(config, dict) else {}


def _layers(model: Any) -> Any:
    return model["config"] if isinstance(model["config"], list) else _config(model).get("layers")


def _is_model(entry: Any) -> bool:
    """Whether it is a model with a list of layers (its whole config before Keras 2.2.3)."""
    known = isinstance(entry, dict) and "config" in entry and entry.get("class_name") in MODELS
    return known and isinstance(_layers(entry), list)


def _collect(model: Any, outer: Place, found: list[tuple[Place, Any]]) -> None:
    """Append the layers of `model`, which is at the place `outer`, and their places."""
    if model["class_name"] != "Sequential":
        _check_chain(model)
    frozen = outer.names and _config(model).get("trainable") is False
    counts: dict[str, int] = {}
    for entry in _layers(model):
        class_name = entry.get("class_name") if isinstance(entry, dict) else None
        if class_name == "InputLayer" and (outer.names or not found):
            found += [(outer, entry)] * (not found)  # an inner model's input is known
            continue
        step = snake_case(str(class_name)[:80])
        number = counts.get(step, 0)
        counts[step] = number + 1
        place = Place((*outer.names, _config(entry).get("name")), (*outer.steps, (step, number)))
        if frozen and _config(entry):
            entry = {**entry, "config": {**_config(entry), "trainable": False}}
        if _is_model(entry):
            _collect(entry, place, found)
        else:
            found.append((place, entry))


def _check_chain(model: Any) -> None:
    """Raise `ModelFileError` unless each layer's only input is the layer before it."""
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in _layers(model)]
    sources = [_source(entry) for entry in _layers(model)[1:]]
    outputs = _config(model).get("output_layers")
    if isinstance(outputs, list) and len(outputs) == 1:
        outputs = outputs[0]
    if sources != names[:-1] or not isinstance(outputs, list) or outputs[:1] != names[-1:]:
        raise ModelFileError(
            "functional model, expected a chain of layers with one input and output"
        )


def _source(entry: Any) -> Any:
    """Return the name of the only layer that `entry` has as its input, else None."""
    try:
        (node,) = entry["inbound_nodes"]
        (tensor,) = node["args"] if isinstance(node, dict) else node  # Keras 3 and 2
        return tensor["config"]["keras_history"][0] if isinstance(tensor, dict) else tensor[0]
    except (LookupError, TypeError, ValueError):
        return None
