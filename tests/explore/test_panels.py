"""The panels to change and to train a network, used in a real browser."""

from contextlib import ExitStack

import numpy as np
import pytest

from nanocnn.explore.digits import Digits
from nanocnn.explore.recorder import Recorder
from nanocnn.explore.server import serve
from nanocnn.explore.session import Session
from nanocnn.explore.watched import Following
from support.browser import has, opened, until
from support.explored import TESTS, small, weights

pytestmark = pytest.mark.slow


@pytest.fixture
def show(browser):
    """`show(hash)` opens the page of a small network: (page, session)."""
    with ExitStack() as stack:

        def open_page(address, prepare=lambda session: None, width=1400, **options):
            model, sessions = small(), []
            digits = Digits(model, tests=TESTS)

            def make():
                sessions.append(Session(model, digits))
                prepare(sessions[-1])
                return sessions[-1]

            url = stack.enter_context(serve(make, open=False)).url + address
            size = {"width": width, "height": 900}
            page = stack.enter_context(opened(browser, url, viewport=size, **options))
            return page, sessions[-1]

        yield open_page


def test_a_weight_is_changed_undone_and_reset(show):
    page, session = show("#panel=edit&layer=conv2d&weight=kernel:1,2,0,1")
    before = weights(session)
    has(page, "#weight-title", "conv2d/kernel[1, 2, 0, 1]")
    has(page, "#accuracy", "%")
    loss = page.text_content("#loss")
    page.fill("#weight-value", "-2.5")
    page.press("#weight-value", "Enter")
    has(page, "#edit-undo", "Undo (1)")
    assert session.model.get_layer("conv2d").params["kernel"][1, 2, 0, 1] == np.float32(-2.5)
    assert page.text_content("#loss") != loss == page.text_content("#loss-before")
    page.click("#weight-minus")
    has(page, "#edit-undo", "Undo (2)")
    page.focus("#edit-map")
    page.keyboard.press("Control+z")
    has(page, "#edit-undo", "Undo (1)")
    until(page, "document.querySelector('#weight-value').value === '-2.5'")
    page.click("#weight-reset")
    has(page, "#edit-undo", "Undo (2)")
    assert weights(session) == before
    page.click("#edit-reset")
    until(page, "document.querySelector('#edit-undo').disabled")
    assert page.text_content("#loss") == loss


def test_a_filter_is_switched_off_and_on_by_keyboard(show):
    page, session = show("#panel=edit&layer=conv2d")
    before = weights(session)
    page.focus("#filter-2")
    page.keyboard.press("Space")
    has(page, "#edit-undo", "Undo (1)")
    assert not session.model.get_layer("conv2d").params["kernel"][..., 2].any()
    page.reload()
    page.wait_for_selector("html[data-ready='1']")
    page.check("#filter-2")  # a new session: all are on
    page.uncheck("#filter-2")
    has(page, "#edit-undo", "Undo (1)")
    page.keyboard.press("Space")
    has(page, "#edit-undo", "Undo (2)")
    assert weights(session) != before and page.is_checked("#filter-2")


def test_arrow_keys_choose_a_weight_and_what_is_no_number_is_refused_in_words(show):
    page, session = show("#panel=edit&layer=dense&weight=kernel:0,4", refusals=True)
    before = weights(session)
    has(page, "#weight-title", "dense/kernel[0, 4]")
    page.focus("#edit-map")
    for key in ("ArrowUp", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    has(page, "#weight-title", "dense/kernel[24, 4]")  # row 1, column 2 of 6 x 6 x 3
    page.fill("#weight-value", "seven")
    page.press("#weight-value", "Enter")
    has(page, "#edit-status", "expected")
    assert weights(session) == before


def test_a_layer_is_frozen_and_a_rate_is_set(show):
    page, session = show("#panel=edit&layer=dense")
    page.check("#edit-freeze")
    has(page, "#edit-undo", "Undo (1)")
    assert not session.model.get_layer("dense").trainable
    page.select_option("#edit-layer", "dropout")
    page.fill("#edit-rate", "0.25")
    page.press("#edit-rate", "Enter")
    has(page, "#edit-undo", "Undo (2)")
    assert session.model.get_layer("dropout").rate == 0.25


def test_the_changed_network_is_downloaded(show, tmp_path):
    page, _ = show("#panel=edit&layer=dense&weight=bias:3")
    page.fill("#weight-value", "4")
    page.press("#weight-value", "Enter")
    has(page, "#edit-undo", "Undo (1)")
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "model.npz")
    from nanocnn import load_model

    assert load_model(tmp_path / "model.npz").get_layer("dense").params["bias"][3] == 4


