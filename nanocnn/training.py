"""The training loop: from arrays to a trained model, one minibatch at a time."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .callbacks import Callback, ModelCheckpoint
from .data.batches import as_images, batches, positive, split, take
from .errors import NonFiniteError, ShapeError
from .history import History, Progress
from .memory import Memory

if TYPE_CHECKING:
    from .sequential import Sequential

Array = NDArray[Any]


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
    class_weight: dict[int, float] | None = None,
    names: tuple[str, str] = ("x", "y"),
) -> Data:
    """All checks on a data set, before any work; raises ValueErrors that name what is wrong."""
    images = as_images(x, model.input_shape, model.dtype, names[0])
    labels = model.loss.labels(y, model.output_shape, names[1])
    if len(labels) != len(images):
        raise ShapeError(
            f"{names[0]} has {len(images)} samples and {names[1]} has {len(labels)}, "
            "expected as many labels as images"
        )
    weight = None
    if sample_weight is not None:
        weight = np.asarray(sample_weight, model.dtype)
        if weight.shape != (len(images),):
            raise ShapeError(f"sample_weight: shape {weight.shape}, expected ({len(images)},)")
        if not np.isfinite(weight).all():
            raise NonFiniteError("sample_weight: NaN or infinity, expected finite numbers")
    if class_weight is not None:
        classes = labels if labels.ndim == 1 else labels.argmax(axis=-1)
        table = np.ones(model.output_shape[-1], model.dtype)
        for label, value in class_weight.items():
            if not 0 <= label < len(table) or not np.isfinite(value):
                raise ValueError(
                    f"class_weight[{label}] = {value}, expected a finite weight for a class "
                    f"from 0 to {len(table) - 1}"
                )
            table[label] = value
        weight = table[classes] if weight is None else weight * table[classes]
    return Data(images, labels, weight)


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


def forward(
    model: "Sequential", x: Array, labels: Array, weight: Array | None, training: bool,
    memory: Memory,
) -> tuple[float, Array, Array, Array]:  # fmt: skip
    """One pass through model and loss: mean loss, each sample's share, target, prediction."""
    target = model.loss.target(labels, model.output_shape, model.dtype)
    y = model.plan_.forward(x, training, memory)
    losses, prediction = model.loss.forward(
        y, target, model.kernels, memory, model.plan_.softmax is not None
    )
    each = model.dtype.type(1 / len(x))
    share = np.full(len(x), each) if weight is None else weight * each
    return float(losses @ share), share, target, prediction


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
    """The mean loss and metrics over a data set, without training."""
    means = Means(model)
    with model.borrowed_memory() as memory:
        for part in batches(len(data.x), batch_size):
            x = take(data.x, part, model.dtype)
            weight = None if data.weight is None else data.weight[part]
            loss, _, target, prediction = forward(
                model, x, data.labels[part], weight, False, memory
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
    batch_size = positive(batch_size, "batch_size")
    epochs = positive(epochs, "epochs")
    if initial_epoch < 0:
        raise ValueError(f"initial_epoch={initial_epoch}, expected 0 or more")
    data = checked(model, x, y, sample_weight, class_weight)
    validation: Data | None = None
    if validation_data is not None:
        if len(validation_data) not in (2, 3):
            raise ValueError(
                f"validation_data: {len(validation_data)} items, expected (x, y) or (x, y, weight)"
            )
        x, y, *weight = validation_data
        names = ("validation x", "validation y")
        sample_weight = weight[0] if weight else None
        validation = checked(model, x, y, sample_weight, names=names)
    elif validation_split:
        first, second = split(validation_split, *data)
        data, validation = Data(*first), Data(*second)

    steps = -(-len(data.x) // batch_size)
    history = History({"epochs": epochs, "steps": steps, "verbose": verbose})
    before = model.progress if initial_epoch else {}
    for name, values in before.get("history", {}).items():
        history.history[name] = list(values)
    history.epoch = list(range(len(history.history.get("loss", []))))
    model.history = history
    callbacks = sorted(callbacks, key=lambda callback: callback.last)
    for callback, state in zip(callbacks, before.get("callbacks", []), strict=False):
        callback.set_state(state)
    progress = Progress(verbose, epochs, steps)

    model.stop_training = False
    for callback in callbacks:
        callback.model = model
        callback.on_train_begin()
    try:
        with model.training_memory() as memory, deferred_interrupts() as check_interrupt:
            for epoch in range(initial_epoch, epochs):
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
                    result = evaluate(model, validation, batch_size)
                    logs.update({f"val_{name}": value for name, value in result.items()})
                check_interrupt()
                progress.end(logs)
                close_epoch(model, history, callbacks, epoch, logs)
                if model.stop_training:
                    break
    except KeyboardInterrupt:
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
    check_interrupt: Any,
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
                f"{first_non_finite(model, x)}; the weights are those before this batch"
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


def close_epoch(
    model: "Sequential",
    history: History,
    callbacks: Sequence[Callback],
    epoch: int,
    logs: dict[str, float],
) -> None:
    """Callbacks, then the history; those that save the model see all of it."""
    ordinary = [callback for callback in callbacks if not callback.last]
    for callback in ordinary:
        callback.on_epoch_end(epoch, logs)
    history.append(epoch, logs)
    for callback in callbacks:
        model.progress = {
            "epoch": epoch + 1,
            "history": history.history,
            "callbacks": [each.get_state() for each in callbacks],
        }
        if callback.last:
            callback.on_epoch_end(epoch, logs)
    model.progress = {
        "epoch": epoch + 1,
        "history": history.history,
        "callbacks": [callback.get_state() for callback in callbacks],
    }


def first_non_finite(model: "Sequential", x: Array) -> str:
    """The first layer whose weights or output for `x` are not finite, and which of the two."""
    with np.errstate(all="ignore"):
        for layer in model.layers:
            for name, array in layer.weights.items():
                if not np.isfinite(array).all():
                    return f"the {name} of layer {layer.name!r}"
            x = layer.forward(x)
            if not np.isfinite(x).all():
                return f"the output of layer {layer.name!r}"
    return "the loss"


@contextmanager
def deferred_interrupts() -> Iterator[Any]:
    """Holds a Ctrl-C back until the step in progress is complete; a second one is not held back.

    Yields a function that raises KeyboardInterrupt if one came. Does nothing outside the main
    thread, or where the program has a handler of its own.
    """
    pressed = False

    def handler(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, handler)
    try:
        yield check
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


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
