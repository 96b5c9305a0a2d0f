"""Figures of a training, of what a network has learned, and of how it computes its numbers.

Every function returns a matplotlib Figure and opens no window: call `figure.savefig("x.png")`, or
let a notebook show it. All figures are legible in black and white: lines differ in dashes and
markers, areas in hatches, and maps run from dark to light.
"""

from ..models.drawing import network
from .explain import grad_cam, saliency
from .film import FilmstripRecorder, filmstrip
from .inside import GradientRecorder, activations, filters, gradient_flow
from .mechanics import im2col, network_pass
from .results import confusion_matrix, prediction_grid, training_curves

__all__ = [
    "FilmstripRecorder",
    "GradientRecorder",
    "activations",
    "confusion_matrix",
    "filmstrip",
    "filters",
    "grad_cam",
    "gradient_flow",
    "im2col",
    "network",
    "network_pass",
    "prediction_grid",
    "saliency",
    "training_curves",
]
