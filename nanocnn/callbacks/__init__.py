"""Callbacks: what is called around the epochs and batches of a training, by Keras's names."""

from .callback import Callback as Callback
from .callback_list import CallbackList as CallbackList
from .csv_logger import CSVLogger as CSVLogger
from .history import History as History
from .lambda_callback import LambdaCallback as LambdaCallback
from .learning_rate import (
    LearningRateScheduler as LearningRateScheduler,
    ReduceLROnPlateau as ReduceLROnPlateau,
    constant_rate as constant_rate,
)
from .model_checkpoint import ModelCheckpoint as ModelCheckpoint
from .monitors import (
    EarlyStopping as EarlyStopping,
    Monitor as Monitor,
    TerminateOnNaN as TerminateOnNaN,
)
from .stop_augmentation import StopAugmentation as StopAugmentation
from .swap_ema_weights import SwapEMAWeights as SwapEMAWeights
from .tensorboard import TensorBoard as TensorBoard
