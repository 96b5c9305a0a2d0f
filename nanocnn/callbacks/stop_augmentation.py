"""`StopAugmentation`: the last epochs on samples as they are."""

from typing import Any

from ..common.validate import integer
from .callback import Callback, Logs


class StopAugmentation(Callback):
    """The layers for augmentation, such as RandomRotation, do nothing in the last epochs of `fit`.

    Images that are sampled anew are a little softer than those that the model will be used on. A
    few epochs without, at a small learning rate, get it used to these, after Ge et al. 2021,
    "YOLOX". `last_epochs`: how many. ValueError for a model without such layers.
    """

    identified_by = ("last_epochs",)

    def __init__(self, last_epochs: int = 1) -> None:
        self.last_epochs = integer(last_epochs, "StopAugmentation: last_epochs")

    def check_before_training(self, before: Logs, after: Logs) -> None:
        if not self._layers():
            raise ValueError(
                f"StopAugmentation: model {self.model.name!r} has no layer for augmentation, "
                "expected one such as RandomRotation"
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._set(epoch < self.params["epochs"] - self.last_epochs)

    def on_train_end(self, logs: Any = None) -> None:
        self._set(True)

    def _set(self, active: bool) -> None:
        for layer in self._layers():
            layer.active = active

    def _layers(self) -> list[Any]:
        return [layer for layer in self.model.layers if hasattr(type(layer), "active")]
