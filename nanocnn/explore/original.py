"""A model as it was at one time, of which copies can be made."""

from copy import deepcopy

from ..models.sequential import Sequential
from ..storage.snapshot import Snapshot


class Original:
    """All of `model` now. Unlike `copy.deepcopy` it takes losses that are functions, too.

    Copies share the loss and the metrics, which keep nothing. RuntimeError for a model without
    weights.
    """

    def __init__(self, model: Sequential) -> None:
        model._require_built()
        self._class, self._kernels = type(model), model.kernel_set
        config = {**model.get_config(), "unit_range": model.unit_range}
        weights = {name: array.copy() for name, array in model.weights.items()}
        self._snapshot = Snapshot(config, weights, custom_layers=model.custom_layers())
        self._snapshot.set_progress(
            {**model.progress, "random_state": model.rng.bit_generator.state}
        )
        self._compiled = model._compiled
        if self._compiled:
            self._optimizer, self._loss = deepcopy(model.optimizer), model.loss
            self._metrics = dict(model.metrics)

    def copy(self) -> Sequential:
        """A model of its own with the same weights, optimizer, loss, metrics and random state."""
        model = self._class.from_snapshot(self._snapshot, self._kernels)
        if self._compiled:
            model.compile(deepcopy(self._optimizer), self._loss)
            model.metrics = dict(self._metrics)
        return model
