"""Studies of a session: difference quotients, gradient checks, one optimizer step, files, runs."""

from time import monotonic

import numpy as np
import pytest

import nanocnn
from nanocnn import models
from nanocnn.trace import optimizer_step, receptive_field, top_activations
from support.custom_layers import Scale
from support.explored import TESTS, answer, arrays, ask, pixels_of, session_of, small, weights

WEIGHT = {"layer": "conv2d", "name": "kernel", "index": [0, 1, 0, 2]}
CHANGE = {"kind": "weight", **WEIGHT, "value": 0.25}


@pytest.fixture
def session():
    with session_of(small()) as session:
        yield session


@pytest.mark.parametrize("training", [False, True])
def test_a_nudge_agrees_with_the_gradient_and_restores_the_bits(training, session):
    ask(session, "mode", training=training)
    before = weights(session)
    (gradient,) = arrays(session, ("dense", "grad:kernel"))
    i, j = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    found = ask(session, "nudge", layer="dense", name="kernel", index=[int(i), int(j)], e=1e-3)
    assert weights(session) == before
    assert found["gradient"] == gradient[i, j]
    assert found["exact"]["quotient"] == pytest.approx(found["gradient"], rel=1e-4)
    assert found["quotient"] == pytest.approx(found["gradient"], rel=0.05)
    assert found["before"] == ask(session, "state")["loss"]


def test_a_nudge_restores_the_bits_of_nan_and_zero(session):
    kernel = session.model.layers[-1].params["kernel"]
    kernel[0, 0], kernel[0, 1] = -0.0, 1e-45
    before = weights(session)
    for column in (0, 1):
        ask(session, "nudge", layer="dense", name="kernel", index=[0, column], e=0.5)
    assert weights(session) == before


def test_gradcheck_tells_right_from_wrong(session, monkeypatch):
    for body in ({"layer": "conv2d", "name": "kernel"}, {"layer": "dense", "name": "x"}):
        found = ask(session, "gradcheck", body)
        assert found["passed"] and not found["wrong"] and "right" in found["text"]
    dense = session.model.layers[-1]
    backward = type(dense).set_gradients

    def wrong(self, dweight, dbias):
        backward(self, 1.01 * dweight, dbias)

    monkeypatch.setattr(type(dense), "set_gradients", wrong)
    found = ask(session, "gradcheck", layer="dense", name="kernel")
    assert not found["passed"] and "WRONG" in found["text"]


@pytest.mark.parametrize("ending", ["npz", "h5", "keras"])
def test_the_changed_model_is_downloaded(ending, session, tmp_path):
    ask(session, "edit", CHANGE)
    result, (content,) = answer(session, "download", {"format": ending})
    assert result["name"] == f"small.{ending}" and content.dtype == np.uint8
    path = tmp_path / result["name"]
    path.write_bytes(content.tobytes())
    loaded = models.load_model(path)
    assert [each.tobytes() for each in loaded.get_weights()] == weights(session)


def test_what_no_file_can_hold_is_refused():
    layers = [nanocnn.Input((28, 28, 1)), Scale(), nanocnn.Flatten(), nanocnn.Dense(10)]
    with (
        session_of(nanocnn.Sequential(layers)) as session,
        pytest.raises(ValueError, match="a custom layer"),
    ):
        ask(session, "download", format="npz")
    model = small(compiled=False)
    model.compile("adam", lambda y_true, y_pred: ((y_true - y_pred) ** 2).mean(axis=-1))
    with (
        session_of(model, np.zeros((2, 28, 28)), np.eye(10)[:2]) as session,
        pytest.raises(ValueError, match=r"download: loss .* cannot store a function"),
    ):
        ask(session, "download", format="npz")


def test_sources_are_those_of_the_reference_kernels(session):
    found = ask(session, "source", function="im2col")
    assert found["text"].startswith("def im2col(") and found["file"] == "reference.py"


def test_a_step_is_that_of_the_optimizer_and_changes_nothing(session):
    ask(session, "mode", training=True, seed=4)
    before = weights(session)
    x, y = session.sample
    for kind in ("adam", "sgd"):
        ask(session, "train", do="set", optimizer=kind, learning_rate=0.25)
        found = ask(session, "step", layer="dense", name="bias", index=[3])
        with session.seeded(session.model):
            expected = optimizer_step(session.model, x, y)
        terms = {name: term["value"] for name, term in found["terms"].items()}
        assert terms == expected.of("dense/bias", [3])
        assert terms["gradient"] == arrays(session, ("dense", "grad:bias"))[0][3]
        assert found["optimizer"].lower() == kind and found["t"] == 1
        assert any(term["formula"] for term in found["terms"].values())
        assert weights(session) == before
    session.model.optimizer.learning_rate = 0.25
    with session.seeded(session.model):
        session.call(session.model.train_on_batch, x, y)
    assert session.model.get_layer("dense").params["bias"][3] == terms["after"]


