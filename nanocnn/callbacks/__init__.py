"""Callbacks: what happens around the epochs of a training. Names and meanings are Keras's.

Source: keras/src/callbacks/*.py.
"""

from .callback import Callback as Callback, CallbackList as CallbackList
from .monitors import (
    EarlyStopping as EarlyStopping,
    LearningRateScheduler as LearningRateScheduler,
    ModelCheckpoint as ModelCheckpoint,
    Monitor as Monitor,
    ReduceLROnPlateau as ReduceLROnPlateau,
)
