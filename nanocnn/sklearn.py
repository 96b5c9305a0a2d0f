"""`CNNClassifier`: trains a network as a scikit-learn classifier. Needs scikit-learn 1.6."""

from collections.abc import Callable
from copy import deepcopy
from inspect import Parameter, signature
from math import prod
from typing import Any

import numpy as np

from .common.arrays import Array
from .common.errors import MissingExtraError, unknown
from .models import Sequential
from .presets import labels_for

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    missing = 'nanocnn.sklearn needs scikit-learn: pip install "scikit-learn>=1.6"'
    raise MissingExtraError(missing) from error


class CNNClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier that trains the network that `build` returns, a compiled `Sequential`.

    The arguments of `build` are parameters of the classifier too: given `def build(filters=8)`,
    `CNNClassifier(build, filters=16)` sets one, `GridSearchCV(CNNClassifier(build), {"filters":
    [8, 16], "epochs": [1, 2]})` varies it. An argument `n_classes` of `build` is the number of
    classes in y; `seed` is drawn from `random_state`, if that is given. `epochs`, `batch_size`,
    `validation_split`, `callbacks` (copies of them) and `verbose` are those of `Sequential.fit`.
    Fitted: `model_`, `classes_`, and `history_`, the dict of `History`.
    """

    def __init__(
        self, build: Callable[..., Sequential], *, epochs: int = 1, batch_size: int | None = None,
        validation_split: float = 0.0, callbacks: Any = None, verbose: int | str = 0,
        random_state: Any = None, **build_arguments: Any,
    ) -> None:  # fmt: skip
        self.build, self.epochs, self.batch_size = build, epochs, batch_size
        self.validation_split, self.callbacks, self.verbose = validation_split, callbacks, verbose
        self.random_state = random_state
        self.__dict__.update(build_arguments)
        for name in build_arguments.keys() - self.get_params(deep=False).keys():
            raise unknown("argument of CNNClassifier", name, self.get_params(deep=False))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the classifier and those of `build`, by name."""
        return {**super().get_params(deep), **self._build_arguments()}

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "CNNClassifier":
        """Train a new network on X (N, *input_shape) or (N, features), y (N,) of any labels.

        uint8 is scaled by 1/255 (see `Sequential`), all else is used as it is. Raises ValueError
        for data or a network that does not fit, as `Sequential.fit` does.
        """
        X, y = validate_data(self, X, y, allow_nd=True, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if (k := len(self.classes_)) < 2:
            raise ValueError(f"y: only the class {self.classes_[0]!r}, expected at least 2")
        if not callable(self.build):
            raise ValueError(f"build={self.build!r:.80}, expected a function that makes a network")
        arguments = self._build_arguments()
        if "n_classes" in signature(self.build).parameters:
            arguments["n_classes"] = k
        if self.random_state is not None:
            arguments["seed"] = int(check_random_state(self.random_state).randint(2**31))
        self.model_ = model = self.build(**arguments)
        if not isinstance(model, Sequential):
            raise ValueError(f"build returned {model!r:.80}, expected a compiled Sequential")
        if not model.built:
            model.build(X.shape[1:])
        if model.output_shape != (k,) and (*model.output_shape, k) != (1, 2):
            shape = model.output_shape
            raise ValueError(f"build: network with output {shape}, expected {k} units for y")
        history = model.fit(
            self._images(X), labels_for(model, numbers), batch_size=self.batch_size,
            epochs=self.epochs, validation_split=self.validation_split, verbose=self.verbose,
            callbacks=deepcopy(self.callbacks), sample_weight=sample_weight,
        )  # fmt: skip
        self.history_ = history.history
        return self

    def predict_proba(self, X: Any) -> Array:
        """The probabilities (N,K) of the classes, in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, allow_nd=True, reset=False)
        p = self.model_.predict(self._images(X))
        return p if p.shape[1] > 1 else np.hstack([1 - p, p])

    def predict(self, X: Any) -> Array:
        """The most probable class (N,) of each sample, one of `classes_`."""
        p = self.predict_proba(X)
        return self.classes_[p.argmax(axis=1)]

    def _build_arguments(self) -> dict[str, Any]:
        """The arguments of `build` that are set or have a default."""
        known = signature(self.build).parameters if callable(self.build) else {}
        values = {name: vars(self).get(name, each.default) for name, each in known.items()}
        for name in ("n_classes", "seed"):
            values.pop(name, None)
        return {name: value for name, value in values.items() if value is not Parameter.empty}

    def _images(self, X: Array) -> Array:
        """X in the shape of the network's input; floats, but for uint8."""
        X = X if X.dtype == np.uint8 else X.astype(self.model_.dtype)
        shape = self.model_.input_shape
        return X.reshape(len(X), *shape) if X.shape[1:] == (prod(shape),) else X
