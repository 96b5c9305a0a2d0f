"""What the fast kernels add to the reference: threads, `out=`, tiles with edges, hostile numbers.

That both sets compute the same on ordinary input is tested in test_reference.py; here they are
compared where a compiled, blocked, threaded loop could go wrong.
"""

from copy import deepcopy

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from nanocnn.common.errors import ShapeError
from nanocnn.kernels import fast, reference
from nanocnn.kernels.fast import gemm
from nanocnn.kernels.geometry import sliding_window
from support.compare import TOLERANCE, assert_close
from support.updates import numbers

KEY = 0x0123456789ABCDEF


def cases(rng, dtype):
    """(name, arguments, which arguments are written) of every operation, large enough for parts."""
    array = lambda *shape: rng.standard_normal(shape).astype(dtype)  # noqa: E731
    positive = lambda *shape: array(*shape) ** 2 + np.dtype(dtype).type(0.1)  # noqa: E731
    x, image, dense = array(64, 9, 9, 33), array(40, 17, 15, 24), array(130, 700)
    window = sliding_window((17, 15), (3, 3), (2, 2), "same")
    pooled = array(40, window.OH, window.OW, 24)
    argmax = reference.max_pool_forward(image, window)[1]
    weight, bias, dy = array(700, 77), array(77), array(130, 77)
    logits, target = array(300, 40), rng.dirichlet(np.ones(40), 300).astype(dtype)
    C = array(33), array(33), array(33), positive(33)
    many = lambda *least: [  # noqa: E731  (parameters; `least`: all of them positive)
        positive(*shape) + np.dtype(dtype).type(least[0]) if least else array(*shape)
        for shape in ((90_001,), (3,), (7, 5, 11, 13))
    ]
    yield from [
        ("dense_forward", (dense, weight, bias), ()),
        ("dense_forward", (dense[:1], weight, None), ()),
        ("dense_backward", (dy, dense, weight), ()),
        ("max_pool_forward", (image, window), ()),
        ("max_pool_backward", (pooled, argmax, window), ()),
        ("average_pool_forward", (image, window), ()),
        ("average_pool_backward", (pooled, window), ()),
        ("dropout_forward", (x, 0.4, KEY), ()),
        ("dropout_backward", (x, 0.4, KEY), ()),
        ("batch_norm_forward", (x, C[0], C[1], 1e-3), ()),
        ("batch_norm_backward", (array(*x.shape), x, C[0], C[2], C[3], 1e-3), ()),
        ("batch_norm_backward", (array(*x.shape), x, C[0], C[2], C[3], 1e-3, True), ()),
        ("batch_norm_inference", (x, *C, 1e-3), ()),
        ("batch_norm_update", (*C, 0.9), (0, 1)),
        ("softmax_forward", (logits,), ()),
        ("softmax_backward", (array(300, 40), target), ()),
        ("softmax_cross_entropy_forward", (logits, target), ()),
        ("softmax_cross_entropy_backward", (target, target[::-1].copy(), array(300)), ()),
        ("categorical_cross_entropy_forward", (target, target[::-1].copy(), 1e-7), ()),
        ("categorical_cross_entropy_backward", (target, target[::-1].copy(), array(300), 1e-7), ()),
        ("sigmoid_cross_entropy_forward", (logits, target), ()),
        ("sigmoid_cross_entropy_backward", (target, target[::-1].copy(), array(300)), ()),
        ("binary_cross_entropy_forward", (target, target[::-1].copy(), 1e-7), ()),
        ("binary_cross_entropy_backward", (target, target[::-1].copy(), array(300), 1e-7), ()),
        ("mean_squared_error_forward", (logits, target), ()),
        ("mean_squared_error_backward", (logits, target, array(300)), ()),
        ("mean_absolute_error_forward", (logits, target), ()),
        ("mean_absolute_error_backward", (logits, target, array(300)), ()),
        *[(f"{f}_forward", (x,), ()) for f in ("relu", "sigmoid", "tanh")],
        *[(f"{f}_backward", (x, np.tanh(x)), ()) for f in ("relu", "sigmoid", "tanh")],
        ("sgd_update", (many(), many(), [], numbers(0.1)), (0,)),
        ("sgd_update", (many(), many(), many(), numbers(0.1, 0.9), True), (0, 2)),
        ("sgd_update", (many(), many(), many(), numbers(0.1, 0.9), True, False), (0, 2)),
        ("rmsprop_update", (many(), many(), many(0), [], [], numbers(1e-2, 0.9, 0.0, 1e-7)),
         (0, 2)),
        ("rmsprop_update", (many(), many(), many(99), many(), many(),
                            numbers(1e-2, 0.9, 0.5, 1e-7), False), (0, 2, 3, 4)),
        ("adam_update", (many(), many(), many(), many(0), [],
                         numbers(1e-3, 1.0, 0.9, 0.999, 1e-7)), (0, 2, 3)),
        ("adam_update", (many(), many(), many(), many(0), many(0),
                         numbers(1e-3, 1.3, 0.9, 0.999, 1e-8)), (0, 2, 3, 4)),
        ("adadelta_update", (many(), many(), many(0), many(0), numbers(0.1, 0.9, 1e-7)), (0, 2, 3)),
        ("nadam_update", (many(), many(), many(), many(0),
                          numbers(1e-3, 1e-4, 0.9, 0.999, 1e-7)), (0, 2, 3)),
        ("ema_update", (many(), many(), numbers(ema=(0.9, 0))), (0, 1)),
        ("ema_update", (many(), many(), numbers(ema=(0.9, 1))), (0, 1)),
        ("l2_penalty", (many(), np.array([0.5, 0.0, 2.0])), ()),
        ("l2_gradient", (many(), many(), np.array([0.5, 0.0, 2.0])), (1,)),
        ("clip_scales", (many(), numbers(clipnorm=0.5), False, np.zeros(3)), (3,)),
        ("clip_scales", (many(), numbers(clipnorm=0.5), True, np.zeros(3)), (3,)),
    ]  # fmt: skip


