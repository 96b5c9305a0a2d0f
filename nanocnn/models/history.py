"""`History`, the record of a training, and `Progress`, which displays it while it runs."""

import math
import time
from typing import Any

from ..common.terminal import progress_bar, say, shows_bars
from ..common.validate import verbosity


class History:
    """The record of a training.

    `history` maps "loss", "accuracy", "val_loss", ... to lists with one number per epoch, NaN where
    it was not measured; `epoch` lists the numbers of these epochs, from 0. They are the epochs of
    this `fit` and, if it resumed a training (`initial_epoch`), those before it. `params` is
    {"epochs", "steps", "verbose"}, as in Keras.
    """

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        if not isinstance(params, (dict, type(None))):
            raise ValueError(f"History: params={params!r:.80}, expected a dict")
        self.params = params or {}
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def append(self, epoch: int, logs: dict[str, float]) -> None:
        """Add one epoch's numbers."""
        for name in {**self.history, **logs}:
            value = logs.get(name, math.nan)
            try:
                before = [math.nan] * len(self.epoch)
                self.history.setdefault(name, before).append(float(value))
            except (TypeError, ValueError):
                raise ValueError(
                    f"logs[{name!r}] = {value!r:.80}, expected a number from the callback that "
                    "added it"
                ) from None
        self.epoch.append(epoch)

    def __repr__(self) -> str:
        return f"History({len(self.epoch)} epochs: {', '.join(self.history)})"


class Progress:
    """Shows a training or evaluation: a bar on a terminal, one line per epoch elsewhere.

    `verbose`: 0 nothing, 1 a bar (needs a terminal), 2 one line per epoch, "auto" either.
    """

    def __init__(self, verbose: int | str) -> None:
        self.shown = verbosity(verbose) != 0
        self.bar_wanted = verbose in (1, "auto") and shows_bars()
        self.bar: Any = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def begin(self, title: str, images: int | None) -> None:
        """Begin an epoch of `images` images; None if it is not known how many."""
        self.started = time.perf_counter()
        self.title = title
        if self.bar_wanted:
            self.bar = progress_bar(
                total=images,
                desc=title,
                unit="img",
                dynamic_ncols=True,
                mininterval=0,  # the caller decides how often
                bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} images "
                "[{elapsed}<{remaining}, {rate_fmt}]{postfix}",
            )

    def update(self, images: int, logs: dict[str, float]) -> None:
        """`images` more are done; `logs` holds the means so far."""
        if self.bar is not None:
            self.bar.set_postfix(_formatted(logs), refresh=False)
            self.bar.update(images)

    def end(self, logs: dict[str, float] | None = None, images: int = 0) -> None:
        """End the epoch, of `images` images; without `logs` it was interrupted."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if self.shown and logs is not None:
            seconds = time.perf_counter() - self.started
            numbers = [f"{name}: {value}" for name, value in _formatted(logs).items()]
            speed = f"{seconds:.1f} s, {images / max(seconds, 1e-9):,.0f} images/s"
            say(" - ".join([self.title, speed, *numbers]))


def _formatted(logs: dict[str, float]) -> dict[str, str]:
    return {
        name: f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"
        for name, value in logs.items()
    }
