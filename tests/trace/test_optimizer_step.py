"""One step with every number: the new weights' bits, and each formula as it is printed."""

import re
from copy import deepcopy

import numpy as np
import pytest

from nanocnn import (
    SGD,
    Adadelta,
    Adam,
    AdamW,
    BatchNormalization,
    Conv2D,
    CosineDecay,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
    Nadam,
    RMSprop,
    Sequential,
)
from nanocnn.common.errors import NonFiniteError
from nanocnn.kernels import KERNEL_SETS
from nanocnn.trace import optimizer_step

OPTIMIZERS = {
    "sgd": lambda **o: SGD(0.1, **o),
    "momentum": lambda **o: SGD(0.1, momentum=0.9, **o),
    "nesterov": lambda **o: SGD(0.1, momentum=0.9, nesterov=True, **o),
    "rmsprop": lambda **o: RMSprop(**o),
    "rmsprop, centered with momentum": lambda **o: RMSprop(centered=True, momentum=0.5, **o),
    "adadelta": lambda **o: Adadelta(1.0, **o),
    "adam": lambda **o: Adam(**o),
    "amsgrad": lambda **o: Adam(CosineDecay(0.01, 10), amsgrad=True, **o),
    "adamw": lambda **o: AdamW(**o),
    "nadam": lambda **o: Nadam(**o),
}
OPTIONS = {
    "plain": {},
    "clipnorm, decay": {"clipnorm": 0.05, "weight_decay": 0.01},
    "global_clipnorm, average": {"global_clipnorm": 0.05, "use_ema": True},
    "clipvalue, average that replaces": {
        "clipvalue": 0.01, "use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2,
        "weight_decay": 0.01,
    },
}  # fmt: skip
rng = np.random.default_rng(3)
X, Y = rng.random((6, 9, 9, 1)), rng.integers(3, size=6)