def flat(argument):
    """The arrays of an argument: itself, those of a list, or none."""
    arrays = argument if isinstance(argument, list) else [argument]
    return [array for array in arrays if isinstance(array, np.ndarray)]


def call(kernels, name, arguments, written, frozen=False):
    """The results of an operation as a tuple; what it may not write to is left as it was."""
    prepared = [deepcopy(a) if isinstance(a, np.ndarray | list) else a for a in arguments]
    for i, value in enumerate(prepared):
        for array in flat(value) if frozen else ():
            array.flags.writeable = i in written
    returned = getattr(kernels, name)(*prepared)
    for i, (value, before) in enumerate(zip(prepared, arguments, strict=True)):
        for array, old in zip(flat(value), flat(before), strict=True):
            assert i in written or array.tobytes() == old.tobytes(), f"{name} wrote to argument {i}"
    if written:
        assert returned is None
        return tuple(array for i in written for array in flat(prepared[i]))
    return returned if isinstance(returned, tuple) else (returned,)


def test_equal_to_the_reference_and_the_same_bits_for_any_number_of_threads(
    dtype, rng, set_threads
):
    for name, arguments, written in cases(rng, dtype):
        expected = call(reference, name, arguments, written)
        bits = set()
        for n in (1, 2, 4, 2):
            set_threads(n)
            results = call(fast, name, arguments, written)
            bits.add(b"".join(result.tobytes() for result in results))
        assert len(bits) == 1, f"{name} depends on the number of threads"
        for i, (result, value) in enumerate(zip(results, expected, strict=True)):
            assert result.dtype == value.dtype
            assert_close(result, value, TOLERANCE[dtype], f"{name}[{i}]")


@pytest.mark.slow
def test_read_only_input(rng):
    for name, arguments, written in cases(rng, "float32"):
        expected = call(fast, name, arguments, written)
        for result, value in zip(call(fast, name, arguments, written, frozen=True), expected,
                                 strict=True):  # fmt: skip
            assert result.tobytes() == value.tobytes(), name


def guarded(like):
    """An array like `like` between two margins that hold a pattern."""
    whole = np.full(like.nbytes + 256, 0xA5, np.uint8)
    return whole, whole[128:-128].view(like.dtype).reshape(like.shape)


