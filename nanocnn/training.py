"""The training loop: from arrays to a trained model, one minibatch at a time."""

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays import Array
from .callbacks import Callback, ModelCheckpoint
from .checks import whole
from .data.batches import batches, split, take
from .errors import ModelFileError, NonFiniteError, ShapeError
from .history import History, Progress
from .interrupts import Terminated, deferred_interrupts
from .memory import Memory

if TYPE_CHECKING:
    from .sequential import Sequential


class Data(NamedTuple):
    """Checked arrays of equal length: images, labels, and a weight for each or None."""

    x: Array
    labels: Array
    weight: Array | None


def checked(
    model: "Sequential",
    x: Any,
    y: Any,
    sample_weight: Any = None,
    names: tuple[str, str] = ("x", "y"),
) -> Data:
    """All checks on a data set, before any work; raises ValueErrors that name what is wrong."""
    images = model._images(x, names[0])
    labels = model.loss.labels(y, model.output_shape, names[1])
    if len(labels) != len(images):
        raise ShapeError(
            f"{names[0]} has {len(images)} samples and {names[1]} has {len(labels)}, "
            "expected as many labels as images"
        )
    weight = None
    if sample_weight is not None:
        try:
            weight = np.asarray(sample_weight, model.dtype)
        except (ValueError, TypeError) as error:
            raise ValueError(f"sample_weight: expected a number a sample: {error}") from error
        if weight.shape != (len(images),):
            raise ShapeError(f"sample_weight: shape {weight.shape}, expected ({len(images)},)")
        if not np.isfinite(weight).all():
            raise NonFiniteError("sample_weight: NaN or infinity, expected finite numbers")
    return Data(images, labels, weight)


def class_weighted(model: "Sequential", data: Data, class_weight: dict[int, float] | None) -> Data:
    """`data` with each sample's weight multiplied by its class's; a class not named has 1."""
    if class_weight is None:
        return data
    table = np.ones(model.output_shape[-1], model.dtype)
    for label, value in class_weight.items():
        if label not in range(len(table)) or not np.isfinite(value):
            raise ValueError(
                f"class_weight[{label!r}] = {value}, expected a finite weight for a class "
                f"from 0 to {len(table) - 1}"
            )
        table[label] = value
    weight = table[data.labels if data.labels.ndim == 1 else data.labels.argmax(axis=-1)]
    return data._replace(weight=weight if data.weight is None else weight * data.weight)


class Means:
    """Running means of the loss and the metrics, weighted by the number of samples."""

    def __init__(self, model: "Sequential") -> None:
        self.model = model
        self.count = 0
        self.sums = dict.fromkeys(("loss", *model.metrics), 0.0)

    def add(self, loss: float, target: Array, prediction: Array) -> None:
        """A batch with this mean loss."""
        n = len(target)
        self.count += n
        self.sums["loss"] += loss * n
        for name, metric in self.model.metrics.items():
            self.sums[name] += float(metric(target, prediction).sum())

    def result(self) -> dict[str, float]:
        """The means so far."""
        return {name: value / self.count for name, value in self.sums.items()}


# Infinity and NaN are found in the loss, with the layer named: NumPy's warnings add nothing.
quiet = np.errstate(all="ignore")


@quiet
def forward(
    model: "Sequential", x: Array, labels: Array, weight: Array | None, training: bool,
    memory: Memory,
) -> tuple[float, Array, Array, Array]:  # fmt: skip
    """One pass through model and loss: mean loss, each sample's share, target, prediction."""
    target = model.loss.target(labels, model.output_shape, model.dtype)
    y = model.plan_.forward(x, training, memory)
    losses, prediction = model.loss.forward(
        y, target, model.kernels, memory, model.plan_.final is not None
    )
    each = model.dtype.type(1 / len(x))
    share = np.full(len(x), each) if weight is None else weight * each
    return float((losses * share).sum()), share, target, prediction


