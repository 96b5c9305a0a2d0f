"""Sequential: a model that is a chain of layers. Words and meanings are Keras's."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import storage, training
from .callbacks import Callback
from .data.batches import as_images, batches, positive, take
from .errors import ModelFileError, ShapeError
from .history import History, Progress
from .kernels import KERNEL_SETS, get_kernels
from .layers import Dense, Input, Layer, layer_from_config, make_names_unique
from .losses import Loss, get_loss
from .memory import Memory
from .metrics import METRICS, Metric, get_metrics
from .optimizers import Optimizer, get_optimizer
from .plan import Plan, describe, make_plan
from .storage.snapshot import Snapshot
from .trace import Trace, record

Array = NDArray[Any]
PREDICT_BATCH = 128  # large enough for the kernels, small enough for the cache


class Sequential:
    """A chain of layers, trained by `fit`.

    `layers`: the first is an `Input`, or the input's shape is taken from the first data. `seed`
    decides everything random: initial weights, shuffling and dropout. `dtype`: "float32" or
    "float64". `kernels`: "fast" (numba) or "reference" (NumPy); the results are the same.
    """

    def __init__(
        self,
        layers: Sequence[Layer] = (),
        seed: int = 0,
        dtype: str = "float32",
        kernels: str = "fast",
        name: str = "sequential",
    ) -> None:
        if str(dtype) not in ("float32", "float64"):
            raise ValueError(f"dtype={dtype!r}, expected 'float32' or 'float64'")
        self.name, self.seed = name, seed
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.kernel_set = kernels
        if kernels not in KERNEL_SETS:
            get_kernels(kernels)  # says which are known
        self.layers: list[Layer] = []
        self.built = False
        self.rng = np.random.default_rng(seed)
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
        for layer in layers:
            self._append(layer)
        if self.layers and isinstance(self.layers[0], Input):
            self.build(self.layers[0].shape)

    # --- Structure ---

    def add(self, layer: Layer) -> None:
        """Append a layer. The model is built anew, with new weights."""
        self._append(layer)
        if isinstance(self.layers[0], Input):
            self.build(self.layers[0].shape)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make all weights for inputs of `input_shape`, without the batch axis: (28, 28, 1).

        Raises `ShapeError` when a layer does not fit onto the one before it.
        """
        if not any(not isinstance(layer, Input) for layer in self.layers):
            if not self.layers:
                raise ValueError("a model without layers: give Sequential a list of layers")
            self._compiled = False
            self.input_shape = self.output_shape = tuple(input_shape)
            return
        if not isinstance(self.layers[0], Input):
            self.layers.insert(0, Input(tuple(input_shape)))
        make_names_unique(self.layers)
        self.rng = np.random.default_rng(self.seed)
        self.kernels: ModuleType = get_kernels(self.kernel_set)
        shape = self.input_shape = tuple(input_shape)
        for layer in self.layers:
            shape = layer.build(shape, self.rng, self.dtype, self.kernels)
            layer.rng = self.rng  # one stream of random numbers for the whole model
        self.output_shape = shape
        self.built = True
        self._make_plan()

    def compile(
        self,
        optimizer: str | Optimizer | dict[str, Any] = "rmsprop",
        loss: str | Loss | dict[str, Any] | None = None,
        metrics: list[str | Metric] | None = None,
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
            self._make_plan()

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
        callbacks: Sequence[Callback] = (),
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
            list(callbacks), class_weight, sample_weight, initial_epoch, verbose,
        )  # fmt: skip

    def train_on_batch(
        self, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None
    ) -> list[float] | float:
        """One update from one batch: its loss before the update, then the metrics."""
        self._ready(x)
        data = training.checked(self, x, y, sample_weight, class_weight)
        means = training.Means(self)
        with self.training_memory() as memory:
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
        logs = training.evaluate(self, data, positive(batch_size, "batch_size"), progress)
        progress.end(logs)
        return _as_keras(logs)

    def predict(self, x: Any, batch_size: int | None = None) -> Array:
        """The model's output for x (N, *input_shape): (N, *output_shape), a new array.

        May be called by any number of threads at once.
        """
        self._build_for(x)
        images = as_images(x, self.input_shape, self.dtype)
        size = PREDICT_BATCH if batch_size is None else positive(batch_size, "batch_size")
        result = np.empty((len(images), *self.output_shape), self.dtype)
        with self.borrowed_memory() as memory:
            for part in batches(len(images), size):
                result[part] = self.plan_.predict(take(images, part, self.dtype), memory)
        return result

    # --- Looking inside ---

    def summary(self) -> None:
        """Print the layers, their output shapes and their numbers of weights."""
        rows = [("Layer (type)", "Output shape", "Params")]
        for layer in self.layers:
            shape = ("N", *layer.output_shape) if layer.built else ("?",)
            kind = f"{layer.name} ({type(layer).__name__})"
            rows.append((kind, f"({', '.join(map(str, shape))})", f"{layer.count_params():,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print(f'Model "{self.name}" ({self.dtype}, {self.kernel_set} kernels)')
        for i, (kind, shape_text, count) in enumerate(rows):
            print(f"{kind:<{widths[0]}}  {shape_text:<{widths[1]}}  {count:>{widths[2]}}")
            if i == 0:
                print("-" * (sum(widths) + 4))
        total = self.count_params()
        state = sum(array.size for layer in self.layers for array in layer.state.values())
        print(f"Total: {total:,} weights ({total - state:,} trained), "
              f"{total * self.dtype.itemsize / 2**20:.2f} MiB")  # fmt: skip

    def plan(self, batch_size: int = 128) -> str:
        """The stages this model runs in, as a table: kernel chosen, shapes, FLOPs, memory."""
        self._require_built()
        return describe(self.plan_, self._memory or self.plan_.memory(), batch_size)

    def trace(self, x: Any, y: Any, training: bool = True) -> Trace:
        """Every number of one forward and backward pass, by layer: see `nanocnn.trace.Trace`."""
        self._ready(x)
        return record(self, x, y, training)

    def count_params(self) -> int:
        """The number of weights, trained or not."""
        return sum(layer.count_params() for layer in self.layers)

    @property
    def weights(self) -> dict[str, Array]:
        """All weights by "layer/name", in Keras's order: the arrays themselves."""
        return {
            f"{layer.name}/{name}": array
            for layer in self.layers
            for name, array in layer.weights.items()
        }

    def parameters(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """What is trained, and its gradients after a backward pass, both by "layer/name"."""
        params: dict[str, Array] = {}
        grads: dict[str, Array] = {}
        for layer in self.layers:
            for name, param in layer.params.items() if layer.trainable else ():
                grad = layer.grads[name]
                if factor := layer.penalties.get(name):
                    grad += param * param.dtype.type(2 * factor)
                params[f"{layer.name}/{name}"], grads[f"{layer.name}/{name}"] = param, grad
        return params, grads

    def penalty(self) -> float:
        """The L2 terms of the loss."""
        return sum(
            factor * float(np.vdot(layer.params[name], layer.params[name]))
            for layer in self.layers
            for name, factor in layer.penalties.items()
        )

    def get_weights(self) -> list[Array]:
        """Copies of all weights, in Keras's order and shapes."""
        return [array.copy() for array in self.weights.values()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take weights from a list such as `get_weights` or a Keras model's gives."""
        self._require_built()
        mine = self.weights
        if len(weights) != len(mine):
            raise ShapeError(f"{len(weights)} weight arrays, expected {len(mine)}: {list(mine)}")
        arrays = [np.asarray(array) for array in weights]
        for (name, array), new in zip(mine.items(), arrays, strict=True):
            if new.shape != array.shape:
                raise ShapeError(f"{name}: shape {new.shape}, expected {array.shape}")
        for array, new in zip(mine.values(), arrays, strict=True):
            array[...] = new

    # --- Files ---

    def get_config(self) -> dict[str, Any]:
        """The model's structure, JSON-able."""
        layers = [
            {"class_name": "InputLayer" if isinstance(layer, Input) else type(layer).__name__,
             "config": layer.get_config()}
            for layer in self.layers
        ]  # fmt: skip
        return {"name": self.name, "dtype": str(self.dtype), "seed": self.seed, "layers": layers}

    def snapshot(self) -> Snapshot:
        """Everything a saved file holds."""
        self._require_built()
        compile_config, state = None, {}
        if self._compiled:
            compile_config = {
                "optimizer": {"class_name": type(self.optimizer).__name__,
                              "config": self.optimizer.get_config()},
                "loss": {"class_name": type(self.loss).__name__,
                         "config": self.loss.get_config()},
                "metrics": [name for name in self.metrics if name in METRICS],
            }  # fmt: skip
            state = self.optimizer.get_state()
        weights = {name: array.copy() for name, array in self.weights.items()}
        progress = {**self.progress, "random_state": self.rng.bit_generator.state}
        return Snapshot(self.get_config(), weights, compile_config, state, progress)

    def save(self, path: str | Path) -> None:
        """Save the whole model: .npz (ours, resumable), .h5 or .keras (what Keras opens).

        The file is written beside `path` and moved into place: an interruption leaves the old file
        or the new one.
        """
        storage.save(self.snapshot(), path)

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
        model.progress = dict(snapshot.progress)
        if random_state := model.progress.pop("random_state", None):
            model.rng.bit_generator.state = random_state
        return model

    # --- Memory and readiness ---

    @contextmanager
    def training_memory(self) -> Iterator[Memory]:
        """The memory of training passes; one training at a time can have it."""
        if not self._training.acquire(blocking=False):
            raise RuntimeError(f"model {self.name!r} is being trained by another thread")
        try:
            if self._memory is None:
                self._memory = self.plan_.memory()
            yield self._memory
        finally:
            self._training.release()

    @contextmanager
    def borrowed_memory(self) -> Iterator[Memory]:
        """A memory for inference that no other thread has at the same time."""
        memory = self._spare.pop() if self._spare else self.plan_.memory()
        try:
            yield memory
        finally:
            self._spare.append(memory)

    def _append(self, layer: Layer) -> None:
        if not isinstance(layer, Layer):
            raise ValueError(f"layer {len(self.layers)}: {layer!r}, expected a Layer")
        if any(layer is other for other in self.layers):
            raise ValueError(f"layer {layer.name!r} is in the model already: layers are not shared")
        if isinstance(layer, Input) and self.layers:
            raise ValueError("Input: expected as the first layer only")
        self.layers.append(layer)

    def _make_plan(self) -> None:
        leave = self._compiled and self.loss.takes_softmax
        leave = leave and not getattr(self.loss, "from_logits", False)
        self.plan_: Plan = make_plan(self.layers, self.kernels, self.dtype, leave)
        self._memory, self._spare = None, []

    def _build_for(self, x: Any) -> None:
        if not self.built:
            shape = np.shape(x)[1:]
            if len(shape) == 2 and not isinstance(self.layers[0], Dense):
                shape = (*shape, 1)
            self.build(shape)

    def _ready(self, x: Any) -> None:
        if not self._compiled:
            raise RuntimeError("call model.compile(optimizer, loss) first")
        self._build_for(x)

    def _require_built(self) -> None:
        if not self.built:
            raise RuntimeError("the model has no weights yet: start it with Input(shape)")


def load_model(path: str | Path, kernels: str = "fast") -> Sequential:
    """The model saved at `path`: by nanocnn (.npz, .h5, .keras) or by Keras (.h5, .keras).

    Raises `ModelFileError` for a file that is not a model.
    """
    snapshot = storage.load(path)
    try:
        return Sequential.from_snapshot(snapshot, kernels)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f"{path}: not a model nanocnn can build: {error}") from error


def _as_keras(logs: dict[str, float]) -> list[float] | float:
    values = list(logs.values())
    return values if len(values) > 1 else values[0]
