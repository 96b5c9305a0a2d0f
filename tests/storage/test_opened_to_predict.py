"""Keras files of what nanocnn cannot train: they load to train where it can, else to predict.

One warning says what was left out; with `load_model(path, compile=False)` there is none.
"""

import contextlib
import re
import warnings

import numpy as np
import pytest

import nanocnn
from nanocnn import storage
from support.snapshots import SHAPES, small

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
from support.model_files import (  # noqa: E402
    SUFFIXES,
    change_layer,
    compiled,
    load_here,
    npy,
    read_members,
    rewrite_json,
    write_members,
)


def warns(message):
    pattern = rf"^opened to predict: .*{message}.*; compile\(\) it to train without that$"
    return pytest.warns(UserWarning, match=pattern)


def changed(tmp_path, suffix, change, training=False):
    path = tmp_path / f"m{suffix}"
    storage.save(small(), path)
    rewrite_json(path, change, training)
    return path


def optimizer(class_name, **config):
    return lambda t: t.update(optimizer={"class_name": class_name, "config": config})


OLD = {
    "Adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False},
    "SGD": {"momentum": 0.9, "nesterov": True},
    "RMSprop": {"rho": 0.9, "epsilon": 1e-7},
}


@pytest.mark.filterwarnings("ignore:optimizer state not understood")  # these were Adam's
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("kind", OLD)
def test_lr_as_keras_had_it_before_2_3(tmp_path, suffix, kind):
    change = optimizer(kind, lr=0.004, decay=0.0, **OLD[kind])
    config = load_here(changed(tmp_path, suffix, change, training=True)).compile_config
    assert config["optimizer"] == {
        "class_name": kind,
        "config": {"learning_rate": 0.004, **OLD[kind]},
    }


def test_lr_and_another_rate_are_not_understood(tmp_path):
    path = changed(tmp_path, ".h5", compiled("optimizer", lr=0.5), training=True)
    with warns("argument lr=0.5 is not supported"):
        load_here(path)


def test_what_keras_3_writes_of_what_is_not_used_passes(tmp_path):
    change = compiled(
        "optimizer", use_ema=False, ema_momentum=0.99, ema_overwrite_frequency=None,
        loss_scale_factor=None, gradient_accumulation_steps=None, jit_compile=True, name="adam",
    )  # fmt: skip
    assert load_here(changed(tmp_path, ".keras", change, training=True)).compile_config


