"""The convolution kernels: every algorithm against the reference, inside its bounds, same bits."""

import threading

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings, strategies as st

from nanocnn.kernels import reference
from nanocnn.kernels.fast.conv import conv2d as conv
from nanocnn.kernels.geometry import sliding_window
from support.compare import assert_close

LOOSE = {"float32": 1e-5, "float64": 1e-12}
WINOGRAD = {"float32": 1e-4, "float64": 1e-11}
NAMES = "dx", "dweight", "dbias"


def rounding(kernel, tolerance, *arrays):
    """For each result of a kernel, what `assert_close` is to measure by where its terms cancel.

    An error of a few units in the last place of the sum of all terms' sizes is rounding.
    """
    *arrays, window = arrays
    terms = kernel(*map(np.abs, arrays), window)
    few = 16 * np.finfo(arrays[0].dtype).eps / tolerance
    return [few * each.max() for each in (terms if isinstance(terms, tuple) else (terms,))]


layers = st.fixed_dictionaries(
    {
        "N": st.integers(1, 4),
        "H": st.integers(3, 17),
        "W": st.integers(3, 17),
        "C": st.sampled_from([1, 2, 3, 5, 8, 12, 20]),
        "F": st.sampled_from([1, 3, 7, 8, 16, 20, 33, 50]),
        "KH": st.integers(1, 5),
        "KW": st.integers(1, 5),
        "padding": st.sampled_from(["same", "valid"]),
        "strides": st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)]),
        "dilation": st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2)]),
        "dtype": st.sampled_from(["float32", "float64"]),
        "seed": st.integers(0, 99),
    }
)


def guarded(shape, dtype, values=None, before=24, after=72):
    """An array amid NaNs: who reads past it gets NaN, who writes past it is found out."""
    size = int(np.prod(shape))
    whole = np.full(before + size + after, np.nan, dtype)
    inside = whole[before : before + size].reshape(shape)
    if values is not None:
        inside[...] = values
        inside.flags.writeable = False
    inside_of[id(inside)] = whole, before, size
    return inside


inside_of = {}


def assert_guards_intact(*arrays):
    for array in arrays:
        whole, before, size = inside_of.pop(id(array))
        assert np.isnan(whole[:before]).all() and np.isnan(whole[before + size :]).all()


def make(layer, algorithm=None):
    """(window, x, weight, bias, dy, rng) of a drawn layer, or None when no window fits."""
    square = algorithm == "winograd"
    KH, KW = (3, 3) if square and layer["KH"] < 3 else (layer["KH"], layer["KW"])
    KH, KW = (5, 5) if square and layer["KH"] >= 3 else (KH, KW)
    strides = (1, 1) if algorithm in ("winograd", "planar") else layer["strides"]
    dilation = (1, 1) if square else layer["dilation"]
    try:
        window = sliding_window(
            (layer["H"], layer["W"]), (KH, KW), strides, layer["padding"], dilation
        )
    except ValueError:
        return None
    rng = np.random.default_rng(layer["seed"])
    N, C, F, dtype = layer["N"], layer["C"], layer["F"], layer["dtype"]
    shapes = (N, layer["H"], layer["W"], C), (KH, KW, C, F), (F,), (N, window.OH, window.OW, F)
    return window, *(guarded(s, dtype, rng.normal(size=s)) for s in shapes), rng


def serves(algorithm, window, products, pooled=False):
    """Whether an algorithm may be asked for; where it may, it computes one of the products."""
    try:
        choice = conv.choose(window, 3, 4, pooled, algorithm, products)
    except ValueError as error:
        assert f"algorithm={algorithm!r} cannot compute" in str(error)
        return False
    assert algorithm is None or algorithm in [getattr(choice, product) for product in products]
    return True


