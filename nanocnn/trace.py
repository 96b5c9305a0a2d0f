"""One pass with every number kept: `model.trace(x, y)`, or `record(model, x, y)`."""

from .models.reach import Field, Reach, reach, receptive_field
from .models.record import record
from .models.worked_example import LayerTrace, Trace

__all__ = ["Field", "LayerTrace", "Reach", "Trace", "reach", "receptive_field", "record"]