def test_out_is_filled_and_nothing_beside_it_is_touched(dtype, rng):
    for name, arguments, written in cases(rng, dtype):
        if written:
            continue
        expected = call(fast, name, arguments, written)
        pairs = [guarded(value) for value in expected]
        out = tuple(inner for _, inner in pairs)
        returned = getattr(fast, name)(*arguments, out=out if len(out) > 1 else out[0])
        returned = returned if isinstance(returned, tuple) else (returned,)
        for (whole, inner), value, result in zip(pairs, expected, returned, strict=True):
            assert result is inner and inner.tobytes() == value.tobytes(), name
            assert (whole[:128] == 0xA5).all() and (whole[-128:] == 0xA5).all(), name


def test_out_that_does_not_fit(rng):
    x = rng.standard_normal((3, 4))
    frozen = np.empty((3, 4))
    frozen.flags.writeable = False
    for bad in (np.empty((4, 3)), np.empty((3, 4), "float32"), np.empty((4, 3)).T, frozen):
        with pytest.raises(ShapeError, match="out"):
            fast.relu_forward(x, out=bad)


@pytest.mark.parametrize("bad", [
    lambda x: fast.dense_forward(x, np.zeros((5, 2)), None),
    lambda x: fast.dense_forward(x, np.zeros((4, 2)), np.zeros(3)),
    lambda x: fast.dense_forward(x, np.zeros((4, 2), "float32"), None),
    lambda x: fast.dense_backward(x, x, np.zeros((4, 2))),
    lambda x: fast.relu_backward(x, x[:2]),
    lambda x: fast.softmax_backward(x, x[:2]),
    lambda x: fast.softmax_cross_entropy_forward(x, x[:, :2]),
    lambda x: fast.softmax_cross_entropy_backward(x, x, x[:2, 0].copy()),
    lambda x: fast.mean_squared_error_forward(x, x[:, :2]),
    lambda x: fast.mean_squared_error_forward(x, x, out=np.zeros(4)),
    lambda x: fast.binary_cross_entropy_backward(x, x, x[0], 1e-7),
    lambda x: fast.categorical_cross_entropy_forward(x, x.astype("float32"), 1e-7),
    lambda x: fast.take_rows(x, np.zeros(2, int), np.zeros((3, 4))),
    lambda x: fast.take_images(x, np.zeros(3, "int32"), np.zeros((3, 4))),
    lambda x: fast.one_hot(np.zeros(3), np.zeros(2, int), 1.0, 0.0, np.zeros((2, 4))),
    lambda x: fast.shares(x, np.zeros(3, int), 0.1, np.zeros(3)),
    lambda x: fast.mean_loss(x[0], x[0], np.zeros(2, "float32")),
    lambda x: fast.count_correct(x, x[:2], 0.5, np.zeros(1)),
    lambda x: fast.batch_norm_update(x[0], x[0], x[0], x[0][:2], 0.9),
    lambda x: fast.max_pool_forward(x[None, ..., None], sliding_window((9, 9), (2, 2))),
    lambda x: fast.batch_norm_forward(x, np.zeros(3), np.zeros(4), 1e-3),
    lambda x: fast.batch_norm_inference(x, *[np.zeros(4)] * 3, np.zeros(5), 1e-3),
    lambda x: fast.sgd_update([x], [x[:2]], [], numbers(0.1)),
    lambda x: fast.sgd_update([x.T], [x.T.copy()], [], numbers(0.1)),
    lambda x: fast.sgd_update([x, x], [x], [], numbers(0.1)),
    lambda x: fast.sgd_update([x, x], [x, x], [x], numbers(0.1)),
    lambda x: fast.sgd_update([x], [x], [], numbers(0.1)[:8]),
    lambda x: fast.sgd_update([x], [x], [], numbers(0.1), scales=np.ones(2)),
    lambda x: fast.sgd_update([x, x.astype("float32")], [x, x.astype("float32")], [], numbers(0.1)),
    lambda x: fast.ema_update([x], [x[:2]], numbers()),
    lambda x: fast.ema_update([x], [x.copy()], numbers()[:9]),
    lambda x: fast.adam_update([x], [x], [x.astype("float32")], [x], [], numbers(1.0)),
    lambda x: fast.l2_penalty([x, x], np.ones(1)),
    lambda x: fast.l2_gradient([x], [x[:2]], np.ones(1)),
    lambda x: fast.clip_scales([x], numbers(), False, np.ones(2)),
])  # fmt: skip
def test_arrays_that_do_not_fit_are_refused_before_any_loop_runs(bad):
    with pytest.raises(ShapeError):
        bad(np.ones((3, 4)))


