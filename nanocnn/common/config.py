"""Configs: a layer, loss, optimizer or schedule as its class name and arguments, as in Keras.

{"class_name": "Dropout", "config": {"rate": 0.5}}: files store it, `deserialize` rebuilds it.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from inspect import Parameter, signature
from typing import Any, TypeVar, cast

from .errors import unknown
from .validate import to_python

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])

# Argument names of other libraries and of earlier versions of Keras, and the current ones.
RENAMED = {
    "nb_epoch": "epochs",
    "samples_per_epoch": "steps_per_epoch",
    "nb_val_samples": "validation_steps",
    "val_samples": "validation_steps",
    "generator": "x",
    "lr": "learning_rate",
    "nb_filter": "filters",
    "nb_row": "kernel_size",
    "nb_col": "kernel_size",
    "filter_size": "kernel_size",
    "subsample": "strides",
    "stride": "strides",
    "border_mode": "padding",
    "dilation": "dilation_rate",
    "atrous_rate": "dilation_rate",
    "output_dim": "units",
    "p": "rate",
    "alpha": "negative_slope",
    "bias": "use_bias",
    "init": "kernel_initializer",
    "W_regularizer": "kernel_regularizer",
    "beta1": "beta_1",
    "beta2": "beta_2",
    "eps": "epsilon",
    "epsilon": "min_delta",
}
NONE = "there are no constraints"
PENALTY = "only kernels have a penalty: kernel_regularizer"
ADVICE = {
    "decay": "use weight_decay, or for a falling learning rate "
    "learning_rate=InverseTimeDecay(rate, 1, decay)",
    "period": "use save_freq, 'epoch' or a number of batches",
    "write_grads": "nanocnn.plots.GradientRecorder records gradients",
    "dim_ordering": "images are (N, height, width, channels)",
    "W_constraint": NONE,
    "b_regularizer": PENALTY,
    "show_accuracy": "use compile(..., metrics=['accuracy'])",
    "weights": "use set_weights when the model is built",
    **dict.fromkeys(
        ("workers", "use_multiprocessing", "max_queue_size", "nb_worker", "pickle_safe"),
        "leave it out: batches are made in this process",
    ),
}
# Keras's arguments that have one possible value here, besides None, and the advice for others.
FIXED: dict[str, tuple[Any, str]] = {
    "data_format": ("channels_last", "images are (N,H,W,C): use x.transpose(0, 2, 3, 1)"),
    "groups": (1, "every filter sees all channels"),
    "axis": (-1, "the classes are the last axis"),
    "reduction": ("sum_over_batch_size", "the loss is the mean over the samples"),
    "dtype": ("float32", "the model has it: Sequential(layers, dtype='float64')"),
    "seed": (None, "the model has it: Sequential(layers, seed=...)"),
    "interpolation": ("bilinear", "pixels are mixed of their four neighbours"),
    "noise_shape": (None, "each element is dropped by itself"),
    "ignore_class": (None, "use sample_weight"),
    "beta_initializer": ("zeros", "use set_weights"),
    "gamma_initializer": ("ones", "use set_weights"),
    "moving_mean_initializer": ("zeros", "use set_weights"),
    "moving_variance_initializer": ("ones", "use set_weights"),
    **{f"{each}_regularizer": (None, PENALTY) for each in ("bias", "activity", "beta", "gamma")},
    **{f"{each}_constraint": (None, NONE) for each in ("kernel", "bias", "beta", "gamma")},
}
WITHOUT_EFFECT = ("autocast", "batch_size", "name")  # on results


class Checked:
    """Base of classes that reject unknown arguments with a hint at the right one."""

    def __new__(cls: type[T], *_: Any, **options: Any) -> T:
        old = {k: v for k, v in options.items() if RENAMED.get(k) in arguments(cls)}
        # A class that takes **options checks the other names itself.
        refuse_unknown(cls, old if _takes_options(cls.__init__) else options)
        return object.__new__(cls)

    def __init__(self) -> None:
        """Take no arguments: `object.__init__` would ignore them."""


def refuse_unknown(kind: Any, options: Mapping[str, Any], also: Iterable[str] = ()) -> None:
    """Raise ValueError for the first option that is no argument of `kind` and not in `also`.

    `kind`: a class or function. A class that takes other arguments as **options also gets Keras's
    arguments `WITHOUT_EFFECT`, and those that are `FIXED` with their only value.
    """
    is_class = isinstance(kind, type)
    names = arguments(kind) if is_class else _parameters(kind)
    loose = is_class and _takes_options(kind.__init__)
    for name, value in options.items():
        if name in names or name in also or (loose and name in WITHOUT_EFFECT):
            continue
        if name in FIXED and loose:
            only, advice = FIXED[name]
            if value is None or _folded(value) == _folded(only):
                continue
            raise ValueError(f"{kind.__name__}: {name}={value!r:.80}, expected {only!r}; {advice}")
        current = RENAMED.get(name)
        hint = f"did you mean {current!r}?" if current in names else ADVICE.get(name, "")
        known = [each for each in (*names, *also) if each != "self"]
        raise unknown(f"argument of {kind.__name__}", name, known, hint)


def refuses_unknown(method: Function) -> Function:
    """Decorate a method: unknown keyword arguments raise ValueError with today's word.

    The price is one Python call: not for a method that is called for every sample.
    """

    @wraps(method)
    def checked(*args: Any, **options: Any) -> Any:
        refuse_unknown(method, options)
        return method(*args, **options)

    return cast(Function, checked)


class Configured(Checked):
    """Base of classes that keep each argument of `__init__` in an attribute of the same name."""

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that rebuild the object, by Keras's names, JSON-serialisable."""
        names = arguments(type(self))
        if missing := [name for name in names if not hasattr(self, name)]:
            raise TypeError(
                f"{type(self).__name__}: no attribute {', '.join(missing)}, expected one for each "
                "argument of __init__; add it, or override get_config"
            )
        return {name: _plain(getattr(self, name)) for name in names}


