"""The table that `model.summary()` prints, in Keras's words.

Source: keras/src/utils/summary_utils.py.
"""

from ..common.tables import sizes, table
from .structure import Structure


def summary(model: Structure, width: int = 0, show_trainable: bool = False) -> str:
    """The layers and their weights as a table of `width` characters or more."""
    rows = [("Layer (type)", "Output Shape", "Param #", "Trainable")]
    for layer in model.layers:
        shape = f"({sizes((None, *layer.output_shape))})" if layer.built else "?"
        params = f"{layer.count_params():,}" + " (unbuilt)" * (not layer.built)
        trains = ("Y" if layer.trainable else "N") if layer.weights else "-"
        rows.append((f"{layer.name} ({type(layer).__name__})", shape, params, trains))
    columns = 4 if show_trainable else 3
    lines = table([row[:columns] for row in rows], right=columns - 2)
    if lines.index("\n") < width:
        lines = lines.replace("-\n", "-" * (1 + width - len(lines.splitlines()[1])) + "\n", 1)
    counts = {
        "Total": model.weights,
        "Trainable": model.trainable_weights,
        "Non-trainable": model.non_trainable_weights,
    }
    totals = []
    for name, arrays in counts.items():
        count = sum(array.size for array in arrays.values())
        size = readable_size(count * model.dtype.itemsize)
        totals.append(f" {name} params: {count:,} ({size})")
    return "\n".join((f'Model: "{model.name}"', lines, *totals))


def readable_size(size: float) -> str:
    """Bytes as "1.21 KB"."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TB"
