"""Where the arguments of public classes and methods differ from Keras's: a list that only shrinks.

keras_signatures.json has the signatures of Keras, keras_signatures.txt the differences. Where Keras
is installed, `python tests/project/test_keras_signatures.py` writes both again.
"""

import inspect
import json
from importlib import import_module
from pathlib import Path

import pytest

import nanocnn
from nanocnn.common.config import FIXED, WITHOUT_EFFECT, Checked

HERE = Path(__file__).parent
SIGNATURES, DIFFERENCES = HERE / "keras_signatures.json", HERE / "keras_signatures.txt"
MODULES = (
    "activations", "backend", "callbacks", "datasets.mnist", "initializers", "layers", "losses",
    "metrics", "models", "optimizers", "optimizers.schedules", "regularizers", "utils",
)  # fmt: skip
# The classes of which the methods are compared, with those that they inherit.
BASES = ("models.Sequential", "layers.Layer", "layers.Normalization", "callbacks.Callback",
         "losses.Loss", "metrics.Metric", "optimizers.Optimizer")  # fmt: skip
# Called by the engine, or another thing of the same name.
INTERNAL = ("callbacks.CallbackList", "initializers.variance_scaling", "optimizers.Optimizer.apply")
LAYER = ("name", "trainable")  # of every layer
LOOSE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def arguments(thing, inherits=False):
    """["units", "activation=None", "*name=None"]: a star for keyword only; default values.

    What a class hands on to the class above it as **options is keyword only. `inherits`: that may
    be any of its arguments; a class of Keras fills in those that can be positional.
    """
    found = {}
    inits = [vars(kind)["__init__"] for kind in getattr(thing, "__mro__", ())
             if "__init__" in vars(kind)] if inspect.isclass(thing) else [thing]  # fmt: skip
    inherited = False
    for function in inits:
        parameters = inspect.signature(function).parameters.values()
        for each in parameters:
            named = each.kind is each.KEYWORD_ONLY or (inherited and inherits)
            if each.kind in LOOSE or each.name == "self" or (inherited and not named):
                continue
            default = "" if each.default is each.empty else f"={shown(each.default)}"
            found.setdefault(each.name, f"{'*' * named}{each.name}{default}")
        if not has_options(function):
            break
        inherited |= not any(each.kind is each.VAR_POSITIONAL for each in parameters)
    return [*found.values()]


def has_options(function):
    return any(each.kind is each.VAR_KEYWORD
               for each in inspect.signature(function).parameters.values())  # fmt: skip


def shown(default):
    """A default as text: the same for 1 and 1.0, and for an object and another of its class."""
    if isinstance(default, (int, float)) and not isinstance(default, bool):
        return f"{default:g}"
    return type(default).__name__ if " at 0x" in repr(default) else repr(default)


def keras_signatures():
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    found = {"": keras.__version__}
    for place in MODULES:
        module = import_module(f"keras.{place}")
        for name in dir(module):
            thing = getattr(module, name)
            if name[0] == "_" or not callable(thing):
                continue
            found[f"{place}.{name}"] = arguments(thing)
            if f"{place}.{name}" in BASES:
                for method in dir(thing):
                    function = inspect.getattr_static(thing, method)
                    if inspect.isfunction(function) and (method[0] != "_" or method == "__call__"):
                        found[f"{place}.{name}.{method}"] = arguments(function)
    return found


def ours(name):
    """The thing of this name, or None."""
    thing = nanocnn
    for part in name.split("."):
        thing = getattr(thing, part, None)
    if not (inspect.isclass(thing) or inspect.isfunction(thing) or inspect.ismethod(thing)):
        return None
    imported = not thing.__module__.startswith(f"nanocnn.{name.partition('.')[0]}")
    return None if imported and not name.startswith(("models", "datasets")) else thing


def differences(keras):
    """One line for each argument that differs, sorted."""
    lines = set()
    for name, theirs in keras.items():
        thing = ours(name) if name else None
        alias = f"{name.rpartition('.')[0]}.{getattr(thing, '__name__', '')}"
        if thing is None or name in INTERNAL or (alias != name and alias in keras):
            continue
        if inspect.isclass(thing) and issubclass(thing, nanocnn.Layer) and name != "layers.Layer":
            theirs = [each for each in theirs if each not in keras.get("layers.Layer", ())]
        here = split(arguments(thing, inherits=True))
        there = split(theirs)
        fixed = (
            inspect.isclass(thing) and issubclass(thing, Checked) and has_options(thing.__init__)
        )
        ignored = not fixed and has_options(thing)
        for argument, (place, default) in there.items():
            if argument in here:
                if here[argument][0] is not None and here[argument][0] != place:
                    lines.add(f"{name}.{argument}: another place")
                if here[argument][1] != default:
                    lines.add(f"{name}.{argument}: {here[argument][1] or 'required'}, "
                              f"there {default or 'required'}")  # fmt: skip
            elif fixed and argument in FIXED:
                lines.add(f"{name}.{argument}: only {FIXED[argument][0]!r}")
            elif not ignored and not (fixed and argument in WITHOUT_EFFECT):
                lines.add(f"{name}.{argument}: lacks")
        for argument in here.keys() - there.keys():
            positional = ", not by keyword only" * (here[argument][0] is not None)
            if argument not in LAYER or name == "layers.Layer":
                lines.add(f"{name}.{argument}: only here{positional}")
    return sorted(lines)


def split(arguments):
    """{name: (place or None for keyword only, default)} of the result of `arguments`."""
    found = {}
    for place, text in enumerate(arguments):
        name, _, default = text.lstrip("*").partition("=")
        found[name] = (None if text[0] == "*" else place, default)
    return found


def test_the_list_has_every_argument_that_differs_from_keras_and_no_other():
    found = differences(json.loads(SIGNATURES.read_text()))
    listed = DIFFERENCES.read_text().splitlines()
    assert sorted(set(found) - set(listed)) == [], "these differ, and are not in the list"
    assert sorted(set(listed) - set(found)) == [], "these no longer differ: write the list again"
    assert listed == sorted(set(listed))


def test_a_difference_of_each_kind_is_seen():
    keras = {"layers.Dropout": ["seed=None", "rate=0.5", "name=None", "more", "*trainable=True"]}
    assert differences(keras) == [
        "layers.Dropout.more: lacks",
        "layers.Dropout.rate: another place",
        "layers.Dropout.rate: required, there 0.5",
        "layers.Dropout.seed: only None",
    ]
    assert differences({"regularizers.L2": []}) == [
        "regularizers.L2.l2: only here, not by keyword only"
    ]


@pytest.mark.slow
def test_the_stored_signatures_are_those_of_keras():
    stored = json.loads(SIGNATURES.read_text())
    found = keras_signatures()
    if found[""] != stored[""]:
        pytest.skip(f"Keras {found['']} is installed, the stored signatures are of {stored['']}")
    assert found == stored


if __name__ == "__main__":
    signatures = keras_signatures()
    rows = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in signatures.items()]
    SIGNATURES.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    DIFFERENCES.write_text("".join(f"{line}\n" for line in differences(signatures)))
