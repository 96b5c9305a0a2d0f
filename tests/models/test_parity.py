"""Random models against real PyTorch, and some against real Keras: every number of five steps.

Needs the `[parity]` extra. A case is drawn from its number alone, and every failure names it:
`draw(number)` gives the case again.
"""

import copy
import os

import numpy as np
import pytest
from networks import keras_layers
from presets import PRESETS

import nanocnn
from support import naive, parity
from support.compare import relative_error

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # before anything imports Keras
pytestmark = pytest.mark.slow

STEPS = 5
BLOCK, BLOCKS = 60, 10
KERAS_MODELS = 25
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
# Two roundings may decide differently about a ReLU this near to its kink, or a pool to a tie.
TOO_NEAR = {"float64": 1e-12, "float32": 2e-5}

# TensorFlow rounds their constants, 0.2 and sqrt(2), to float32, also in float64.
NOT_IN_KERAS = "leaky_relu", "gelu"


# --- Random models


def one_of(rng, *items):
    return items[rng.integers(len(items))]


def draw_window(rng, size, largest, dilated):
    """kernel, strides, padding, dilation of a window that fits into an image of this size."""
    padding = one_of(rng, "valid", "same")
    dilation = tuple(rng.integers(1, 3, 2).tolist()) if dilated and rng.random() < 0.3 else (1, 1)
    kernel = tuple(rng.integers(1, largest + 1, 2).tolist())
    if padding == "valid":
        fit = [1 + (n - 1) // d for n, d in zip(size, dilation, strict=True)]
        kernel = tuple(min(pair) for pair in zip(kernel, fit, strict=True))
    strides = (1, 1) if dilation != (1, 1) else tuple(rng.integers(1, 4, 2).tolist())
    return kernel, strides, padding, dilation


def draw_image_layer(rng, size):
    """A layer for images of this size, and the size it leaves."""
    kind = one_of(
        rng, "Conv2D", "Conv2D", "Conv2D", "MaxPooling2D", "MaxPooling2D", "AveragePooling2D",
        "BatchNormalization", "Dropout", "Activation", "LeakyReLU", "ZeroPadding2D",
    )  # fmt: skip
    if kind == "ZeroPadding2D":
        (top, bottom), (left, right) = sides = rng.integers(0, 3, (2, 2)).tolist()
        return (kind, {"padding": sides}), (size[0] + top + bottom, size[1] + left + right)
    if kind in ("BatchNormalization", "Dropout", "Activation", "LeakyReLU"):
        return (kind, draw_plain_options(rng, kind)), size
    conv = kind == "Conv2D"
    kernel, strides, padding, dilation = draw_window(rng, size, 5 if conv else 3, conv)
    options = {"strides": strides, "padding": padding}
    if conv:
        options |= {"kernel_size": kernel, "dilation_rate": dilation, **draw_linear_options(rng)}
        options["filters"] = int(rng.integers(1, 10))
    else:
        options["pool_size"] = kernel
    return (kind, options), naive.output_size(size, kernel, strides, padding, dilation)


def draw_linear_options(rng):
    names = "relu", "relu", "tanh", "sigmoid", "linear", "elu", *NOT_IN_KERAS, None
    options = {"activation": one_of(rng, *names)}
    if rng.random() < 0.2:
        options["use_bias"] = False
    if rng.random() < 0.2:
        options["kernel_regularizer"] = 0.0625
    return options


def draw_plain_options(rng, kind):
    if kind == "Activation":
        names = "relu", "tanh", "sigmoid", "softmax", "linear", "elu", *NOT_IN_KERAS
        return {"activation": one_of(rng, *names)}
    if kind == "LeakyReLU":
        return {"negative_slope": one_of(rng, 0.25, 0.125)}
    if kind == "Dropout":
        return {"rate": one_of(rng, 0.0, 0.25, 0.5)}
    options = {"momentum": one_of(rng, 0.5, 0.875), "epsilon": one_of(rng, 0.0078125, 0.125)}
    if rng.random() < 0.2:
        options[one_of(rng, "center", "scale")] = False
    return options


def draw_optimizer(rng):
    """Name and arguments. All numbers are exact in float32: Keras rounds its constants to that."""
    name = one_of(rng, "SGD", "RMSprop", "Adam", "AdamW")
    options = {"learning_rate": one_of(rng, 2**-7, 2**-5)}
    maybe = lambda **more: options.update(more) if rng.random() < 0.5 else None  # noqa: E731
    if name == "SGD":
        maybe(momentum=0.875, nesterov=one_of(rng, True, False))
    elif name == "RMSprop":
        options |= {"rho": one_of(rng, 0.875, 0.75), "epsilon": 2**-10}
        maybe(momentum=0.5)
        maybe(centered=True)
    else:
        options |= {"epsilon": 2**-10, "beta_1": one_of(rng, 0.875, 0.5), "beta_2": 1 - 2**-7}
        maybe(amsgrad=True)
    if name == "AdamW" or rng.random() < 0.3:
        options["weight_decay"] = 2**-4
    return name, options


def draw_loss(rng):
    """(loss, activation of the last layer)."""
    name = one_of(
        rng, "CategoricalCrossentropy", "SparseCategoricalCrossentropy", "MeanSquaredError"
    )
    config, activation = {}, one_of(rng, "softmax", "softmax", "sigmoid", "linear")
    if name == "MeanSquaredError":
        return {"class_name": name, "config": {}}, activation
    if name == "CategoricalCrossentropy":
        config["label_smoothing"] = one_of(rng, 0.0, 0.125)
    if activation == "linear":
        config["from_logits"] = True
    return {"class_name": name, "config": config}, activation


def draw(number):
    """Everything about case `number`: layers, data, loss, optimizer, first weights."""
    rng = np.random.default_rng([2026, number])
    size, channels = tuple(rng.integers(1, 13, 2).tolist()), int(rng.integers(1, 5))
    layers = [("Input", {"shape": (*size, channels)})]
    for _ in range(rng.integers(1, 4)):
        layer, size = draw_image_layer(rng, size)
        layers.append(layer)
    layers.append((one_of(rng, "Flatten", "Flatten", "GlobalAveragePooling2D"), {}))
    for _ in range(rng.integers(0, 3)):
        kind = one_of(rng, "Dense", "Dense", "BatchNormalization", "Dropout", "Activation")
        options = draw_linear_options(rng) if kind == "Dense" else draw_plain_options(rng, kind)
        if kind == "Dense":
            options["units"] = int(rng.integers(1, 20))
        layers.append((kind, options))
    loss, activation = draw_loss(rng)
    K, N = int(rng.integers(2, 9)), int(rng.integers(2, 7))
    if rng.random() < 0.3:
        layers += [("Dense", {"units": K}), ("Activation", {"activation": activation})]
    else:
        layers.append(("Dense", {"units": K, "activation": activation}))
    labels = rng.integers(0, K, N)
    return {
        "layers": layers, "loss": loss, "optimizer": draw_optimizer(rng),
        "x": rng.standard_normal((N, *layers[0][1]["shape"])), "labels": labels,
        "target": rng.random((N, K)) if loss["class_name"] == "MeanSquaredError"
        else np.eye(K)[labels],
        "weight": rng.random(N) if rng.random() < 0.3 else None, "rng": rng,
    }  # fmt: skip


def first_weights(case, model):
    """Weights for a built model: everything a little off its usual start, variances positive."""
    rng, weights = copy.deepcopy(case["rng"]), []
    for name, array in model.weights.items():
        values = rng.uniform(-1, 1, array.shape)
        if array.ndim > 1:
            values *= np.sqrt(3 / np.prod(array.shape[:-1]))
        elif name.endswith(("gamma", "variance")):
            values = 1 + values / 2
        else:
            values /= 4
        weights.append(values)
    return weights


# --- The same five steps in each library


def run_nanocnn(case, kernels, dtype, form):
    """Everything that can be compared, by name; and the dropout masks of each step."""
    layers = keras_layers(case["layers"], nanocnn)
    model = nanocnn.Sequential(layers, kernels=kernels, dtype=dtype)
    start = first_weights(case, model)
    model.set_weights(start)
    name, options = case["optimizer"]
    model.compile(getattr(nanocnn, name)(**options, form=form), case["loss"])
    x, sparse = case["x"].astype(dtype), case["loss"]["class_name"].startswith("Sparse")
    y = case["labels"] if sparse else case["target"].astype(dtype)
    results, masks = {"output": model.predict(x)}, []
    for step in range(STEPS):
        masks.append(dropout_masks(model, len(x)))
        results[f"loss {step}"] = model.train_on_batch(x, y, sample_weight=case["weight"])
        if step == 0:
            for layer in model.layers:
                for key in layer.params:
                    results[f"gradient of {layer.name}/{key}"] = layer.grads[key].copy()
    results |= {f"{name} after": array.copy() for name, array in model.weights.items()}
    results["output after"] = model.predict(x)
    return results, start, list(model.weights), masks


def dropout_masks(model, N):
    """Those of the next training pass: one key a layer, drawn from a copy of the model's rng."""
    rng, masks = copy.deepcopy(model.rng), []
    for layer in model.layers:
        if isinstance(layer, nanocnn.Dropout) and layer.rate:
            key = int(rng.integers(2**64, dtype="uint64"))
            masks.append(naive.dropout_mask(N * int(np.prod(layer.input_shape)), layer.rate, key))
    return masks


def run_torch(case, dtype, start, names, masks):
    """The same in PyTorch, with its own optimizer; and the smallest margin (see `TorchModel`)."""
    import torch

    # oneDNN in PyTorch 2.13 spoils memory in the backward pass of some of these convolutions.
    torch.backends.mkldnn.enabled = False
    torch.set_num_threads(1)  # the models are tiny: more threads only wait for one another
    tensor = lambda array: torch.tensor(np.asarray(array, dtype))  # noqa: E731
    model, margin = parity.TorchModel(case["layers"], start, dtype), np.inf
    optimizer = parity.torch_optimizer(model.parameters, *case["optimizer"])
    x, target = tensor(case["x"]), tensor(case["target"])
    weight = None if case["weight"] is None else tensor(case["weight"])
    results = {"output": model(x, training=False)}
    for step in range(STEPS):
        optimizer.zero_grad()
        drops = [tensor(mask) for mask in masks[step]]
        loss = parity.torch_loss(model, x, target, case["loss"], weight, drops)
        loss.backward()
        margin = min(margin, model.margin)
        results[f"loss {step}"] = loss
        if step == 0:
            trainable = [name for name in names if "moving" not in name]
            for name, gradient in zip(trainable, model.gradients, strict=True):
                results[f"gradient of {name}"] = gradient
        optimizer.step()
    results |= {f"{name} after": w for name, w in zip(names, model.weights, strict=True)}
    results["output after"] = model(x, training=False)
    return {name: value.detach().numpy() for name, value in results.items()}, margin


def run_keras(case, start, names):
    """The same in Keras, float64."""
    import keras

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    model = parity.keras_model(case["layers"], start)
    name, options = case["optimizer"]
    optimizer = getattr(keras.optimizers, name)(**options)
    loss = getattr(keras.losses, case["loss"]["class_name"])(**case["loss"]["config"])
    sparse = case["loss"]["class_name"].startswith("Sparse")
    y, numpy = case["labels"] if sparse else case["target"], keras.ops.convert_to_numpy
    results = {"output": numpy(model(case["x"], training=False))}
    for step in range(STEPS):
        value, gradients = parity.keras_step(model, loss, optimizer, case["x"], y, case["weight"])
        results[f"loss {step}"] = value
        if step == 0:
            trainable = [name for name in names if "moving" not in name]
            for name, gradient in zip(trainable, gradients, strict=True):
                results[f"gradient of {name}"] = gradient
    for name, weight in zip(names, model.get_weights(), strict=True):
        results[f"{name} after"] = weight
    results["output after"] = numpy(model(case["x"], training=False))
    return results


def errors(actual, expected):
    """The relative error of everything; gradients against 1% of the largest one at least.

    A bias before a batch normalization has a gradient of 0, which rounding makes a little noise.
    """
    assert actual.keys() == expected.keys()
    gradients = [np.abs(v).max() for name, v in expected.items() if name.startswith("gradient")]
    found = {}
    for name, value in expected.items():
        floor = 0.01 * max(gradients) if name.startswith("gradient") else 0.01
        found[name] = relative_error(np.append(actual[name], floor), np.append(value, floor))
    return found


def check(actual, expected, tolerance, where):
    """The largest error, if it is allowed."""
    found = errors(actual, expected)
    wrong = {name: f"{error:.1e}" for name, error in found.items() if not error <= tolerance}
    assert wrong == {}, f"{where}: relative errors over {tolerance:.0e}"
    return max(found.values())


# --- The tests


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_models_against_pytorch(block, capsys):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[parity]'")
    compared, worst = dict.fromkeys(TOLERANCE, 0), dict.fromkeys(TOLERANCE, 0.0)
    for number in range(block * BLOCK, (block + 1) * BLOCK):
        case, exact = draw(number), {}
        for dtype, tolerance in TOLERANCE.items():
            mine = {}
            for kernels in ("reference", "fast"):
                mine[kernels], *rest = run_nanocnn(case, kernels, dtype, "pytorch")
            expected, margin = run_torch(case, dtype, *rest)
            exact = exact or expected
            # Where PyTorch's own float32 strays from its float64, rounding decides, not formulas.
            strays = max(errors(expected, exact).values()) > tolerance / 5
            if margin < TOO_NEAR[dtype] or strays:
                continue
            compared[dtype] += 1
            for kernels, results in mine.items():
                where = f"case {number}, {kernels} kernels, {dtype}"
                worst[dtype] = max(worst[dtype], check(results, expected, tolerance, where))
    assert compared["float64"] > 0.95 * BLOCK and compared["float32"] > 0.85 * BLOCK
    with capsys.disabled():
        counts = ", ".join(f"{n} in {d} (worst {worst[d]:.0e})" for d, n in compared.items())
        print(f"\nagainst PyTorch, both kernel sets, {BLOCK} models: {counts}")


def test_random_models_against_keras(capsys):
    keras = pytest.importorskip("keras", reason="Keras is not installed: pip install '.[parity]'")
    if keras.backend.backend() != "tensorflow":
        pytest.skip(
            f"Keras runs on {keras.backend.backend()}, which rounds float64 data to float32"
        )
    compared, error, number = 0, 0.0, 1000
    while compared < KERAS_MODELS:
        case, number = draw(number), number + 1
        # Keras draws other dropout masks, and takes the logits of a sigmoid for those of a softmax.
        case["layers"] = [
            (kind, {"rate": 0.0} if kind == "Dropout" else options)
            for kind, options in case["layers"]
            if not (kind == "Activation" and options["activation"] in NOT_IN_KERAS)
        ]
        for _, options in case["layers"]:
            if options.get("activation") in NOT_IN_KERAS:
                options["activation"] = "elu"
        last = case["layers"][-1][1]["activation"]
        if last == "sigmoid" and case["loss"]["class_name"].endswith("Crossentropy"):
            continue
        for kernels in ("reference", "fast"):
            results, start, names, _ = run_nanocnn(case, kernels, "float64", "keras")
            if kernels == "reference":
                expected = run_keras(case, start, names)
            where = f"case {number - 1}, {kernels} kernels, Keras"
            error = max(error, check(results, expected, 1e-10, where))
        compared += 1
    with capsys.disabled():
        print(f"\nagainst Keras, both kernel sets: {compared} models (worst {error:.0e})")


@pytest.mark.parametrize("name", PRESETS)
def test_the_networks_of_the_benchmarks_are_the_same(name):
    """What the contestants of benchmarks/ are timed on, in PyTorch and in Keras."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[parity]'")
    layers = PRESETS[name].layers
    model = nanocnn.Sequential(keras_layers(layers, nanocnn), dtype="float64")
    model.set_weights(first_weights({"rng": np.random.default_rng(7)}, model))
    x = np.random.default_rng(8).standard_normal((3, *PRESETS[name].shape))
    weights, expected = model.get_weights(), model.predict(x)
    twin = parity.TorchModel(layers, weights)
    with torch.no_grad():
        assert relative_error(twin(torch.tensor(x), training=False).numpy(), expected) < 1e-12
    keras = pytest.importorskip("keras", reason="Keras is not installed: pip install '.[parity]'")
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    twin = parity.keras_model(layers, weights)
    actual = keras.ops.convert_to_numpy(twin(x, training=False))
    assert relative_error(actual, expected) < 1e-12
