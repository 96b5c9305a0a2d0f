"""The base class of layers: build once, then run forward and backward any number of times."""

import re
from collections.abc import Callable
from inspect import signature
from types import ModuleType
from typing import Any

import numpy as np

from .. import initializers
from ..common.arrays import Array as Array
from ..common.config import Configured, checked_config, refuse_unknown
from ..common.errors import ShapeError
from ..common.tables import sizes
from ..common.validate import (
    accepts,
    flag,
    float_type,
    generator,
    integer,
    printable_name,
    sample_shape,
)
from ..kernels import get_kernels
from ..kernels.memory import Memory
from .weights import Weighted

Shape = tuple[int, ...]


def without_batch(shape: Any, name: str) -> Shape:
    """Return the shape of one sample from Keras's (None, ...), which includes the batch axis."""
    if not isinstance(shape, (tuple, list)) or len(shape) < 2 or shape[0] is not None:
        raise ValueError(f"{name}={shape!r:.80}, expected None for the batch axis, then the sizes")
    return tuple(integer(size, name) for size in shape[1:])


# Keras's arguments for the input shape, and their checks.
SHAPE_ARGUMENTS: dict[str, Callable[[Any, str], Shape]] = {
    "input_shape": sample_shape,
    "input_dim": sample_shape,
    "batch_input_shape": without_batch,
    "batch_shape": without_batch,
}


