"""One pass with every number kept: `model.trace(x, y)`, or `record(model, x, y)`."""

from .models.reach import Field, Reach, reach, receptive_field
from .models.record import record
from .models.update import OptimizerStep, ParameterStep, optimizer_step
from .models.worked_example import LayerTrace, Trace

__all__ = [
    "Field",
    "LayerTrace",
    "OptimizerStep",
    "ParameterStep",
    "Reach",
    "Trace",
    "optimizer_step",
    "reach",
    "receptive_field",
    "record",
]
