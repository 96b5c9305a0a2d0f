"""The training loop: from arrays to a trained model, one minibatch at a time."""

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..callbacks import Callback, ModelCheckpoint
from ..callbacks.callback import CallbackList
from ..common.arrays import Array, quiet
from ..common.errors import ModelFileError, NonFiniteError, warn
from ..common.terminal import say
from ..common.validate import flag, integer
from ..data.batches import batches, take
from ..kernels.memory import Memory
from ..metrics import Means
from .history import History, Progress
from .inputs import Data, training_and_validation
from .interrupts import Terminated, deferred_interrupts

if TYPE_CHECKING:
    from .sequential import Sequential


@quiet  # infinity and NaN are found in the loss, with the layer named
def forward(
    model: "Sequential", x: Array, labels: Array, weight: Array | None, training: bool,
    memory: Memory,
) -> tuple[float, Array, Array, Array]:  # fmt: skip
    """One pass through model and loss: mean loss, each sample's share, target, prediction."""
    target = model.loss.target(labels, model.output_shape, model.dtype)
    y = model.execution_plan.forward(x, training, memory)
    losses, prediction = model.loss.forward(
        y, target, model.kernels, memory, model.execution_plan.final is not None
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
    model.execution_plan.backward(model.loss.backward(share, model.kernels, memory), memory)
    params, grads = model.parameters()
    model.optimizer.apply(params, grads, model.kernels)
    return loss, target, prediction


def evaluate(
    model: "Sequential", data: Data, batch_size: int, callbacks: CallbackList,
    progress: Progress | None = None,
) -> dict[str, float]:  # fmt: skip
    """The mean loss and metrics over a data set, without training.

    Raises `NonFiniteError`, batch and layer named, when the loss is NaN or infinite.
    """
    means = Means(model.metrics, model.loss.threshold)
    if progress is not None:
        progress.begin("Evaluation", len(data.x))
    callbacks.call("on_test_begin", {})
    with model.borrowed_memory() as memory:
        for number, part in enumerate(batches(len(data.x), batch_size)):
            callbacks.call("on_test_batch_begin", number, {})
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
            if callbacks.heard["on_test_batch_end"]:
                callbacks.call("on_test_batch_end", number, means.result())
            if progress is not None and progress.bar is not None:
                progress.update(len(x), means.result())
    logs = means.result()
    logs["loss"] += model.penalty()
    if progress is not None:
        progress.end(logs)
    callbacks.call("on_test_end", dict(logs))
    return logs


def predict(
    model: "Sequential", images: Array, batch_size: int, callbacks: CallbackList | None,
    progress: Progress,
) -> Array:  # fmt: skip
    """The outputs for checked images; see `Sequential.predict`."""
    result = np.empty((len(images), *model.output_shape), model.dtype)
    progress.begin("Prediction", len(images))
    if callbacks:
        callbacks.call("on_predict_begin", {})
    with model.borrowed_memory() as memory, progress:
        for number, part in enumerate(batches(len(images), batch_size)):
            if callbacks:
                callbacks.call("on_predict_batch_begin", number, {})
            x = take(images, part, model.dtype)
            result[part] = y = model.execution_plan.predict(x, memory)
            if not np.isfinite(y).all():
                raise NonFiniteError(
                    f"predict: NaN or infinity, first seen in {first_non_finite(model, x)}"
                )
            progress.update(len(x), {})
            if callbacks:
                callbacks.call("on_predict_batch_end", number, {"outputs": y.copy()})
        progress.end({})
    if callbacks:
        callbacks.call("on_predict_end", {})
    return result


def fit(
    model: "Sequential",
    x: Any,
    y: Any,
    batch_size: int | None,
    epochs: int,
    validation_data: Sequence[Any] | None,
    validation_split: float,
    shuffle: bool,
    callbacks: Any,
    class_weight: Any,
    sample_weight: Any,
    initial_epoch: int,
    verbose: int | str,
) -> History:
    """Train; see `Sequential.fit`."""
    batch_size = 32 if batch_size is None else integer(batch_size, "batch_size")
    epochs = integer(epochs, "epochs")
    initial_epoch = integer(initial_epoch, "initial_epoch", 0)
    if initial_epoch > epochs:
        raise ValueError(
            f"initial_epoch={initial_epoch}, epochs={epochs}, expected no more than epochs: the "
            "number of the last epoch, not of those to come"
        )
    shuffle = flag(shuffle, "shuffle")
    unit_range = model.unit_range
    try:
        data, validation = training_and_validation(
            model, x, y, sample_weight, class_weight, validation_data, validation_split
        )
        heard = CallbackList(callbacks, model, len(data.x), batch_size, epochs, verbose)
        progress = Progress(verbose)
        names = ("loss", *model.metrics)
        heard.check(names if validation is None else (*names, *(f"val_{name}" for name in names)))
    except BaseException:
        model.unit_range = unit_range  # nothing was trained
        raise

    model._trained_on(data.x)
    if validation is not None:
        model._compare_range(validation.x, "validation x")
    history = model.history = History(heard.params)
    model.stop_training = False
    heard.call("on_train_begin", {})
    if initial_epoch and initial_epoch == model.progress.get("epoch"):
        go_on(model, history, heard)
    warn_if_nothing_is_trained(model, initial_epoch, epochs)
    logs: dict[str, float] = {}
    try:
        with model.training_memory(batch_size) as memory, deferred_interrupts() as check_interrupt:
            for epoch in range(initial_epoch, epochs):
                if model.stop_training:
                    break
                heard.call("on_epoch_begin", epoch, {})
                progress.begin(f"Epoch {epoch + 1}/{epochs}", len(data.x))
                means = Means(model.metrics, model.loss.threshold)
                order = batches(len(data.x), batch_size, model.rng if shuffle else None)
                run_epoch(model, data, order, means, memory, progress, heard, epoch,
                          check_interrupt)  # fmt: skip
                logs = means.result()
                if validation is not None:
                    try:
                        result = evaluate(model, validation, batch_size, heard)
                    except NonFiniteError as error:
                        raise NonFiniteError(f"epoch {epoch + 1}, validation: {error}") from None
                    logs.update({f"val_{name}": value for name, value in result.items()})
                progress.end(logs)
                close_epoch(model, history, heard, epoch, logs)
                check_interrupt()
    except (KeyboardInterrupt, Terminated):
        progress.end()
        say(f"\ninterrupted; {_how_to_resume(heard.callbacks)}")
        raise
    finally:
        progress.end()
        heard.call("on_train_end", logs)
    return history


def run_epoch(
    model: "Sequential",
    data: Data,
    order: Iterator[slice | Array],
    means: Means,
    memory: Memory,
    progress: Progress,
    callbacks: CallbackList,
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
        callbacks.call("on_train_batch_begin", number, {})
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
        if callbacks.heard["on_train_batch_end"]:
            callbacks.call("on_train_batch_end", number, means.result())
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


def go_on(model: "Sequential", history: History, callbacks: CallbackList) -> None:
    """Take the history and the callbacks' states from `model.progress`."""
    try:
        for name, values in model.progress["history"].items():
            history.history[name] = [float(value) for value in values]
        callbacks.set_states(model.progress["callbacks"])
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise ModelFileError(f"cannot resume from the saved progress: {error!r}") from error
    end = model.progress["epoch"]
    history.epoch = list(range(end - len(history.history.get("loss", [])), end))


def warn_if_nothing_is_trained(model: "Sequential", initial_epoch: int, epochs: int) -> None:
    """`epochs` are done, or the training had stopped early before it was saved."""
    why = ""
    if initial_epoch == epochs:
        why = f"initial_epoch={initial_epoch} is epochs={epochs} already; give more epochs"
    elif model.stop_training:
        why = (
            f"a callback had stopped the training after epoch {initial_epoch}; to train on, give "
            "it more patience or leave it out"
        )
    if why:
        warn(f"fit: nothing is trained: {why}")


def close_epoch(
    model: "Sequential",
    history: History,
    callbacks: CallbackList,
    epoch: int,
    logs: dict[str, float],
) -> None:
    """Callbacks, then the history, then what saves the model with all of it."""
    callbacks.call("on_epoch_end", epoch, logs)
    history.append(epoch, logs)
    model.progress = {
        "epoch": epoch + 1,
        "history": history.history,
        "callbacks": callbacks.get_states(),
    }
    callbacks.call("on_epoch_saved", epoch, logs)


@quiet
def first_non_finite(model: "Sequential", x: Array) -> str:
    """The first layer whose weights or output for `x` are not finite, and which of the two."""
    for layer in model.layers:
        for name, array in layer.weights.items():
            if not np.isfinite(array).all():
                return f"the {name} of layer {layer.name!r}"
        x = layer.run_forward(x, False, Memory())
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
