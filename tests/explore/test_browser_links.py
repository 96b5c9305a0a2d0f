"""A state is a link; the server may go and come back; readers do not disturb each other."""

import os
import signal
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from nanocnn.data import mnist
from nanocnn.explore import incoming
from nanocnn.explore.digits import Digits
from nanocnn.explore.server import serve
from nanocnn.explore.session import Session
from support.browser import Tab, has, opened, settled, until
from support.desk import SET, SEVEN, seated, up_to_date
from support.explored import TESTS, small

pytestmark = pytest.mark.slow

LOST = "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "status of 410"
SERVER = """
import sys
from nanocnn import load_model
from nanocnn.explore import incoming
from nanocnn.explore.digits import Digits
from nanocnn.explore.server import serve
from nanocnn.explore.session import Session
incoming.new_token = lambda: "fixed"
model = load_model(sys.argv[1])
digits = Digits(model)
with serve(lambda: Session(model, digits), port=int(sys.argv[2]), open=False) as shown:
    print(shown.url, flush=True)
    shown.wait()
"""
VIEW = """() => ({
  title: document.querySelector("#panel-cell h2")?.textContent,
  value: document.querySelector("#panel-cell .value")?.textContent,
  large: document.getElementById("selected-value").textContent,
  zoom: document.getElementById("zoom-title").textContent,
  bars: [...document.querySelectorAll("#answer .number")].map((one) => one.title),
  loss: document.getElementById("summary").title,
  label: document.querySelector("#answer input:checked")?.value,
  grad: document.querySelector("#switch [aria-pressed=true]").dataset.grad,
  panel: document.querySelector("#tabs [aria-selected=true]").id,
  training: document.querySelector("#draw input[type=checkbox]").checked,
})"""


def view(page):
    """All that a reader sees of the state, when it is all there."""
    settled(page)
    version = "document.documentElement.dataset.version"
    panel = "document.getElementById('panel-cell')"
    until(page, f"{panel}.hidden || {panel}.dataset.version === {version}")
    return page.evaluate(VIEW)


def test_a_reload_and_the_copied_link_show_the_same_in_every_respect(browser, desk):
    one = desk()
    one.page.click("#clear")
    one.line(SEVEN)
    one.drawn()
    one.page.check("#answer input[value='3']")
    one.page.check("#draw input[type=checkbox]")  # as in training
    one.page.click("#switch button:text('Gradients')")
    one.click("conv2d_1", (4, 5, 3))
    has(one.page, "#panel-cell h2", "dL/dy[4,5,3]")
    one.page.click("#views button:text('sum z')")
    has(one.page, "#zoom-title", "dz")
    before = view(one.page)
    assert (before["label"], before["grad"], before["training"]) == ("3", "1", True)
    one.page.wait_for_timeout(500)
    one.page.reload()
    assert view(one.page) == before
    link = one.page.evaluate("location.href")
    with opened(browser, link, viewport={"width": 500, "height": 900}) as other:
        assert view(other) == before
    assert len(one.sessions) == 3


@pytest.mark.parametrize("index", [3, 8])
def test_a_link_to_a_test_digit_brings_the_label_of_that_digit(browser, index):
    with seated(browser, small(), address=f"digit=test:{index}") as one:
        settled(one.page)
        label = mnist.sample()[1][1][index]
        assert label != mnist.sample()[1][1][0]  # that of the digit that the page opens with
        assert one.page.input_value("#answer input:checked") == str(label)
        assert one.session.label == label


def test_back_and_forward_lead_through_what_was_seen(desk):
    one = desk()
    seen = [view(one.page)]
    for act in (
        lambda: one.click("conv2d", (5, 6, 2)), lambda: one.page.click("#switch [data-grad='1']"),
        lambda: one.page.check("#answer input[value='8']"), lambda: one.page.click("#tab-edit"),
        lambda: one.click("dense", (4,)),
    ):  # fmt: skip
        act()
        one.page.wait_for_timeout(150)
        seen.append(view(one.page))
    assert all(a != b for a, b in pairwise(seen))
    for wanted in reversed(seen[1:-1]):
        one.page.go_back()
        one.page.wait_for_timeout(150)
        assert view(one.page) == wanted
    for wanted in seen[2:]:
        one.page.go_forward()
        one.page.wait_for_timeout(150)
        assert view(one.page) == wanted


@pytest.mark.parametrize(
    "address",
    [
        "layer=nowhere&cell=1,2,3", "layer=conv2d&cell=99,0,0", "layer=conv2d&cell=-1,0,0",
        "layer=conv2d&cell=a", "layer=conv2d&weight=kernel:9,9,9,9", "layer=conv2d&weight=none:1",
        "panel=nothing&view=nothing", "digit=test:99999999", "digit=test:-1", "digit=d:short",
        "digit=%00&label=abc", "label=77", "training=maybe&grad=2", "tour=none:7&panel=tour", "%%%",
        "layer=__proto__&view=constructor&cell=0", "view=" + "y" * 3000,
    ],
)  # fmt: skip
def test_an_address_with_anything_in_it_opens_the_page(browser, address):
    with seated(browser, small(), address=address, refusals=True) as one:
        one.page.wait_for_selector("#answer")
        one.click("conv2d", (3, 4, 1))
        has(one.page, "#selected-value", "y[3, 4, 1] = ")
        step = one.trace()["conv2d"]
        array = step.dy if one.page.evaluate("location.hash.includes('grad=')") else step.y
        shown = one.page.get_attribute("#selected-value", "data-value")
        assert np.float32(shown) == array[0, 3, 4, 1]


