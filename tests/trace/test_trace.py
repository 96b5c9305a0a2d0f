"""The trace: every number equal to PyTorch's autograd and to central differences, and said aright.

PyTorch's twin is written out layer by layer in `support.torch_layers`.
"""

import inspect
import re
import sys
from importlib import import_module

import numpy as np
import pytest

from nanocnn import (
    Activation,
    Adam,
    AveragePooling2D,
    BatchNormalization,
    CategoricalCrossentropy,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    LeakyReLU,
    MaxPooling2D,
    Normalization,
    ReLU,
    Rescaling,
    Reshape,
    Sequential,
    Softmax,
    ZeroPadding2D,
)
from nanocnn.kernels import KERNEL_SETS, reference
from support.compare import assert_close
from support.torch_layers import torch_layer, torch_loss

N, K = 3, 4
MODELS = {
    "two-block": lambda: [
        Conv2D(3, 3, activation="relu"), MaxPooling2D(2),
        Conv2D(4, 2, padding="same", activation="relu"), Flatten(),
        Dense(5, activation="relu"), Dense(K, activation="softmax"),
    ],
    "every layer": lambda: [
        Conv2D(3, (3, 2), strides=(2, 1), padding="same", activation="tanh", use_bias=False),
        BatchNormalization(), Activation("relu"), AveragePooling2D((2, 3), 1, "same"),
        MaxPooling2D((3, 2), strides=(2, 1), padding="same"), Dropout(0.4),
        Conv2D(2, 2, dilation_rate=(1, 2), activation="sigmoid", kernel_regularizer=0.01),
        Flatten(), Dense(K), Activation("softmax"),
    ],
    "scales and slopes": lambda: [
        Rescaling(0.5, 0.25), Normalization(mean=0.5, variance=2.0), ZeroPadding2D(),
        Conv2D(6, 3, activation="gelu"), ReLU(max_value=0.5, negative_slope=0.25),
        Conv2D(6, 1, activation="leaky_relu"), LeakyReLU(), Reshape((6, 3, 24)), ReLU(),
        GlobalMaxPooling2D(keepdims=True), Conv2D(5, 1, activation="elu"), Activation("gelu"),
        GlobalAveragePooling2D(), Dense(K), Softmax(),
    ],
    "softmax inside": lambda: [
        Conv2D(2, 3, activation="softmax"), Flatten(), Dense(K, kernel_regularizer=0.02),
    ],
}  # fmt: skip
LOSSES = {
    "two-block": "sparse_categorical_crossentropy",
    "every layer": CategoricalCrossentropy(label_smoothing=0.1),
    "scales and slopes": "categorical_crossentropy",
    "softmax inside": "mse",
}


def make(name, kernels="reference", dtype="float64"):
    """A compiled model and data for it; biases, gamma and beta are not left at 0 and 1."""
    model = Sequential([Input((9, 8, 2)), *MODELS[name]()], dtype=dtype, kernels=kernels)
    model.compile(Adam(), LOSSES[name], metrics=["accuracy"])
    rng = np.random.default_rng(5)
    model.set_weights([w + 0.1 * rng.random(w.shape) for w in model.get_weights()])
    x = rng.standard_normal((N, 9, 8, 2))
    y = rng.integers(K, size=N)
    return model, x, y if name == "two-block" else np.eye(K)[y]


