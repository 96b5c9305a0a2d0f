"""Against values that real Keras and real PyTorch made once (`golden/make_golden.py`)."""

import json

import numpy as np
import pytest

import nanocnn
from golden import recipes
from nanocnn.kernels.memory import Memory
from nanocnn.losses import get_loss
from support.compare import assert_close
from support.paths import GOLDEN

VALUES = json.loads((GOLDEN / "values.json").read_text())
RUNS = [f"{preset} {optimizer}" for preset in recipes.PRESETS for optimizer in recipes.OPTIMIZERS]


def build(layers, kernels="reference", dtype="float64"):
    made = [getattr(nanocnn, kind)(**options) for kind, options in layers]
    return nanocnn.Sequential(made, kernels=kernels, dtype=dtype)


def train(run, kernels, dtype, **options):
    """The loss of each step of a golden run, and the norms of the weights after the last."""
    preset, name = run.split()
    optimizer = getattr(nanocnn, name)(recipes.LEARNING_RATE, **options)
    model = build(recipes.PRESETS[preset], kernels, dtype)
    model.set_weights(recipes.weights([w.shape for w in model.get_weights()]))
    one_hot = preset in recipes.ONE_HOT
    model.compile(optimizer, f"{'' if one_hot else 'sparse_'}categorical_crossentropy")
    losses = []
    for x, labels in recipes.batches():
        y = np.eye(recipes.CLASSES)[labels] if one_hot else labels
        losses.append(model.train_on_batch(x.astype(dtype), y))
    return losses, [np.linalg.norm(w) for w in model.get_weights()]


def check_run(results, expected, tolerance):
    losses, norms = results
    assert len(losses) == recipes.STEPS
    np.testing.assert_allclose(losses, expected["losses"], rtol=tolerance)
    np.testing.assert_allclose(norms, expected["norms"], rtol=tolerance)


def runs():
    """Each run with each kernel set and dtype; the reference set's long ones are slow tests."""
    for run in RUNS:
        for kernels, dtype, tolerance in (
            ("fast", "float64", 1e-6),
            ("fast", "float32", 1e-4),
            ("reference", "float64", 1e-6),
            ("reference", "float32", 1e-4),
        ):
            long = kernels == "reference" and (dtype == "float32" or run[:6] != "simple")
            marks = [pytest.mark.slow] if long else []
            yield pytest.param(run, kernels, dtype, tolerance, marks=marks)


@pytest.mark.parametrize("run, kernels, dtype, tolerance", list(runs()))
def test_twenty_steps_as_in_keras(run, kernels, dtype, tolerance):
    check_run(train(run, kernels, dtype), VALUES[f"keras {dtype}"][run], tolerance)


@pytest.mark.parametrize("run", RUNS)
def test_twenty_steps_as_in_pytorch(run):
    """With PyTorch's formulas and PyTorch's defaults."""
    options = {"epsilon": 1e-8, "form": "pytorch"}
    if run.endswith("RMSprop"):
        options["rho"] = 0.99
    results = train(run, "fast", "float64", **options)
    check_run(results, VALUES["pytorch float64"][run], 1e-6)


@pytest.mark.parametrize("name", recipes.LAYERS)
def test_layers(kernels, name):
    shape, kind, options = recipes.LAYERS[name]
    expected = VALUES["layers"][name]
    layer = getattr(nanocnn, kind)(**options)
    layer.build(shape[1:], rng=0, dtype="float64", kernels=kernels)
    start = recipes.weights([w.shape for w in layer.params.values()])
    for array, value in zip(layer.params.values(), start, strict=True):
        array[...] = value
    x = recipes.layer_input(shape)
    y = layer.forward(x, training=True)
    assert_close(y, expected["y"], 1e-12, "y")
    dx = layer.backward(recipes.output_weight(y.shape))
    actual = [dx, *(layer.grads[key] for key in layer.params)]
    for what, a, b in zip(["dx", *layer.params], actual, expected["gradients"], strict=True):
        assert_close(a, b, 1e-11, what)
    for what, a, b in zip(layer.state, layer.state.values(), expected["state"], strict=True):
        assert_close(a, b, 1e-12, what)
    assert_close(layer.forward(x), expected["predicted"], 1e-12, "y without training")


def steps(optimizer, kernels, dtype):
    """The two parameters after each of ten steps."""
    params = {f"p{i}": p.astype(dtype) for i, p in enumerate(recipes.parameters())}
    path = []
    for pair in recipes.gradients():
        grads = {f"p{i}": g.astype(dtype) for i, g in enumerate(pair)}
        optimizer.apply(params, grads, kernels)
        path.append([p.copy() for p in params.values()])
    return path