@pytest.mark.parametrize("algorithm", [None, "direct", "im2col", "winograd", "planar"])
@settings(max_examples=25, phases=[Phase.explicit, Phase.generate])  # shrinking compiles a lot
@given(layer=layers)
@example(
    layer={
        "N": 2, "H": 14, "W": 13, "C": 20, "F": 50, "KH": 5, "KW": 5, "padding": "same",
        "strides": (1, 1), "dilation": (1, 1), "dtype": "float32", "seed": 0,
    }
)  # fmt: skip
def test_every_algorithm_equals_the_reference_within_bounds(algorithm, layer):
    made = make(layer, algorithm)
    if made is None:
        return
    window, x, weight, bias, dy, _ = made
    dtype = layer["dtype"]
    tolerance = (WINOGRAD if algorithm == "winograd" else LOOSE)[dtype]
    both, alone = (serves(algorithm, window, p) for p in (("dweight", "dx"), ("dweight",)))
    for b in (bias, None):
        y = guarded(dy.shape, dtype)
        assert conv.conv2d_forward(x, weight, b, window, out=y, algorithm=algorithm) is y
        expected = reference.conv2d_forward(x, weight, b, window)
        scale = rounding(reference.conv2d_forward, tolerance, x, weight, bias, window)[0]
        assert_close(y, expected, tolerance, "y", scale)
        positive = conv.conv2d_forward(x, weight, b, window, relu=True, algorithm=algorithm)
        assert_close(positive, np.maximum(expected, 0), tolerance, "relu(y)", scale)
        assert_guards_intact(y)
    for mask in (None, np.ascontiguousarray(np.maximum(expected, 0)))[: 2 * both]:
        outs = tuple(guarded(a.shape, dtype) for a in (x, weight, bias))
        got = conv.conv2d_backward(
            dy, x, weight, window, out=outs, algorithm=algorithm, relu_output=mask
        )
        g = dy if mask is None else reference.relu_backward(dy, mask)
        want = reference.conv2d_backward(g, x, weight, window)
        scales = rounding(reference.conv2d_backward, tolerance, g, x, weight, window)
        for name, a, b, scale, out in zip(NAMES, got, want, scales, outs, strict=True):
            assert a is out
            assert_close(a, b, tolerance, name, scale)
        assert_guards_intact(*outs)
    if not alone:
        return
    none, dweight, _ = conv.conv2d_backward(dy, x, weight, window, False, algorithm=algorithm)
    assert none is None and dweight.dtype == dtype


@pytest.mark.parametrize("algorithm", [None, "direct", "sparse", "winograd", "planar", "scatter"])
@settings(max_examples=25, phases=[Phase.explicit, Phase.generate])  # shrinking compiles a lot
@given(layer=layers)
def test_the_fused_kernel_equals_the_composition(algorithm, layer):
    made = make({**layer, "strides": (1, 1)}, algorithm)
    if made is None or made[0].OH < 2 or made[0].OW < 2:
        return
    window, x, weight, bias, _, rng = made
    dtype = layer["dtype"]
    tolerance = (WINOGRAD if algorithm == "winograd" else LOOSE)[dtype]
    pool = sliding_window((window.OH, window.OW), (2, 2), (2, 2))
    forward = algorithm if serves(algorithm, window, ("forward",), True) else None
    backward = algorithm if serves(algorithm, window, ("dweight", "dx"), True) else None
    plain = reference.conv2d_forward(x, weight, bias, window)
    rectified = reference.relu_forward(plain)
    want, first = reference.max_pool_forward(rectified, pool)
    y = guarded(want.shape, dtype)
    buffer = np.full(want.size + 64, 77, np.uint8)
    argmax = buffer[32:-32].reshape(want.shape)
    conv.conv2d_relu_pool_forward(x, weight, bias, window, pool, out=(y, argmax), algorithm=forward)
    assert_close(y, want, tolerance, "y")
    assert (buffer[:32] == 77).all() and (buffer[-32:] == 77).all()
    # argmax is that of the reference, but for differences in rounding
    assert (argmax[want > 1e-3] < 4).all()
    assert (argmax[reference.max_pool_forward(plain, pool)[0] < -1e-3] == 4).all()
    cell = np.where(argmax == 4, 0, argmax)
    cells = reference.windows(rectified, pool).reshape(*want.shape[:3], 4, -1)
    chosen = np.take_along_axis(cells, cell[:, :, :, None], 3)[:, :, :, 0]
    np.testing.assert_allclose(chosen, want, atol=2 * tolerance * np.abs(want).max())
    again, none = conv.conv2d_relu_pool_forward(
        x, weight, bias, window, pool, want_argmax=False, algorithm=forward
    )
    assert none is None and again.tobytes() == y.tobytes()
    assert_guards_intact(y)

    dy = guarded(want.shape, dtype, rng.normal(size=want.shape))
    outs = tuple(guarded(a.shape, dtype) for a in (x, weight, bias))
    got = conv.conv2d_relu_pool_backward(
        dy, x, weight, np.where(want > 0, first, 4).astype(np.uint8), window, pool, out=outs,
        algorithm=backward,
    )  # fmt: skip
    masked = reference.relu_backward(reference.max_pool_backward(dy, first, pool), rectified)
    expected = reference.conv2d_backward(masked, x, weight, window)
    scales = rounding(reference.conv2d_backward, tolerance, masked, x, weight, window)
    for name, a, b, scale in zip(NAMES, got, expected, scales, strict=True):
        assert_close(a, b, tolerance, name, scale)
    assert_guards_intact(*outs)