sizes = st.integers(1, 60)


@given(sizes, sizes, st.integers(0, 600), st.booleans(), st.booleans(), st.booleans(),
       st.booleans())  # fmt: skip
@settings(max_examples=60)
@example(1, 1, 1, False, False, False, False)
@example(4, 24, 256, False, False, True, True)
@example(5, 25, 257, True, True, True, True)
@example(1, 129, 300, False, False, True, True)
@example(1, 64, 0, False, False, True, False)
@example(513, 50, 40, False, True, False, False)
def test_matrix_products(dtype, M, N, K, a_turned, b_turned, biased, relu):
    rng = np.random.default_rng(M + 100 * N + 10_000 * K)
    a, b = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
    bias = rng.standard_normal(N).astype(dtype) if biased else None
    exact = a.astype("float64") @ b + (0 if bias is None else bias)
    exact = np.maximum(exact, 0) if relu else exact
    a = np.asfortranarray(a) if a_turned else a
    b = np.asfortranarray(b) if b_turned else b
    whole, c = guarded(np.empty((M, N), dtype))
    gemm.matmul(a, b, c, bias, relu)
    assert_close(np.append(c, 1), np.append(exact, 1), TOLERANCE[dtype])
    assert (whole[:128] == 0xA5).all() and (whole[-128:] == 0xA5).all()


def test_arrays_that_are_not_contiguous(dtype, rng):
    x = rng.standard_normal((6, 8, 8, 10)).astype(dtype)[::2, ::2, :, ::2]
    window = sliding_window((4, 8), (2, 2), (2, 2))
    for name, arguments in [("relu_forward", (x,)), ("max_pool_forward", (x, window)),
                            ("average_pool_forward", (x, window)), ("softmax_forward", (x,)),
                            ("dropout_forward", (x, 0.3, KEY))]:  # fmt: skip
        for result, value in zip(call(fast, name, arguments, ()),
                                 call(reference, name, arguments, ()), strict=True):  # fmt: skip
            assert_close(result, value, TOLERANCE[dtype], name)
    a, b = x[0, 0], x[1, 0].T
    assert_close(fast.dense_forward(a, b, None), a @ b, TOLERANCE[dtype])


HOSTILE = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -1e-42, 1e38, -1e38, 1.0, -1e4, 1e4]


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_hostile_numbers_give_what_the_reference_gives(dtype):
    rng = np.random.default_rng(1)
    draw = lambda *shape: rng.choice(HOSTILE, shape).astype(dtype)  # noqa: E731
    slides = [((2, 2), (2, 2)), ((3, 3), (1, 2), "same"), ((2, 3), (2, 1), "same", (2, 1))]
    windows = [sliding_window((5, 6), *slide) for slide in slides]
    for _ in range(20):
        x, dy = draw(2, 5, 6, 11), draw(2, 5, 6, 11)
        flat, other = draw(9, 7), draw(9, 7)
        operations = [(f"{f}_forward", (x,)) for f in ("relu", "sigmoid", "tanh", "softmax")]
        operations += [(f"{f}_backward", (dy, x)) for f in ("relu", "sigmoid", "tanh", "softmax")]
        operations += [("max_pool_forward", (x, window)) for window in windows]
        operations += [("dropout_forward", (x, rate, KEY)) for rate in (0.0, 0.5, 1.0)]
        operations += [("softmax_cross_entropy_forward", (flat, abs(np.sign(other)))),
                       ("sigmoid_cross_entropy_forward", (flat, abs(np.sign(other)))),
                       ("binary_cross_entropy_forward", (flat, abs(np.sign(other)), 1e-7)),
                       ("binary_cross_entropy_backward", (flat, other, draw(9), 1e-7)),
                       ("mean_squared_error_backward", (flat, other, draw(9))),
                       ("mean_absolute_error_forward", (flat, other)),
                       ("mean_absolute_error_backward", (flat, other, draw(9))),
                       ("dense_forward", (flat, draw(7, 5), draw(5)))]  # fmt: skip
        for name, arguments in operations:
            expected = call(reference, name, arguments, ())
            for result, value in zip(call(fast, name, arguments, ()), expected, strict=True):
                same = np.isclose(result, value, rtol=1e-5, atol=1e-37, equal_nan=True)
                # what overflows in one order of the sum may be finite in another
                same |= ~np.isfinite(value) & ~np.isfinite(result) if "dense" in name else False
                assert same.all(), (name, arguments, result, value)


