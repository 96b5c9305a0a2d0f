"""Every fast kernel on given numbers: a line `name sha256` for each result.

    python tests/kernels/one_result.py [--threads N] [WORD ...] > here.txt

Two processors give the same bits if they print the same lines: test_one_result.py compares vector
widths on one machine, and `diff` the files of two machines. With words, only names that contain one
of them are computed. The inputs need no function of the C library, so they are the same everywhere.
"""

import argparse
import hashlib
import sys
from contextlib import suppress
from itertools import product
from pathlib import Path
from zlib import crc32

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for a run without pytest

from nanocnn import set_num_threads
from nanocnn.kernels import fast, transforms as formulas
from nanocnn.kernels.fast.conv.conv2d import ALGORITHMS
from nanocnn.kernels.geometry import sliding_window
from support import transforms

# N, H, W, C, F, kernel, strides, dilation, padding: several parts, bands, panels and tiles, and
# sizes that are no multiple of a register
LAYERS = [
    (9, 28, 28, 1, 6, (5, 5), (1, 1), (1, 1), "valid"),
    (3, 60, 69, 1, 8, (5, 5), (1, 1), (1, 1), "same"),
    (70, 10, 9, 13, 20, (3, 3), (1, 1), (1, 1), "same"),
    (5, 14, 13, 20, 50, (5, 5), (1, 1), (1, 1), "valid"),
    (4, 40, 37, 6, 3, (3, 3), (1, 1), (1, 1), "same"),
    (6, 9, 12, 3, 17, (3, 2), (2, 1), (1, 2), "same"),
    (2, 7, 8, 5, 2, (2, 3), (1, 1), (2, 2), "same"),
    (3, 5, 6, 17, 70, (1, 1), (1, 1), (1, 1), "valid"),
    (1, 6, 6, 2, 1, (3, 3), (2, 2), (1, 1), "valid"),
]
PRODUCTS = [(1, 1, 1), (1, 784, 10), (2, 600, 65), (3, 257, 33), (8, 800, 500), (17, 256, 17),
            (64, 513, 48), (128, 100, 10)]  # fmt: skip
POOLS = [
    (3, 9, 7, 5, (2, 2), (2, 2)),
    (2, 12, 11, 20, (3, 2), (1, 2)),
    (1, 6, 6, 33, (3, 3), (3, 3)),
]
PARAMETERS = [(5, 5, 20, 50), (50,), (800, 33), (1,), (7, 3)]


class Numbers:
    """Random numbers of mixed magnitude, some of them 0; by a name, so always the same."""

    def __init__(self, name, dtype):
        self.rng, self.dtype = np.random.default_rng(crc32(name.encode())), dtype

    def __call__(self, *shape):
        x = np.ldexp(self.rng.random(shape) * 2 - 1, self.rng.integers(-6, 7, shape))
        return np.where(self.rng.random(shape) < 0.1, 0, x).astype(self.dtype)

    def positive(self, *shape):
        return np.abs(self(*shape)) + self.dtype(0.0625)

    def fractions(self, *shape):
        return self.rng.random(shape).astype(self.dtype)

    def one_hot(self, N, K):
        return np.eye(K, dtype=self.dtype)[self.rng.integers(0, K, N)]


def convolutions(kernels, draw):
    for N, H, W, C, F, size, strides, dilation, padding in LAYERS:
        window = sliding_window((H, W), size, strides, padding, dilation)
        x, weight, bias = draw(N, H, W, C), draw(*size, C, F), draw(F)
        dy, name = draw(N, window.OH, window.OW, F), f"conv {N}x{H}x{W}x{C} {F} of {size}"
        layer = x, weight, bias, window
        y = kernels.conv2d_forward(*layer, relu=True)
        calls = [
            ("forward", kernels.conv2d_forward, (x, weight, None, window), {}),
            ("relu", kernels.conv2d_forward, layer, {"relu": True}),
            ("backward", kernels.conv2d_backward, (dy, x, weight, window), {}),
            ("relu backward", kernels.conv2d_backward, (dy, x, weight, window), {"relu_output": y}),
        ]
        if strides == (1, 1):
            pool = sliding_window((window.OH, window.OW), (2, 2), (2, 2))
            argmax = kernels.conv2d_relu_pool_forward(*layer, pool)[1]
            dy = draw(N, pool.OH, pool.OW, F)
            backward = dy, x, weight, argmax, window, pool
            calls += [
                ("relu pool", kernels.conv2d_relu_pool_forward, (*layer, pool), {}),
                ("relu pool backward", kernels.conv2d_relu_pool_backward, backward, {}),
            ]
        for algorithm in (None, *ALGORITHMS):
            for what, call, arguments, named in calls:
                with suppress(ValueError):  # this algorithm cannot compute this product
                    found = call(*arguments, **named, algorithm=algorithm)
                    yield f"{name} {what} {algorithm}", found
    windows = [sliding_window((n, n), (k, k), (1, 1), "same") for n in (8, 14, 28) for k in (3, 5)]
    chosen = [kernels.choose(window, C, F, pooled) for window in windows for C in range(1, 40)
              for F in range(1, 40) for pooled in (False, True)]  # fmt: skip
    yield "conv choose", np.frombuffer(repr(chosen).encode(), np.uint8)


