"""What single samples do: which excite a channel most, and the gradient of each."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..common.arrays import Array, quiet
from ..common.errors import NonFiniteError
from ..common.validate import flag, integer
from ..data.batches import batches, take
from ..jit.capture import never_captured
from ..kernels.memory import Memory
from ..layers import BatchNormalization
from .evaluator import Evaluator
from .predictor import INFERENCE_BATCH, Predictor
from .reach import position, receptive_field
from .record import one_pass, unchanged


@dataclass(frozen=True, repr=False)
class TopActivations:
    """The images that excite a channel most, from the strongest; of n found:

    indices  (n,) which images
    values   (n,) the channel's largest value in each
    cells    (n, axes) where that is in the layer's output, without the batch axis: the first such
             cell
    boxes    (n, 4) its receptive field in the image: top, left, bottom, right, the last two
             exclusive, so that x[i, top:bottom, left:right] is what the cell sees
    """

    indices: Array
    values: Array
    cells: Array
    boxes: Array

    def __repr__(self) -> str:
        return f"TopActivations({', '.join(f'{v:.4g}' for v in self.values)})"


@never_captured
def top_activations(
    model: Predictor, x: Any, layer: str | int, channel: int, count: int = 9
) -> TopActivations:
    """What excites a channel most: of the images x, those in which its largest value is largest.

    x        (N, ...), as for `predict`
    layer    its name or position; its output is that of an inference, after the activation
    channel  along the last axis: a filter's map, or a unit of a Dense
    count    how many images; all if there are fewer. Of equal ones the first come first

    Each image counts once. ValueError for wrong arguments, `NonFiniteError` for NaN or infinity on
    the way.
    """
    if not isinstance(model, Predictor):
        raise ValueError(f"model={model!r:.80}, expected a Sequential")
    model._build_for(x)
    last = position(layer, [each.name for each in model.layers], "layer={}")
    shape = model.layers[last].output_shape
    channel, count = integer(channel, "channel", 0), integer(count, "count")
    if channel >= shape[-1]:
        raise ValueError(
            f"channel={channel!r}, expected 0 to {shape[-1] - 1}: "
            f"layer {model.layers[last].name!r} has output {shape}"
        )
    images = model._images(x)
    values, places = np.empty(len(images), model.dtype), np.empty(len(images), np.intp)
    for index in batches(len(images), INFERENCE_BATCH):
        a, memory = take(images, index, model.dtype), Memory()
        for each in model.layers[: last + 1]:
            a = quiet(each.run_forward)(a, False, memory)
        maps = a[..., channel].reshape(len(a), -1)
        places[index] = maps.argmax(axis=1)
        values[index] = maps.max(axis=1)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        name = model.layers[last].name
        raise NonFiniteError(
            f"x[{bad[0]}]: channel {channel} of layer {name!r} has {values[bad[0]]}"
        )
    indices = np.argsort(-values, kind="stable")[:count]
    unravelled = np.unravel_index(places[indices], shape[:-1]) if shape[:-1] else ()
    cells = np.stack([*unravelled, np.full(len(indices), channel)], axis=1)
    boxes = [receptive_field(model, last, tuple(cell))[""].box for cell in cells.tolist()]
    return TopActivations(indices, values[indices], cells, np.array(boxes))


@never_captured
def per_sample_gradients(
    model: Evaluator, x: Any, y: Any, training: bool = True
) -> dict[str, Array]:
    """The gradient of each sample's own loss: {"layer/param": (N, *shape)} for x (N, ...).

    Their mean is the gradient of the batch up to rounding, in training too: a sample has the
    dropout mask and the random map of its place in the batch. Terms of an L2 penalty are in each.
    The model is left as it was. Arguments and errors as for `trace`. ValueError in training if a
    batch normalization is trained: there samples share mean and variance, and the loss of one
    depends on all. `training` False takes the moving averages, and no dropout.
    """
    training = flag(training, "training")
    if not isinstance(model, Evaluator):
        raise ValueError(f"model={model!r:.80}, expected a Sequential")
    data = model._checked_data(x, y)
    for layer in model.layers if training else ():
        if isinstance(layer, BatchNormalization) and layer.trainable:
            raise ValueError(
                f"training=True: in layer {layer.name!r} the samples of a batch share its mean and "
                "variance, so a sample has no gradient of its own; take training=False, for the "
                "moving averages, or set the layer's trainable to False"
            )
    images = take(data.x, slice(None), model.dtype)
    target = model.loss.target(data.labels, model.output_shape, model.dtype)
    found: dict[str, Array] = {}
    random = model.rng.bit_generator.state
    with unchanged(model.layers):
        for n in range(len(images)):
            memory, one = Memory(), slice(n, n + 1)
            memory.first, model.rng.bit_generator.state = n, random  # as the whole batch draws
            for each in one_pass(model, images[one], target[one], training, memory):
                for name, gradient in each.grads.items():
                    key = f"{each.name}/{name}"
                    if key not in found:
                        found[key] = np.empty((len(images), *gradient.shape), gradient.dtype)
                    found[key][n] = gradient
    return found