def test_relu_of_the_dense_layer_keeps_nan(dtype):
    x = np.array([[np.nan, 1.0], [1.0, -5.0]], dtype)
    y = fast.dense_forward(x, np.eye(2, dtype=dtype), None, relu=True)
    np.testing.assert_array_equal(y, np.array([[np.nan, np.nan], [1, 0]], dtype))


@pytest.mark.parametrize("shape", [(2, 3, 3, 4)])
def test_ties_go_to_the_first_cell_and_overlaps_add_up(dtype, shape):
    x = np.ones((1, 4, 4, 1), dtype)
    window = sliding_window((4, 4), (3, 3))
    y, argmax = fast.max_pool_forward(x, window)
    assert argmax.dtype == np.uint8 and not argmax.any()
    dx = fast.max_pool_backward(np.ones_like(y), argmax, window)
    expected = np.zeros((4, 4))
    expected[:2, :2] = 1
    np.testing.assert_array_equal(dx[0, :, :, 0], expected)


def test_windows_with_more_cells_than_a_byte_counts(dtype, rng):
    x = rng.standard_normal((2, 20, 18, 3)).astype(dtype)
    window = sliding_window((20, 18), (17, 16), (1, 1), "same")
    y, argmax = fast.max_pool_forward(x, window)
    expected, code = reference.max_pool_forward(x, window)
    assert argmax.dtype == np.int32
    np.testing.assert_array_equal(argmax, code)
    np.testing.assert_array_equal(y, expected)


def test_a_window_of_more_cells_than_can_be_numbered_is_refused():
    window = sliding_window((4097, 4096), (4097, 4096))
    x = np.broadcast_to(np.float32(0), (1, 4097, 4096, 1))  # takes no memory
    with pytest.raises(ShapeError, match="a window of 16781312 cells, expected at most 16777216"):
        fast.max_pool_forward(x, window)


def test_the_dropout_mask_is_the_reference_s_bit_by_bit(dtype, rng):
    x = rng.standard_normal(70_001).astype(dtype)
    for rate in (0.0, 1e-9, 0.1, 0.5, 0.999, 1.0):
        for key in (0, 1, 2**32 - 1, 2**32, 2**64 - 1, KEY):
            expected = reference.dropout_forward(x, rate, key)
            assert fast.dropout_forward(x, rate, key).tobytes() == expected.tobytes(), (rate, key)


def test_empty_batches(dtype):
    x, window = np.zeros((0, 4, 4, 3), dtype), sliding_window((4, 4), (2, 2), (2, 2))
    assert fast.relu_forward(x).shape == x.shape
    assert fast.max_pool_forward(x, window)[0].shape == (0, 2, 2, 3)
    assert fast.dense_forward(x.reshape(0, 48), np.zeros((48, 5), dtype), None).shape == (0, 5)
    assert fast.softmax_forward(np.zeros((0, 5), dtype)).shape == (0, 5)


def test_mset_threads_at_once_get_right_answers(dtype, rng):
    import threading

    every = [case for case in cases(rng, dtype) if not case[2]]
    expected = [call(fast, *case) for case in every]
    wrong = []

    def caller(first):
        for i in range(len(every)):
            name, *_ = case = every[(first + i) % len(every)]
            for result, value in zip(call(fast, *case), expected[(first + i) % len(every)],
                                     strict=True):  # fmt: skip
                if result.tobytes() != value.tobytes():
                    wrong.append(name)

    callers = [threading.Thread(target=caller, args=(3 * i,)) for i in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not wrong
