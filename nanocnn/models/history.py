"""`History`, the record of a training, and `Progress`, which displays it while it runs."""

from time import perf_counter
from typing import Any

from ..callbacks import History as History
from ..common.terminal import progress_bar, say, shows_bars
from ..common.validate import verbosity


class Progress:
    """Shows a training or evaluation: a bar on a terminal, one line per epoch elsewhere.

    `verbose`: 0 nothing, 1 a bar (needs a terminal), 2 one line per epoch, "auto" either.
    """

    def __init__(self, verbose: int | str) -> None:
        self.shown = verbosity(verbose) != 0
        self.bar_wanted = verbose in (1, "auto") and shows_bars()
        self.bar: Any = None
        self.updated = 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def begin(self, title: str, images: int | None) -> None:
        """Begin an epoch of `images` images; None if it is not known how many."""
        self.started = perf_counter()
        self.title = title
        if self.bar_wanted:
            self.bar = progress_bar(
                total=images,
                desc=title,
                unit="img",
                dynamic_ncols=True,
                mininterval=0,  # see `is_due`
                bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} images "
                "[{elapsed}<{remaining}, {rate_fmt}]{postfix}",
            )

    def is_due(self) -> bool:
        """Whether there is a bar that is out of date, which takes time to draw."""
        return self.bar is not None and perf_counter() - self.updated > 0.05

    def update(self, images: int, logs: dict[str, float]) -> None:
        """`images` are done; `logs` holds the means so far."""
        self.bar.set_postfix(_formatted(logs), refresh=False)
        self.bar.update(images - self.bar.n)
        self.updated = perf_counter()

    def end(self, logs: dict[str, float] | None = None, images: int = 0) -> None:
        """End the epoch, of `images` images; without `logs` it was interrupted."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        if self.shown and logs is not None:
            seconds = perf_counter() - self.started
            numbers = [f"{name}: {value}" for name, value in _formatted(logs).items()]
            speed = f"{seconds:.1f} s, {images / max(seconds, 1e-9):,.0f} images/s"
            say(" - ".join([self.title, speed, *numbers]))


def _formatted(logs: dict[str, float]) -> dict[str, str]:
    return {
        name: f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"
        for name, value in logs.items()
    }
