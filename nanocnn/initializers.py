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
    """Return (fan_in, fan_out) of a kernel (KH,KW,C,F) or (D,U)."""
    receptive_field = prod(shape[:-2])
    return shape[-2] * receptive_field, shape[-1] * receptive_field


def variance_scaling(
    shape: tuple[int, ...], rng: np.random.Generator, scale: float, mode: str, distribution: str
) -> Array:
    """Draw samples of variance scale/n, n = fan_in or the mean of both fans ("fan_avg")."""
    fan_in, fan_out = fans(shape)
    variance = scale / max(1.0, fan_in if mode == "fan_in" else (fan_in + fan_out) / 2)
    if distribution == "uniform":
        limit = sqrt(3 * variance)
        return rng.random(shape) * (2 * limit) - limit  # not `uniform`, which may fuse the two
    samples = rng.standard_normal(shape)
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
    "zeros": 0.0,
    "ones": 1.0,
}


def canonical(initializer: str | dict[str, Any], what: str = "initializer") -> str:
    """Return the name in `INITIALIZERS` for a name, a Keras class name or a Keras config."""
    name = initializer.get("class_name") if isinstance(initializer, dict) else initializer
    return match_name(what, name, INITIALIZERS)


def config(name: str) -> dict[str, Any]:
    """Return Keras's config of the initializer `name`: of GlorotUniform for glorot_uniform."""
    return {"class_name": name.title().replace("_", ""), "config": {}}


def _by_name(name: str, seed: None = None) -> str:
    if seed is not None:
        raise ValueError(f"{name}: seed={seed!r:.80}, expected None; {FIXED['seed'][1]}")
    return name


# Keras's classes, by both of its names: `HeNormal()` and `he_normal()` give "he_normal".
for _name in INITIALIZERS:
    globals()[_name] = globals()[config(_name)["class_name"]] = partial(_by_name, _name)


def initialize(name: str, shape: tuple[int, ...], rng: np.random.Generator, dtype: Any) -> Array:
    """Return an array of `shape` filled by the initializer `name`.

    Values are drawn in float64, then rounded, so that models of both dtypes start equal.
    """
    kind = INITIALIZERS[canonical(name)]
    if isinstance(kind, tuple):
        return variance_scaling(shape, rng, *kind).astype(dtype)
    return np.full(shape, kind, dtype)