def dense(kernels, draw):
    for M, K, N in PRODUCTS:
        x, weight, bias, dy = draw(M, K), draw(K, N), draw(N), draw(M, N)
        y = kernels.dense_forward(x, weight, bias, relu=True)
        yield f"dense {M}x{K}x{N} forward", kernels.dense_forward(x, weight, None)
        yield f"dense {M}x{K}x{N} relu", y
        yield f"dense {M}x{K}x{N} backward", kernels.dense_backward(dy, x, weight)
        yield (
            f"dense {M}x{K}x{N} relu backward",
            kernels.dense_backward(dy, x, weight, relu_output=y),
        )


def pools(kernels, draw):
    for N, H, W, C, size, strides in POOLS:
        window = sliding_window((H, W), size, strides, "same")
        x, dy, name = draw(N, H, W, C), draw(N, window.OH, window.OW, C), f"pool {H}x{W}x{C} {size}"
        y, argmax = kernels.max_pool_forward(x, window)
        yield f"{name} max", (y, argmax)
        yield f"{name} max backward", kernels.max_pool_backward(dy, argmax, window)
        yield f"{name} average", kernels.average_pool_forward(x, window)
        yield f"{name} average backward", kernels.average_pool_backward(dy, window)
        y, dy, padding = kernels.global_max_forward(x), draw(N, C), ((1, 0), (2, 3))
        yield f"{name} global max", y
        yield f"{name} global max backward", kernels.global_max_backward(dy, x, y)
        y = kernels.zero_pad_forward(x, padding)
        yield f"{name} padding", (y, kernels.zero_pad_backward(y, padding))


def batch_norms(kernels, draw):
    for *shape, C in [(6, 7, 5, 3), (64, 30, 20, 8), (40, 64), (9, 70), (2, 3, 3, 100)]:
        x, dy, gamma, beta = draw(*shape, C), draw(*shape, C), draw(C), draw(C)
        y, mean, variance = kernels.batch_norm_forward(x, gamma, beta, 1e-3)
        name, moving = f"batch norm {(*shape, C)}", (draw(C), draw.positive(C))
        yield f"{name} forward", (y, mean, variance)
        for frozen in (False, True):
            yield (
                f"{name} backward {frozen}",
                kernels.batch_norm_backward(dy, x, gamma, mean, variance, 1e-3, frozen),
            )
        kernels.batch_norm_update(*moving, mean, variance, 0.99)
        yield f"{name} update", moving
        yield f"{name} inference", kernels.batch_norm_inference(x, gamma, beta, *moving, 1e-3)
        sums = kernels.batch_norm_sums(dy, x, mean)
        yield f"{name} of a shard", (kernels.batch_norm_statistics(x), sums)
        args = dy, x, gamma, mean, variance, 1e-3, sums, sums / x.size
        yield f"{name} of a shard backward", kernels.batch_norm_gradient(*args)


def activations(kernels, draw):
    x, dy = draw(37, 1001), draw(37, 1001)
    for name in ("relu", "elu", "sigmoid", "tanh", "gelu", "softmax"):
        y = getattr(kernels, f"{name}_forward")(x)
        yield f"{name} forward", y
        saved = x if name == "gelu" else y
        yield f"{name} backward", getattr(kernels, f"{name}_backward")(dy, saved)
    yield "leaky relu forward", kernels.leaky_relu_forward(x, 0.2, 0.5, 6.0)
    yield "leaky relu backward", kernels.leaky_relu_backward(dy, x, 0.2, 0.5, 6.0)
    yield "add", kernels.add(x, dy.copy())
    for rate in (0.25, 0.5):
        yield f"dropout {rate}", kernels.dropout_forward(x, rate, 12345)
        yield f"dropout backward {rate}", kernels.dropout_backward(dy, rate, 2**63 + 1, out=dy)


