"""The contract every layer keeps: build once, then forward and backward as often as you like."""

import re
from collections.abc import Callable, Iterable
from inspect import signature
from types import ModuleType
from typing import Any

import numpy as np

from .. import initializers
from ..common.arrays import Array as Array
from ..common.config import Configured, checked_config, refuse_unknown
from ..common.errors import ShapeError
from ..common.tables import sizes
from ..common.validate import flag, float_type, generator, label, sample_shape, takes, whole
from ..kernels import get_kernels
from ..kernels.geometry import Window, sliding_window
from ..kernels.memory import Memory

Shape = tuple[int, ...]


def without_batch(shape: Any, name: str) -> Shape:
    """The shape of one sample, from Keras's (None, ...)."""
    if not isinstance(shape, (tuple, list)) or len(shape) < 2 or shape[0] is not None:
        raise ValueError(f"{name}={shape!r:.80}, expected None for the batch axis, then the sizes")
    return tuple(whole(size, name) for size in shape[1:])


# Keras's arguments for the shape of a layer's input.
SHAPE_WORDS: dict[str, Callable[[Any, str], Shape]] = {
    "input_shape": sample_shape,
    "input_dim": sample_shape,
    "batch_input_shape": without_batch,
    "batch_shape": without_batch,
}


class Layer(Configured):
    """A differentiable function of one array, with parameters of its own.

    A layer of your own is a subclass that defines, the last two only where it needs them:

    forward(self, x) or forward(self, x, training)  the output for x (N, *input_shape)
    backward(self, dy)          dL/dx for dy = dL/dy, of the last forward pass; puts dL/dparameter
                                into `self.grads`, under its name in `self.params`
    shapes(self, input_shape)   the output's shape where it is not the input's, and the weights'
    initial(self, name, shape)  a weight before training

    Weights whose shapes do not depend on the input may be put into `self.params` by `__init__`
    instead. Results must have the dtype of x; x and dy are read-only. Random numbers come from
    `self.rng`. `gradcheck.check(layer, x)` says whether `backward` is right. Copies and pickles of
    a model make the layer again from the arguments of `__init__`, so it must keep each in an
    attribute of the same name; files cannot hold it.

    What `forward` keeps on `self` for `backward` is overwritten by the next pass, so only one
    thread at a time may use a model with such a layer. nanocnn's own layers define `_forward` and
    `_backward` instead, which keep it in a `Memory` of the calling thread. The layer owns the
    mathematics and what is saved for the backward pass; the kernels own the loops.

    Every layer takes, beside its own arguments, `name`, `trainable` (False: its parameters stay as
    they are in training, from the next step on, and they are not penalised) and, as in Keras 2, for
    the first layer of a model, the shape of its input: `input_shape` or `input_dim` without the
    batch axis, or `batch_input_shape`. Raises ValueError for others.

    Attributes: `name`; `params` and `grads` (dicts by Keras's weight names), `state` (weights that
    are not trained, such as moving averages), `input_shape` and `output_shape` (without N),
    `kernels` (the kernel set).
    """

    operation = ""  # the kernels it calls: "conv2d" for conv2d_forward and conv2d_backward
    keeps: tuple[str, ...] = ()  # what it saves for its backward pass, by name
    random = False  # draws random numbers while training
    untrained: tuple[str, ...] = ()  # the names of the weights that are `state`

    def __init__(self, name: str | None = None, trainable: bool = True, **options: Any) -> None:
        kind = type(self).__name__
        refuse_unknown(type(self), options, SHAPE_WORDS)
        self.name = automatic_name(kind) if name is None else label(name, f"{kind}: name")
        self.named = name is not None
        self.trainable = trainable
        self.expected_shape: Shape | None = None  # of its input, where it was given
        for word, shape in options.items():
            self.expected_shape = SHAPE_WORDS[word](shape, f"{kind}: {word}")
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.state: dict[str, Array] = {}
        self.penalties: dict[str, float] = {}  # L2 factor by parameter name
        self.built = False
        self.memory = Memory()

    @property
    def is_custom(self) -> bool:
        """Whether a subclass has a `forward` or `backward` of its own."""
        return self._defines("forward") or self._defines("backward")

    @property
    def trainable(self) -> bool:
        """Whether training changes the parameters; may be set at any time."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = flag(value, f"{self.name}: trainable")

    def build(
        self,
        input_shape: Shape,
        rng: np.random.Generator | int = 0,
        dtype: Any = "float32",
        kernels: ModuleType | None = None,
    ) -> Shape:
        """Make the parameters for inputs of `input_shape` (without N); returns the output shape.

        `kernels` is a module from `nanocnn.kernels.get_kernels`; the reference set by default.
        Raises `ShapeError` as `shapes` does.
        """
        self.kernels = get_kernels("reference") if kernels is None else kernels
        if not hasattr(self.kernels, "conv2d_forward"):
            raise ValueError(f"{self.name}: kernels={kernels!r:.80}, expected a module of kernels")
        self.dtype = float_type(dtype, f"{self.name}: dtype")
        self.rng = generator(rng, f"{self.name}: rng")
        if not isinstance(input_shape, (tuple, list)):
            raise ShapeError(f"{self.name}: input_shape={input_shape!r:.80}, expected a tuple")
        self.input_shape = sample_shape(input_shape, f"{self.name}: input_shape")
        if self.expected_shape not in (None, self.input_shape):
            raise ShapeError(
                f"{self.name}: input of shape (N, {sizes(self.input_shape)}), expected "
                f"(N, {sizes(self.expected_shape or ())}) as its argument says"
            )
        self._check_methods()
        self.output_shape, shapes = self.shapes(self.input_shape)
        if not self.built:
            self._given = self.params, self.state  # what __init__ has put there
        params, state = (
            {name: self._weight(name, np.shape(value), value) for name, value in given.items()}
            for given in self._given
        )
        for name, shape in shapes.items():
            weights = state if name in self.untrained else params
            weights[name] = self._weight(name, shape, self.initial(name, shape))
        self.params, self.state = params, state
        self._prepare()
        self.built = True
        return self.output_shape

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        """The output's shape for inputs of `input_shape`, and each weight's, in Keras's order.

        Without N; makes nothing. Raises `ShapeError` when the input does not fit or the output
        would be empty.
        """
        return input_shape, {}

    def initial(self, name: str, shape: Shape) -> Any:
        """The weight `name` of a new layer: an array, or the name of an initializer ("zeros")."""
        raise ValueError(
            f"{self.name}: weight {name!r} has no initial value, expected a method initial(self, "
            f"name, shape) of {type(self).__name__} that returns an array or a name such as 'zeros'"
        )

    def forward(self, x: Array, training: bool = False, memory: Memory | None = None) -> Array:
        """The layer's output for x (N, *input_shape): (N, *output_shape)."""
        self._check(x)
        training = flag(training, f"{self.name}: training")
        return self._forward(x, training, self._memory(memory))

    def backward(
        self, dy: Array, need_dx: bool = True, memory: Memory | None = None
    ) -> Array | None:
        """dL/dx for dy = dL/dy, of the last forward pass; fills `grads` with dL/dparameter.

        With `need_dx` False the input's gradient is not computed where that saves work.
        """
        memory, need_dx = self._memory(memory), flag(need_dx, f"{self.name}: need_dx")
        kept = memory.saved(self) if memory.holds(self) else ()
        batches = {len(each) for each in kept if isinstance(each, np.ndarray) and each.ndim > 1}
        if not isinstance(dy, np.ndarray) or dy.dtype.kind not in "buif":
            raise ValueError(f"{self.name}: dy={dy!r:.80}, expected an array of numbers")
        if dy.shape[1:] != self.output_shape or batches - {len(dy)}:
            raise ShapeError(
                f"{self.name}: dy of shape {dy.shape}, expected that of the last forward pass's "
                f"output: ({sizes((*(batches or 'N'), *self.output_shape))})"
            )
        return self._backward(dy, need_dx, memory)

    def run_forward(self, x: Array, training: bool, memory: Memory) -> Array:
        """What models call: `_forward`, or a subclass's own `forward`, whose result is checked."""
        if not self.is_custom:
            return self._forward(x, training, memory)
        y = self.forward(_read_only(x), **self._training(training))
        return self._checked(y, "forward returned", (len(x), *self.output_shape))

    def run_backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        """What models call: `_backward`, or a subclass's own `backward`, its results checked."""
        if not self.is_custom:
            return self._backward(dy, need_dx, memory)
        self.grads = {}  # a gradient that is forgotten must not be the last step's
        dx = self.backward(_read_only(dy))
        for name, param in self.params.items() if self.trainable else ():
            what = f"backward left in self.grads[{name!r}]"
            self.grads[name] = self._checked(self.grads.get(name), what, param.shape)
        if not need_dx:
            return None
        return self._checked(dx, "backward returned", (len(dy), *self.input_shape))

    def require_backward(self) -> None:
        """Raise ValueError for a layer that has no backward pass."""
        if not (self._defines("backward") or self._defines("_backward")):
            raise ValueError(
                f"{self.name}: {type(self).__name__} has no backward, expected a method "
                "backward(self, dy) that returns dL/dx: training needs it"
            )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Layer":
        """The layer that `get_config` described."""
        return cls(**checked_config(config, cls.__name__))

    @property
    def weights(self) -> dict[str, Array]:
        """Parameters, then state: Keras's order."""
        return {**self.params, **self.state}

    def count_params(self) -> int:
        """The number of weights, trained or not."""
        return sum(array.size for array in self.weights.values())

    def formula(self) -> str:
        """The forward pass in one line."""
        return ""

    def _weight(self, name: str, shape: Shape, value: Any) -> Array:
        """A new array for the weight `name`, with the `value` that `initial` or __init__ gave."""
        if isinstance(value, str):
            return initializers.initialize(value, shape, self.rng, self.dtype)
        weight = np.array(value, self.dtype)
        if weight.shape != tuple(shape):
            raise ShapeError(
                f"{self.name}: initial {name} of shape {weight.shape}, expected {tuple(shape)}"
            )
        return weight

    def _prepare(self) -> None:
        """Called when shapes and weights are there."""

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        raise NotImplementedError

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        self.require_backward()
        raise NotImplementedError

    def _defines(self, name: str) -> bool:
        """Whether the method `name` is another one than that of `Layer`."""
        return getattr(type(self), name) is not getattr(Layer, name) or name in vars(self)

    def _training(self, training: bool) -> dict[str, Any]:
        """`training` as an argument of a subclass's own `forward`, where that takes it."""
        return {"training": training} if "training" in signature(self.forward).parameters else {}

    def _check_methods(self) -> None:
        """Raise ValueError where models could not call `forward` or `backward`."""
        kind = type(self).__name__
        if not (self._defines("forward") or self._defines("_forward")):
            raise ValueError(f"{self.name}: {kind} has no forward, expected forward(self, x)")
        if self._defines("forward") and not takes(self.forward, 0, **self._training(False)):
            raise ValueError(
                f"{self.name}: {kind}.forward{signature(self.forward)}, expected forward(x) or "
                "forward(x, training)"
            )
        if self._defines("backward") and not takes(self.backward, 0):
            raise ValueError(
                f"{self.name}: {kind}.backward{signature(self.backward)}, expected backward(dy)"
            )

    def _checked(self, result: Any, what: str, shape: Shape) -> Array:
        """What a subclass's own method made, as kernels take it: contiguous and writable."""
        if isinstance(result, (np.ndarray, np.generic)):
            found, fits = f"{result.dtype} of shape {result.shape}", result.shape == shape
            if fits and result.dtype == self.dtype:
                return np.require(result, None, ["C", "W"])
            hint = "; end with .astype(x.dtype), or keep float64 out of it" if fits else ""
        else:
            found, hint = f"{result!r:.80}", ""
        raise ShapeError(
            f"{self.name}: {what} {found}, expected {self.dtype} of shape {shape}{hint}"
        )

    def _check(self, x: Array) -> None:
        if not self.built:
            raise RuntimeError(f"{self.name}: call build(input_shape) before forward")
        if not isinstance(x, np.ndarray):
            raise ValueError(f"{self.name}: input {type(x).__name__}, expected an array")
        if x.dtype.kind not in "buif":
            raise ValueError(f"{self.name}: input of type {x.dtype}, expected numbers")
        if x.shape[1:] != self.input_shape:
            raise ShapeError(
                f"{self.name}: input of shape {x.shape}, expected (N, {sizes(self.input_shape)})"
            )

    def _memory(self, given: Any) -> Memory:
        if not isinstance(given, (Memory, type(None))):
            raise ValueError(f"{self.name}: memory={given!r:.80}, expected a Memory or None")
        return self.memory if given is None else given

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def _read_only(array: Array) -> Array:
    """A view that cannot be written to: other layers need what is there."""
    view = array.view()
    view.flags.writeable = False
    return view


