"""What each idea gains: convolution, ReLU and 2x2 max-pool, computed in seven ways.

`kernels.py --stairs` prints the table. Each step adds one idea to the step before it. The steps
that do not fuse ReLU and pooling use the same compiled passes for them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import harness
import numba
import numpy as np
from cases import Array, relu_pool_backward, relu_pool_forward
from harness import repeat_for

from nanocnn.kernels import reference
from nanocnn.kernels.geometry import Window, sliding_window

DIRECTIONS = "forward", "backward"
Stage = tuple[Callable[[], Any], Callable[[], Any]]  # forward and backward


@numba.njit
def loops_forward(x: Array, weight: Array, bias: Array, window: Window) -> Array:
    """The definition, for strides of 1."""
    (N, H, W, C), (KH, KW, _, F) = x.shape, weight.shape
    y = np.empty((N, window.OH, window.OW, F), x.dtype)
    for n, oh, ow, f in np.ndindex(y.shape):
        total = bias[f]
        for kh in range(KH):
            for kw in range(KW):
                h, w = oh + kh - window.top, ow + kw - window.left
                if 0 <= h < H and 0 <= w < W:
                    for c in range(C):
                        total += x[n, h, w, c] * weight[kh, kw, c, f]
        y[n, oh, ow, f] = total
    return y


@numba.njit
def loops_backward(
    dy: Array, x: Array, weight: Array, window: Window
) -> tuple[Array, Array, Array]:
    """The gradients of `loops_forward`: dx, dweight, dbias."""
    (_, H, W, C), (KH, KW, _, F) = x.shape, weight.shape
    dx, dweight, dbias = np.zeros_like(x), np.zeros_like(weight), np.zeros(F, x.dtype)
    for n, oh, ow, f in np.ndindex(dy.shape):
        g = dy[n, oh, ow, f]
        dbias[f] += g
        for kh in range(KH):
            for kw in range(KW):
                h, w = oh + kh - window.top, ow + kw - window.left
                if 0 <= h < H and 0 <= w < W:
                    for c in range(C):
                        dx[n, h, w, c] += g * weight[kh, kw, c, f]
                        dweight[kh, kw, c, f] += g * x[n, h, w, c]
    return dx, dweight, dbias


class Layer:
    """The second convolution of lenet, its input and the gradient of the pool's output."""

    def __init__(self, N: int, dtype: str) -> None:
        rng = np.random.default_rng(0)
        H, C, F, K = 14, 20, 50, 5
        self.window = sliding_window((H, H), (K, K), padding="same")
        self.pool = sliding_window((H, H), (2, 2), (2, 2))
        self.x = rng.standard_normal((N, H, H, C)).astype(dtype)
        self.weight = (rng.standard_normal((K, K, C, F)) / np.sqrt(K * K * C)).astype(dtype)
        self.bias = rng.standard_normal(F).astype(dtype)
        self.dy = rng.standard_normal((N, H // 2, H // 2, F)).astype(dtype)
        self.flops = 2 * N * H * H * F * K * K * C  # forward; twice as many backward
        self.shape = f"{H}x{H}x{C} {K}x{K} {F}, {N} images, {dtype}"

    def separate(self, fast: Any, forward: Any, backward: Any) -> Stage:
        """Convolution, ReLU and pooling, each a pass over memory."""
        rectified = fast.relu_forward(forward(self.x, self.weight, self.bias, self.window))
        _, argmax = fast.max_pool_forward(rectified, self.pool)

        def up() -> Any:
            y = forward(self.x, self.weight, self.bias, self.window)
            return fast.max_pool_forward(fast.relu_forward(y), self.pool)[0]

        def down() -> Any:
            dz = fast.max_pool_backward(self.dy, argmax, self.pool)
            return backward(fast.relu_backward(dz, rectified), self.x, self.weight, self.window)

        return up, down

    def fused(self, fast: Any, forward: str | None, backward: str | None) -> Stage:
        """Convolution, ReLU and pooling in one pass."""
        arguments = self.x, self.weight, self.bias, self.window, self.pool
        out = fast.conv2d_relu_pool_forward(*arguments, algorithm=forward)
        given = self.dy, self.x, self.weight, out[1], self.window, self.pool
        gradients = fast.conv2d_relu_pool_backward(*given, algorithm=backward)
        up = partial(fast.conv2d_relu_pool_forward, *arguments, out=out, algorithm=forward)
        down = partial(fast.conv2d_relu_pool_backward, *given, out=gradients, algorithm=backward)
        return lambda: up()[0], down

    def steps(self, fast: Any) -> dict[str, Stage]:
        """All steps by name. (The forward pass of "sparse" is Winograd's.)"""

        def by(algorithm: str) -> Stage:
            forward = partial(fast.conv2d_forward, algorithm=algorithm)
            return self.separate(fast, forward, partial(fast.conv2d_backward, algorithm=algorithm))

        return {
            "loops": self.separate(fast, loops_forward, loops_backward),
            "im2col": self.separate(fast, reference.conv2d_forward, reference.conv2d_backward),
            "blocked": by("im2col"),
            "implicit": by("direct"),
            "fused": self.fused(fast, "direct", "direct"),
            "Winograd": self.fused(fast, "winograd", "winograd"),
            "sparse": self.fused(fast, "winograd", None),
        }

    def expected(self) -> tuple[Any, Any]:
        """The results of forward and backward, by the reference kernels."""
        y, _ = relu_pool_forward(self.x, self.weight, self.bias, self.window, self.pool)
        z = reference.relu_forward(
            reference.conv2d_forward(self.x, self.weight, self.bias, self.window)
        )
        argmax = np.where(y > 0, reference.max_pool_forward(z, self.pool)[1], 4)
        given = self.dy, self.x, self.weight, argmax, self.window, self.pool
        return y, relu_pool_backward(*given)


def climb(fast: Any, options: Any, largest_error: Any) -> list[dict[str, Any]]:
    """Check every step against the reference, then time all of them, alternating."""
    layer = Layer(options.batch, options.dtype)
    steps, expected = layer.steps(fast), layer.expected()
    rows = []
    for i, direction in enumerate(DIRECTIONS):
        calls = {name: stage[i] for name, stage in steps.items() if i or name != "sparse"}
        errors = {name: largest_error(call(), expected[i]) for name, call in calls.items()}
        turns = {name: partial(repeat_for, call, options.seconds) for name, call in calls.items()}
        samples = harness.interleave(turns, options.rounds, pause=0.1, quiet=True)
        rows += [
            {"step": name, "direction": direction, "shape": layer.shape, "error": errors[name],
             "flops": (1 + i) * layer.flops, "seconds": samples[name]}
            for name in calls
        ]  # fmt: skip
    return rows


def report(rows: list[dict[str, Any]], compare: bool) -> None:
    """Print the table; with `compare` also the speedup of each step over the one before."""
    columns = ["ms", "GFLOP/s", *["gain"] * compare]
    lines: dict[str, list[Any]] = {row["step"]: [row["step"]] for row in rows}
    for direction in DIRECTIONS:
        before = None
        for line in lines.values():
            row = next((r for r in rows if (r["step"], r["direction"]) == (line[0], direction)), {})
            seconds = harness.summarize(row["seconds"]).median if row else None
            gain = f"{harness.number(before / seconds)}x" if before and seconds else ""
            cells = [seconds * 1e3, row["flops"] / seconds / 1e9] if seconds else ["", ""]
            line += [*cells, *[gain] * compare]
            before = seconds
    header = ["step", *(f"{way} {column}" for way in DIRECTIONS for column in columns)]
    print(harness.table(header, lines.values()))
    print(f"\n{rows[0]['shape']}: convolution, ReLU and 2x2 max-pool, and their gradients.")