class Layer(Configured, Weighted):
    """A differentiable function of one array, with parameters.

    A custom layer is a subclass that defines the first two of these, and the others if needed:

    forward(self, x) or forward(self, x, training)  return the output for x (N, *input_shape)
    backward(self, dy)          return dL/dx for dy = dL/dy of the last forward pass, and set
                                `self.grads[name]` to dL/dparameter for each name in `self.params`
    shapes(self, input_shape)   return the output's shape and the shapes of the weights, by name
    initial(self, name, shape)  return the initial value of a weight

    `__init__` may put weights into `self.params` if their shapes do not depend on the input.
    Results must have the dtype of x; x and dy are read-only. Draw random numbers from `self.rng`.
    `gradcheck.check(layer, x)` tests `backward`. Copies and pickles of a model rebuild the layer
    from the arguments of `__init__`, so keep each in an attribute of the same name; model files
    cannot store custom layers.

    The next pass overwrites what `forward` keeps on `self`, so only one thread at a time may use a
    model with custom layers. Built-in layers have a kernel (`operation`), or define `_forward` and
    `_backward`, which save arrays in a `Memory` of the calling thread. A layer owns the mathematics
    and what is saved for the backward pass; the kernels own the loops.

    Every layer also takes `name`, `trainable` (False: training neither changes nor penalises its
    parameters, from the next step on) and, as in Keras 2, the input shape of a first layer:
    `input_shape` or `input_dim` without the batch axis, or `batch_input_shape`. Raises ValueError
    for other arguments, unless Keras has them and here they have only one value: `config.FIXED`.

    Attributes: `name`, `params` and `grads` (dicts by Keras's weight names), `state` (weights that
    are not trained, such as moving averages), `input_shape` and `output_shape` (without N),
    `kernels` (the kernel set).
    """

    operation = ""  # prefix of its kernels: "conv2d" for conv2d_forward and conv2d_backward
    arguments: tuple[Any, ...] = ()  # of its kernels, besides arrays
    saves: tuple[str, ...] = ()  # the names of what it saves for its backward pass
    equation = ""  # the forward pass as a one-line formula
    random = False  # draws random numbers while training
    draws = 0  # 64-bit numbers that a training pass draws from the model's generator
    scales_pixels = False  # takes uint8 images as numbers of 0 to 255
    untrained: tuple[str, ...] = ()  # the names of the weights in `state`

    def __init__(self, *, name: str | None = None, trainable: bool = True, **options: Any) -> None:
        kind = type(self).__name__
        refuse_unknown(type(self), options, SHAPE_ARGUMENTS)
        self.name = automatic_name(kind) if name is None else printable_name(name, f"{kind}: name")
        self.named = name is not None
        self.trainable = trainable
        self.expected_shape: Shape | None = None  # of the input, if given
        for word, shape in options.items():
            if word in SHAPE_ARGUMENTS:
                self.expected_shape = SHAPE_ARGUMENTS[word](shape, f"{kind}: {word}")
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.state: dict[str, Array] = {}
        self.penalties: dict[str, float] = {}  # L2 factor by parameter name
        self.built = False
        self.in_model = False  # its weights are those of a model that is built
        self.memory = Memory()

    @property
    def is_custom(self) -> bool:
        """Whether a subclass overrides `forward` or `backward`."""
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
        *,
        rng: np.random.Generator | int = 0,
        dtype: Any = "float32",
        kernels: ModuleType | None = None,
    ) -> Shape:
        """Create the weights for inputs of `input_shape` (without N); return the output shape.

        `kernels` is a module from `nanocnn.kernels.get_kernels`; the reference set by default.
        Raises `ShapeError` as `shapes` does.
        """
        self.kernels = get_kernels("reference") if kernels is None else kernels
        if not hasattr(self.kernels, "conv2d_forward"):
            raise ValueError(f"{self.name}: kernels={kernels!r:.80}, expected a kernel set")
        self.dtype = float_type(dtype, f"{self.name}: dtype")
        self.rng = generator(rng, f"{self.name}: rng")
        if not isinstance(input_shape, (tuple, list)):
            raise ShapeError(f"{self.name}: input_shape={input_shape!r:.80}, expected a tuple")
        self.input_shape = sample_shape(input_shape, f"{self.name}: input_shape")
        if self.expected_shape not in (None, self.input_shape):
            raise ShapeError(
                f"{self.name}: input of shape (N, {sizes(self.input_shape)}), expected "
                f"(N, {sizes(self.expected_shape or ())}) as declared"
            )
        self._check_methods()
        self.output_shape, shapes = self.shapes(self.input_shape)
        if not self.built:
            self._given = self.params, self.state  # as set by __init__
        params, state = (
            {name: self._weight(name, np.shape(value), value) for name, value in given.items()}
            for given in self._given
        )
        for name, shape in shapes.items():
            weights = state if name in self.untrained else params
            weights[name] = self._weight(name, shape, self.initial(name, shape))
        self.params, self.state = params, state
        self.kernel_shape = self.output_shape  # of what the kernel returns, without N
        self._prepare()
        self.built = True
        return self.output_shape

    def shapes(self, input_shape: Shape) -> tuple[Shape, dict[str, Shape]]:
        """Return the output's shape for `input_shape`, both without N, and the weights' shapes.

        The weights are in Keras's order. Creates nothing. Raises `ShapeError` for an input shape
        that the layer does not accept and for an empty output.
        """
        return input_shape, {}

    def initial(self, name: str, shape: Shape) -> Any:
        """Return the initial weight `name`: an array, or the name of an initializer ("zeros")."""
        raise ValueError(
            f"{self.name}: weight {name!r} has no initial value, expected a method initial(self, "
            f"name, shape) of {type(self).__name__} that returns an array or a name such as 'zeros'"
        )

    def forward(self, x: Array, training: bool = False, memory: Memory | None = None) -> Array:
        """Return the output (N, *output_shape) for x (N, *input_shape)."""
        self._check(x)
        training = flag(training, f"{self.name}: training")
        return self._forward(x, training, self._memory(memory))

    def backward(
        self, dy: Array, need_dx: bool = True, memory: Memory | None = None
    ) -> Array | None:
        """Return dL/dx for dy = dL/dy of the last forward pass; set `grads` to dL/dparameter.

        `need_dx` False allows the layer to skip dL/dx and return None.
        """
        memory, need_dx = self._memory(memory), flag(need_dx, f"{self.name}: need_dx")
        saved = memory.saved(self) if memory.holds(self) else ()
        batches = {len(each) for each in saved if isinstance(each, np.ndarray) and each.ndim > 1}
        if not isinstance(dy, np.ndarray) or dy.dtype.kind not in "buif":
            raise ValueError(f"{self.name}: dy={dy!r:.80}, expected an array of numbers")
        if dy.shape[1:] != self.output_shape or batches - {len(dy)}:
            raise ShapeError(
                f"{self.name}: dy of shape {dy.shape}, expected that of the last output: "
                f"({sizes((*(batches or 'N'), *self.output_shape))})"
            )
        return self._backward(dy, need_dx, memory)

    def run_forward(self, x: Array, training: bool, memory: Memory) -> Array:
        """The forward pass in a model: `_forward`, or a custom `forward` with checks."""
        if not self.is_custom:
            return self._forward(x, training, memory)
        y = self.forward(_read_only(x), **self._training(training))
        return self._checked(y, "forward returned", (len(x), *self.output_shape))

    def run_backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        """The backward pass in a model: `_backward`, or a custom `backward` with checks."""
        if not self.is_custom:
            return self._backward(dy, need_dx, memory)
        self.grads = {}  # without this, a missing gradient would be the last step's
        dx = self.backward(_read_only(dy))
        for name, param in self.params.items() if self.trainable else ():
            what = f"after backward self.grads[{name!r}] is"
            self.grads[name] = self._checked(self.grads.get(name), what, param.shape)
        if not need_dx:
            return None
        return self._checked(dx, "backward returned", (len(dy), *self.input_shape))

    def require_backward(self) -> None:
        """Raise ValueError if the layer has no backward pass."""
        if not (self.operation or self._defines("backward") or self._defines("_backward")):
            raise ValueError(
                f"{self.name}: {type(self).__name__} has no backward, expected a method "
                "backward(self, dy) that returns dL/dx: training needs it"
            )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Layer":
        """Create a layer from the result of `get_config`."""
        return cls(**checked_config(config, cls.__name__))

    @property
    def weights(self) -> dict[str, Array]:
        """Parameters, then state, as Keras orders them."""
        return {**self.params, **self.state}

    @property
    def trainable_weights(self) -> dict[str, Array]:
        """The weights that training changes: `params`, or none where the layer is frozen."""
        return self.params if self.trainable else {}

    def formula(self) -> str:
        """Return the forward pass as a one-line formula."""
        return self.equation

    def _weight(self, name: str, shape: Shape, value: Any) -> Array:
        """Return a new array for the weight `name` from the `value` of `initial` or `__init__`."""
        if isinstance(value, str):
            return initializers.initialize(value, shape, self.rng, self.dtype)
        weight = np.array(value, self.dtype)
        if weight.shape != tuple(shape):
            raise ShapeError(
                f"{self.name}: initial {name} of shape {weight.shape}, expected {tuple(shape)}"
            )
        return weight

    def _prepare(self) -> None:
        """Finish `build`, after shapes and weights are set."""

    def _forward(self, x: Array, training: bool, memory: Memory) -> Array:
        """The kernel of `operation`, which saves x, y or both."""
        kernel = getattr(self.kernels, f"{self.operation}_forward")
        y: Array = kernel(x, *self.arguments, **memory.out(self, y=(len(x), *self.kernel_shape)))
        memory.save(self, *(x if name == "x" else y for name in self.saves))
        return y

    def _backward(self, dy: Array, need_dx: bool, memory: Memory) -> Array | None:
        self.require_backward()
        kernel = getattr(self.kernels, f"{self.operation}_backward")
        out = memory.out(self, dx=(len(dy), *self.input_shape))
        return kernel(dy, *memory.saved(self), *self.arguments, **out)

    def _defines(self, name: str) -> bool:
        """Whether a subclass, or this instance, overrides the method `name`."""
        return getattr(type(self), name) is not getattr(Layer, name) or name in vars(self)

    def _training(self, training: bool) -> dict[str, Any]:
        """`training` as a keyword argument if a custom `forward` takes it, else nothing."""
        return {"training": training} if "training" in signature(self.forward).parameters else {}

    def _check_methods(self) -> None:
        """Raise ValueError if `forward` or `backward` is missing or has other arguments."""
        kind = type(self).__name__
        if not (self.operation or self._defines("forward") or self._defines("_forward")):
            raise ValueError(f"{self.name}: {kind} has no forward, expected forward(self, x)")
        if self._defines("forward") and not accepts(self.forward, 0, **self._training(False)):
            raise ValueError(
                f"{self.name}: {kind}.forward{signature(self.forward)}, expected forward(x) or "
                "forward(x, training)"
            )
        if self._defines("backward") and not accepts(self.backward, 0):
            raise ValueError(
                f"{self.name}: {kind}.backward{signature(self.backward)}, expected backward(dy)"
            )

    def _checked(self, result: Any, what: str, shape: Shape) -> Array:
        """Check the result of a custom method; return it C-contiguous and writable."""
        if isinstance(result, (np.ndarray, np.generic)):
            found, fits = f"{result.dtype} of shape {result.shape}", result.shape == shape
            if fits and result.dtype == self.dtype:
                return np.require(result, None, ["C", "W"])
            hint = "; convert it with .astype(x.dtype)" if fits else ""
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
    """Return a read-only view, because other layers still need the values."""
    view = array.view()
    view.flags.writeable = False
    return view


def automatic_name(class_name: str) -> str:
    """Return Keras's default name for a class: MaxPooling2D -> max_pooling2d."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", class_name).lower()
