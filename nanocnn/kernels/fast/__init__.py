"""The fast kernels: the operations of `reference` under the same names, compiled by numba.

Each public function is plain Python: it checks its arguments, allocates the result (or takes
`out=`), divides the work into parts and has threads run a kernel, whose name begins with an
underscore. Kernels are compiled at their first call and cached on disk (jit/compile.py).
"""

from . import progress  # noqa: F401  (first: it says that kernels are compiled)

# isort: split
from .activations import (
    elu_backward,
    elu_forward,
    gelu_backward,
    gelu_forward,
    leaky_relu_backward,
    leaky_relu_forward,
)
from .batch_norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    batch_norm_update,
)
from .batches import one_hot, shares, smooth, take_images, take_rows
from .conv.conv2d import (
    choose,
    conv2d_backward,
    conv2d_forward,
    conv2d_relu_pool_backward,
    conv2d_relu_pool_forward,
)
from .dense import dense_backward, dense_forward
from .element_loss import (
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    mean_absolute_error_backward,
    mean_absolute_error_forward,
    mean_squared_error_backward,
    mean_squared_error_forward,
    sigmoid_cross_entropy_backward,
    sigmoid_cross_entropy_forward,
)
from .elementwise import (
    dropout_backward,
    dropout_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from .loss import (
    categorical_cross_entropy_backward,
    categorical_cross_entropy_forward,
    softmax_backward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
    softmax_forward,
)
from .measures import count_correct, largest, mean_loss
from .morphology import morphology_backward, morphology_forward
from .norms import clip_scales, l2_gradient, l2_penalty
from .optimizers import (
    adadelta_update,
    adam_update,
    ema_update,
    nadam_update,
    rmsprop_update,
    sgd_update,
)
from .padding import zero_pad_backward, zero_pad_forward
from .pool import (
    average_pool_backward,
    average_pool_forward,
    global_max_backward,
    global_max_forward,
    max_pool_backward,
    max_pool_forward,
)
from .shards import add, batch_norm_gradient, batch_norm_statistics, batch_norm_sums
from .warp import warp_backward, warp_forward

fuses = writes_into = chooses = True  # see kernels/__init__.py
calls_blas = False

__all__ = [
    "adadelta_update",
    "adam_update",
    "add",
    "average_pool_backward",
    "average_pool_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_gradient",
    "batch_norm_inference",
    "batch_norm_statistics",
    "batch_norm_sums",
    "batch_norm_update",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_forward",
    "calls_blas",
    "categorical_cross_entropy_backward",
    "categorical_cross_entropy_forward",
    "choose",
    "chooses",
    "clip_scales",
    "conv2d_backward",
    "conv2d_forward",
    "conv2d_relu_pool_backward",
    "conv2d_relu_pool_forward",
    "count_correct",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "elu_backward",
    "elu_forward",
    "ema_update",
    "fuses",
    "gelu_backward",
    "gelu_forward",
    "global_max_backward",
    "global_max_forward",
    "l2_gradient",
    "l2_penalty",
    "largest",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "max_pool_backward",
    "max_pool_forward",
    "mean_absolute_error_backward",
    "mean_absolute_error_forward",
    "mean_loss",
    "mean_squared_error_backward",
    "mean_squared_error_forward",
    "morphology_backward",
    "morphology_forward",
    "nadam_update",
    "one_hot",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "sgd_update",
    "shares",
    "sigmoid_backward",
    "sigmoid_cross_entropy_backward",
    "sigmoid_cross_entropy_forward",
    "sigmoid_forward",
    "smooth",
    "softmax_backward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "softmax_forward",
    "take_images",
    "take_rows",
    "tanh_backward",
    "tanh_forward",
    "warp_backward",
    "warp_forward",
    "writes_into",
    "zero_pad_backward",
    "zero_pad_forward",
]

# These compute only by `run` of kernels, so that their calls can be captured and replayed (see
# models/passes.py); with the names, so that a function that was replaced is noticed.
CAPTURABLE = {name: globals()[name] for name in __all__ if callable(globals()[name])}
