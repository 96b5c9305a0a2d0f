"""What a network computes, number by number.

record                one pass with every number kept, as `model.trace(x, y)`
optimizer_step        one update with every number: gradients, clipping, slots, the new weights
reach, receptive_field  which cells a cell is computed from: in the layer before, in all before
top_activations       the images that excite a channel most
per_sample_gradients  the gradient of each sample's own loss
"""

from .models.reach import Field, Reach, reach, receptive_field
from .models.record import record
from .models.samples import TopActivations, per_sample_gradients, top_activations
from .models.update import OptimizerStep, ParameterStep, optimizer_step
from .models.worked_example import LayerTrace, Trace

__all__ = [
    "Field",
    "LayerTrace",
    "OptimizerStep",
    "ParameterStep",
    "Reach",
    "TopActivations",
    "Trace",
    "optimizer_step",
    "per_sample_gradients",
    "reach",
    "receptive_field",
    "record",
    "top_activations",
]
