"""`TensorBoard`: the numbers of a training as event files, which `tensorboard --logdir` shows.

Source: keras/src/callbacks/tensorboard.py, whose folders, tags and steps these are.
"""

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ..common import processes
from ..common.errors import MissingExtraError
from ..common.files import check_writable, path_name
from ..common.validate import flag, integer
from .callback import Callback, Logs

FILES = count()  # makes the names of two files of one second different


class TensorBoard(Callback):
    """Writes losses, metrics and the learning rate for TensorBoard, by `tensorboardX`.

    Those of the training go to `log_dir`/train, as "epoch_loss" and so on; those of the validation
    to `log_dir`/validation, also as "evaluation_loss_vs_iterations". `histogram_freq`: histograms
    of the weights once in so many epochs. `update_freq`: "batch", or after how many batches the
    means over the epoch so far are written too, as "batch_loss". `write_graph` and
    `embeddings_metadata` have no effect. Of several processes (MPI) the first one writes.

    Raises MissingExtraError without tensorboardX, ValueError for what is not supported, and OSError
    before the first step for a folder that cannot be made.
    """

    def __init__(
        self, log_dir: str | Path = "logs", histogram_freq: int = 0, write_graph: bool = True,
        write_images: bool = False, write_steps_per_second: bool = False,
        update_freq: str | int = "epoch", profile_batch: int = 0, embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:  # fmt: skip
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            fix = 'pip install "nanocnn[tensorboard]"'
            raise MissingExtraError(f"TensorBoard needs tensorboardX: {fix}") from error
        self.make_writer = SummaryWriter
        self.log_dir = path_name(log_dir, "TensorBoard: log_dir")
        self.histogram_freq = integer(histogram_freq, "TensorBoard: histogram_freq", 0)
        flag(write_graph, "TensorBoard: write_graph")
        images = flag(write_images, "TensorBoard: write_images") and self.histogram_freq > 0
        for name, value, why in (
            ("write_images", images, "with histogram_freq only histograms are written"),
            ("write_steps_per_second", write_steps_per_second, "fit(verbose=1) shows the speed"),
            ("profile_batch", profile_batch, "there is no profiler"),
            ("embeddings_freq", embeddings_freq, "there are no embedding layers"),
        ):
            if str(value) not in ("0", "False"):
                raise ValueError(f"TensorBoard: {name}={value!r:.80}, expected 0 or False: {why}")
        self.writers: dict[str, Any] = {}
        self.training, self.batches = False, 0
        if not isinstance(update_freq, str) or update_freq != "epoch":
            where = "TensorBoard: update_freq other than 'epoch' and 'batch'"
            self.every = 1 if str(update_freq) == "batch" else integer(update_freq, where)
            # Not a method of the class: batches that nobody listens to cost nothing.
            vars(self)["on_train_batch_end"] = self._end_batch

    def check_before_training(self, before: Logs, after: Logs) -> None:
        if processes.first:
            check_writable(Path(self.log_dir, "train", "events"))

    def on_train_begin(self, logs: Any = None) -> None:
        self.training, self.batches = True, 0

    def on_train_end(self, logs: Any = None) -> None:
        self.training = False
        self._close()

    def _end_batch(self, batch: int, logs: Any = None) -> None:
        self.batches += 1
        if self.batches % self.every == 0:
            for name, value in logs.items():
                self._write("train", f"batch_{name}", value, self.batches)

    def on_test_end(self, logs: Any = None) -> None:
        step = self.model.optimizer.iterations
        for name, value in logs.items():
            self._write("validation", f"evaluation_{name}_vs_iterations", value, step)
        if not self.training:
            self._close()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        rate = self.model.optimizer.rate()
        for name, value in {**logs, "learning_rate": rate}.items():
            folder = "validation" if name.startswith("val_") else "train"
            self._write(folder, f"epoch_{name.removeprefix('val_')}", value, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for name, weight in self.model.weights.items():
                self._write("train", f"{self.model.name}/{name}/histogram", weight, epoch)
        for writer in self.writers.values():
            writer.flush()

    def _write(self, folder: str, tag: str, value: Any, step: int) -> None:
        """Write a number, or the histogram of an array, to a folder below `log_dir`."""
        if not processes.first:
            return
        if folder not in self.writers:
            place, suffix = str(Path(self.log_dir, folder)), f".{next(FILES)}"
            self.writers[folder] = self.make_writer(place, filename_suffix=suffix)
        writer = self.writers[folder]
        (writer.add_histogram if np.ndim(value) else writer.add_scalar)(tag, value, step)

    def _close(self) -> None:
        while self.writers:
            self.writers.popitem()[1].close()