def test_the_digits_that_excite_a_filter_are_found_and_loaded(show):
    page, session = show("#panel=edit&layer=conv2d&weight=kernel:0,0,0,1")
    page.click("#excites")
    page.wait_for_selector(".digit")
    digit = page.locator(".digit").first
    told = digit.get_attribute("aria-label")
    digit.click()
    until(page, "location.hash.includes('cell=')")
    until(page, "document.documentElement.dataset.ready === '1'")
    assert told.startswith(f"test digit {session.digit['index']}, output ")


def test_a_training_starts_pauses_and_goes_back_by_keyboard(show):
    page, session = show("#panel=train&layer=conv2d")
    before = weights(session)
    page.focus("#train-start")
    page.keyboard.press("Enter")
    until(page, "parseInt(document.querySelector('#train-scrub-step').textContent.slice(5)) > 3")
    assert page.evaluate("document.activeElement.id") == "train-pause"
    page.keyboard.press("Enter")
    has(page, "#train-status", "paused: step ")
    assert not session.training.running and weights(session) != before
    has(page, "#chart-loss-summary", "training: ")
    page.focus("#chart-loss")
    page.keyboard.press("Home")
    assert page.get_attribute("#chart-loss", "aria-valuetext").startswith("step 1: batch ")
    page.focus("#train-scrub")
    page.keyboard.press("Home")
    has(page, "#train-status", "looking back at step 0")
    assert weights(session) == before
    page.click("#train-continue")
    has(page, "#train-status", "running: step ")
    page.click("#train-pause")
    has(page, "#train-status", "paused: step ")


def test_settings_count_from_the_next_step_and_bad_ones_are_refused_in_words(show):
    page, session = show("#panel=train", refusals=True)
    page.wait_for_selector("#batch-size")
    page.select_option("#optimizer", "sgd")
    page.fill("#learning-rate", "0.125")
    page.press("#learning-rate", "Enter")
    page.fill("#batch-size", "16")
    page.press("#batch-size", "Enter")
    until(page, "document.documentElement.dataset.ready === '1'")
    page.click("#train-step")
    has(page, "#train-status", "paused: step 1")
    optimizer = session.model.optimizer
    assert (type(optimizer).__name__, optimizer.rate()) == ("SGD", 0.125)
    assert session.training.batch_size == 16
    page.fill("#batch-size", "-3")
    page.press("#batch-size", "Enter")
    has(page, "#train-problem", "batch_size=-3, expected")
    assert session.training.batch_size == 16


def test_the_fit_of_a_script_is_watched_without_controls(show):
    def follow(session):
        session.training = Following(session, Recorder(session.model))

    page, _ = show("#panel=train", follow)
    has(page, "#train-live", "a script")
    assert page.is_visible("#train-live") and page.is_visible("#train-scrub")
    for name in ("start", "step", "epoch", "continue"):
        assert not page.is_visible(f"#train-{name}")
    assert not page.is_visible("#learning-rate")


@pytest.mark.parametrize("panel", ["edit", "train"])
@pytest.mark.parametrize("width", [360, 2560])
def test_nothing_is_wider_than_the_page(show, panel, width):
    page, _ = show(f"#panel={panel}&layer=dense", width=width)
    has(page, f"#panel-{panel}", "What ")
    found = page.evaluate("document.documentElement.scrollWidth")
    assert found <= width
