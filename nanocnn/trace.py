"""One pass with every number kept: `model.trace(x, y)`, or `record(model, x, y)`."""

from .models.record import record
from .models.worked_example import LayerTrace, Trace

__all__ = ["LayerTrace", "Trace", "record"]