# --- Against PyTorch ------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize("name", MODELS)
def test_every_number_equals_pytorch(name, kernels):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    model, x, y = make(name, kernels)
    trace = model.trace(x, y)
    tensor = first = torch.tensor(x, requires_grad=True)
    inputs, results, penalty = [], [], 0.0
    for layer, mine in zip(model.layers, trace, strict=True):
        params = {k: torch.tensor(v, requires_grad=True) for k, v in layer.params.items()}
        inputs.append(tensor)
        z, tensor = torch_layer(torch, layer, tensor, params, mine.saved)
        results.append((z, tensor, params))
        for param, factor in layer.penalties.items():
            penalty = penalty + factor * (params[param] ** 2).sum()
    at = inputs[-1] if isinstance(model.layers[-1], Activation | Softmax) else results[-1][0]
    losses = torch_loss(torch, model, at, torch.tensor(trace.target))
    (losses.mean() + penalty).backward()

    def same(mine, theirs, what):
        assert_close(mine, theirs.detach().numpy(), 1e-6, what)

    same(trace.losses, losses, "losses")
    assert abs(trace.loss - (losses.mean() + penalty).item()) < 1e-9
    same(trace.dx, first.grad, "the gradient of the input")
    same(trace.dlogits, at.grad, "dlogits")
    compared = 0
    for mine, given, (z, out, params) in zip(trace, inputs, results, strict=True):
        same(mine.x, given, f"x of {mine.name}")
        same(mine.y, out, f"y of {mine.name}")
        same(mine.dx, given.grad, f"dx of {mine.name}")
        if mine.dy is not None:
            same(mine.z, z, f"z of {mine.name}")
            same(mine.dz, z.grad, f"dz of {mine.name}")
            same(mine.dy, out.grad, f"dy of {mine.name}")
            compared += 1
        assert mine.params.keys() == mine.grads.keys() == params.keys()
        for param, gradient in mine.grads.items():
            same(gradient, params[param].grad, f"gradient of {param} of {mine.name}")
    assert compared >= len(trace) - 1  # but a last softmax, which has no dy


# --- Against central differences, without PyTorch -------------------------------------------------


@pytest.mark.parametrize("name", ["two-block", "softmax inside"])
def test_every_intermediate_gradient_equals_central_differences(name):
    """dL/dx of each layer: move its input a little and run the layers behind it again."""
    model, x, y = make(name)
    trace = model.trace(x, y)
    layers = model.layers
    rng = np.random.default_rng(0)
    for i, mine in enumerate(trace):
        for _ in range(5):
            place = tuple(int(rng.integers(size)) for size in mine.x.shape)
            slope = 0.0
            for sign in (1, -1):
                moved = mine.x.copy()
                moved[place] += sign * 1e-6
                for layer in layers[i:]:
                    moved = layer.forward(moved, training=True)
                slope += sign * model.loss(y, moved) / 2e-6
            assert abs(mine.dx[place] - slope) < 1e-8, f"dx{list(place)} of {mine.name}"


# --- What it leaves alone -------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_the_model_is_left_as_it_was(kernels):
    model, x, y = make("every layer", kernels)
    weights, random = model.get_weights(), model.rng.bit_generator.state
    one, two = model.trace(x, y), model.trace(x, y)
    assert str(one) == str(two)  # the same dropout mask, too
    assert model.rng.bit_generator.state == random
    assert all(map(np.array_equal, model.get_weights(), weights))
    assert all(layer.grads == {} for layer in model.layers)


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_a_trace_does_not_change_when_the_model_does(kernels):
    model, x, y = make("every layer", kernels)
    trace = model.trace(x, y)
    before = str(trace)
    assert not np.shares_memory(trace.x, x)
    x[:] = 0
    for _ in range(3):
        model.train_on_batch(np.ones_like(x), y)
    model.trace(x, y, training=False)
    assert str(trace) == before


def test_without_training_there_is_no_dropout_and_the_averages_are_used():
    model, x, y = make("every layer")
    trace = model.trace(x, y, training=False)
    assert np.array_equal(trace["dropout"].x, trace["dropout"].y)
    state = model.layers[1].state
    assert np.array_equal(trace["batch_normalization"].saved["mean"], state["moving_mean"])
    assert not np.shares_memory(trace["batch_normalization"].saved["mean"], state["moving_mean"])
    assert "batch_norm_inference, reference.py" in str(trace)
    assert "dx = dy * gamma / sqrt(variance + epsilon)\n" in str(trace)  # no kernel has this line
    assert_close(trace.prediction, model.predict(x), 1e-12)


