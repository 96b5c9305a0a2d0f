"""What a training leaves behind, and how it is shown while it runs."""

import sys
import time
from typing import Any


class History:
    """The record of a training.

    `history` maps "loss", "accuracy", "val_loss", ... to lists, one number an epoch; `epoch` holds
    the epochs' numbers from 0; `params` is {"epochs", "steps", "verbose"}: Keras's names.
    """

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.params = params or {}
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def append(self, epoch: int, logs: dict[str, float]) -> None:
        """Add one epoch's numbers."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))

    def __repr__(self) -> str:
        return f"History({len(self.epoch)} epochs: {', '.join(self.history)})"


class Progress:
    """Shows a training or evaluation: a bar on a terminal, one line an epoch elsewhere.

    `verbose`: 0 nothing, 1 a bar (needs a terminal), 2 one line an epoch, "auto" what fits.
    """

    def __init__(self, verbose: int | str, epochs: int, steps: int) -> None:
        if verbose not in (0, 1, 2, "auto"):
            raise ValueError(f"verbose={verbose!r}, expected 0, 1, 2 or 'auto'")
        self.shown = verbose != 0
        self.bar_wanted = verbose in (1, "auto") and sys.stderr.isatty()
        self.epochs, self.steps = epochs, steps
        self.bar: Any = None

    def begin(self, title: str, images: int) -> None:
        """A new epoch of `images` images."""
        self.started = time.perf_counter()
        self.title, self.images = title, images
        if self.bar_wanted and self.shown:
            from tqdm import tqdm

            self.bar = tqdm(
                total=images,
                desc=title,
                unit="img",
                leave=False,
                dynamic_ncols=True,
                mininterval=0,  # the caller decides how often
                bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} images "
                "[{elapsed}<{remaining}, {rate_fmt}]{postfix}",
            )

    def update(self, images: int, logs: dict[str, float]) -> None:
        """`images` more are done; `logs` are the running means."""
        if self.bar is not None:
            self.bar.set_postfix(_formatted(logs), refresh=False)
            self.bar.update(images)

    def end(self, logs: dict[str, float] | None = None) -> None:
        """The epoch is over: without `logs`, before its end."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if self.shown and logs is not None:
            seconds = time.perf_counter() - self.started
            numbers = " - ".join(f"{name}: {value}" for name, value in _formatted(logs).items())
            rate = self.images / seconds
            print(f"{self.title} - {seconds:.1f} s, {rate:,.0f} images/s - {numbers}", flush=True)


def _formatted(logs: dict[str, float]) -> dict[str, str]:
    return {
        name: f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"
        for name, value in logs.items()
    }
