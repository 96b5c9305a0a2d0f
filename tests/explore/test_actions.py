"""What a page may ask: right answers to right requests, and errors that name what is wrong."""

import io

import numpy as np
import pytest
from PIL import Image

from nanocnn.explore.actions import ACTIONS
from support.explored import (
    HOSTILE,
    TESTS,
    answer,
    arrays,
    ask,
    drawn,
    pixels_of,
    session_of,
    small,
    weights,
)  # fmt: skip

INK = np.zeros((40, 30), np.uint8)
INK[5:35, 12:17] = 255
PNG = io.BytesIO()
Image.fromarray(255 - np.pad(INK, 20)).save(PNG, "png")
WEIGHT = {"layer": "conv2d", "name": "kernel", "index": [0, 1, 0, 2]}
REQUESTS = [{"layer": "conv2d", "what": "y", "index": [None, [1, 3], 2]}]
BODIES = {
    "session": {},
    "state": {},
    "tour": {"name": "vanish"},
    "describe": {},
    "arrays": {"arrays": REQUESTS},
    "digit": drawn(INK, label=4, arrays=REQUESTS),
    "image": {"file": PNG.getvalue()},
    "pick": {"by": "class:7", "count": 3},
    "label": {"label": 2, "arrays": REQUESTS},
    "mode": {"training": True, "seed": 4, "arrays": REQUESTS},
    "edit": {"kind": "weight", **WEIGHT, "value": 0.25, "arrays": REQUESTS},
    "undo": {"arrays": REQUESTS},
    "reset": {"arrays": REQUESTS},
    "accuracy": {},
    "confusion": {},
    "nudge": {**WEIGHT, "e": 0.01},
    "gradcheck": {"layer": "conv2d", "name": "kernel"},
    "download": {"format": "npz"},
    "source": {"function": "im2col"},
    "step": WEIGHT,
    "largest": {},
    "excites": {"layer": "conv2d", "channel": 1, "count": 4},
    "field": {"layer": "dense", "cell": [3]},
    "train": {"do": "step", "learning_rate": 0.01, "optimizer": "sgd", "batch_size": 8, "since": 0},
    "run": {"since": -1},
    "history": {"name": "conv2d/kernel", "of": "weights"},
    "kept": {"step": 0, "name": "conv2d/kernel", "index": [0, None, 0, [1, 3]]},
    "scrub": {"step": 0, "arrays": REQUESTS},
}
EDITS = [
    BODIES["edit"],
    {"kind": "filter", "layer": "conv2d", "filter": 1, "on": False},
    {"kind": "freeze", "layer": "dense", "on": True},
    {"kind": "rate", "layer": "dropout", "rate": 0.25},
]


@pytest.fixture
def session():
    with session_of(small()) as session:
        yield session


def state_of(session):
    """All that a refused request must not change."""
    edits = session.edits
    return (
        weights(session), len(edits), session.label, session.digit, session.training_mode,
        session.seed, [(e.trainable, getattr(e, "rate", 0)) for e in session.model.layers],
        {name: sorted(off) for name, off in edits.off.items() if off}, session.version,
    )  # fmt: skip


def test_every_action_has_a_body_here():
    assert ACTIONS.keys() - BODIES.keys() == set()


@pytest.mark.parametrize("action", BODIES)
def test_right_bodies_are_answered(action, session):
    ask(session, "edit", EDITS[0])
    ask(session, "train", do="step")
    result, found = answer(session, action, BODIES[action])
    assert result or action == "history"
    if "arrays" in BODIES[action]:
        assert found[0].array.shape == (12, 2)[: found[0].array.ndim]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: f"{value!r:.20}")
@pytest.mark.parametrize("action", BODIES)
def test_hostile_values_are_refused_in_words_and_change_nothing(action, value, session):
    ask(session, "edit", EDITS[1])
    bodies = [value, {"unknown": value}, {"arrays": value}, {"arrays": [value]}]
    bodies = [body for body in bodies if body != {} and body not in ({"arrays": []},)]
    for name in BODIES[action]:
        bodies.append(BODIES[action] | {name: value})
    for request in ("layer", "what", "index"):
        if "arrays" in BODIES[action]:
            bodies.append(BODIES[action] | {"arrays": [REQUESTS[0] | {request: value}]})
    for body in bodies:
        before = state_of(session)
        try:
            answer(session, action, body)
        except ValueError as error:
            assert 5 < len(str(error)) < 600
            assert state_of(session) == before, (body, error)
        assert ask(session, "state")  # the session lives


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit["kind"])
@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: f"{value!r:.20}")
def test_hostile_edits_are_refused_in_words_and_change_nothing(edit, value, session):
    for name in edit:
        before = state_of(session)
        try:
            answer(session, "edit", edit | {name: value})
        except ValueError:
            assert state_of(session) == before
        else:
            assert name in ("value", "on", "rate", "filter", "arrays"), name