def test_a_weight_that_is_frozen_or_an_average_has_no_step():
    layers = [nanocnn.Input((28, 28, 1)), nanocnn.BatchNormalization(), nanocnn.Flatten()]
    with session_of(nanocnn.Sequential([*layers, nanocnn.Dense(10)])) as session:
        with pytest.raises(ValueError, match=r"moving_mean of layer .* is not trained"):
            ask(session, "step", layer="batch_normalization", name="moving_mean", index=[0])
        ask(session, "edit", kind="freeze", layer="dense", on=True)
        with pytest.raises(ValueError, match="bias of layer 'dense' is frozen"):
            ask(session, "step", layer="dense", name="bias", index=[0])


def test_the_largest_gradients_are_found(session):
    found = ask(session, "largest")["layers"]
    assert {name: set(each) for name, each in found.items()} == {
        "conv2d": {"kernel", "bias"}, "dense": {"kernel", "bias"},
    }  # fmt: skip
    for layer, each in found.items():
        for name, place in each.items():
            (gradient,) = arrays(session, (layer, f"grad:{name}"))
            assert abs(place["gradient"]) == np.abs(gradient).max()
            assert gradient[tuple(place["index"])] == place["gradient"]


@pytest.mark.parametrize(("layer", "channel"), [("conv2d", 2), ("dense", 7), ("flatten", 100)])
def test_what_excites_a_channel_is_what_the_trace_part_finds(layer, channel, session):
    found, (pictures,) = answer(
        session, "excites", {"layer": layer, "channel": channel, "count": 5}
    )
    expected = top_activations(session.model, TESTS[0][: found["searched"]], layer, channel, 5)
    for name in ("indices", "values", "cells", "boxes"):
        assert np.array_equal(found[name], getattr(expected, name))
    assert np.array_equal(pictures, TESTS[0][found["indices"]])


def test_of_flat_images_the_whole_picture_excites():
    layers = [nanocnn.Input((784,)), nanocnn.Dense(10, activation="softmax")]
    with session_of(nanocnn.Sequential(layers)) as session:
        assert ask(session, "excites", layer="dense", channel=1, count=2)["boxes"] == (
            [[0, 0, 28, 28]] * 2
        )


def test_the_receptive_field_of_a_cell_in_every_layer_before(session):
    found = ask(session, "field", layer="max_pooling2d", cell=[2, 3, 1])
    expected = receptive_field(session.model, "max_pooling2d", (2, 3, 1))
    assert found["boxes"] == {name: list(each.box) for name, each in expected.items()}
    assert found["boxes"]["conv2d"] == [4, 6, 6, 8] and found["channels"]["conv2d"] == [1, 2]
    assert found["boxes"][""] == [8, 12, 15, 19]


def test_a_training_runs_pauses_and_is_scrubbed_back(session):
    told = ask(session, "session")
    assert told["can_train"] and not told["live"]
    first = weights(session)
    ask(session, "train", do="start", batch_size=16)
    deadline = monotonic() + 60
    assert ask(session, "state")["running"]
    while (run := ask(session, "run"))["step"] < 8 and monotonic() < deadline:
        ask(session, "digit", pixels_of(TESTS[0][run["step"]]))  # the reader goes on looking
    run, found = answer(session, "train", {"do": "pause"})
    assert not ask(session, "state")["running"]
    assert not run["running"] and run["step"] >= 8 and run["message"] is None
    assert len(found) == 4 and found[0].tolist() == list(range(1, run["step"] + 1))
    assert ask(session, "state")["step"] == run["step"]
    _, (steps, edges, counts) = answer(session, "history", {"name": "conv2d/kernel"})
    assert counts.shape == (len(steps), len(edges) - 1)
    cut = {"step": 0, "name": "conv2d/kernel", "index": [None, None, 0, [0, 2]]}
    _, (kernel,) = answer(session, "kept", cut)
    _, (kept,) = answer(session, "kept", {"step": 0, "name": "conv2d/kernel", "index": None})
    assert kept.tobytes() == first[0]
    state, (part,) = answer(
        session, "scrub", {"step": 0, "arrays": [{"layer": "dense", "what": "param:bias"}]}
    )
    assert weights(session) == first and not part.array.any()
    assert (kernel == session.model.weights["conv2d/kernel"][:, :, 0, :2]).all()
    assert state["version"] == session.version and ask(session, "run")["at"] == 0
    _, ((gone, about),) = answer(session, "kept", cut | {"step": run["step"] + 1})
    assert not gone.size and about["missing"] == f"step {run['step'] + 1} is not kept"


def test_an_unexpected_error_of_a_training_is_told_as_its_message(session, monkeypatch):
    def fails():
        raise MemoryError("no memory is left")

    monkeypatch.setattr(session.training, "advance", fails)
    ask(session, "train", do="start")
    deadline = monotonic() + 60
    while not (message := ask(session, "run")["message"]) and monotonic() < deadline:
        pass
    assert message == "no memory is left"