def everything(dtype="float32", N=20):
    """The bytes of every kernel's result for layers that take every path."""
    rng = np.random.default_rng(7)
    results = []
    for H, C, F, K, padding in (
        (12, 3, 20, 3, "same"),
        (14, 20, 50, 5, "same"),
        (16, 16, 24, 3, "valid"),
    ):
        window = sliding_window((H, H), (K, K), (1, 1), padding)
        pool = sliding_window((window.OH, window.OW), (2, 2), (2, 2))
        x, weight, bias = (
            rng.normal(size=s).astype(dtype) for s in ((N, H, H, C), (K, K, C, F), (F,))
        )
        for algorithm in (None, "direct", "im2col", "winograd", "planar"):
            y = conv.conv2d_forward(x, weight, bias, window, algorithm=algorithm)
            results += [y, *conv.conv2d_backward(y, x, weight, window, algorithm=algorithm)]
        for algorithm in (None, "direct", "winograd", "planar"):
            results += conv.conv2d_relu_pool_forward(
                x, weight, bias, window, pool, algorithm=algorithm
            )
        y, argmax = results[-2:]
        for algorithm in (None, "direct", "sparse", "winograd", "planar", "scatter"):
            results += conv.conv2d_relu_pool_backward(
                y, x, weight, argmax, window, pool, algorithm=algorithm
            )
    return [a.tobytes() for a in results]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_for_any_number_of_threads_and_from_several_at_once(dtype, set_threads):
    set_threads(1)
    expected = everything(dtype)
    for threads in (2, 4):
        set_threads(threads)
        assert everything(dtype) == expected
    found = [None] * 3
    workers = [
        threading.Thread(target=lambda i=i: found.__setitem__(i, everything(dtype)))
        for i in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 3


@pytest.mark.parametrize("algorithm", [None, *conv.ALGORITHMS])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_nonfinite_values_do_not_spread(algorithm, value):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(8, 12, 12, 16)).astype(np.float32)
    x[3, 5, 6, 7] = value
    weight = (rng.normal(size=(3, 3, 16, 16)) * 0.1).astype(np.float32)
    window = sliding_window((12, 12), (3, 3), (1, 1), "same")
    pool = sliding_window((12, 12), (2, 2), (2, 2))
    with np.errstate(all="ignore"):
        expected = reference.conv2d_forward(x, weight, None, window)
        want, code = reference.max_pool_forward(np.maximum(expected, 0), pool)
        code = np.where(want > 0, code, 4)
        dy = rng.normal(size=want.shape).astype(np.float32)
        masked = reference.max_pool_backward(dy, np.where(code == 4, 9, code), pool)
        gradients = reference.conv2d_backward(masked, x, weight, window)
        fused = None if algorithm == "im2col" else algorithm  # which is for convolutions alone
        forward = None if algorithm in ("sparse", "scatter") else algorithm
        y = conv.conv2d_forward(x, weight, None, window, algorithm=forward)
        got, argmax = conv.conv2d_relu_pool_forward(
            x, weight, None, window, pool, algorithm=fused and forward
        )
        back = conv.conv2d_relu_pool_backward(
            dy, x, weight, code.astype(np.uint8), window, pool, algorithm=fused
        )
    assert_close(y, expected, 1e-5, "y")
    assert_close(got, want, 1e-5, "pooled")
    assert (argmax[np.isnan(want)] == 4).all()
    for name, a, b in zip(("dx", "dweight", "dbias"), back, gradients, strict=True):
        assert_close(a, b, 1e-5, name)