def make(optimizer, kernels="reference", dtype="float64"):
    model = Sequential(
        [
            Input((9, 9, 1)), Conv2D(2, 3, activation="relu", kernel_regularizer=0.02),
            MaxPooling2D(2), BatchNormalization(), Flatten(), Dropout(0.2),
            Dense(3, activation="softmax"),
        ],
        dtype=dtype, kernels=kernels,
    )  # fmt: skip
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("form", ["keras", "pytorch"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_the_new_weights_and_slots_have_the_bits_of_train_on_batch(kernels, name, options, form):
    model = make(OPTIMIZERS[name](form=form, **OPTIONS[options]), kernels, "float32")
    x = X.astype(np.float32)
    for t in range(1, 4):
        step = optimizer_step(model, x, Y)
        before = {key: array.copy() for key, array in model.trainable_weights.items()}
        loss = model.train_on_batch(x, Y)
        assert (step.t, step.params.keys()) == (t, before.keys())
        assert step.loss == pytest.approx(loss, 1e-15)  # a mean of one batch is rounded once more
        for key, each in step.params.items():
            assert np.array_equal(each.before, before[key])
            assert np.array_equal(each.after, model.weights[key]), f"{key} after step {t}"
            assert list(each.slots_after) == [*model.optimizer.used_slots]
            for slot, array in each.slots_after.items():
                assert np.array_equal(array, model.optimizer.slots[f"{key}/{slot}"]), slot


def evaluated(formula, numbers):
    """What a printed formula says of these numbers; None if it is words."""
    if formula.startswith("vmax ="):
        return np.maximum(numbers["vmax_before"], numbers["v"])
    if found := re.match(r"clipped = gradient, at least (\S+) and at most (\S+)", formula):
        return np.clip(numbers["gradient"], float(found[1]), float(found[2]))
    text = formula.partition(" = ")[2].replace("^", "**").replace("(0.004 t)", "(0.004 * t)")
    words = {"sqrt": np.sqrt, "max": max, **numbers}
    if not text or set(re.findall(r"[a-z_]\w*", re.sub(r"\be-\d+", "", text))) - words.keys():
        return None
    return eval(text, {"__builtins__": {}}, words)


@pytest.mark.parametrize("form", ["keras", "pytorch"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_printed_formula_leads_to_its_number(name, options, form):
    optimizer = OPTIMIZERS[name](form=form, **OPTIONS[options])
    model = make(optimizer)
    for _ in range(3):
        model.train_on_batch(X, Y)
    step = optimizer_step(model, X, Y)
    for key, each in step.params.items():
        terms = each.terms()
        numbers = {n: value for n, (_, value) in terms.items()} | {
            n: v for n, v in vars(optimizer).items() if isinstance(v, float) and n not in terms
        }
        words = {"t", "learning_rate", "before", "dloss", "norm", "u_next", "u_product"}
        said = set()
        for term, (formula, value) in terms.items():
            found = evaluated(formula, numbers)
            if found is None:
                ends = term.endswith("_before") or formula == "gradient = dL/dbefore"
                assert term in words or ends, f"{key}: {formula}"
                continue
            said.add(term)
            np.testing.assert_allclose(found, value, 1e-9, 1e-15, err_msg=f"{key}: {formula}")
        assert {"step", "subtracted", "after"} <= said
        assert numbers["before"] is each.before or np.array_equal(numbers["before"], each.before)
        assert np.array_equal(numbers["after"], each.after)
        assert ("clipped" in terms) == (options != "plain")
        assert ("dloss" in terms) == (key == "conv2d/kernel")
        if "norm" in numbers:
            grads = {k: p.gradient for k, p in step.params.items()}
            all_of = grads.values() if "global" in options else [grads[key]]
            norm = np.sqrt(sum(float(np.sum(g**2)) for g in all_of))
            assert numbers["norm"] == pytest.approx(norm, 1e-12) and norm > 0.05


def test_nadams_products_are_those_of_all_steps():
    model = make(Nadam())
    for _ in range(2):
        model.train_on_batch(X, Y)
    numbers = optimizer_step(model, X, Y).of("dense/bias", 1)
    u = [0.9 * (1 - 0.5 * 0.96**t) for t in (1, 2, 3, 4)]
    assert (numbers["u"], numbers["u_next"]) == pytest.approx((u[2], u[3]), 1e-12)
    assert numbers["u_product"] == pytest.approx(u[0] * u[1] * u[2], 1e-12)


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_the_model_is_left_as_it_was(kernels):
    model = make(Adam(use_ema=True), kernels)
    optimizer = model.optimizer

    def state():
        return (
            [w.tobytes() for w in model.get_weights()], model.rng.bit_generator.state,
            {k: v.tobytes() for k, v in optimizer.slots.items()}, optimizer.iterations,
            optimizer.numbers.tobytes(), [id(layer.grads) for layer in model.layers],
            id(optimizer.slots), model.unit_range, model.progress,
        )  # fmt: skip

    for _ in range(2):
        before = deepcopy(state())
        step = optimizer_step(model, X, Y)
        assert state() == before
        text = str(step)
        model.train_on_batch(X, Y)
        assert str(step) == text  # nor does the step change with the model


def test_the_numbers_of_one_weight():
    model = make(Adam(CosineDecay(0.1, 10), clipnorm=0.05))
    model.train_on_batch(X, Y)
    step = optimizer_step(model, X, Y)
    numbers = step.of("conv2d/kernel", (1, 2, 0, 1))
    assert list(numbers) == [
        "t", "learning_rate", "before", "dloss", "gradient", "norm", "scale", "clipped", "m_before",
        "m", "v_before", "v", "m_correction", "v_correction", "step_size", "step", "subtracted",
        "after",
    ]  # fmt: skip
    assert numbers["t"] == 2 and numbers["learning_rate"] == CosineDecay(0.1, 10)(1)
    assert all(type(number) in (int, float) for number in numbers.values())
    each = step["conv2d/kernel"]
    for name in ("before", "gradient", "clipped", "after"):
        assert numbers[name] == getattr(each, name)[1, 2, 0, 1]
    assert numbers["v_before"] == each.slots_before["v"][1, 2, 0, 1]
    assert numbers["gradient"] == numbers["dloss"] + 0.04 * numbers["before"]


def test_frozen_layers_take_no_part():
    model = make("adam")
    model.layers[0].trainable = False
    assert list(optimizer_step(model, X, Y).params) == [
        "batch_normalization/gamma", "batch_normalization/beta", "dense/kernel", "dense/bias",
    ]  # fmt: skip


class Half(SGD):
    def update(self, params, grads, kernels, slots=None):
        for name, param in params.items():
            param -= 0.5 * grads[name]


def test_of_an_optimizer_of_ones_own_only_the_models_numbers_are_shown():
    model = make(Half(0.1))
    step = optimizer_step(model, X, Y)
    assert step.of("dense/bias", 0).keys() == {"before", "gradient", "after"}
    model.train_on_batch(X, Y)
    assert np.array_equal(step["dense/bias"].after, model.weights["dense/bias"])


def test_the_worked_example_in_words():
    model = make(AdamW(CosineDecay(0.1, 10), weight_decay=0.01, global_clipnorm=0.05))
    model.train_on_batch(X, Y)
    step = optimizer_step(model, X, Y)
    text = str(step)
    headline = r"Step 2, before it a loss of \d\.\d+\. AdamW: learning_rate=0\.0\d+ \(CosineDecay"
    assert re.match(headline + r" after 1 step\),\s", text)
    assert re.search(r"adam_update, reference_training\.py:\d+", text)
    assert max(map(len, text.splitlines())) <= 100
    rows = text[text.index("dense/bias (3,)") :].splitlines()
    order = np.argsort(-np.abs(step["dense/bias"].gradient), kind="stable")
    assert rows[0].split()[2:] == [f"[{i}]" for i in order]
    after = next(row for row in rows if "after = before - subtracted" in row)
    assert after.split()[-3:] == [f"{v:.6g}" for v in step["dense/bias"].after[order]]
    assert "global" not in str(step["dense/bias"]) and str(step["dense/bias"]) in text


@pytest.mark.parametrize("use, error, words", [
    (lambda m: optimizer_step(m, X, Y[:2]), ValueError, "6 samples and y has 2"),
    (lambda m: optimizer_step("m", X, Y), ValueError, "model='m', expected a Sequential"),
    (lambda m: optimizer_step(m, X, Y)["dense"], ValueError, "unknown parameter name 'dense'"),
    (lambda m: optimizer_step(m, X, Y).of("dense/bias", 3), ValueError, r"index=3.*'dense/bias'"),
    (lambda m: optimizer_step(m, X, Y).of("dense/kernel", 3), ValueError, "one for each axis"),
])  # fmt: skip
def test_wrong_use_is_refused(use, error, words):
    with pytest.raises(error, match=words):
        use(make("adam"))


def test_a_loss_that_is_not_finite_has_no_step():
    model = make("adam")
    model.layers[0].params["kernel"][0] = np.nan
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        optimizer_step(model, X, Y)


def test_a_model_with_another_models_optimizer_is_refused():
    one, two = make("adam"), make("adam")
    one.train_on_batch(X, Y)
    two.optimizer = one.optimizer
    with pytest.raises(ValueError, match="has trained another model"):
        optimizer_step(two, X, Y)
