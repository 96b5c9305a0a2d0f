"""`SwapEMAWeights`: validation with the average of the weights.

Source: keras/src/callbacks/swap_ema_weights.py.
"""

from typing import Any

from ..common.validate import flag
from .callback import Callback, Logs


class SwapEMAWeights(Callback):
    """The model has the averages of an optimizer with `use_ema` as weights while it is measured.

    That is during each validation, `evaluate` and `predict`; then it gets its own back. With
    `swap_on_epoch` it has the averages from the end of each epoch to the beginning of the next, for
    callbacks after this one such as `ModelCheckpoint`: files then have averages as weights, and
    training resumes from them with this callback. ValueError for an optimizer without `use_ema`.
    """

    remembered = ("swapped",)
    identified_by = ("swap_on_epoch",)

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = flag(swap_on_epoch, "SwapEMAWeights: swap_on_epoch")
        self.swapped = False  # whether the weights are the averages, and the averages the weights

    def check_before_training(self, before: Logs, after: Logs) -> None:
        if not self.model.optimizer.use_ema:
            raise ValueError(
                "SwapEMAWeights: the optimizer has use_ema=False, expected use_ema=True"
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._swap(False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._swap(self.swap_on_epoch)

    def on_epoch_saved(self, epoch: int, logs: Any = None) -> None:
        if self.swapped and (epoch + 1 == self.params["epochs"] or self.model.stop_training):
            for param, average in self._pairs():  # `fit` takes the averages from there
                average[...] = param

    def on_train_end(self, logs: Any = None) -> None:
        self._swap(False)  # the same arrays, unless the training was interrupted

    def on_test_begin(self, logs: Any = None) -> None:
        self._swap(True)

    def on_test_end(self, logs: Any = None) -> None:
        self._swap(False)

    on_predict_begin, on_predict_end = on_test_begin, on_test_end

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._swap(False)  # the file was saved after `on_epoch_end`

    def _swap(self, swapped: bool) -> None:
        """Exchange weights and averages, unless they are so already."""
        if swapped != self.swapped:
            for param, average in self._pairs():
                own = param.copy()
                param[...], average[...] = average, own
            self.swapped = swapped

    def _pairs(self) -> list[tuple[Any, Any]]:
        """(parameter, average) of all parameters that are trained and have one."""
        params = self.model.trainable_weights
        optimizer = getattr(self.model, "optimizer", None)
        averages = optimizer.averages(params) if optimizer is not None else {}
        if params and not averages:
            raise ValueError(
                "SwapEMAWeights: the model has no averages of its weights, expected one trained by "
                "an optimizer with use_ema=True"
            )
        return [(params[name], averages[name]) for name in averages]
