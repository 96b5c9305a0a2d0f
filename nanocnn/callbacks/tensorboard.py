"""`TensorBoard`: the numbers of a training as event files, which `tensorboard --logdir` shows.

Source: keras/src/callbacks/tensorboard.py, whose folders, tags and steps these are.
"""

import time
from itertools import count
from pathlib import Path
from typing import Any

from ..common import processes
from ..common.errors import MissingExtraError
from ..common.files import check_writable, path_name
from ..common.validate import flag, integer
from .callback import Callback, Names

FILES = count()  # makes the names of two files of one second different


class TensorBoard(Callback):
    """Writes losses, metrics and the learning rate for TensorBoard, by `tensorboardX`.

    Those of the training go to the folder `log_dir`/train, as "epoch_loss" and so on; those of the
    validation to `log_dir`/validation, also as "evaluation_loss_vs_iterations". `histogram_freq`:
    histograms of the weights once in so many epochs. `update_freq`: "batch", or after how many
    batches the means over the epoch so far are written too, as "batch_loss".
    `write_steps_per_second`: the updates a second of each epoch. `write_graph` and
    `embeddings_metadata` have no effect. Of several processes (MPI) the first one writes.

    Raises MissingExtraError without tensorboardX, ValueError for `profile_batch`, `embeddings_freq`
    and images of weights, and OSError before the first step for a folder that cannot be made.
    """

    def __init__(
        self, log_dir: str | Path = "logs", histogram_freq: int = 0, write_graph: bool = True,
        write_images: bool = False, write_steps_per_second: bool = False,
        update_freq: str | int = "epoch", profile_batch: int = 0, embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:  # fmt: skip
        _writer_class()
        self.log_dir = path_name(log_dir, "TensorBoard: log_dir")
        self.histogram_freq = integer(histogram_freq, "TensorBoard: histogram_freq", 0)
        flag(write_graph, "TensorBoard: write_graph")
        self.write_steps = flag(write_steps_per_second, "TensorBoard: write_steps_per_second")
        for name, value, why in (
            ("profile_batch", profile_batch, "0: nanocnn has no profiler for TensorBoard"),
            ("embeddings_freq", embeddings_freq, "0: nanocnn has no embedding layers"),
        ):
            if not (isinstance(value, int) or hasattr(value, "dtype")) or str(value) != "0":
                raise ValueError(f"TensorBoard: {name}={value!r:.80}, expected {why}")
        if flag(write_images, "TensorBoard: write_images") and histogram_freq:
            raise ValueError(
                "TensorBoard: write_images=True, expected False with histogram_freq: only "
                "histograms are written; nanocnn.plots.filters draws kernels"
            )
        self.writers: dict[str, Any] = {}
        self.training, self.batches, self.steps, self.begun = False, 0, 0, 0.0
        if not isinstance(update_freq, str) or update_freq != "epoch":
            where = "TensorBoard: update_freq other than 'epoch' and 'batch'"
            self.every = 1 if str(update_freq) == "batch" else integer(update_freq, where)
            # Not a method of the class: batches that nobody listens to cost nothing.
            vars(self)["on_train_batch_end"] = self._end_batch

    def check_before_training(self, before: Names, after: Names) -> None:
        if processes.first:
            check_writable(Path(self.log_dir, "train", "events"))

    def on_train_begin(self, logs: Any = None) -> None:
        self.training, self.batches = True, 0

    def on_train_end(self, logs: Any = None) -> None:
        self.training = False
        self._close()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begun, self.steps = time.perf_counter(), self.model.optimizer.iterations

    def _end_batch(self, batch: int, logs: Any = None) -> None:
        self.batches += 1
        if self.batches % self.every == 0:
            self._write("train", "batch_{}", logs, self.batches)

    def on_test_end(self, logs: Any = None) -> None:
        step = self.model.optimizer.iterations
        self._write("validation", "evaluation_{}_vs_iterations", logs, step)
        if not self.training:
            self._close()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        validation = {name[4:]: logs[name] for name in logs if name.startswith("val_")}
        train = {name: logs[name] for name in logs if not name.startswith("val_")}
        train["learning_rate"] = optimizer.rate()
        if self.write_steps:
            seconds = time.perf_counter() - self.begun
            train["steps_per_second"] = (optimizer.iterations - self.steps) / max(seconds, 1e-9)
        self._write("train", "epoch_{}", train, epoch)
        self._write("validation", "epoch_{}", validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0 and processes.first:
            for name, weight in self.model.weights.items():
                tag = f"{self.model.name}/{name}/histogram"
                self._writer("train").add_histogram(tag, weight, epoch)
        for writer in self.writers.values():
            writer.flush()

    def _write(self, folder: str, tag: str, values: dict[str, float], step: int) -> None:
        if processes.first:
            for name, value in values.items():
                self._writer(folder).add_scalar(tag.format(name), value, step)

    def _writer(self, folder: str) -> Any:
        """The writer to a folder below `log_dir`, opened when it is first needed."""
        if folder not in self.writers:
            place, suffix = str(Path(self.log_dir, folder)), f".{next(FILES)}"
            self.writers[folder] = _writer_class()(place, filename_suffix=suffix)
        return self.writers[folder]

    def _close(self) -> None:
        for writer in self.writers.values():
            writer.close()
        self.writers = {}


def _writer_class() -> Any:
    """tensorboardX's writer, or `MissingExtraError`."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        fix = 'pip install "nanocnn[tensorboard]"'
        raise MissingExtraError(f"TensorBoard needs tensorboardX: {fix}") from error
    return SummaryWriter