TRAINING = {
    "Adagrad": (optimizer("Adagrad", learning_rate=0.1), "unknown optimizer 'Adagrad'"),
    "Adamax": (optimizer("Adamax", learning_rate=1e-3), "unknown optimizer 'Adamax'"),
    "of one's own": (optimizer("Custom>Ranger"), "unknown optimizer 'Ranger'"),
    "decay": (optimizer("SGD", lr=0.01, decay=1e-6), "SGD: decay=1e-06 is not supported, only 0.0"),
    "ema": (compiled("optimizer", use_ema=True, ema_momentum=2), "Adam: ema_momentum=2, expected"),
    "accumulation": (
        compiled("optimizer", gradient_accumulation_steps=4),
        "argument gradient_accumulation_steps=4 is not supported",
    ),
    "no rate": (compiled("optimizer", learning_rate=-1), "Adam: learning_rate=-1, expected"),
    "schedule": (
        compiled("optimizer", learning_rate={"class_name": "WarmUp", "config": {}}),
        "unknown schedule 'WarmUp'",
    ),
    "loss": (lambda t: t.update(loss="hinge"), "unknown loss 'hinge'"),
    "loss's argument": (compiled("loss", ignore_class=3), "argument ignore_class=3 is not supp"),
    "losses": (lambda t: t.update(loss={"a": "mse"}), "expected an object with class_name"),
    "metric": (lambda t: t.update(metrics=["AUC"]), "unknown metric 'AUC'"),
    "metrics": (lambda t: t.update(metrics={"a": "AUC"}), "metrics .*, expected a list"),
    "no name": (
        lambda t: t.update(optimizer={"class_name": ["x"]}),
        "optimizer .*expected an object",
    ),
    "code": (
        compiled("optimizer", learning_rate={"class_name": "eval"}),
        "unknown schedule 'eval'",
    ),
    "reduction": (compiled("loss", reduction="none"), "reduction='none' is not supported"),
    "nested metrics": (lambda t: t.update(metrics=[["accuracy", ["auc"]]]), "unknown metric .*auc"),
    "metric's name": (
        lambda t: t.update(metrics=[{"class_name": "MeanMetricWrapper", "config": {"name": []}}]),
        "unknown metric 'None'",
    ),
    "weighted": (lambda t: t.update(weighted_metrics=["accuracy"]), "weighted_metrics=.* is not"),
    "loss_weights": (lambda t: t.update(loss_weights=[0.5]), "loss_weights=.* is not supported"),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("what", TRAINING)
@pytest.mark.parametrize("compile", [True, False])
def test_what_cannot_be_trained_opens_to_predict(tmp_path, suffix, what, compile):
    change, message = TRAINING[what]
    path = changed(tmp_path, suffix, change, training=True)
    with warns(message) if compile else contextlib.nullcontext():
        snapshot = load_here(path, compile)
    assert snapshot.compile_config is None and snapshot.optimizer == {}
    assert {name: array.shape for name, array in snapshot.weights.items()} == SHAPES


def test_damaged_training_configs(tmp_path):
    path = changed(tmp_path, ".h5", lambda model: None)
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = "{"
    with warns("training_config: not JSON"):
        assert load_here(path).weights
    assert load_here(path, compile=False).weights
    path = changed(tmp_path, ".npz", lambda model: None)
    members = read_members(path)
    text = members["nanocnn.npy"].partition(b"\n")[2].replace(b'"compile_config": {', b'"old": {')
    for value in (b"3", b"[]", b'"adam"'):
        new = text.replace(b'"progress"', b'"compile_config": ' + value + b', "progress"')
        write_members(path, members | {"nanocnn.npy": npy(np.frombuffer(new, np.uint8))})
        with warns("(expected an object or null|not JSON)"):
            assert load_here(path).weights


L1 = {"class_name": "L1", "config": {"l1": 0.01}}
BOTH = {"class_name": "L1L2", "config": {"l1": 0.01, "l2": 0.01}}
LAYER = {
    "kernel_regularizer": (6, L1),
    "kernel_regularizer, both": (1, BOTH),
    "bias_regularizer": (6, {"class_name": "L2", "config": {"l2": 0.01}}),
    "activity_regularizer": (1, {"class_name": "L2", "config": {"l2": 0.01}}),
    "kernel_constraint": (6, {"class_name": "MaxNorm", "config": {"max_value": 2}}),
    "bias_constraint": (1, {"class_name": "Custom>Mine", "config": {}}),
    "gamma_regularizer": (2, L1),
    "beta_constraint": (2, {"class_name": "NonNeg", "config": {}}),
    "kernel_regularizer, wrong": (1, {"class_name": "L2", "config": {"l2": "x"}}),
    "noise_shape": (4, [None, 1, 1, 2]),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("what", LAYER)
@pytest.mark.parametrize("compile", [True, False])
def test_constraints_and_regularizers_are_left_out(tmp_path, suffix, what, compile):
    place, value = LAYER[what]
    name = what.partition(",")[0]
    path = changed(tmp_path, suffix, change_layer(place, **{name: value}))
    if "kernel_regularizer" in what:
        message = "expected a number >= 0, or"
    else:
        message = f"layer '.*' .*{name}="
    with warns(message) if compile else contextlib.nullcontext():
        snapshot = load_here(path, compile)
    assert snapshot.config["layers"][place]["config"].get(name) is None
    assert snapshot.compile_config is None and snapshot.optimizer == {}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_l2_stays_also_without_compile(tmp_path, suffix):
    penalty = {"class_name": "L2", "config": {"l2": 0.5}}
    path = changed(tmp_path, suffix, change_layer(6, kernel_regularizer=penalty))
    for compile in (True, False):
        config = load_here(path, compile).config["layers"][6]["config"]
        assert config["kernel_regularizer"] == penalty


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_initializers_are_not_needed(tmp_path, suffix):
    """The weights come out of the file."""
    mine = {"class_name": "Custom>Orthogonal", "config": {"gain": 2}}
    for initializer in ({"class_name": "TruncatedNormal", "config": {"stddev": 0.1}}, mine, "uni"):
        change = change_layer(1, kernel_initializer=initializer, bias_initializer=initializer)
        snapshot = load_here(changed(tmp_path, suffix, change))
        assert snapshot.weights["conv2d/kernel"].any()


def test_predicting_with_a_model_that_cannot_be_trained_here(tmp_path):
    path = changed(tmp_path, ".h5", TRAINING["Adamax"][0], training=True)
    rewrite_json(path, change_layer(6, kernel_regularizer=L1, bias_constraint=L1))
    x = np.random.default_rng(0).random((3, 6, 5, 1), np.float32)
    storage.save(small(), tmp_path / "same.npz")
    want = nanocnn.load_model(tmp_path / "same.npz", kernels="reference").predict(x)
    with warnings.catch_warnings(record=True, action="always") as caught:
        model = nanocnn.load_model(path, kernels="reference")
    assert len(caught) == 1 and caught[0].filename == __file__
    assert re.search("layer 'dense'.*; layer 'dense'.*; unknown opt", str(caught[0].message))
    assert model.predict(x).tobytes() == want.tobytes()
    with pytest.raises(RuntimeError, match="compile"):
        model.fit(x, np.zeros(3, int))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, np.zeros(3, int), verbose=0)
    assert nanocnn.load_model(path, kernels="reference", compile=False).predict(x).shape == (3, 3)