def losses(kernels, draw):
    for N, K in [(7, 10), (5, 1), (40, 37), (3, 1000)]:
        z, q, weight = draw(N, K), draw.fractions(N, K), draw.positive(N)
        labels, targets, name = draw.one_hot(N, K), draw.fractions(N, K), f"{N}x{K}"
        for target in (labels, targets):
            kind = "one-hot" if target is labels else "dense"
            value, p = kernels.softmax_cross_entropy_forward(z, target)
            yield f"softmax cross-entropy {name} {kind} forward", (value, p)
            yield (
                f"softmax cross-entropy {name} {kind} backward",
                (kernels.softmax_cross_entropy_backward(p, target, weight)),
            )
            yield (
                f"categorical cross-entropy {name} {kind} forward",
                (kernels.categorical_cross_entropy_forward(q, target, 1e-7)),
            )
            yield (
                f"categorical cross-entropy {name} {kind} backward",
                (kernels.categorical_cross_entropy_backward(q, target, weight, 1e-7)),
            )
        value, p = kernels.sigmoid_cross_entropy_forward(z, targets)
        yield f"sigmoid cross-entropy {name} forward", (value, p)
        yield (
            f"sigmoid cross-entropy {name} backward",
            (kernels.sigmoid_cross_entropy_backward(p, targets, weight)),
        )
        yield (
            f"binary cross-entropy {name} forward",
            (kernels.binary_cross_entropy_forward(q, targets, 1e-7)),
        )
        yield (
            f"binary cross-entropy {name} backward",
            (kernels.binary_cross_entropy_backward(q, targets, weight, 1e-7)),
        )
        yield f"mean squared error {name} forward", kernels.mean_squared_error_forward(z, targets)
        yield (
            f"mean squared error {name} backward",
            (kernels.mean_squared_error_backward(z, targets, weight)),
        )
        yield f"mean absolute error {name} forward", kernels.mean_absolute_error_forward(z, targets)
        yield (
            f"mean absolute error {name} backward",
            (kernels.mean_absolute_error_backward(z, targets, weight)),
        )
        mean = kernels.mean_loss(value, weight, np.empty(2))
        correct = kernels.count_correct(labels, p, 0.5, np.empty(1))
        yield f"measures {name}", (mean, correct, kernels.largest(z, np.empty(1)))


UPDATES = {  # the numbers of an optimizer's own, its states (in two sets), and its flags
    "sgd": ((0.1, 0.9), (0, 1), ((False, True), (True, True), (False, False))),
    "rmsprop": ((0.1, 0.9, 0.5, 1e-7), (1, 3), ((True,), (False,))),
    "adam": ((0.1, 1.1, 0.9, 0.999, 1e-7), (2, 3), ((),)),
    "adadelta": ((0.1, 0.9, 1e-7), (2,), ((),)),
    "nadam": ((0.1, 0.02, 0.9, 0.999, 1e-7), (2,), ((),)),
}


def settings(*own, shrink=0.0, decay=0.0, clipvalue=np.inf, clipnorm=0.5, ema=(0.0, 0.0)):
    """What the updates read from an array."""
    found = np.zeros(11)
    found[: 4 + len(own)] = shrink, decay, clipvalue, clipnorm, *own
    found[9:] = ema
    return found