@quiet
def step(
    model: "Sequential", x: Array, labels: Array, weight: Array | None, memory: Memory
) -> tuple[float, Array, Array]:
    """One update of the parameters: the batch's loss before it, target and prediction."""
    loss, share, target, prediction = forward(model, x, labels, weight, True, memory)
    loss += model.penalty()
    if not np.isfinite(loss):
        raise NonFiniteError(f"the loss is {loss}")
    model.plan_.backward(model.loss.backward(share, model.kernels, memory), memory)
    params, grads = model.parameters()
    model.optimizer.apply(params, grads, model.kernels)
    return loss, target, prediction


def evaluate(
    model: "Sequential", data: Data, batch_size: int, progress: Progress | None = None
) -> dict[str, float]:
    """The mean loss and metrics over a data set, without training.

    Raises `NonFiniteError`, batch and layer named, when the loss is NaN or infinite.
    """
    means = Means(model)
    with model.borrowed_memory() as memory:
        for number, part in enumerate(batches(len(data.x), batch_size)):
            x = take(data.x, part, model.dtype)
            weight = None if data.weight is None else data.weight[part]
            loss, _, target, prediction = forward(
                model, x, data.labels[part], weight, False, memory
            )
            if not np.isfinite(loss):
                raise NonFiniteError(
                    f"batch {number + 1}: the loss is {loss}, first seen in "
                    f"{first_non_finite(model, x)}"
                )
            means.add(loss, target, prediction)
            if progress is not None:
                progress.update(len(x), means.result())
    logs = means.result()
    logs["loss"] += model.penalty()
    return logs


def fit(
    model: "Sequential",
    x: Any,
    y: Any,
    batch_size: int,
    epochs: int,
    validation_data: Sequence[Any] | None,
    validation_split: float,
    shuffle: bool,
    callbacks: Sequence[Callback],
    class_weight: dict[int, float] | None,
    sample_weight: Any,
    initial_epoch: int,
    verbose: int | str,
) -> History:
    """Train; see `Sequential.fit`."""
    batch_size = whole(batch_size, "batch_size")
    epochs = whole(epochs, "epochs")
    initial_epoch = whole(initial_epoch, "initial_epoch", 0)
    listed = isinstance(callbacks, (list, tuple))
    if not (listed and all(isinstance(callback, Callback) for callback in callbacks)):
        raise ValueError(f"callbacks: {callbacks!r}, expected a list of Callback objects")
    data = checked(model, x, y, sample_weight)
    model._trained_on(data.x)
    validation: Data | None = None
    if validation_data is not None:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise ValueError(
                f"validation_data: {type(validation_data).__name__}, expected a tuple (x, y) or "
                "(x, y, sample_weight)"
            )
        x, y, weight = (*validation_data, None)[:3]
        validation = checked(model, x, y, weight, names=("validation x", "validation y"))
    elif validation_split:
        first, second = split(validation_split, *data)
        data, validation = Data(*first), Data(*second)
    data = class_weighted(model, data, class_weight)

    steps = -(-len(data.x) // batch_size)
    history = History({"epochs": epochs, "steps": steps, "verbose": verbose})
    progress = Progress(verbose, epochs, steps)
    model.history = history
    model.stop_training = False
    for callback in callbacks:
        callback.model = model
        callback.on_train_begin()
    if initial_epoch and initial_epoch == model.progress.get("epoch"):
        go_on(model, history, callbacks)
    try:
        with model.training_memory(batch_size) as memory, deferred_interrupts() as check_interrupt:
            for epoch in range(initial_epoch, epochs):
                if model.stop_training:  # it had stopped before it was saved
                    break
                for callback in callbacks:
                    callback.on_epoch_begin(epoch)
                title = f"Epoch {epoch + 1}/{epochs}"
                progress.begin(title, len(data.x))
                means = Means(model)
                order = batches(len(data.x), batch_size, model.rng if shuffle else None)
                run_epoch(model, data, order, means, memory, progress, callbacks, epoch,
                          check_interrupt)  # fmt: skip
                logs = means.result()
                if validation is not None:
                    try:
                        result = evaluate(model, validation, batch_size)
                    except NonFiniteError as error:
                        raise NonFiniteError(f"epoch {epoch + 1}, validation: {error}") from None
                    logs.update({f"val_{name}": value for name, value in result.items()})
                progress.end(logs)
                close_epoch(model, history, callbacks, epoch, logs)
                check_interrupt()
    except (KeyboardInterrupt, Terminated):
        progress.end()
        print(f"\ninterrupted; {_how_to_resume(callbacks)}", flush=True)
        raise
    finally:
        progress.end()
        for callback in callbacks:
            callback.on_train_end()
    return history


def run_epoch(
    model: "Sequential",
    data: Data,
    order: Iterator[slice | Array],
    means: Means,
    memory: Memory,
    progress: Progress,
    callbacks: Sequence[Callback],
    epoch: int,
    check_interrupt: Callable[[], None],
) -> None:
    """All minibatches of one epoch."""
    buffer = np.empty((0, *model.input_shape), model.dtype)
    shown = 0.0
    for number, index in enumerate(order):
        n = index.stop - index.start if isinstance(index, slice) else len(index)
        if len(buffer) < n:
            buffer = np.empty((n, *model.input_shape), model.dtype)
        x = take(data.x, index, model.dtype, out=buffer[:n])
        weight = None if data.weight is None else data.weight[index]
        try:
            loss, target, prediction = step(model, x, data.labels[index], weight, memory)
        except NonFiniteError as error:
            raise NonFiniteError(
                f"epoch {epoch + 1}, batch {number + 1}: {error}, first seen in "
                f"{first_non_finite(model, x)}; the parameters are those before this batch"
            ) from None
        means.add(loss, target, prediction)
        if callbacks:
            logs = means.result()
            for callback in callbacks:
                callback.on_batch_end(number, logs)
        if progress.bar is not None and (now := perf_counter()) - shown > 0.05:
            progress.update(means.count - progress.bar.n, means.result())
            shown = now
        check_interrupt()
        if model.stop_training:
            break
    for name, array in model.weights.items():  # nothing that is not finite is ever saved
        if not np.isfinite(array).all():
            raise NonFiniteError(
                f"epoch {epoch + 1}, batch {number + 1}: its update made {name} NaN or infinite"
            )


def go_on(model: "Sequential", history: History, callbacks: Sequence[Callback]) -> None:
    """Take the history and the callbacks' states from `model.progress`."""
    states: dict[str, list[Any]] = {}
    try:
        for name, values in model.progress["history"].items():
            history.history[name] = [float(value) for value in values]
        for each in model.progress["callbacks"]:
            states.setdefault(each["class_name"], []).append(each["state"])
        for callback in callbacks:
            if same_kind := states.get(type(callback).__name__):
                callback.set_state(same_kind.pop(0))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"the saved progress cannot be gone on from: {error!r}") from error
    end = model.progress["epoch"]
    history.epoch = list(range(end - len(history.history.get("loss", [])), end))


