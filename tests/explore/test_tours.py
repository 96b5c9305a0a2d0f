"""Guided tours: the models that some bring along, and a walk through all of them in a browser."""

import re
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest

import nanocnn
from nanocnn import (
    AveragePooling2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
    Sequential,
)  # fmt: skip
from nanocnn.explore import tours
from nanocnn.explore.session import Session
from support.browser import chromium, opened
from support.explored import TESTS, arrays, ask, session_of, small, weights


def test_a_tour_shows_its_model_and_brings_back_the_readers_as_it_was():
    with session_of(small()) as session:
        ask(session, "edit", kind="weight", layer="dense", name="bias", index=[1], value=0.5)
        ask(session, "digit", test=7)
        ask(session, "label", label=3)
        ask(session, "mode", training=True, seed=4)
        before, state, model = weights(session), ask(session, "state"), session.model
        shown = ask(session, "tour", name="vanish")
        assert shown["tour"] == "vanish" and shown["tours"] == ["vanish"]
        assert len(shown["model"]["layers"]) == 12 and shown["version"] > state["version"]
        ask(session, "edit", kind="weight", layer="out", name="bias", index=[0], value=9)
        ask(session, "reset")
        assert ask(session, "tour", name=None)["model"]["name"] == "small"
        after = ask(session, "state")
        assert session.model is model and weights(session) == before
        assert after["version"] > shown["version"]
        same = set(state) - {"version"}
        assert {key: after[key] for key in same} == {key: state[key] for key in same}
        ask(session, "undo")
        assert weights(session) != before


def test_a_tour_shown_twice_is_the_same_and_ending_none_changes_nothing():
    with session_of(small()) as session:
        version = ask(session, "tour", name=None)["version"]
        assert version == ask(session, "state")["version"]
        first = ask(session, "tour", name="vanish")
        assert ask(session, "tour", name="vanish")["version"] == first["version"]
        before = weights(session)
        ask(session, "tour", name=None)
        ask(session, "tour", name="vanish")
        assert weights(session) == before


def test_a_training_of_the_readers_pauses_for_a_tour_and_can_go_on():
    with session_of(small(), train=TESTS) as session:
        ask(session, "train", do="start")
        ask(session, "tour", name="vanish")
        assert not ask(session, "run")["running"] and ask(session, "run")["step"] == 0
        ask(session, "train", do="step")
        ask(session, "tour", name=None)
        run = ask(session, "run")
        assert not run["running"]
        assert ask(session, "train", do="step")["step"] == run["step"] + 1


@pytest.mark.parametrize("name", ["nothing", 3, ["vanish"]])
def test_a_tour_without_a_model_of_its_own_is_refused(name):
    with session_of(small()) as session, pytest.raises(ValueError, match=r"name|vanish"):
        ask(session, "tour", name=name)


def test_a_script_that_trains_keeps_its_model():
    with session_of(small()) as session:
        session.training.live = True
        assert ask(session, "session")["tours"] == []
        with pytest.raises(ValueError, match="script"):
            ask(session, "tour", name="vanish")


def test_gradients_vanish_in_the_tours_network():
    x, y = TESTS
    for i in range(5):
        trace = tours.vanish().trace(x[i : i + 1], y[i : i + 1], False)
        size = [np.sqrt((step.grads["kernel"] ** 2).mean()) for step in trace if step.grads]
        assert all(b > 2 * a for a, b in pairwise(size))
        assert size[-1] > 1e5 * size[0]


def test_what_the_tour_says_of_its_network_is_so():
    model, (x, y) = tours.vanish(), TESTS
    before_last = Sequential(model.layers[:-1]).predict(x[:300])
    assert before_last.std(axis=0).max() < 0.01  # almost the same for every digit
    losses = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert abs(losses[-1] - np.log(10)) < 0.05


def test_a_tour_takes_the_readers_test_digits():
    with session_of(small()) as session:
        (picture,) = arrays(session, (None, "x"))
        ask(session, "tour", name="vanish")
        assert arrays(session, (None, "x"))[0].tobytes() == picture.tobytes()
        assert session.digits.count == len(TESTS[0])


def test_a_reader_of_other_samples_can_take_the_tour():
    model = Sequential([Input((5,)), Dense(2)], seed=1)
    with session_of(model, np.ones((3, 5), np.float32), tests=None) as session:
        assert isinstance(session, Session)
        assert ask(session, "tour", name="vanish")["tests"] > 0
        assert ask(session, "tour", name=None)["tests"] == 3


# --- In a browser ---

STEPS = {"conv": 6, "pool": 5, "vanish": 6, "dropout": 6, "four": 7, "im2col": 6}


def served(model, *args):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: extra [explore]")
    return nanocnn.explore(model, *args, open=False, block=False)


@contextmanager
def shown(model, state, *args, **options):
    """The page of a model in a browser."""
    with (
        chromium() as browser, served(model, *args) as server,
        opened(browser, f"{server.url}#{state}", **options) as page,
    ):  # fmt: skip
        yield page


def at_step(page, step):
    page.wait_for_selector(f"#tour[data-step='{step}']")
    page.wait_for_selector("html[data-ready='1']", state="attached")
    return page.locator("#tour .tour-text").inner_text()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1400, 900), (360, 740)])
