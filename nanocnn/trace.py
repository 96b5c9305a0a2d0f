"""One pass with every number kept: `model.trace(x, y)`, or `record(model, x, y)`."""

from .models.record import LayerTrace as LayerTrace, Trace as Trace, record as record