def automatic_name(class_name: str) -> str:
    """Keras's automatic name: MaxPooling2D -> max_pooling2d."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", class_name).lower()


def make_names_unique(layers: Iterable[Layer]) -> None:
    """Number automatic names as Keras does (conv2d, conv2d_1, ...); refuse equal given names."""
    taken = {layer.name for layer in layers if layer.named}
    if len(taken) < sum(layer.named for layer in layers):
        raise ValueError(f"two layers have the same name: {[layer.name for layer in layers]}")
    counts: dict[str, int] = {}
    for layer in layers:
        if not layer.named:
            base = automatic_name(type(layer).__name__)
            while (name := f"{base}_{counts[base]}" if base in counts else base) in taken:
                counts[base] = counts.get(base, 0) + 1
            counts[base] = counts.get(base, 0) + 1
            layer.name = name


def window_over(
    shape: Shape, layer: str, kernel: tuple[int, int], *arguments: Any
) -> tuple[Window, int]:
    """The window of `sliding_window` over images of `shape` (H,W,C), and C.

    Raises `ShapeError`, which names the layer, for what is no image or too small.
    """
    if len(shape) != 3:
        raise ShapeError(
            f"{layer}: input of shape (N, {sizes(shape)}), "
            "expected images (N, height, width, channels)"
        )
    try:
        return sliding_window(shape[:2], kernel, *arguments), shape[2]
    except ShapeError as error:
        raise ShapeError(f"{layer}: {error}") from None