def test_all_tours_can_be_walked_by_keyboard(size):
    options = {"viewport": dict(zip(("width", "height"), size, strict=True))}
    with shown(small(), "panel=tour", **options) as page:
        assert page.locator(".tours button").count() == len(STEPS)
        for tour, steps in STEPS.items():
            page.locator(f"#tour-{tour}").click()
            for k in range(1, steps + 1):
                text = at_step(page, f"{tour}:{k}")
                assert len(text) > 80 and "undefined" not in text and "NaN" not in text
                assert page.locator("#tour .error").count() == 0, text
                assert page.locator("#message").inner_text() == ""
                assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
                page.keyboard.press("n")
            page.wait_for_selector("#tour", state="hidden")
            page.wait_for_selector("html[data-ready='1']", state="attached")
            assert page.locator("#model-name").inner_text() == "small"


@pytest.mark.slow
def test_a_step_is_a_link_and_the_readers_edits_outlast_a_tour():
    x, y = TESTS
    trace = tours.vanish().trace(x[:1], y[:1], False)
    size = [np.sqrt((step.grads["kernel"] ** 2).mean()) for step in trace if step.grads]
    with chromium() as browser, served(small(), x, y) as server:
        with opened(browser, f"{server.url}#tour=conv:2") as page:
            at_step(page, "conv:2")
            assert "kernel of filter" in page.locator("#zoom-title").inner_text()
            address = page.url
            page.evaluate("""import("nanocnn/source.js").then(({source}) => source.call("edit",
                {kind: "weight", layer: "dense", name: "bias", index: [2], value: 0.25}))""")
            page.keyboard.press("Escape")
            page.locator("#tab-tour").click()
            page.locator("#tour-vanish").click()
            at_step(page, "vanish:1")
            assert page.locator("#model-name").inner_text() == "ten sigmoid layers"
            page.keyboard.press("n")
            at_step(page, "vanish:2")
            page.keyboard.press("p")
            at_step(page, "vanish:1")
            page.locator("#tour-end").click()
            page.locator("#model-name", has_text="small").wait_for()
            page.wait_for_selector("html[data-ready='1']", state="attached")
            edits = page.evaluate("""import("nanocnn/source.js")
                .then(({source}) => source.info.edits)""")
            assert edits == 1
        with opened(browser, address) as page:
            at_step(page, "conv:2")
        with opened(browser, f"{server.url}#tour=vanish:3") as page:
            told = re.search(r"a factor of ([\d,]+)", at_step(page, "vanish:3"))
            factor = int(told[1].replace(",", ""))
            assert factor == pytest.approx(size[-2] / size[0], rel=1e-4)  # of the sigmoid layers


@pytest.mark.slow
def test_a_tour_that_a_model_cannot_show_says_so():
    model = Sequential([Input((28, 28, 1)), Flatten(), Dense(3)], seed=1)
    model.compile("sgd", "mean_squared_error")
    x = TESTS[0][:4]
    with shown(model, "tour=conv:2", x, np.zeros((4, 3), np.float32)) as page:
        page.locator("#tab-tour").click()
        for tour in ("conv", "pool", "dropout", "im2col"):
            assert page.locator(f"#tour-{tour}").is_disabled()
        assert "no convolution" in page.locator("#tour-conv + p").inner_text()
        assert page.locator("#tour").is_hidden()
        assert page.locator("#tour-vanish").is_enabled()


@pytest.mark.slow
def test_tours_follow_a_model_of_other_layers():
    layers = [
        Input((28, 28, 1)), Conv2D(4, 5, strides=(2, 1), padding="same"), Dropout(0.5),
        AveragePooling2D(3, padding="same"), Conv2D(30, 3, activation="tanh"), MaxPooling2D(2),
        Flatten(), Dense(10, activation="softmax"),
    ]  # fmt: skip
    model = Sequential(layers, seed=1, dtype="float64")
    with shown(model, "panel=tour") as page:
        for tour, steps in (("conv", 5), ("pool", 5), ("dropout", 6), ("im2col", 6)):
            page.locator(f"#tour-{tour}").click()
            for k in range(1, steps + 1):
                text = at_step(page, f"{tour}:{k}")
                assert "undefined" not in text and page.locator("#tour .error").count() == 0
                page.keyboard.press("n")
            page.wait_for_selector("#tour", state="hidden")


@pytest.mark.slow
def test_a_saved_page_has_the_tours_that_need_no_server(tmp_path):
    saved = nanocnn.explore(small(), *TESTS, save=tmp_path / "digit.html")
    with chromium() as browser, opened(browser, f"{saved.url}#panel=tour") as page:
        for tour in ("vanish", "dropout", "four"):
            assert "saved page" in page.locator(f"#tour-{tour} + p").inner_text()
        for tour, steps in (("conv", 6), ("pool", 4), ("im2col", 6)):
            page.locator(f"#tour-{tour}").click()
            for k in range(1, steps + 1):
                at_step(page, f"{tour}:{k}")
                assert page.locator("#tour .error").count() == 0
                page.keyboard.press("n")