def test_a_page_whose_server_stops_says_so_and_comes_back_with_it(browser, monkeypatch):
    monkeypatch.setattr(incoming, "new_token", lambda: "fixed")
    model = small()
    digits = Digits(model, tests=TESTS)

    def start(port=0):
        return serve(lambda: Session(model, digits), port=port, open=False)

    first = start()
    port = int(first.url.split(":")[2].split("/")[0])
    with opened(browser, f"{first.url}#layer=conv2d&cell=3,4,1", expected=LOST) as page:
        page.click("#clear")
        page.wait_for_timeout(100)
        page.check("#answer input[value='6']")
        settled(page)
        before = view(page)
        first.close()
        page.wait_for_selector("#banner", state="visible")
        assert "server has stopped" in page.text_content("#banner")
        assert {**view_now(page), "title": before["title"]} == before  # the last answer stays
        page.click("#answer input[value='2']")  # not answered, and no harm
        page.wait_for_timeout(300)
        with start(port) as second:
            assert second.url == first.url
            page.wait_for_selector("#banner", state="hidden")
            has(page, "#message", "Connected again")
            page.check("#answer input[value='6']")
            until(page, "location.hash.includes('label=6')")
            assert view(page) == before


def view_now(page):
    return page.evaluate(VIEW)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_server_that_is_killed_is_missed_and_a_new_one_is_found(browser, trained):
    def start(port):
        command = [sys.executable, "-c", SERVER, str(trained), str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        return process, process.stdout.readline().strip()

    process, url = start(0)
    try:
        port = int(url.split(":")[2].split("/")[0])
        with opened(browser, url, expected=LOST) as page:
            page.click("#tab-train")
            has(page, "#train-status", "paused: step ")
            before = page.text_content("#train-status")
            page.click("#train-start")
            has(page, "#train-status", "running: step ")
            process.kill()
            process.wait()
            page.wait_for_selector("#banner", state="visible")
            process.stdout.close()
            process, again = start(port)
            assert again == url
            page.wait_for_selector("#banner", state="hidden")
            has(page, "#train-status", before)
            page.click("#train-step")
            until(
                page,
                "(old) => !document.getElementById('train-status').textContent.includes(old)",
                before,
            )
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_session_that_is_over_is_replaced_and_the_digit_sent_again(desk):
    one = desk(expected=LOST, address="layer=conv2d&cell=3,4,1")
    one.page.click("#clear")
    one.line(SEVEN)
    one.drawn()
    before = view(one.page)
    one.shown.forget()
    one.page.wait_for_timeout(50)
    one.page.click("#switch [data-grad='1']")
    has(one.page, "#message", "Connected again")
    one.page.click("#switch [data-grad='']")
    has(one.page, "#panel-cell h2", "y[3,4,1]")
    assert view(one.page) == before and len(one.sessions) == 2


def test_four_readers_at_once_see_what_each_of_them_did(browser, desk):
    one, labels = desk(), mnist.sample()[1][1]
    tabs = [Tab(browser) for _ in range(3)]
    try:
        pages = [one.page, *(tab.open(one.shown.url) for tab in tabs)]
        assert len(one.sessions) == 4
        for k, page in enumerate(pages):  # all at work before any is looked at
            page.evaluate(SET, {"digit": f"test:{100 + k}", "label": None})
            page.click("#tab-train")
            page.click("#train-start")
        for page in pages:
            has(page, "#train-status", "running: step ")
        for page in pages[1:]:
            page.click("#train-pause")
            has(page, "#train-status", "paused: step ")
        for k, session in enumerate(one.sessions):
            assert session.digit == {"kind": "test", "index": 100 + k}
            assert session.label == labels[100 + k]
        weights = {
            session.submit(lambda s=session: s.model.get_weights()[0].tobytes()).result(30)
            for session in one.sessions
        }
        assert len(weights) == 4  # four trainings, each for itself
        for page, session in zip(pages[1:], one.sessions[1:], strict=True):
            page.click("#tab-cell")
            up_to_date(page, session)
            shown = page.evaluate(VIEW)["bars"]
            wanted = session.submit(lambda s=session: s.trace().prediction[0]).result(30)
            assert np.array(shown, np.float32).tobytes() == wanted.tobytes()
        assert all(tab.errors == [] for tab in tabs)
    finally:
        for tab in tabs:
            tab.context.close()