def test_what_each_layer_saved_has_its_name():
    model, x, y = make("every layer")
    trace = model.trace(x, y)
    saved = {mine.name: sorted(mine.saved) for mine in trace}
    assert saved == {
        "conv2d": ["x", "y"],
        "batch_normalization": ["mean", "variance", "x"],
        "activation": ["y"],
        "average_pooling2d": [],
        "max_pooling2d": ["argmax"],
        "dropout": ["key", "mask"],
        "conv2d_1": ["x", "y"],
        "flatten": [],
        "dense": ["x"],
        "activation_1": ["y"],
    }
    assert trace["conv2d_1"].dweight.shape == (2, 2, 3, 2)
    assert trace["batch_normalization"].dgamma.shape == (3,)
    for mine in trace:
        for name, array in mine.params.items():
            assert getattr(mine, name) is array and getattr(mine, f"d{name}") is mine.grads[name]
    assert trace["dense"].dweight is trace["dense"].grads["kernel"]


def test_uint8_images_are_scaled_as_in_training():
    model = Sequential(
        [Input((6, 6, 1)), Flatten(), Dense(3, activation="softmax")], kernels="reference"
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    images = np.arange(72, dtype=np.uint8).reshape(2, 6, 6)
    trace = model.trace(images, [0, 2])
    assert trace.x.dtype == np.float32 and trace.x.shape == (2, 6, 6, 1)
    assert_close(trace.x[..., 0], images / 255, 1e-6)


@pytest.mark.parametrize(
    "use, error, words",
    [
        (lambda m, x, y: m.trace(x, y)["conv2d_9"], ValueError, "conv2d"),
        (lambda m, x, y: m.trace(x, y[:1]), ValueError, "3 samples"),
        (lambda m, x, y: m.trace(x[:, 1:], y), ValueError, "expected"),
        (lambda m, x, y: m.trace(x, y)["conv2"], ValueError, "did you mean 'conv2d'"),
        (lambda m, x, y: m.trace(x, y)[6], ValueError, "from 0 to 5 or from -6 to -1"),
        (lambda m, x, y: m.trace(x, y)[-7], ValueError, r"conv2d.*from 0 to 5 or from -6 to -1"),
        (lambda m, x, y: m.trace(x, y)[1:2], ValueError, r"trace\[slice.*expected a layer's name"),
        (lambda m, x, y: m.trace(x, y)[x], ValueError, "expected a layer's name"),
        (lambda m, x, y: m.trace(x, y)[True], ValueError, "expected a layer's name"),
        (
            lambda m, x, y: m.trace(x, y)["flatten"].dweight,
            AttributeError,
            "'flatten' 'dweight'.*known: dx, dy",
        ),
        (
            lambda m, x, y: m.trace(x, y)["conv2d"].gamma,
            AttributeError,
            "known: bias, dbias, dkernel, dweight, dx",
        ),
        (lambda m, x, y: m.trace(x, y)["conv2d"].kernels, AttributeError, "mean 'kernel'"),
        (lambda m, x, y: m.trace(x, y, training=1), ValueError, "training=1, expected True or Fal"),
        (lambda m, x, y: m.trace(x, None), ValueError, "y: shape"),
        (lambda m, x, y: m.trace("digits", y), ValueError, "x: expected an array of numbers"),
        (lambda m, x, y: Sequential([Flatten(), Dense(2)]).trace(x, y), RuntimeError, "compile"),
    ],
)
def test_wrong_use_is_refused(use, error, words):
    with pytest.raises(error, match=words):
        use(*make("two-block"))


# --- In words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_place_that_is_named_is_right(name):
    """Each line is inside its function, at the assignment where the function has one."""
    model, x, y = make(name)
    text = str(model.trace(x, y))
    places = re.findall(r"(\w+)(?:\[\S+\])? = [^\n]*\n? +(\w+), (reference\w*)\.py:(\d+)", text)
    assert len(places) == len(re.findall(r"reference\w*\.py:", text)) > 8
    for result, function, file, line in places:
        source = inspect.getsource(import_module(f"nanocnn.kernels.{file}")).splitlines()
        lines, start = inspect.getsourcelines(getattr(reference, function))
        assert start <= int(line) < start + len(lines), f"{function} at line {line}"
        if result in ("dweight", "dbias", "dgamma", "dbeta") and int(line) > start:
            assert re.search(rf"\b{result}\b.* = ", source[int(line) - 1])


def lines_run(model, x, y):
    """Which lines of the reference kernels a trace runs: {line}, as a debugger would see it."""
    ran, file = set(), reference.__file__

    def follow(frame, event, _):
        if frame.f_code.co_filename != file:
            return None
        ran.add(frame.f_code.co_firstlineno if event == "call" else frame.f_lineno)
        return follow

    before = sys.gettrace()
    sys.settrace(follow)
    try:
        trace = model.trace(x, y)
    finally:
        sys.settrace(before)
    return ran, str(trace)


@pytest.mark.parametrize("kernels", KERNEL_SETS)
@pytest.mark.parametrize("name", MODELS)
def test_the_named_lines_run_with_the_reference_kernels_only(name, kernels):
    """And the trace says so: a breakpoint at a line that does not run would never stop."""
    ran, text = lines_run(*make(name, kernels))
    named = {int(line) for line in re.findall(r", reference\.py:(\d+)", text)}
    if kernels == "reference":
        assert named <= ran
    else:
        mask = reference.dropout_mask.__code__.co_firstlineno  # is shown, and so is computed
        assert not named & ran or named & ran == {mask}
    assert "defined by the function beside it" in text
    assert 'kernels="reference" these lines run, and a breakpoint there stops' in text


def test_the_trace_of_one_layer_names_its_lines_too():
    model, x, y = make("two-block", "fast")
    assert 'kernels="reference" these lines run' in str(model.trace(x, y)["conv2d_1"])


def test_where_dw_of_the_second_convolution_is_computed():
    """The question the README asks."""
    model, x, y = make("two-block")
    text = str(model.trace(x, y))
    backward = text[text.index("BACKWARD") :]
    second = backward[backward.index("conv2d_1") :]
    line = next(line for line in second.splitlines() if "dweight = " in line)
    place = int(re.search(r"conv2d_backward, reference.py:(\d+)", line)[1])
    found = inspect.getsource(reference).splitlines()[place - 1].strip()
    assert found.startswith("dweight = (cols.T @ dY).reshape(weight.shape)")


def test_small_arrays_are_printed_whole_and_large_ones_in_short():
    model = Sequential(
        [Input((3, 3, 1)), Conv2D(1, 2), Flatten(), Dense(2, activation="softmax")],
        dtype="float64", kernels="reference",
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    kernel = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    model.set_weights([kernel, np.zeros(1), np.ones((4, 2)), np.zeros(2)])
    text = str(model.trace(np.arange(9.0).reshape(1, 3, 3, 1), [1]))
    assert "      [[1. 2.]\n       [3. 4.]]" in text  # the kernel
    assert "      [[27. 37.]\n       [57. 67.]]" in text  # 0*1 + 1*2 + 3*3 + 4*4 = 27, ...
    assert "losses (1,) = [0.6931]" in text and "= 0.693147" in text  # log 2
    assert "dz (1, 2) = [ 0.5 -0.5]" in text

    model, x, y = make("two-block")
    text = str(model.trace(x, y))
    assert max(map(len, text.splitlines())) <= 110
    assert re.search(r"x \(3, 9, 8, 2\): -[\d.]+ to [\d.]+, 0% zeros; from \[", text)
    assert text.index("FORWARD") < text.index("LOSS") < text.index("BACKWARD")
    order = [layer.name for layer in model.layers]
    heads = re.findall(r"^(\w+) \(\w+\)  \(", text, re.M)
    assert heads == order + order[::-1]


def test_iterating_and_short_forms():
    model, x, y = make("two-block")
    trace = model.trace(x, y)
    assert len(trace) == 6 and next(iter(trace)).name == "conv2d"
    assert [trace[i].name for i in range(6)] == [mine.name for mine in trace]
    assert trace[-1] is trace["dense_1"] and trace[np.int64(2)] is trace["conv2d_1"]
    assert repr(trace).startswith("Trace(conv2d, max_pooling2d") and "loss" in repr(trace)
    assert repr(trace["conv2d"]) == "LayerTrace(conv2d: (3, 9, 8, 2) -> (3, 7, 6, 3))"
    assert "dweight = im2col(x)^T @ dz" in str(trace["conv2d"])
