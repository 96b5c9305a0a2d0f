"""Sequential: a model that is a chain of layers. Words and meanings are Keras's."""

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import storage
from ..callbacks import Callback, CallbackList
from ..common.arrays import Array
from ..common.config import checked_config, serialize
from ..common.errors import NonFiniteError
from ..common.tables import sizes, table
from ..common.terminal import say
from ..common.validate import can_pickle, flag, integer, verbosity
from ..data.batches import batches, take
from ..jit.capture import never_captured
from ..layers import Layer, layers_from_config
from ..metrics import custom_metrics, warn_not_stored
from ..optimizers import OPTIMIZERS
from ..storage.snapshot import Snapshot
from .evaluator import INFERENCE_BATCH
from .history import Progress
from .inference import inference
from .plan import describe
from .record import record
from .structure import UNIT_RANGE
from .trainer import Trainer
from .worked_example import Trace


class Sequential(Trainer):
    """A linear stack of layers, trained by `fit`.

    `layers`: the first is an `Input`; without one the input shape is that of the first data. `seed`
    determines initial weights, shuffling and dropout. `dtype`: "float32" or "float64". `kernels`:
    "fast" (numba) or "reference" (NumPy), which give equal results up to rounding. `scale_uint8`:
    uint8 input is scaled by 1/255, floats are used unchanged, and other integers raise an error
    (convert them by `x.astype("uint8")` or `x.astype("float32")`); False uses all numbers
    unchanged, as Keras does.
    """

    def __init__(
        self,
        layers: Sequence[Layer] = (),
        seed: int = 0,
        dtype: str = "float32",
        kernels: str = "fast",
        name: str = "sequential",
        scale_uint8: bool = True,
    ) -> None:
        self._unsaved: set[str] = set()  # metrics that a warning said are not saved
        super().__init__(layers, seed, dtype, kernels, name, scale_uint8)

    @never_captured
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = 0,
        *,
        callbacks: Callback | Sequence[Callback] | None = None,
    ) -> Array:
        """The model's output for x (N, *input_shape): (N, *output_shape), a new array.

        As in `fit`, uint8 is scaled by 1/255 and floats are taken as they are. A model trained on
        values within 1.5 warns once when it is given larger ones, and one trained on larger ones
        when it is given uint8. May be called by any number of threads at once. Of `callbacks` the
        `on_predict_` methods are called. Raises `NonFiniteError`, the layer named, when numbers
        overflow on the way.
        """
        verbosity(verbose)
        size = INFERENCE_BATCH if batch_size is None else integer(batch_size, "batch_size")
        if not verbose and callbacks is None:
            result = self._predict_at_once(x, size)
            if result is not None:
                return result
        self._build_for(x)
        images = self._images(x)
        callback_list = (
            None if callbacks is None else CallbackList(callbacks, self, len(images), size)
        )
        progress = Progress(verbose)
        result = np.empty((len(images), *self.output_shape), self.dtype)
        progress.begin("Prediction", len(images))
        if callback_list:
            callback_list.call("on_predict_begin", {})
        with self.borrowed_memory() as memory, progress:
            for number, index in enumerate(batches(len(images), size)):
                if callback_list:
                    callback_list.call("on_predict_batch_begin", number, {})
                n = len(result[index])
                found = inference(self.execution_plan, n, memory)
                take(images, index, self.dtype, found.x)
                found.run()
                result[index] = found.y
                if not found.is_finite():
                    raise NonFiniteError(
                        f"predict: NaN or infinity, first seen in {self._first_nonfinite(found.x)}"
                    )
                progress.update(n, {})
                if callback_list:
                    outputs = {"outputs": found.y.copy()}
                    callback_list.call("on_predict_batch_end", number, outputs)
            progress.end({})
        if callback_list:
            callback_list.call("on_predict_end", {})
        return result

    def _predict_at_once(self, x: Any, size: int) -> Array | None:
        """`predict` of one batch, of the model's own type and shape, whose checks are kernels.

        None if it is another, or if there is something to say of it.
        """
        if not (self.built and type(x) is np.ndarray and x.dtype == self.dtype and x.ndim):
            return None
        if x.shape[1:] != self.input_shape or self.layers != self._built_layers:
            return None
        if not 0 < len(x) <= size:
            return None
        memory, spare = self._borrow()  # `borrowed_memory` would take a microsecond more
        try:
            found = inference(self._plan, len(x), memory)
            if not found.is_captured:
                return None
            np.copyto(found.x, x)
            found.run()
            if not found.is_finite() or (self.unit_range and found.largest[0] > UNIT_RANGE):
                return None
            return found.y.copy()
        finally:
            spare.append(memory)

    # --- Looks inside ---

    def summary(self) -> None:
        """Print the layers, their output shapes and their numbers of weights."""
        rows = [("Layer (type)", "Output shape", "Params")]
        for layer in self.layers:
            shape = ("N", *layer.output_shape) if layer.built else ("?",)
            kind = f"{layer.name} ({type(layer).__name__})"
            rows.append((kind, f"({sizes(shape)})", f"{layer.count_params():,}"))
        say(f'Model "{self.name}" ({self.dtype}, {self.kernel_set} kernels)')
        say(table(rows, right=1))
        total = self.count_params()
        trained = sum(
            param.size for layer in self.layers if layer.trainable
            for param in layer.params.values()
        )  # fmt: skip
        say(f"Total: {total:,} weights ({trained:,} trained), "
            f"{total * self.dtype.itemsize / 2**20:.2f} MiB")  # fmt: skip

    def plan(self, batch_size: int = 128) -> str:
        """The stages this model runs in, as a table: kernel chosen, shapes, FLOPs, memory."""
        self._require_built()
        return describe(self.execution_plan, self._memory, integer(batch_size, "batch_size"))

    @never_captured
    def trace(self, x: Any, y: Any, training: bool = True) -> Trace:
        """Every number of one forward and backward pass, by layer: see `nanocnn.trace.Trace`.

        x (N, *input_shape), y as for `fit`. Raises ValueErrors for data that does not fit.
        """
        return record(self, x, y, training)

    # --- Files ---

    def snapshot(self) -> Snapshot:
        """Everything that a saved file contains."""
        self._require_built()
        weights = {name: array.copy() for name, array in self.weights.items()}
        state = self.optimizer.get_state() if self._compiled else {}
        config = {**self.get_config(), "unit_range": self.unit_range}
        snapshot = Snapshot(config, weights, self._compile_config(), state)
        snapshot.set_progress({**self.progress, "random_state": self.rng.bit_generator.state})
        snapshot.metrics, snapshot.custom_layers = dict(self.metrics), self.custom_layers()
        return snapshot

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the snapshot, with the metrics that can be pickled."""
        snapshot = self.snapshot()
        snapshot.metrics = {name: each for name, each in self.metrics.items() if can_pickle(each)}
        warn_not_stored(self.metrics.keys() - snapshot.metrics.keys(), self._unsaved, "a pickle")
        return type(self).from_snapshot, (snapshot, self.kernel_set)

    def __copy__(self) -> "Sequential":
        return type(self).from_snapshot(self.snapshot(), self.kernel_set)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Sequential":
        return type(self).from_snapshot(deepcopy(self.snapshot(), memo), self.kernel_set)

    def save(
        self, filepath: str | Path, overwrite: bool = True, *, include_optimizer: bool = True
    ) -> None:
        """Save the whole model: .npz (training can resume), .h5 or .keras (Keras opens them).

        The file is written beside `filepath` and moved into place: an interruption leaves the old
        file or the new one. `overwrite` False: FileExistsError if there is one.
        `include_optimizer` False: as a model that is not compiled. Custom metrics are left out with
        a warning; custom layers are a ValueError.
        """
        storage.refuse_custom(self.custom_layers())
        warn_not_stored(custom_metrics(self.metrics), self._unsaved, "a file")
        snapshot = self.snapshot()
        if not flag(include_optimizer, "include_optimizer"):
            snapshot = replace(snapshot, compile_config=None, optimizer={})
        storage.save(snapshot, filepath, overwrite)

    def save_weights(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Save the weights: .weights.h5, which Keras opens, with the optimizer's state, or .npz.

        The file is written as by `save`. A `.weights.h5` may have those of custom layers.
        """
        storage.save(self._weights_alone(), filepath, overwrite, weights=True)

    def load_weights(self, filepath: str | Path, skip_mismatch: bool = False) -> None:
        """Set the weights from a file of weights, or of a whole model, of nanocnn's or Keras's.

        A `.weights.h5` or `.keras` has its layers by class and number, as in Keras; those of other
        files are matched in order. As in Keras, the optimizer's state is set too if the file has it
        and this optimizer has made a step. Raises `ModelFileError` naming the layer, its shapes and
        those expected, before any weight changes; with `skip_mismatch` a warning names such layers,
        which keep their weights.
        """
        mine = self._weights_alone()
        if not mine.optimizer.get("iteration"):
            mine.compile_config = None
        found = storage.load_weights(filepath, mine, skip_mismatch)
        self.set_weights([found.weights.get(name, old) for name, old in mine.weights.items()])
        if found.optimizer:
            self.optimizer.set_state(found.optimizer)
            rate = found.progress.get("learning_rate", -1)
            if 0 <= rate <= 1e30 and isinstance(self.optimizer.learning_rate, float):
                self.optimizer.learning_rate = rate

    def _weights_alone(self) -> Snapshot:
        """What a file of weights contains, without copies."""
        self._require_built()
        snapshot = Snapshot(self.get_config(), self.weights, custom_layers=self.custom_layers())
        if self._compiled and type(self.optimizer) in OPTIMIZERS.values():
            snapshot.compile_config = {"optimizer": serialize(self.optimizer)}
            snapshot.optimizer = self.optimizer.get_state()
        return snapshot

    def to_json(self, **kwargs: Any) -> str:
        """The model's structure, and how it was compiled, as Keras's JSON.

        For `model_from_json`, also Keras's; `kwargs` go to `json.dumps`. Raises ValueError for
        custom layers.
        """
        return json.dumps(storage.model_config(storage.checked(self.snapshot())), **kwargs)

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "Sequential":
        """A new model, with new weights, of the result of `get_config`, also Keras's.

        Raises `ModelFileError`, a ValueError, for layers or arguments that nanocnn does not have.
        """
        refuse_custom_objects(custom_objects)
        model = {"class_name": "Sequential", "config": checked_config(config, cls.__name__)}
        return cls.from_snapshot(storage.from_config(model))

    def check_path(self, filepath: str | Path) -> None:
        """Raise what `save` would raise, before any work and without touching the disk.

        ValueError for `filepath` or a custom layer, TypeError for a custom loss, MissingExtraError.
        """
        storage.refuse_custom(self.custom_layers())
        storage.check(self.snapshot(), filepath)
        warn_not_stored(custom_metrics(self.metrics), self._unsaved, "a file")

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, kernels: str = "fast") -> "Sequential":
        """The model of a `snapshot`: built, compiled, and ready to resume."""
        config = snapshot.config
        model = cls(
            layers_from_config(config["layers"], snapshot.custom_layers),
            seed=config.get("seed", 0), dtype=config["dtype"], kernels=kernels,
            name=config["name"], scale_uint8=config.get("scale_uint8", True),
        )  # fmt: skip
        if snapshot.weights:
            model.set_weights(list(snapshot.weights.values()))
        if snapshot.compile_config is not None:
            model.compile(**snapshot.compile_config)
            model.optimizer.set_state(snapshot.optimizer)
            model.metrics = snapshot.metrics or model.metrics
        model.progress = snapshot.get_progress()
        unit_range = config.get("unit_range")
        model.unit_range = None if unit_range is None else flag(unit_range, "unit_range")
        if random_state := model.progress.pop("random_state", None):
            model.rng.bit_generator.state = random_state
        return model


def refuse_custom_objects(custom_objects: Any) -> None:
    if custom_objects is not None and not (isinstance(custom_objects, dict) and not custom_objects):
        raise ValueError(
            f"custom_objects={custom_objects!r:.80}, expected None: model files have no custom "
            "layers here; for a loss or metric of your own, compile() the opened model"
        )