def close_epoch(
    model: "Sequential",
    history: History,
    callbacks: Sequence[Callback],
    epoch: int,
    logs: dict[str, float],
) -> None:
    """Callbacks, then the history, then what saves the model with all of it."""
    for callback in callbacks:
        callback.on_epoch_end(epoch, logs)
    history.append(epoch, logs)
    model.progress = {
        "epoch": epoch + 1,
        "history": history.history,
        "callbacks": [
            {"class_name": type(callback).__name__, "state": callback.get_state()}
            for callback in callbacks
        ],
    }
    for callback in callbacks:
        callback.on_epoch_saved(epoch, logs)


@quiet
def first_non_finite(model: "Sequential", x: Array) -> str:
    """The first layer whose weights or output for `x` are not finite, and which of the two."""
    for layer in model.layers:
        for name, array in layer.weights.items():
            if not np.isfinite(array).all():
                return f"the {name} of layer {layer.name!r}"
        x = layer.forward(x, memory=Memory())
        if not np.isfinite(x).all():
            return f"the output of layer {layer.name!r}"
    return "the loss"


def _how_to_resume(callbacks: Sequence[Callback]) -> str:
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.saved:
            if not callback.saved.endswith(".npz"):
                return f"the last checkpoint is {callback.saved}"
            return (
                f"resume with model = load_model({callback.saved!r}); "
                "model.fit(..., initial_epoch=model.progress['epoch'])"
            )
    return "the model keeps the weights of its last step; model.save(path) saves them"
