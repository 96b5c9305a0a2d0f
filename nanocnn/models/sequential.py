"""Sequential: a model that is a chain of layers. Words and meanings are Keras's."""

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from .. import storage
from ..callbacks.callback import Callback, CallbackList
from ..common.arrays import Array
from ..common.config import serialize
from ..common.errors import ModelFileError, warn
from ..common.validate import can_pickle, flag, integer, verbosity
from ..data.batches import take
from ..kernels import get_kernels
from ..kernels.memory import Memory
from ..layers import Layer, layers_from_config
from ..losses import Loss, get_loss
from ..metrics import Means, Metric, custom_metrics, get_metrics, warn_not_stored
from ..optimizers import Optimizer, get_optimizer
from ..storage.snapshot import Snapshot
from . import inputs, trainer
from .history import History, Progress
from .interrupts import FrameLock
from .plan import describe, last_activation, make_plan
from .record import Trace, record
from .structure import Structure

PREDICT_BATCH = 128  # large enough for the kernels, small enough for the cache


class Sequential(Structure):
    """A chain of layers, trained by `fit`.

    `layers`: the first is an `Input`, or the input's shape is taken from the first data. `seed`
    decides everything random: initial weights, shuffling and dropout. `dtype`: "float32" or
    "float64". `kernels`: "fast" (numba) or "reference" (NumPy); equal up to rounding.
    `scale_uint8`: uint8 input is taken as pixels of 0 to 255 and scaled by 1/255, floats are taken
    as they are, and other whole numbers are refused (`x.astype("uint8")` or `x.astype("float32")`
    says what is meant); False takes all numbers as they are, as Keras does.
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
        self.optimizer: Optimizer
        self.loss: Loss
        self.metrics: dict[str, Metric] = {}
        self.history: History | None = None
        self.progress: dict[str, Any] = {}  # epoch, history and callbacks, to resume from
        self.stop_training = self._compiled = False
        self._unsaved: set[str] = set()  # metrics of which was said that files lack them
        self._training = FrameLock()
        self._memory: Memory | None = None
        self._spare: list[Memory] = []
        super().__init__(layers, seed, dtype, kernels, name, scale_uint8)

    def compile(
        self,
        optimizer: str | Optimizer | dict[str, Any] = "rmsprop",
        loss: str | Loss | dict[str, Any] | None = None,
        metrics: str | Metric | list[str | Metric] | None = None,
    ) -> None:
        """Choose the optimizer, the loss and what is measured; then `fit` can run.

        Names or objects: "adam", "sparse_categorical_crossentropy", ["accuracy"]; for functions of
        your own see `nanocnn.metrics`. Raises ValueError for an optimizer of another model.
        """
        if loss is None:
            raise ValueError("compile: loss=None, expected a loss such as 'mse'")
        new_optimizer, new_loss, new_metrics = (
            get_optimizer(optimizer), get_loss(loss), get_metrics(metrics),
        )  # fmt: skip
        new_optimizer.bind(self)
        self.optimizer, self.loss, self.metrics = new_optimizer, new_loss, new_metrics
        self._compiled = True
        if self.built:
            self._layers_changed()

    def build(self, input_shape: tuple[int, ...]) -> None:
        super().build(input_shape)
        self.progress = {}
        self.unit_range, self._range_said = None, False
        if self._compiled:
            self.optimizer.reset()  # the weights that its state belongs to are gone

    # --- Training and using ---

    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        epochs: int = 1,
        validation_data: Sequence[Any] | None = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        callbacks: Callback | Sequence[Callback] | None = None,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        verbose: int | str = "auto",
    ) -> History:
        """Train from epoch `initial_epoch` up to `epochs`; returns the `History`.

        x (N, *input_shape): uint8 is scaled by 1/255, floats are taken as they are, other whole
        numbers are refused (see `Sequential`); (N,H,W) gains its channel axis. y: what the loss
        expects. `validation_split` takes the last part of the data, before shuffling. Reported
        training numbers are means over the epoch, measured while the weights move. `batch_size`
        None is 32. `class_weight`: {class: weight}, of labels, of one-hot targets, or 0 and 1 for
        one output.

        With `initial_epoch` where the model stands (`model.progress["epoch"]`) the training goes on
        as if it had never ended: the callbacks remember, the history holds the earlier epochs too.
        Where nothing is left to train, because all `epochs` are done or `EarlyStopping` had
        stopped, it says so in a warning.

        Raises ValueErrors before any work when an argument is not right, and `NonFiniteError`
        (epoch, batch and layer named) when the loss becomes NaN or infinite.
        """
        self._ready_to_train(x)
        return trainer.fit(
            self, x, y, batch_size, epochs, validation_data, validation_split, shuffle,
            callbacks, class_weight, sample_weight, initial_epoch, verbose,
        )  # fmt: skip

    def train_on_batch(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One update from one batch: its loss before the update, then the metrics, as `evaluate`.

        Arguments and errors as for `fit`.
        """
        flag(return_dict, "return_dict")
        self._ready_to_train(x)
        data = inputs.checked(self, x, y, sample_weight)
        data = inputs.class_weighted(self, data, class_weight)
        self._trained_on(data.x)
        means = Means(self.metrics, self.loss.threshold)
        with self.training_memory(len(data.x)) as memory:
            images = take(data.x, slice(None), self.dtype)
            means.add(*trainer.step(self, images, data.labels, data.weight, memory))
        return _as_keras(means.result(), return_dict)

    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        sample_weight: Any = None,
        verbose: int | str = 0,
        *,
        callbacks: Callback | Sequence[Callback] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """[loss, metric, ...] over a data set; the loss alone when there are no metrics.

        `return_dict` gives {"loss": ..., metric: ...} instead. Of `callbacks` the `on_test_`
        methods are called. Errors as for `fit`.
        """
        flag(return_dict, "return_dict")
        size = PREDICT_BATCH if batch_size is None else integer(batch_size, "batch_size")
        self._ready(x)
        data = inputs.checked(self, x, y, sample_weight)
        progress = Progress(verbose)
        heard = CallbackList(callbacks, self, len(data.x), size)
        with progress:
            logs = trainer.evaluate(self, data, size, heard, progress)
        return _as_keras(logs, return_dict)

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
        values within 1.5 says once, in a UserWarning, that it is given larger ones; one trained on
        larger ones, that it is given uint8.
        May be called by any number of threads at once. Of `callbacks` the `on_predict_` methods
        are called. Raises `NonFiniteError`, the layer named, when numbers overflow on the way.
        """
        verbosity(verbose)
        self._build_for(x)
        images = self._images(x)
        size = PREDICT_BATCH if batch_size is None else integer(batch_size, "batch_size")
        heard = None if callbacks is None else CallbackList(callbacks, self, len(images), size)
        return trainer.predict(self, images, size, heard, Progress(verbose))

    # --- Looking inside ---

    def plan(self, batch_size: int = 128) -> str:
        """The stages this model runs in, as a table: kernel chosen, shapes, FLOPs, memory."""
        self._require_built()
        return describe(self.execution_plan, self._memory, integer(batch_size, "batch_size"))

    def trace(self, x: Any, y: Any, training: bool = True) -> Trace:
        """Every number of one forward and backward pass, by layer: see `nanocnn.trace.Trace`.

        x (N, *input_shape), y as for `fit`. Raises ValueErrors for data that does not fit.
        """
        return record(self, x, y, training)

    # --- Files ---

    def snapshot(self) -> Snapshot:
        """Everything a saved file holds."""
        self._require_built()
        weights = {name: array.copy() for name, array in self.weights.items()}
        state = self.optimizer.get_state() if self._compiled else {}
        config = {**self.get_config(), "unit_range": self.unit_range}
        snapshot = Snapshot(config, weights, self._compile_config(), state)
        snapshot.set_progress({**self.progress, "random_state": self.rng.bit_generator.state})
        snapshot.metrics, snapshot.custom_layers = dict(self.metrics), self.custom_layers()
        return snapshot

    def _compile_config(self) -> dict[str, Any] | None:
        if not self._compiled:
            return None
        return {
            "optimizer": serialize(self.optimizer),
            "loss": serialize(self.loss),
            "metrics": [name for name in self.metrics if name not in custom_metrics(self.metrics)],
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled (for other processes) as what a saved file would hold, and its metrics."""
        snapshot = self.snapshot()
        snapshot.metrics = {name: each for name, each in self.metrics.items() if can_pickle(each)}
        warn_not_stored(self.metrics.keys() - snapshot.metrics.keys(), self._unsaved, "a pickle")
        return type(self).from_snapshot, (snapshot, self.kernel_set)

    def __copy__(self) -> "Sequential":
        return type(self).from_snapshot(self.snapshot(), self.kernel_set)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Sequential":
        return type(self).from_snapshot(deepcopy(self.snapshot(), memo), self.kernel_set)

    def save(self, path: str | Path) -> None:
        """Save the whole model: .npz (ours, resumable), .h5 or .keras (what Keras opens).

        The file is written beside `path` and moved into place: an interruption leaves the old file
        or the new one. Metrics of your own are left out with a warning, layers are a ValueError.
        """
        storage.refuse_custom(self.custom_layers())
        warn_not_stored(custom_metrics(self.metrics), self._unsaved, "a file")
        storage.save(self.snapshot(), path)

    def check_path(self, path: str | Path) -> None:
        """Raise, before any work and without touching the disk, what `save` would: ValueError for
        the path or a layer of one's own, TypeError for a loss of one's own, MissingExtraError.
        """
        storage.refuse_custom(self.custom_layers())
        storage.check(self.snapshot(), path)
        warn_not_stored(custom_metrics(self.metrics), self._unsaved, "a file")

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, kernels: str = "fast") -> "Sequential":
        """The model that `snapshot` returned: built, compiled, and ready to go on."""
        config = snapshot.config
        model = cls(
            layers_from_config(config["layers"], snapshot.custom_layers), config.get("seed", 0),
            config["dtype"], kernels, config["name"], config.get("scale_uint8", True),
        )  # fmt: skip
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

    # --- Memory and readiness ---

    @contextmanager
    def training_memory(self, batch: int) -> Iterator[Memory]:
        """The memory of training passes of `batch` samples; one training at a time can have it."""
        frame = sys._getframe(2)  # of the function that has this in a `with` statement
        holder = self._training.acquire(frame)
        if holder is not None:
            who = "this" if holder == threading.get_ident() else "another"
            raise RuntimeError(f"model {self.name!r} is being trained by {who} thread")
        precompile = getattr(self.kernels, "precompile", None)
        try:
            if self._memory is None:
                self._memory = self.execution_plan.memory()
                if precompile and not self.custom_layers():
                    with suppress(Exception):  # what has no config is compiled when it is called
                        what = {"config": self.get_config(), "compile": self._compile_config()}
                        precompile.step = json.dumps({**what, "batch": batch})
            yield self._memory
        finally:
            if precompile:
                precompile.step = None
            self._training.release(frame)

    @contextmanager
    def borrowed_memory(self) -> Iterator[Memory]:
        """A memory for inference that no other thread has at the same time."""
        spare = self._spare
        try:
            memory = spare.pop()
        except IndexError:
            memory = self.execution_plan.memory()
        try:
            yield memory
        finally:
            spare.append(memory)

    def _layers_changed(self) -> None:
        leave = ""
        if self._compiled:
            if text := self.loss.check_activation(last_activation(self.layers), self.output_shape):
                warn(f"model {self.name!r}: {text}")
            if not getattr(self.loss, "from_logits", False):
                leave = self.loss.output_activation
        self._plan = make_plan(self.layers, self.kernels, self.dtype, leave)
        self._memory, self._spare = None, []

    def _ready(self, x: Any) -> None:
        if not self._compiled:
            raise RuntimeError("call model.compile(optimizer, loss) first")
        self._build_for(x)

    def _ready_to_train(self, x: Any) -> None:
        self._ready(x)
        self.execution_plan.require_backward()
        self.optimizer.bind(self)


def load_model(path: str | Path, kernels: str = "fast", compile: bool = True) -> Sequential:
    """The model saved at `path`: by nanocnn (.npz, .h5, .keras) or by Keras (.h5, .keras).

    A file that Keras wrote gives a model of `scale_uint8=False`: uint8 pixels are taken as 0 to 255
    then, as Keras takes them, and not divided by 255 (see `Sequential`).
    `compile` False leaves out optimizer, loss and metrics, which may be unknown here, and of the
    layers what only training uses and nanocnn lacks: constraints, other regularizers than L2.
    Raises `ModelFileError` for a file that is not a model, ValueError for what is no path,
    `OSError` for a path that cannot be opened.
    """
    get_kernels(kernels)  # an error of theirs is not the file's
    snapshot = storage.load(path, compile)
    try:
        return Sequential.from_snapshot(snapshot, kernels)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: not a model nanocnn can build: {error}") from error


def _as_keras(logs: dict[str, float], as_dict: bool) -> Any:
    if as_dict:
        return logs
    values = list(logs.values())
    return values if len(values) > 1 else values[0]