def arguments(kind: type) -> dict[str, Parameter]:
    """Return the arguments of a class, including those it passes to its base class as **options."""
    found: dict[str, Parameter] = {}
    for each in kind.__mro__:
        if init := vars(each).get("__init__"):
            found = {**_parameters(init), **found}
            if not _takes_options(init):
                break
    return {k: v for k, v in found.items() if k != "self" and v.kind is not Parameter.VAR_KEYWORD}


@cache
def _parameters(function: Any) -> dict[str, Parameter]:
    return dict(signature(function).parameters)


def _takes_options(function: Any) -> bool:
    return any(each.kind is Parameter.VAR_KEYWORD for each in _parameters(function).values())


def serialize(thing: Any) -> dict[str, Any]:
    """Return the {"class_name", "config"} of an object with a `get_config`."""
    return {"class_name": type(thing).__name__, "config": thing.get_config()}


def deserialize(what: str, spec: Any, known: Mapping[str, type[T]]) -> T:
    """Build one of the classes `known` from its name or config; `what` names it in errors."""
    given = spec if isinstance(spec, dict) else {"class_name": spec}
    kind = known[match_name(what, given.get("class_name"), known)]
    config = checked_config(given.get("config", {}), what)
    config = {k: v for k, v in config.items() if k != "name" or k in arguments(kind)}
    refuse_unknown(kind, config)
    return kind(**config)


def checked_config(config: Any, what: str) -> dict[str, Any]:
    """Return `config` if it is a dict of arguments, else raise ValueError; `what` names it."""
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise ValueError(f"{what}: config={config!r:.80}, expected a dict of arguments")
    return config


def match_name(what: str, name: object, known: Iterable[str]) -> str:
    """Return the name in `known` that equals `name` up to case and underscores (HeNormal)."""
    known = tuple(known)
    for each in known:
        if _folded(each) == _folded(name):
            return each
    hint = f"did you mean {name.__name__}(...)?" if isinstance(name, type) else ""
    raise unknown(what, name, known, hint)


def _folded(name: object) -> str:
    return str(name).replace("_", "").lower()


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return serialize(value) if hasattr(value, "get_config") else to_python(value)
