"""All gradients of a model in one vector, in the order in which the backward pass computes them.

So that the sum over shards is one addition, and travels between processes in few messages. In front
of the gradients is the change of the layers' state, such as moving averages, which is summed too.
"""

from collections.abc import Iterator, Sequence

from ..common.arrays import Array
from ..distributed import Communicator
from ..jit.capture import abort_capture
from ..kernels.memory import Arena, Memory
from ..layers import Layer, is_builtin
from .plan import Plan
from .stages import Stage

BUCKET = 1 << 20  # bytes of gradients that are sent at once, at least
BUFFERS = {"kernel": "dweight"}  # a layer's buffer for the gradient of a weight, if not "d" + name


def gradients_of(plan: Plan, memory: Memory, communicator: Communicator) -> "Gradients":
    """Those of all passes through this plan with this memory, until other layers are trained."""
    found: Gradients | None = memory.gradients
    layout = [(layer, name) for layer, name, _ in (*_states(plan), *_weights(plan.stages))]
    if found is not None and (found.plan, found.layout) == (plan, layout):
        return found
    memory.gradients = new = Gradients(plan, memory, layout, communicator)
    if isinstance(memory, Arena):
        for (layer, name), view in new.views.items():
            memory.place(layer, BUFFERS.get(name, f"d{name}"), view)
    return new


class Gradients:
    """`vector`, its views, and its buckets.

    `changes`: (layer, name, view of the change of this state); `bounds`: bucket i is
    vector[bounds[i] : bounds[i + 1]], and complete after the stages `spans[i]` of the backward.
    """

    def __init__(
        self,
        plan: Plan,
        memory: Memory,
        layout: list[tuple[Layer, str]],
        communicator: Communicator,
    ) -> None:
        self.plan, self.memory, self.layout = plan, memory, layout
        states, stages = _states(plan), plan.stages
        start = sum(array.size for _, _, array in states)
        size = start + sum(array.size for _, _, array in _weights(stages))
        self.vector = communicator.vector(size, plan.dtype)
        parts = self._cut(states)
        self.changes = [
            (layer, name, view) for (layer, name, _), view in zip(states, parts, strict=True)
        ]
        self.views: dict[tuple[Layer, str], Array] = {}
        self.spans = spans_of(plan)
        self.bounds, end = [0], start
        for span in self.spans:
            weights = _weights(stages[span])
            for (layer, name, array), view in zip(weights, self._cut(weights, end), strict=True):
                self.views[layer, name] = view
                end += array.size
            self.bounds.append(end)

    def _cut(self, arrays: list[tuple[Layer, str, Array]], start: int = 0) -> Iterator[Array]:
        """Views of the vector from `start` on, in the shapes of these arrays."""
        for _, _, array in arrays:
            yield self.vector[start : start + array.size].reshape(array.shape)
            start += array.size

    def collect(self, span: slice) -> None:
        """Copy what the layers of these stages have computed elsewhere."""
        for stage in self.plan.stages[span]:
            for layer, name, _ in _weights([stage]):
                view, own = self.views[layer, name], layer.grads[name]
                if view.ctypes.data != own.ctypes.data:
                    abort_capture()
                    view[...] = own

    def give(self) -> None:
        """Make these the layers' gradients."""
        for (layer, name), view in self.views.items():
            layer.grads[name] = view


def spans_of(plan: Plan) -> list[slice]:
    """The stages after which a bucket is complete, from the last stages to the first."""
    spans, stop, size = [], len(plan.stages), 0
    for i in reversed(range(plan.first_trained, len(plan.stages))):
        size += sum(array.nbytes for _, _, array in _weights(plan.stages[i : i + 1]))
        if i == plan.first_trained or size >= BUCKET:
            spans.append(slice(i, stop))
            stop, size = i, 0
    return spans or [slice(stop, stop)]  # nothing is trained, but layers may have a state


def _states(plan: Plan) -> list[tuple[Layer, str, Array]]:
    """The state that training may change."""
    return [
        (layer, name, array)
        for layer in plan.layers
        if layer.trainable or not is_builtin(layer)  # custom ones may change it at any time
        for name, array in layer.state.items()
    ]


def _weights(stages: Sequence[Stage]) -> list[tuple[Layer, str, Array]]:
    """What is trained, in the order of the backward pass."""
    return [
        (layer, name, array)
        for stage in reversed(stages)
        for layer in reversed(stage.layers)
        if layer.trainable
        for name, array in layer.params.items()
    ]
