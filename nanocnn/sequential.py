"""Sequential: a model that is a chain of layers. Words and meanings are Keras's."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from . import storage, training
from .arrays import Array
from .callbacks import Callback
from .chain import Chain
from .checks import whole
from .configs import described
from .data.batches import as_images, batches, take
from .errors import ModelFileError, NonFiniteError
from .history import History, Progress
from .layers import Layer, layer_from_config
from .losses import Loss, get_loss
from .memory import Memory
from .metrics import METRICS, Metric, get_metrics
from .optimizers import Optimizer, get_optimizer
from .plan import Plan, describe, make_plan
from .storage.snapshot import Snapshot
from .threads import single_threaded_blas
from .trace import Trace, record

PREDICT_BATCH = 128  # large enough for the kernels, small enough for the cache


class Sequential(Chain):
    """A chain of layers, trained by `fit`.

    `layers`: the first is an `Input`, or the input's shape is taken from the first data. `seed`
    decides everything random: initial weights, shuffling and dropout. `dtype`: "float32" or
    "float64". `kernels`: "fast" (numba) or "reference" (NumPy); equal up to rounding.
    """

    def __init__(
        self,
        layers: Sequence[Layer] = (),
        seed: int = 0,
        dtype: str = "float32",
        kernels: str = "fast",
        name: str = "sequential",
    ) -> None:
        self.optimizer: Optimizer
        self.loss: Loss
        self.metrics: dict[str, Metric] = {}
        self.history: History | None = None
        self.progress: dict[str, Any] = {}  # epoch, history and callbacks, to resume from
        self.stop_training = False
        self._compiled = False
        self._training = threading.Lock()
        self._memory: Memory | None = None
        self._spare: list[Memory] = []
        super().__init__(layers, seed, dtype, kernels, name)

    def compile(
        self,
        optimizer: str | Optimizer | dict[str, Any] = "rmsprop",
        loss: str | Loss | dict[str, Any] | None = None,
        metrics: str | list[str | Metric] | None = None,
    ) -> None:
        """Choose the optimizer, the loss and what is measured; then `fit` can run.

        Names or objects: "adam", "sparse_categorical_crossentropy", ["accuracy"].
        """
        if loss is None:
            raise ValueError("compile: loss=None, expected a loss such as 'mse'")
        self.optimizer, self.loss = get_optimizer(optimizer), get_loss(loss)
        self.metrics = get_metrics(metrics)
        self._compiled = True
        if self.built:
            self._layers_changed()

    # --- Training and using ---

    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int = 32,
        epochs: int = 1,
        validation_data: Sequence[Any] | None = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        callbacks: Sequence[Callback] | None = None,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        verbose: int | str = "auto",
    ) -> History:
        """Train for epochs `initial_epoch` to `epochs`; returns their `History`.

        x (N, *input_shape): uint8 is scaled by 1/255, (N,H,W) gains its channel axis, floats are
        taken as they are. y: what the loss expects. `validation_split` takes the last part of
        the data, before shuffling. Reported training numbers are means over the epoch, measured
        while the weights move. Raises ValueErrors before any work when the data is not right, and
        `NonFiniteError` (epoch, batch and layer named) when the loss becomes NaN or infinite.
        """
        self._ready(x)
        return training.fit(
            self, x, y, batch_size, epochs, validation_data, validation_split, shuffle,
            callbacks or (), class_weight, sample_weight, initial_epoch, verbose,
        )  # fmt: skip

    def train_on_batch(
        self, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None
    ) -> list[float] | float:
        """One update from one batch: its loss before the update, then the metrics."""
        self._ready(x)
        data = training.checked(self, x, y, sample_weight)
        data = training.class_weighted(self, data, class_weight)
        means = training.Means(self)
        with self.training_memory(len(data.x)) as memory:
            images = take(data.x, slice(None), self.dtype)
            means.add(*training.step(self, images, data.labels, data.weight, memory))
        return _as_keras(means.result())

    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int = PREDICT_BATCH,
        sample_weight: Any = None,
        verbose: int | str = 0,
    ) -> Any:
        """[loss, metric, ...] over a data set; the loss alone when there are no metrics."""
        self._ready(x)
        data = training.checked(self, x, y, sample_weight)
        progress = Progress(verbose, 1, 1)
        progress.begin("Evaluation", len(data.x))
        logs = training.evaluate(self, data, whole(batch_size, "batch_size"), progress)
        progress.end(logs)
        return _as_keras(logs)

    def predict(self, x: Any, batch_size: int | None = None) -> Array:
        """The model's output for x (N, *input_shape): (N, *output_shape), a new array.

        May be called by any number of threads at once. Raises `NonFiniteError`, the layer named,
        when numbers overflow on the way.
        """
        self._build_for(x)
        images = as_images(x, self.input_shape, self.dtype)
        size = PREDICT_BATCH if batch_size is None else batch_size
        result = np.empty((len(images), *self.output_shape), self.dtype)
        with self.borrowed_memory() as memory:
            for part in batches(len(images), size):
                batch = take(images, part, self.dtype)
                result[part] = y = self.plan_.predict(batch, memory)
                if not np.isfinite(y).all():
                    with np.errstate(all="ignore"):
                        where = training.first_non_finite(self, batch)
                    raise NonFiniteError(f"predict: NaN or infinity, first seen in {where}")
        return result

    # --- Looking inside ---

    def plan(self, batch_size: int = 128) -> str:
        """The stages this model runs in, as a table: kernel chosen, shapes, FLOPs, memory."""
        self._require_built()
        return describe(self.plan_, self._memory, batch_size)

    def trace(self, x: Any, y: Any, training: bool = True) -> Trace:
        """Every number of one forward and backward pass, by layer: see `nanocnn.trace.Trace`."""
        self._ready(x)
        return record(self, x, y, training)

    # --- Files ---

    def snapshot(self) -> Snapshot:
        """Everything a saved file holds."""
        self._require_built()
        weights = {name: array.copy() for name, array in self.weights.items()}
        state = self.optimizer.get_state() if self._compiled else {}
        snapshot = Snapshot(self.get_config(), weights, self._compile_config(), state)
        snapshot.set_progress({**self.progress, "random_state": self.rng.bit_generator.state})
        return snapshot

    def _compile_config(self) -> dict[str, Any] | None:
        if not self._compiled:
            return None
        return {
            "optimizer": described(self.optimizer),
            "loss": described(self.loss),
            "metrics": [name for name in self.metrics if name in METRICS],
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled (for other processes) as what a saved file would hold."""
        return type(self).from_snapshot, (self.snapshot(), self.kernel_set)

    def save(self, path: str | Path) -> None:
        """Save the whole model: .npz (ours, resumable), .h5 or .keras (what Keras opens).

        The file is written beside `path` and moved into place: an interruption leaves the old file
        or the new one.
        """
        storage.save(self.snapshot(), path)

    def check_path(self, path: str | Path) -> None:
        """Raise, before any work, what `save` would: ValueError for a path without the ending of a
        model file, TypeError for a layer or loss of one's own that cannot be described.
        """
        storage.check_path(path)
        self.get_config()
        self._compile_config()

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, kernels: str = "fast") -> "Sequential":
        """The model that `snapshot` returned: built, compiled, and ready to go on."""
        config = snapshot.config
        layers = [
            layer_from_config(each["class_name"], each["config"]) for each in config["layers"]
        ]
        model = cls(layers, config.get("seed", 0), config["dtype"], kernels, config["name"])
        model.set_weights(list(snapshot.weights.values()))
        if snapshot.compile_config is not None:
            model.compile(**snapshot.compile_config)
            model.optimizer.set_state(snapshot.optimizer)
        model.progress = snapshot.get_progress()
        if random_state := model.progress.pop("random_state", None):
            model.rng.bit_generator.state = random_state
        return model

    # --- Memory and readiness ---

    @contextmanager
    def training_memory(self, batch: int) -> Iterator[Memory]:
        """The memory of training passes of `batch` samples; one training at a time can have it."""
        if not self._training.acquire(blocking=False):
            raise RuntimeError(f"model {self.name!r} is being trained by another thread")
        ahead = getattr(self.kernels, "ahead", None)
        try:
            if self._memory is None:
                self._memory = self.plan_.memory()
                if ahead:
                    with suppress(Exception):  # what has no config is compiled when it is called
                        what = {"config": self.get_config(), "compile": self._compile_config()}
                        ahead.step = json.dumps({**what, "batch": batch})
            with self._same_bits():
                yield self._memory
        finally:
            if ahead:
                ahead.step = None
            self._training.release()

    @contextmanager
    def borrowed_memory(self) -> Iterator[Memory]:
        """A memory for inference that no other thread has at the same time."""
        spare = self._spare
        try:
            memory = spare.pop()
        except IndexError:
            memory = self.plan_.memory()
        try:
            with self._same_bits():
                yield memory
        finally:
            spare.append(memory)

    def _same_bits(self) -> AbstractContextManager[None]:
        """BLAS, which the reference kernels use, gives other bits with other numbers of threads."""
        return single_threaded_blas() if self.kernel_set == "reference" else nullcontext()

    def _layers_changed(self) -> None:
        leave = self._compiled and self.loss.takes_softmax
        leave = leave and not getattr(self.loss, "from_logits", False)
        self.plan_: Plan = make_plan(self.layers, self.kernels, self.dtype, leave)
        self._memory, self._spare = None, []

    def _ready(self, x: Any) -> None:
        if not self._compiled:
            raise RuntimeError("call model.compile(optimizer, loss) first")
        self._build_for(x)


def load_model(path: str | Path, kernels: str = "fast", compile: bool = True) -> Sequential:
    """The model saved at `path`: by nanocnn (.npz, .h5, .keras) or by Keras (.h5, .keras).

    `compile` False leaves out optimizer, loss and metrics, which may be unknown here.
    Raises `ModelFileError` for a file that is not a model.
    """
    snapshot = storage.load(path, compile)
    try:
        return Sequential.from_snapshot(snapshot, kernels)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: not a model nanocnn can build: {error}") from error


def _as_keras(logs: dict[str, float]) -> list[float] | float:
    values = list(logs.values())
    return values if len(values) > 1 else values[0]
