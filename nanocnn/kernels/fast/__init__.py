"""The fast kernels: the operations of `reference` under the same names, compiled by numba.

Each public function is plain Python: it checks, makes room for the result (or takes `out=`), cuts
the work into parts and hands a compiled loop, named with an underscore, to the threads. Nothing is
compiled before its first call, and what is compiled is kept on disk (jit/compile.py).
"""

from . import progress  # noqa: F401  (first: it says that kernels are compiled)

# isort: split
from ...jit import (
    precompile,  # noqa: F401  (a model tells it what it is about to train)
    spin,  # noqa: F401  (from now on threads wait for one another without sleep)
)
from .batch_norm import batch_norm_backward, batch_norm_forward, batch_norm_inference
from .conv.conv2d import (
    choose,
    conv2d_backward,
    conv2d_forward,
    conv2d_relu_pool_backward,
    conv2d_relu_pool_forward,
)
from .dense import dense_backward, dense_forward
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
    softmax_backward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
    softmax_forward,
)
from .optimizers import adam_update, rmsprop_update, sgd_update
from .pool import average_pool_backward, average_pool_forward, max_pool_backward, max_pool_forward

# What this set has beyond the reference: one kernel for neighbouring layers (see models/plan.py).
FUSED = ("conv2d_relu_pool_forward", "conv2d_relu_pool_backward")

# These do nothing with numbers but by `threads.run`, or say so when they do
# (`threads.abort_capture`): their calls may be recorded and made again (see models/replay.py).
CAPTURABLE = frozenset(
    (average_pool_forward, conv2d_forward, conv2d_relu_pool_forward, dense_forward,
     max_pool_forward, relu_forward, sigmoid_forward, softmax_forward, tanh_forward)
)  # fmt: skip

__all__ = [
    "FUSED",
    "REPEATABLE",
    "adam_update",
    "average_pool_backward",
    "average_pool_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "choose",
    "conv2d_backward",
    "conv2d_forward",
    "conv2d_relu_pool_backward",
    "conv2d_relu_pool_forward",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "max_pool_backward",
    "max_pool_forward",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "sgd_update",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "softmax_forward",
    "tanh_backward",
    "tanh_forward",
]