def check_path(path, expected, dtype, tolerance=1e-12):
    """float32: the tolerance allows for the rounding of ten steps, not for another formula."""
    tolerance = 1e-5 if dtype == "float32" else tolerance
    for step, (actual, values) in enumerate(zip(path, expected, strict=True)):
        for a, b in zip(actual, values, strict=True):
            assert a.dtype == dtype
            assert_close(a, b, tolerance, f"step {step + 1}")


@pytest.mark.parametrize("entry", range(len(recipes.KERAS_OPTIMIZERS)))
def test_optimizers_as_in_keras(kernels, dtype, entry):
    name, options = recipes.KERAS_OPTIMIZERS[entry]
    path = steps(getattr(nanocnn, name)(**options), kernels, dtype)
    tolerance = 1e-8 if "norm" in str(options) else 1e-12  # Keras takes norms in float32
    check_path(path, VALUES["keras optimizers"][entry], dtype, tolerance)


@pytest.mark.parametrize("entry", range(len(recipes.PYTORCH_OPTIMIZERS)))
def test_optimizers_as_in_pytorch(kernels, dtype, entry):
    name, options, _ = recipes.PYTORCH_OPTIMIZERS[entry]
    path = steps(getattr(nanocnn, name)(**options, form="pytorch"), kernels, dtype)
    check_path(path, VALUES["pytorch optimizers"][entry], dtype)


@pytest.mark.parametrize("kind", ["plain", "samples", "classes"])
@pytest.mark.parametrize("entry", range(len(recipes.LOSSES)))
@pytest.mark.parametrize("fused", [False, True], ids=["apart", "with the softmax"])
def test_losses(kernels, entry, kind, fused):
    """A softmax and a loss give Keras's numbers one after the other and computed as one."""
    name, options = recipes.LOSSES[entry]
    expected = VALUES["losses"][entry][kind]
    logits, labels, weight = recipes.loss_input()
    if fused and name.startswith("Mean"):
        return
    if kind == "classes":
        weight = np.array([recipes.CLASS_WEIGHT.get(int(label), 1.0) for label in labels])
    if kind == "plain":
        weight = np.ones(5)
    loss = get_loss({"class_name": name, "config": options})
    y = labels if name.startswith("Sparse") else np.eye(4)[labels]
    target = loss.target(loss.labels(y, (4,)), (4,), np.float64)
    softmax = nanocnn.Activation("softmax")
    softmax.build((4,), rng=0, dtype="float64", kernels=kernels)
    memory = Memory()
    outside = not fused and not options.get("from_logits")
    prediction = softmax.forward(logits) if outside else logits
    losses, _ = loss.forward(prediction, target, kernels, memory, fused)
    assert_close(losses @ weight / 5, expected["loss"], 1e-12, "loss")
    dx = loss.backward(weight / 5, kernels, memory)
    dx = softmax.backward(dx) if outside else dx
    assert_close(dx, expected["dx"], 1e-9, "dx")


@pytest.mark.parametrize("entry", range(len(recipes.LOSSES)))
@pytest.mark.parametrize("kind", ["samples", "classes"])
def test_weights_of_samples_and_classes_through_a_model(entry, kind):
    name, options = recipes.LOSSES[entry]
    logits, labels, sample_weight = recipes.loss_input()
    model = build([("Input", {"shape": (4,)}), ("Activation", {"activation": "linear"})])
    activation = "linear" if options.get("from_logits") else "softmax"
    model = build([("Input", {"shape": (4,)}), ("Activation", {"activation": activation})])
    model.compile("sgd", {"class_name": name, "config": options})
    y = labels if name.startswith("Sparse") else np.eye(4)[labels]
    weights = {"samples": {"sample_weight": sample_weight}}
    if kind == "classes":
        weights["classes"] = {"class_weight": recipes.CLASS_WEIGHT}
    loss = model.train_on_batch(logits, y, **weights[kind])
    assert_close(loss, VALUES["losses"][entry][kind]["loss"], 1e-12)


@pytest.mark.parametrize("entry", range(len(recipes.SCHEDULES)))
def test_schedules(entry):
    """Keras computes schedules in float32."""
    name, options = recipes.SCHEDULES[entry]
    schedule = getattr(nanocnn, name)(**options)
    rates = [schedule(step) for step in recipes.SCHEDULE_STEPS]
    np.testing.assert_allclose(rates, VALUES["schedules"][entry], rtol=1e-6, atol=2e-8)