def optimizers(kernels, draw):
    def arrays(least=None):
        return [draw(*shape) if least is None else draw.positive(*shape) + least
                for shape in PARAMETERS]  # fmt: skip

    for name, (own, counts, flags) in UPDATES.items():
        update = getattr(kernels, f"{name}_update")
        for count, flag, clips in product(counts, flags, (False, True)):
            changes = {"shrink": 0.01, "decay": 0.1, "clipvalue": 0.5} if clips else {}
            scales = draw.fractions(len(PARAMETERS)).astype(float) if clips else None
            # RMSprop's mean square is at least the square of its mean: a NaN has no defined sign
            states = [arrays(least=draw.dtype(5000 if i == 0 else 0)) for i in range(count)]
            states = [arrays(), arrays(), *states]
            none = [[]] * (counts[-1] - count)
            for _ in range(3):
                update(*states, *none, settings(*own, **changes), *flag, scales, clips)
            yield f"{name} {count} states {flag} {clips}", [x for state in states for x in state]
    for overwrites in (False, True):
        params, averages = arrays(), arrays()
        kernels.ema_update(params, averages, settings(ema=(0.99, overwrites)))
        yield f"ema {overwrites}", params + averages
    params, grads, factors = arrays(), arrays(), draw.fractions(len(PARAMETERS)).astype(float)
    yield "l2 penalty", kernels.l2_penalty(params, factors)
    kernels.l2_gradient(params, grads, factors)
    yield "l2 gradient", grads
    for together in (False, True):
        scales = np.empty(len(grads))
        kernels.clip_scales(grads, settings(), together, scales)
        yield f"clip scales {together}", scales


def batches(kernels, draw):
    index = draw.rng.integers(0, 20, 50)
    pixels = draw.rng.integers(0, 256, (20, 9, 7)).astype(np.uint8)
    out, rows = np.empty((50, 9, 7), draw.dtype), draw(20, 33)
    yield "take images", kernels.take_images(pixels, index, out)
    yield "take rows", kernels.take_rows(rows, index, np.empty((50, 33), draw.dtype))
    labels, hot = draw.rng.integers(0, 11, 20), np.empty((50, 11), draw.dtype)
    yield "one hot", kernels.one_hot(labels, index, 0.91, 0.01, hot)
    yield "smooth", kernels.smooth(rows, 0.9, 0.1, np.empty_like(rows))
    yield "shares", kernels.shares(draw(20), index, 1 / 50, np.empty(50, draw.dtype))


def warps(kernels, draw):
    turns = np.linspace(-0.5, 0.5, 4001)
    yield "warp cosine and sine", np.stack(formulas.cos_sin(turns))
    for (H, W), C, mode in product(transforms.SIZES, (1, 3), formulas.FILL_MODES):
        for letters in ("t", "rzs", "Z", "e", "trZsex"):
            x, dy, name = draw(41, H, W, C), draw(41, H, W, C), f"warp {H}x{W}x{C} {mode} {letters}"
            given = transforms.rows(letters), transforms.keys_for(letters, 9), mode, 0.3
            yield f"{name} forward", kernels.warp_forward(x, *given)
            yield f"{name} backward", kernels.warp_backward(dy, *given)


def morphologies(kernels, draw):
    for (H, W), C in product(transforms.SIZES, (1, 3)):
        x, dy, name = draw(41, H, W, C), draw(41, H, W, C), f"morphology {H}x{W}x{C}"
        (key,) = transforms.keys_for("m", 9)
        yield f"{name} forward", kernels.morphology_forward(x, -0.9, 0.8, key)
        yield f"{name} backward", kernels.morphology_backward(dy, x, -0.9, 0.8, key)


GROUPS = [
    convolutions, dense, pools, batch_norms, activations, losses, optimizers, batches, warps,
    morphologies,
]  # fmt: skip


called = set()


class Noting:
    """The fast kernels, noting which of them are called."""

    def __getattr__(self, name):
        called.add(name)
        return getattr(fast, name)


def digest(arrays):
    """The SHA-256 of one array or several."""
    found = hashlib.sha256()
    for array in arrays if isinstance(arrays, (tuple, list)) else [arrays]:
        if array is not None:
            found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, help="of the kernels; changes nothing")
    parser.add_argument("words", nargs="*", help="compute only groups whose name contains one")
    options = parser.parse_args()
    if options.threads:
        set_num_threads(options.threads)
    for group in GROUPS:
        if not options.words or any(word in group.__name__ for word in options.words):
            for dtype in (np.float32, np.float64):
                for name, arrays in group(Noting(), Numbers(group.__name__, dtype)):
                    print(f"{dtype.__name__} {name} {digest(arrays)}", flush=True)
    missing = fast.CAPTURABLE.keys() - called
    if missing and not options.words:
        sys.exit(f"no result of {', '.join(sorted(missing))}: add it to {__file__}")


if __name__ == "__main__":
    main()