def test_messages_name_the_value_the_place_and_what_was_expected(session):
    for action, body, message in [
        ("digit", {"test": 10**6}, "test=1000000, expected an integer from 0 to 999"),
        ("digit", {}, "expected one of drawing, pixels and test"),
        ("digit", drawn(INK) | {"width": 31}, "drawing: 1,200 bytes, expected 1,240: one a pixel"),
        ("digit", drawn(INK) | {"height": 281}, "height=281, expected an integer from 1 to 280"),
        ("label", {"label": 10}, "label=10, expected an integer from 0 to 9"),
        ("label", {}, "label is missing"),
        ("pick", {"by": "class:x"}, "by='class:x', expected 'class:7', 'hardest'"),
        ("pick", {"by": "wrong", "count": 61}, "count=61, expected an integer from 1 to 60"),
        ("arrays", {"arrays": [{"layer": "conv", "what": "y"}]}, "expected one of ['conv2d'"),
        ("arrays", {"arrays": [{"layer": "conv2d", "what": "w"}]}, "known: dx, dy, dz, grad:bias"),
        ("arrays", {"arrays": [REQUESTS[0] | {"index": [0, 0]}]}, "index of 2 axes, expected 3"),
        ("arrays", {"arrays": [REQUESTS[0] | {"index": [0, 12, 0]}]}, "index[1]=12, expected 0 to"),
        ("arrays", {"arrays": [REQUESTS[0] | {"index": [0, [4, 4], 0]}]}, "start < stop <= 12"),
        ("arrays", {"arrays": [REQUESTS[0] | {"index": [0, -1, 0]}]}, "[1]=-1, expected an intege"),
        ("arrays", {"array": []}, "arrays: unknown name 'array'; did you mean 'arrays'?"),
        ("edit", EDITS[0] | {"index": [0, 0, 0, 3]}, "index[3]=3, expected 0 to 2"),
        ("edit", EDITS[0] | {"index": [0]}, "a list of 4 integers: the array's shape is (5, 5, 1,"),
        ("edit", EDITS[0] | {"value": float("nan")}, "value=nan, expected a number"),
        ("edit", EDITS[0] | {"value": 1e39}, "value=1e+39, expected a number from -3e+38 to 3e+38"),
        ("edit", EDITS[0] | {"name": "gamma"}, "layer 'conv2d' has the weights: kernel, bias"),
        ("edit", EDITS[1] | {"filter": 3}, "filter=3, expected an integer from 0 to 2"),
        ("edit", EDITS[1] | {"layer": "dropout"}, "layer 'dropout' has no filters"),
        ("edit", EDITS[2] | {"layer": "flatten"}, "layer 'flatten' has no weights"),
        ("edit", EDITS[3] | {"rate": 1.5}, "rate=1.5, expected a number from 0 to 1"),
        ("edit", EDITS[3] | {"layer": "dense"}, "layer 'dense' has no rate, expected a Dropout"),
        ("edit", EDITS[3] | {"kind": "rat"}, "unknown kind 'rat'; did you mean 'rate'?"),
        ("undo", {}, "there is no edit to take back"),
        ("nudge", BODIES["nudge"] | {"e": 0}, "e=0.0 is lost beside"),
        ("nudge", BODIES["nudge"] | {"e": 1e-30}, "e=1e-30 is lost beside"),
        ("gradcheck", {"layer": "conv2d", "name": "gamma"}, "(known: bias, kernel, x)"),
        ("download", {"format": "exe"}, "unknown format 'exe'"),
        ("source", {"function": "__import__"}, "function='__import__', expected one of the"),
        ("source", {"function": "np"}, "function='np', expected one of the"),
        ("image", {"file": b"not an image"}, "the image: expected an image (PNG, JPEG, BMP, GIF)"),
        ("image", {}, "file is missing"),
        ("step", WEIGHT | {"name": "x"}, "layer 'conv2d' has the weights: kernel, bias"),
        ("excites", {"layer": "conv2d", "channel": 3}, "channel=3, expected an integer from 0 to"),
        ("field", {"layer": "conv2d", "cell": [0, 12, 0]}, "cell[1]=12, expected 0 to 11"),
        ("train", {"do": "fly"}, "unknown do 'fly'"),
        ("run", {"since": -2}, "since=-2, expected an integer from -1"),
        ("history", {"name": "conv2d"}, "name='conv2d', of='weights', expected"),
        ("scrub", {}, "step is missing"),
    ]:  # fmt: skip
        with pytest.raises(ValueError) as caught:
            answer(session, action, body)
        assert message in str(caught.value)


