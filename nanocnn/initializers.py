"""Weight initializers: (shape, rng, dtype) -> array, with Keras's names and formulas.

Source: keras/src/initializers/random_initializers.py; Glorot & Bengio 2010, He et al. 2015.
"""

from functools import partial
from math import prod, sqrt
from typing import Any

import numpy as np

from .common.arrays import Array
from .common.config import FIXED, match_name

# The standard deviation of a standard normal distribution truncated at +-2.
TRUNCATED_STD = 0.87962566103423978


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a kernel (KH,KW,C,F) or (D,U), or (U, U) of a bias (U,)."""
    *window, inputs, outputs = shape if len(shape) > 1 else 2 * (shape or (1,))
    return inputs * prod(window), outputs * prod(window)


def variance_scaling(
    shape: tuple[int, ...], rng: np.random.Generator, scale: float, mode: str, distribution: str
) -> Array:
    """Draw samples of variance scale/n: n = fan_in, the mean of both fans ("fan_avg") or 1."""
    fan_in, fan_out = fans(shape)
    n = {"fan_in": fan_in, "fan_avg": (fan_in + fan_out) / 2, "one": 1}[mode]
    variance = scale / max(1.0, n)
    if distribution == "uniform":
        limit = sqrt(3 * variance)
        return rng.random(shape) * (2 * limit) - limit  # not `uniform`, which may fuse the two
    samples = rng.standard_normal(shape)
    if distribution == "untruncated_normal":
        return samples * sqrt(variance)
    while (outside := np.abs(samples) > 2).any():
        samples[outside] = rng.standard_normal(int(outside.sum()))
    return samples * (sqrt(variance) / TRUNCATED_STD)


# Arguments of `variance_scaling`, or a constant.
INITIALIZERS: dict[str, tuple[float, str, str] | float] = {
    "glorot_uniform": (1.0, "fan_avg", "uniform"),
    "glorot_normal": (1.0, "fan_avg", "truncated_normal"),
    "he_uniform": (2.0, "fan_in", "uniform"),
    "he_normal": (2.0, "fan_in", "truncated_normal"),
    "lecun_uniform": (1.0, "fan_in", "uniform"),
    "lecun_normal": (1.0, "fan_in", "truncated_normal"),
    "random_normal": (0.05**2, "one", "untruncated_normal"),
    "random_uniform": (0.05**2 / 3, "one", "uniform"),
    "zeros": 0.0,
    "ones": 1.0,
}
ALIASES = {"normal": "random_normal", "uniform": "random_uniform"}
# The arguments in Keras's configs of the random ones, and their only values here.
ARGUMENTS = {"mean": 0.0, "stddev": 0.05, "minval": -0.05, "maxval": 0.05}


def canonical(initializer: str | dict[str, Any], what: str = "initializer") -> str:
    """Return the name in `INITIALIZERS` for a name, a Keras class name or a Keras config."""
    spec = initializer if isinstance(initializer, dict) else {"class_name": initializer}
    name = match_name(what, spec.get("class_name"), (*INITIALIZERS, *ALIASES))
    given = spec.get("config")
    for word, value in given.items() if isinstance(given, dict) else ():
        if value != ARGUMENTS.get(word, value):
            raise ValueError(f"{what}: {word}={value!r:.80}, expected {ARGUMENTS[word]}")
    return ALIASES.get(name, name)


def config(name: str) -> dict[str, Any]:
    """Return Keras's config of the initializer `name`: of GlorotUniform for glorot_uniform."""
    return {"class_name": name.title().replace("_", ""), "config": {}}


def _by_name(name: str, seed: None = None) -> str:
    if seed is not None:
        raise ValueError(f"{name}: seed={seed!r:.80}, expected None; {FIXED['seed'][1]}")
    return name


# Keras's classes, by both of its names: `HeNormal()` and `he_normal()` give "he_normal". Those of
# the random ones have arguments that are not free here.
for _name in INITIALIZERS.keys() - ALIASES.values():
    globals()[_name] = globals()[config(_name)["class_name"]] = partial(_by_name, _name)


def initialize(name: str, shape: tuple[int, ...], rng: np.random.Generator, dtype: Any) -> Array:
    """Return an array of `shape` filled by the initializer `name`.

    Values are drawn in float64, then rounded, so that models of both dtypes start equal.
    """
    kind = INITIALIZERS[canonical(name)]
    if isinstance(kind, tuple):
        return variance_scaling(shape, rng, *kind).astype(dtype)
    return np.full(shape, kind, dtype)
