"""Make the golden values with real Keras and real PyTorch: `python tests/golden/make_golden.py`.

Needs the `[parity]` extra. Writes values.json beside this file, with the versions that made it. The
models, data and weights are formulas in recipes.py; only results are stored. Keras runs on
TensorFlow, and on PyTorch for the float64 trajectories and the optimizers. Neither is exact in
float64: on TensorFlow the constants of its optimizers (rates, betas) pass through float32, which
changes a step by 1e-5; on PyTorch its Dense layers do, which changes a loss by 1e-8.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "benchmarks")]

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import torch  # noqa: E402

from golden import recipes  # noqa: E402
from support import parity  # noqa: E402


def numbers(array):
    """Nested lists, to 16 significant digits."""
    array = np.asarray(array, np.float64)
    return np.array([float(f"{v:.16g}") for v in array.ravel()]).reshape(array.shape).tolist()


def set_dtype(name):
    """Keras keeps the dtype of layers and that of everything else apart."""
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)


def keras_losses(preset, optimizer, floatx):
    """The loss of each step, and the norm of every weight at the end."""
    model = parity.keras_model(recipes.PRESETS[preset])
    model.set_weights(recipes.weights([w.shape for w in model.weights]))
    one_hot = preset in recipes.ONE_HOT
    name = "CategoricalCrossentropy" if one_hot else "SparseCategoricalCrossentropy"
    # A sum divided here: the mean of Keras on PyTorch is a float32, whatever went into it.
    total = getattr(keras.losses, name)(reduction="sum")
    optimizer = getattr(keras.optimizers, optimizer)(learning_rate=recipes.LEARNING_RATE)
    losses = []
    for x, labels in recipes.batches():
        y = np.eye(recipes.CLASSES)[labels] if one_hot else labels
        mean = lambda y, p, sample_weight: total(y, p) / recipes.BATCH  # noqa: E731
        value, _ = parity.keras_step(model, mean, optimizer, x.astype(floatx), y)
        losses.append(value)
    return {"losses": losses, "norms": [float(np.linalg.norm(w)) for w in model.get_weights()]}


def torch_losses(preset, optimizer):
    """The same in PyTorch, float64, with PyTorch's optimizer: its formulas and defaults."""
    shapes = [w.shape for w in parity.keras_model(recipes.PRESETS[preset]).weights]
    model = parity.TorchModel(recipes.PRESETS[preset], recipes.weights(shapes))
    options = {"learning_rate": recipes.LEARNING_RATE}
    step = parity.torch_optimizer(model.parameters, optimizer, options)
    losses = []
    for x, labels in recipes.batches():
        step.zero_grad()
        logits = model(torch.tensor(x), logits=True)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
        loss.backward()
        step.step()
        losses.append(loss.item())
    return {"losses": losses, "norms": [float(w.detach().norm()) for w in model.weights]}


def keras_layer(shape, kind, options):
    """Output, input gradient and weight gradients of sum(output * output_weight)."""
    layer = getattr(keras.layers, kind)(**options)
    x = tf.constant(recipes.layer_input(shape))
    layer(x)
    start = recipes.weights([w.shape for w in layer.trainable_weights])
    layer.set_weights(start + [w.numpy() for w in layer.non_trainable_weights])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        value = tf.reduce_sum(y * recipes.output_weight(y.shape))
    gradients = tape.gradient(value, [x, *(w.value for w in layer.trainable_weights)])
    state = [numbers(w) for w in layer.non_trainable_weights]
    return {
        "y": numbers(y), "gradients": [numbers(g) for g in gradients], "state": state,
        "predicted": numbers(layer(x, training=False)),
    }  # fmt: skip


def keras_path(name, options):
    """The parameters after each of ten steps."""
    optimizer = getattr(keras.optimizers, name)(**options)
    variables = [keras.Variable(p) for p in recipes.parameters()]
    path = []
    for pair in recipes.gradients():
        tensors = [keras.ops.convert_to_tensor(g) for g in pair]
        optimizer.apply_gradients(zip(tensors, variables, strict=True))
        path.append([numbers(v) for v in variables])
    return path


def torch_path(name, options):
    """The same in PyTorch, whose Nadam keeps a product in the default dtype."""
    torch.set_default_dtype(torch.float64)
    variables = [torch.tensor(p, requires_grad=True) for p in recipes.parameters()]
    optimizer = getattr(torch.optim, {"Nadam": "NAdam"}.get(name, name))(variables, **options)
    path = []
    for pair in recipes.gradients():
        for variable, gradient in zip(variables, pair, strict=True):
            variable.grad = torch.tensor(gradient)
        optimizer.step()
        path.append([numbers(v.detach()) for v in variables])
    return path


def keras_loss(name, options):
    """Loss and gradient with respect to its input: plain, with sample and with class weights."""
    logits, labels, sample_weight = recipes.loss_input()
    loss = getattr(keras.losses, name)(**options)
    y = labels if name.startswith("Sparse") else np.eye(4)[labels]
    class_weight = np.array([recipes.CLASS_WEIGHT.get(int(label), 1.0) for label in labels])
    results = {}
    for kind, weight in {"plain": None, "samples": sample_weight, "classes": class_weight}.items():
        x = tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(x)
            prediction = x if options.get("from_logits") else tf.nn.softmax(x)
            value = loss(y, prediction, sample_weight=weight)
        results[kind] = {"loss": float(value), "dx": numbers(tape.gradient(value, x))}
    return results


def keras_schedule(name, options):
    schedule = getattr(keras.optimizers.schedules, name)(**options)
    return [float(schedule(step)) for step in recipes.SCHEDULE_STEPS]


def entries(recipe, function):
    return [function(*entry) for entry in recipe]


RUNS = [(preset, optimizer) for preset in recipes.PRESETS for optimizer in recipes.OPTIMIZERS]


def by_tensorflow():
    set_dtype("float32")
    values = {"keras float32": {" ".join(run): keras_losses(*run, "float32") for run in RUNS}}
    set_dtype("float64")
    values["layers"] = {name: keras_layer(*entry) for name, entry in recipes.LAYERS.items()}
    values["losses"] = entries(recipes.LOSSES, keras_loss)
    values["schedules"] = entries(recipes.SCHEDULES, keras_schedule)
    return values


def by_pytorch():
    set_dtype("float64")
    values = {
        "keras float64": {" ".join(run): keras_losses(*run, "float64") for run in RUNS},
        "pytorch float64": {" ".join(run): torch_losses(*run) for run in RUNS},
        "keras optimizers": entries(recipes.KERAS_OPTIMIZERS, keras_path),
    }
    values["pytorch optimizers"] = [
        torch_path(name, options) for name, _, options in recipes.PYTORCH_OPTIMIZERS
    ]
    return values


def main():
    if keras.backend.backend() == "torch":
        print(json.dumps(by_pytorch()))
        return
    command = [sys.executable, __file__]
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    second = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    made = f"Keras {keras.__version__} on TensorFlow {tf.__version__} and PyTorch"
    values = {"made with": f"{made} {torch.__version__}, NumPy {np.__version__}"}
    values |= by_tensorflow() | json.loads(second)
    (HERE / "values.json").write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
