"""The kernels: every operation of a network, in two sets of the same names.

`reference` is the specification, in plain NumPy; `fast` is its twin, compiled by numba. A set is a
module handed down from `Sequential` to its layers, loss and optimizer: there is no global switch.
The size letters of every kernel, docstring and test (N H W C F ...) are in `reference`; all arrays
are C-contiguous.

Beyond the operations, a set says by attributes what else it can do:

fuses         conv2d_relu_pool_forward and _backward, and `relu` as an argument of the products:
              neighbouring layers run as one kernel
writes_into   every operation takes `out`, so that results go into buffers that are used again
chooses       `choose` names the algorithm of each product of a convolution
calls_blas    results depend on the number of threads of BLAS
CAPTURABLE    {name: function} of the operations whose calls may be captured and replayed
              (models/passes.py)
"""

from importlib import import_module
from types import ModuleType
from typing import Any

from ..common.errors import unknown

KERNEL_SETS = ("fast", "reference")

OPERATIONS = (
    "conv2d_forward", "conv2d_backward",
    "max_pool_forward", "max_pool_backward",
    "average_pool_forward", "average_pool_backward",
    "global_max_forward", "global_max_backward",
    "zero_pad_forward", "zero_pad_backward",
    "dense_forward", "dense_backward",
    "relu_forward", "relu_backward",
    "sigmoid_forward", "sigmoid_backward",
    "tanh_forward", "tanh_backward",
    "leaky_relu_forward", "leaky_relu_backward",
    "elu_forward", "elu_backward",
    "gelu_forward", "gelu_backward",
    "softmax_forward", "softmax_backward",
    "dropout_forward", "dropout_backward",
    "batch_norm_forward", "batch_norm_backward", "batch_norm_inference", "batch_norm_update",
    "softmax_cross_entropy_forward", "softmax_cross_entropy_backward",
    "categorical_cross_entropy_forward", "categorical_cross_entropy_backward",
    "sigmoid_cross_entropy_forward", "sigmoid_cross_entropy_backward",
    "binary_cross_entropy_forward", "binary_cross_entropy_backward",
    "mean_squared_error_forward", "mean_squared_error_backward",
    "mean_absolute_error_forward", "mean_absolute_error_backward",
    "take_images", "take_rows", "one_hot", "smooth", "shares",
    "mean_loss", "count_correct", "largest",
    "l2_penalty", "l2_gradient", "clip_scales",
    "sgd_update", "rmsprop_update", "adam_update", "adadelta_update", "nadam_update",
)  # fmt: skip


# For custom modules that do not define an attribute: their functions return new arrays.
DEFAULTS: dict[str, Any] = {
    "fuses": False,
    "writes_into": False,
    "chooses": False,
    "calls_blas": True,
    "CAPTURABLE": {},
}


def ability(kernels: ModuleType, name: str) -> Any:
    """The attribute `name` of a kernel set, or its default for a module that lacks it."""
    return getattr(kernels, name, DEFAULTS[name])


def get_kernels(name: str) -> ModuleType:
    """The kernel set called `name`: "fast" (numba) or "reference" (NumPy)."""
    if not isinstance(name, str) or name not in KERNEL_SETS:
        raise unknown("kernel set", name, KERNEL_SETS)
    return import_module(f".{name}", __name__)