def test_more_numbers_than_a_request_may_have_are_refused(session):
    dense = {"layer": "dense", "what": "param:kernel"}
    assert len(answer(session, "arrays", {"arrays": [dense] * 200})[1]) == 200
    many = [{"layer": "conv2d", "what": "param:kernel"}] * 257
    with pytest.raises(ValueError, match="a list of at most 256"):
        answer(session, "arrays", {"arrays": many})


def test_numbers_of_one_request_are_limited(session, monkeypatch):
    monkeypatch.setattr("nanocnn.explore.parts.MOST_NUMBERS", 500)
    with pytest.raises(ValueError, match=r"arrays\[1\]: more than 500 numbers"):
        arrays(session, ("conv2d", "y", [None, None, 0]), ("conv2d", "y"))


# --- Digits ---


def test_a_drawing_a_file_pixels_and_a_test_digit_are_shown(session):
    for action, body, kind in [
        ("digit", drawn(INK), "drawn"), ("image", BODIES["image"], "image"),
        ("digit", pixels_of(TESTS[0][9]), "given"), ("digit", {"test": 9}, "test"),
    ]:  # fmt: skip
        result, (picture,) = answer(session, action, body)
        assert result["digit"]["kind"] == kind
        assert picture.shape == (28, 28) and picture.dtype == np.uint8 and picture.max() > 200
        (x,) = arrays(session, (None, "x"))
        assert np.array_equal(x[..., 0], np.divide(picture, 255, dtype="f"))
    assert np.array_equal(picture, TESTS[0][9]) and result["label"] == TESTS[1][9]
    _, (picture,) = answer(session, "digit", drawn(0 * INK))
    assert not picture.any()


def test_the_label_of_a_drawing_is_what_the_network_takes_it_for_or_the_readers(session):
    state = ask(session, "digit", drawn(INK))
    assert state["label"] == int(np.argmax(state["prediction"]))
    state = ask(session, "digit", drawn(INK, label=3))
    assert state["label"] == 3 and state["loss"] == pytest.approx(-np.log(state["prediction"][3]))
    assert ask(session, "label", label=8)["loss"] == pytest.approx(-np.log(state["prediction"][8]))


def test_requested_arrays_stand_before_the_picture(session):
    result, (part, picture) = answer(session, "digit", BODIES["digit"])
    assert part.about["full_shape"] == [12, 12, 3] and part.array.shape == (12, 2)
    assert np.array_equal(part.array, arrays(session, ("conv2d", "y"))[0][:, 1:3, 2])
    assert picture.shape == (28, 28) and result["label"] == 4


def test_the_range_is_that_of_the_whole_array(session):
    for value in (0.25, 7.5):
        ask(session, "edit", EDITS[0] | {"value": value})
        (part,) = answer(session, "arrays", {"arrays": REQUESTS})[1]
        (whole,) = arrays(session, ("conv2d", "y"))
        assert part.about["whole"] == [whole.min(), whole.max()]


def test_an_array_that_is_not_computed_says_why(session):
    request = {"layer": "dense", "what": "dy"}
    ((array, about),) = answer(session, "arrays", {"arrays": [request]})[1]
    assert array.shape == (0,) and "the loss computes" in about["missing"]
    assert arrays(session, ("dense", "dz"))[0].shape == (10,)


def test_what_a_layer_keeps_depends_on_the_mode_and_is_missing_in_the_other(session):
    request = [{"layer": "dropout", "what": "saved:mask"}]
    for training in (True, False):
        _, ((mask, about),) = answer(session, "mode", {"training": training, "arrays": request})
        assert mask.shape == ((6, 6, 3) if training else (0,))
        assert ("keeps no such array" in about.get("missing", "")) is not training


def test_a_request_that_is_wrong_is_refused_before_the_change(session):
    change = {"kind": "weight", **WEIGHT, "value": 0.5}
    for wrong in ({"what": "param:gamma"}, {"what": "Y"}, {"index": [0, 0, 3]}, {"index": [0]}):
        before = state_of(session)
        with pytest.raises(ValueError, match=r"arrays\[0\]"):
            answer(session, "edit", change | {"arrays": [REQUESTS[0] | wrong]})
        assert state_of(session) == before


def test_picks_are_what_they_say(session):
    x, y = TESTS
    prediction = session.model.predict(x)
    predicted = prediction.argmax(axis=1)
    losses = session.model.loss.each(y, prediction)
    found, (pictures,) = answer(session, "pick", {"by": "class:7", "count": 5})
    assert found["indices"] == np.flatnonzero(y == 7)[:5].tolist() and found["labels"] == [7] * 5
    assert np.array_equal(pictures, x[found["indices"]])
    hardest = ask(session, "pick", by="hardest", count=60)
    assert hardest["losses"] == sorted(losses.tolist(), reverse=True)[:60]
    wrong = ask(session, "pick", by="wrong", count=9)
    assert all(a != b for a, b in zip(wrong["labels"], wrong["predicted"], strict=True))
    assert wrong["predicted"] == predicted[wrong["indices"]].tolist()
    assert wrong["losses"][0] == losses[predicted != y].max()
    assert len(set(ask(session, "pick", by="random", count=60)["indices"])) == 60
    found, (pictures,) = answer(session, "pick", {"by": "class:12"})
    assert found["indices"] == [] and pictures.shape == (0, 28, 28)