def test_choice_by_shape_and_by_name():
    layer = sliding_window((26, 26), (3, 3))
    assert conv.choose(layer, 32, 64) == ("winograd", "direct", "winograd")
    assert conv.choose(layer, 32, 64, pooled=True) == ("winograd", "sparse", "winograd")
    assert conv.choose(layer, 6, 16, pooled=True) == ("direct", "sparse", "scatter")
    assert conv.choose(layer, 1, 32).forward == "direct"
    assert conv.choose(layer, 1, 2, pooled=True) == ("planar", "planar", "scatter")
    assert conv.choose(layer, 1, 20).dx == "planar"
    strided = sliding_window((26, 26), (3, 3), (2, 2), "same")
    assert conv.choose(strided, 32, 64) == ("direct", "direct", "im2col")
    assert conv.choose(layer, 32, 64, algorithm="im2col") == ("im2col",) * 3
    with pytest.raises(ValueError, match="winograd"):
        conv.choose(layer, 32, 64, algorithm="winogard")


@pytest.mark.parametrize(
    ("products", "pooled", "layer", "able"),
    [
        (("forward",), False, {}, "direct, im2col, winograd, planar"),
        (("dweight",), False, {}, "direct, im2col"),
        (("dweight", "dx"), False, {}, "direct, im2col, winograd, planar"),
        (("forward",), True, {}, "direct, winograd, planar"),
        (("dweight",), True, {}, "direct, sparse, planar"),
        (("dx",), True, {}, "direct, winograd, planar, scatter"),
        (("dweight",), True, {"dilation": (2, 1)}, "direct, planar"),
        (("forward",), False, {"dilation": (2, 2)}, "direct, im2col, planar"),
        (("forward",), False, {"kernel": (3, 5)}, "direct, im2col, planar"),
        (("forward",), False, {"strides": (2, 1)}, "direct, im2col"),
        (("dweight", "dx"), False, {"strides": (2, 1)}, "im2col"),
        (("dweight",), False, {"strides": (2, 1)}, "direct, im2col"),
    ],
)
def test_an_unsupported_algorithm_is_refused(products, pooled, layer, able):
    window = sliding_window((12, 12), **{"kernel": (3, 3), **layer})
    found = [name for name in conv.ALGORITHMS if serves(name, window, products, pooled)]
    assert ", ".join(found) == able
    for name in set(conv.ALGORITHMS) - set(found):
        shape = f"kernel {window.KH}x{window.KW}, strides {window.SH}x{window.SW}"
        with pytest.raises(ValueError, match=rf"'{name}' .*{shape}.*; {able} can$"):
            conv.choose(window, 3, 4, pooled, name, products)


def test_a_forced_algorithm_is_what_runs(monkeypatch):
    """Each public function tells `choose` which products it computes."""
    x, weight = np.zeros((2, 6, 6, 3), np.float32), np.zeros((3, 3, 3, 4), np.float32)
    window, strided = sliding_window((6, 6), (3, 3)), sliding_window((6, 6), (3, 3), (2, 2))
    pool = sliding_window((4, 4), (2, 2), (2, 2))
    dy, y, argmax = np.zeros((2, 4, 4, 4), "f"), np.zeros((2, 2, 2, 4), "f"), np.zeros(32, "u1")
    argmax = argmax.reshape(y.shape)
    for call in (
        lambda: conv.conv2d_forward(x, weight, None, window, algorithm="sparse"),
        lambda: conv.conv2d_forward(x, weight, None, strided, algorithm="winograd"),
        lambda: conv.conv2d_backward(dy, x, weight, window, algorithm="sparse"),
        lambda: conv.conv2d_backward(dy, x, weight, window, False, algorithm="winograd"),
        lambda: conv.conv2d_backward(y, x, weight, strided, algorithm="direct"),
        lambda: conv.conv2d_relu_pool_forward(x, weight, None, window, pool, algorithm="sparse"),
        lambda: conv.conv2d_relu_pool_forward(x, weight, None, window, pool, algorithm="im2col"),
        lambda: conv.conv2d_relu_pool_backward(
            y, x, weight, argmax, window, pool, algorithm="im2col"
        ),
        lambda: conv.conv2d_relu_pool_backward(
            y, x, weight, argmax, window, pool, False, algorithm="winograd"
        ),
    ):
        with pytest.raises(ValueError, match="cannot compute"):
            call()
    called = []
    real = conv.sparse_dweight.weight_gradient
    monkeypatch.setattr(
        conv.sparse_dweight, "weight_gradient", lambda *args: called.append(1) or real(*args)
    )
    conv.conv2d_relu_pool_backward(y, x, weight, argmax, window, pool, algorithm="sparse")
    assert called  # though 3 channels are too few for it to be chosen
