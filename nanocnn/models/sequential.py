"""Sequential: a model that is a chain of layers, also from files and JSON. As in Keras."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import storage
from ..common.config import checked_config, serialize
from ..common.errors import ModelFileError
from ..common.terminal import say
from ..common.validate import can_pickle, flag, integer
from ..jit.capture import never_captured
from ..kernels import get_kernels
from ..layers import layers_from_config
from ..optimizers import OPTIMIZERS
from ..storage.snapshot import Snapshot
from .drawing import network
from .measure import custom_metrics, warn_not_stored
from .plan import describe
from .record import record
from .summary import summary
from .trainer import Trainer
from .worked_example import Trace


class Sequential(Trainer):
    """A linear stack of layers, trained by `fit`.

    `layers`: the first is an `Input`; without one the input shape is that of the first data. `seed`
    determines initial weights, shuffling and dropout; None: that of `utils.set_random_seed`, or 0.
    `dtype`: "float32" or "float64". `kernels`: "fast" (numba) or "reference" (NumPy), which give
    equal results up to rounding. `scale_uint8`:
    uint8 input is scaled by 1/255, floats are used unchanged, and other integers raise an error
    (convert them by `x.astype("uint8")` or `x.astype("float32")`); False uses all numbers
    unchanged, as Keras does.
    """

    # --- Looks inside ---

    def summary(
        self, line_length: int | None = None, positions: Any = None,
        print_fn: Callable[[str], Any] | None = None, expand_nested: bool = False,
        show_trainable: bool = False, layer_range: None = None,
    ) -> None:  # fmt: skip
        """Print the layers, their output shapes and their numbers of weights, as Keras does.

        `line_length`: the least one, of the table. `print_fn`: gets the text instead. `positions`
        and `expand_nested` have no effect here, and `layer_range` must be None: all layers.
        """
        width = 0 if line_length is None else integer(line_length, "line_length")
        if not (print_fn is None or callable(print_fn)):
            raise ValueError(f"print_fn={print_fn!r:.80}, expected a function of the text")
        if layer_range is not None:
            raise ValueError(f"layer_range={layer_range!r:.80}, expected None: all layers")
        (print_fn or say)(summary(self, width, flag(show_trainable, "show_trainable")))

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

    def plot(self, path: str | Path | None = None) -> Any:
        """A drawing of the layers as a matplotlib Figure: see `nanocnn.plots.network`."""
        return network(self, path)

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
        storage.refuse_custom(self.custom_layers())  # a config of theirs may fail
        snapshot = self.snapshot()
        if not flag(include_optimizer, "include_optimizer"):
            snapshot = replace(snapshot, compile_config=None, optimizer={})
        storage.save(snapshot, filepath, overwrite)
        warn_not_stored(custom_metrics(self.metrics), self._unsaved, "a file")

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
        _refuse_custom_objects(custom_objects)
        model = {"class_name": "Sequential", "config": checked_config(config, cls.__name__)}
        return cls.from_snapshot(storage.from_config(model))

    def check_path(self, filepath: str | Path, *, weights: bool = False) -> None:
        """Raise what `save` would raise, before any work and without touching the disk.

        ValueError for `filepath` or a custom layer, TypeError for a custom loss, MissingExtraError.
        `weights`: what `save_weights` would raise.
        """
        if flag(weights, "weights"):
            return storage.check(self._weights_alone(), filepath, weights=True)
        storage.refuse_custom(self.custom_layers())  # a config of theirs may fail
        storage.check(self.snapshot(), filepath)
        warn_not_stored(custom_metrics(self.metrics), self._unsaved, "a file")

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, kernels: str = "fast") -> "Sequential":
        """The model of a `snapshot`: built, compiled, and ready to resume."""
        config = snapshot.config
        model = cls(
            layers_from_config(config["layers"], snapshot.custom_layers), name=config["name"],
            seed=config.get("seed", 0), dtype=config["dtype"], kernels=kernels,
            scale_uint8=config.get("scale_uint8", True),
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


def load_model(
    filepath: str | Path,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    *,
    kernels: str = "fast",
) -> Sequential:
    """The model saved at `filepath`: by nanocnn (.npz, .h5, .keras) or by Keras (.h5, .keras).

    A file that Keras wrote gives a model with `scale_uint8=False`: uint8 pixels are taken as 0 to
    255, as Keras takes them, and not divided by 255 (see `Sequential`). Inner models become part of
    the chain. `mixed_float16` is computed in float32.
    A model that nanocnn cannot train as it is (its optimizer, loss, metrics, constraints, or
    regularizers other than L2) is opened to predict, which a warning says: it is not compiled.
    `compile=False` ignores all these. `safe_mode` has no effect: no code in a file is ever run.
    Raises `ModelFileError` for a file that is not a model, ValueError for what is not a path,
    `OSError` for a path that cannot be opened.
    """
    get_kernels(kernels)  # before the file is read: its errors do not blame the file
    _refuse_custom_objects(custom_objects)
    flag(safe_mode, "safe_mode")
    snapshot = storage.load(filepath, compile)
    try:
        return Sequential.from_snapshot(snapshot, kernels)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise ModelFileError(f"{filepath}: not a model nanocnn can build: {error}") from error


def model_from_json(
    json_string: str, custom_objects: dict[str, Any] | None = None, *, kernels: str = "fast"
) -> Sequential:
    """A new model, with new weights, of the JSON that `to_json` returns, also Keras's.

    Like Keras, it is compiled if the other one was. Raises `ModelFileError`, a ValueError.
    """
    _refuse_custom_objects(custom_objects)
    if not isinstance(json_string, (str, bytes)):
        raise ValueError(f"json_string={json_string!r:.80}, expected JSON text")
    snapshot = storage.from_config(storage.parse_json(json_string, "json_string"))
    return Sequential.from_snapshot(snapshot, kernels)


def _refuse_custom_objects(custom_objects: Any) -> None:
    if custom_objects is not None and not (isinstance(custom_objects, dict) and not custom_objects):
        raise ValueError(
            f"custom_objects={custom_objects!r:.80}, expected None: model files have no custom "
            "layers here; for a loss or metric of your own, compile() the opened model"
        )