def test_accuracy_and_confusion_are_those_of_the_model_now(session):
    def expected():
        prediction = session.model.predict(TESTS[0])
        return (prediction.argmax(axis=1) == TESTS[1]).mean()

    for value in (0.0, 5.0):
        ask(session, "edit", kind="weight", layer="dense", name="bias", index=[3], value=value)
        found = ask(session, "accuracy")
        assert found["accuracy"] == expected() and found["count"] == 1000
        loss = session.model.evaluate(*TESTS)[0]
        assert found["loss"] == pytest.approx(loss, rel=1e-5)
        _, (table,) = answer(session, "confusion", {})
        assert table.sum() == 1000 and table.trace() / 1000 == found["accuracy"]
        assert np.array_equal(table.sum(axis=1), np.bincount(TESTS[1]))


# --- Edits ---


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit["kind"])
def test_undo_brings_back_the_same_bits(edit, session):
    session.model.layers[0].params["kernel"][0, 1, 0, 1:] = -0.0
    before = state_of(session)[:-1]
    state = ask(session, "edit", edit)
    assert state["edits"] == 1 and state_of(session)[:-1] != before
    assert ask(session, "undo")["edits"] == 0
    assert state_of(session)[:-1] == before


def test_a_chain_of_edits_is_undone_one_by_one(session):
    on = EDITS[1] | {"on": True}
    chain = [*EDITS, EDITS[0] | {"value": -3, "index": [0, 0, 0, 1]}, on, EDITS[1], on, EDITS[0]]
    states = []
    for edit in chain:
        states.append(state_of(session)[:-1])
        ask(session, "edit", edit)
    for before in reversed(states):
        ask(session, "undo")
        now = state_of(session)[:-1]
        assert now == (now[0], len(session.edits), *before[2:]) and now[0] == before[0]


def test_the_last_200_edits_can_be_undone(session):
    for value in range(230):
        ask(session, "edit", EDITS[0] | {"value": value})
    assert ask(session, "state")["edits"] == 200
    for _ in range(200):
        ask(session, "undo")
    assert session.model.layers[0].params["kernel"][0, 1, 0, 2] == 29


def test_reset_goes_back_to_the_model_that_was_loaded(session):
    before = weights(session)
    for edit in EDITS:
        ask(session, "edit", edit)
    session.call(session.model.train_on_batch, *TESTS)
    state = ask(session, "reset")
    assert weights(session) == before and state["edits"] == 0 and state["step"] == 0
    assert (state["off"], state["frozen"], state["rates"]) == ({}, [], {"dropout": 0.5})
    with pytest.raises(ValueError, match="no edit"):
        ask(session, "undo")


def test_a_filter_that_is_off_says_nothing_and_comes_back(session):
    (before,) = arrays(session, ("conv2d", "y"))
    state = ask(session, "edit", EDITS[1])
    assert state["off"] == {"conv2d": [1]}
    assert not arrays(session, ("conv2d", "y"))[0][..., 1].any()
    assert ask(session, "edit", EDITS[1])["edits"] == 1  # it is off already
    assert ask(session, "edit", EDITS[1] | {"on": True})["off"] == {}
    assert arrays(session, ("conv2d", "y"))[0].tobytes() == before.tobytes()


def test_freezing_and_rates_reach_the_training(session):
    ask(session, "edit", EDITS[2])
    ask(session, "edit", EDITS[3] | {"rate": 0})
    assert ask(session, "state")["frozen"] == ["dense"]
    kernel = session.model.layers[-1].params["kernel"].copy()
    session.call(session.model.train_on_batch, *TESTS)
    assert np.array_equal(session.model.layers[-1].params["kernel"], kernel)
    plain = small()
    plain.layers[2].rate, plain.layers[-1].trainable = 0.0, False
    plain.train_on_batch(*TESTS)
    assert weights(session) == [each.tobytes() for each in plain.get_weights()]


def test_a_rate_that_changes_while_a_training_runs_takes_effect(session):
    few = TESTS[0][:8], TESTS[1][:8]  # such passes are captured
    for _ in range(3):
        session.call(session.model.train_on_batch, *few)
    ask(session, "edit", EDITS[3] | {"rate": 1})
    before = session.model.layers[-1].params["kernel"].copy()
    session.model.optimizer.reset()
    session.call(session.model.train_on_batch, *few)
    assert np.array_equal(session.model.layers[-1].params["kernel"], before)  # all is dropped
