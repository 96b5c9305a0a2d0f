"""The page itself, in a browser: drawing, links, keys, the columns, a server that goes."""

import re
from io import BytesIO

import numpy as np
import pytest

from nanocnn import Conv2D, Dense, Flatten, Input, MaxPooling2D, Sequential
from nanocnn.explore.digits import Digits
from nanocnn.explore.server import serve
from nanocnn.explore.session import Session
from support.browser import Tab, opened, until

pytestmark = pytest.mark.slow

SEVEN = [(0.25, 0.25), (0.5, 0.25), (0.75, 0.25), (0.62, 0.5), (0.5, 0.75)]
PIXELS = """() => [...document.querySelectorAll("canvas.values")].map((canvas) => {
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((sum, v, i) => (sum * 31 + v * (i % 7 + 1)) % 1000003, 0);
})"""

SAID = "(word) => document.querySelector('#message').textContent.includes(word)"


@pytest.fixture(scope="module")
def model():
    layers = [
        Input((28, 28, 1)), Conv2D(3, 5, activation="relu"), MaxPooling2D(2), Flatten(),
        Dense(10, activation="softmax"),
    ]  # fmt: skip
    model = Sequential(layers, seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.fixture(scope="module")
def url(model):
    digits = Digits(model)
    with_page = serve(lambda: Session(model, digits), open=False)
    yield with_page.url
    with_page.close()


def ready(page):
    """Wait until all in view is painted, after what was just done."""
    page.wait_for_timeout(50)
    page.wait_for_selector("html[data-ready='1']", state="attached")


def draw(page, points):
    box = page.locator("#paper").bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]:
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    ready(page)


def selected(page):
    """Layer, cell and the number that the page shows for it."""
    found = re.fullmatch(r"(\w+)\[(.+)\] = (.+)", page.text_content("#selected-value"))
    what, cell, value = found.groups()
    layer = page.text_content("#zoom-title").split(":")[0]
    return layer, what, tuple(map(int, cell.split(", "))), np.float32(value)


def test_a_stroke_changes_answer_columns_and_address_but_adds_no_history(browser, url):
    with opened(browser, url) as page:
        page.click("#clear")
        ready(page)
        before, length = page.evaluate(PIXELS), page.evaluate("history.length")
        draw(page, SEVEN)
        assert not any(a == b for a, b in zip(before, page.evaluate(PIXELS), strict=True))
        until(page, "() => location.hash.includes('digit=d:')")
        assert page.evaluate("history.length") == length
        assert page.evaluate("performance.getEntriesByName('stroke').length") > 0


def test_a_link_brings_digit_label_and_cell_back(browser, url):
    with opened(browser, url) as page:
        draw(page, SEVEN)
        page.check(".bar[data-class='3'] input")
        page.locator("canvas.values[data-layer=conv2d]").click(position={"x": 30, "y": 40})
        ready(page)
        shown, loss = selected(page), page.text_content("#summary")
        page.wait_for_timeout(600)
        link = page.url
    with opened(browser, link) as page:
        ready(page)
        assert (selected(page), page.text_content("#summary")) == (shown, loss)
        assert page.locator(".bar[data-class='3'] input").is_checked()


def test_arrow_keys_go_through_cells_whose_numbers_are_the_traces(browser, url, model):
    x = Digits(model).x[:1]
    y = model.trace(x, [7], training=False)["conv2d"].y[0]
    with opened(browser, f"{url}#layer=conv2d&cell=10,10,1&digit=test:0&label=7") as page:
        page.keyboard.press("Escape")
        for key, cell in [
            ("ArrowRight", (10, 11, 1)), ("ArrowDown", (11, 11, 1)), ("]", (11, 11, 2)),
            ("ArrowLeft", (11, 10, 2)), ("ArrowUp", (10, 10, 2)), ("[", (10, 10, 1)),
        ]:  # fmt: skip
            page.keyboard.press(key)
            ready(page)
            assert selected(page) == ("conv2d", "y", cell, y[cell])


def test_keys_walk_forward_to_the_gradients_and_back(browser, url):
    with opened(browser, url) as page:
        walked = []
        for key in "ffff" + "bbb":
            page.keyboard.press(key)
            ready(page)
            walked.append(page.text_content("#zoom-title").split(",")[0])
        assert walked[:3] == ["max_pooling2d: y", "flatten: y", "dense: y"]
        assert walked[4:] == walked[2::-1]
        page.keyboard.press("g")
        ready(page)
        assert page.text_content("#zoom-title").split(":")[1].startswith(" d")


def test_a_broken_image_is_explained_and_the_digit_stays(browser, url):
    with opened(browser, url, refusals=True) as page:
        before = page.text_content("#summary")
        file = {"name": "broken.png", "mimeType": "image/png", "buffer": b"\x89PNG broken"}
        page.set_input_files("#image-file", file)
        until(page, SAID, "image")
        assert page.text_content("#summary") == before


def test_an_image_is_read_as_a_digit(browser, url):
    from PIL import Image

    ink = np.full((90, 90), 255, np.uint8)
    ink[15:75, 40:50] = 0
    file = BytesIO()
    Image.fromarray(ink).save(file, "PNG")
    with opened(browser, url) as page:
        image = {"name": "one.png", "mimeType": "image/png", "buffer": file.getvalue()}
        page.set_input_files("#image-file", image)
        until(page, "() => location.hash.includes('digit=d:')")


@pytest.mark.parametrize(
    "place", ["layer=nope", "layer=conv2d&cell=99,0,0", "digit=test:99999999", "label=77"]
)
def test_a_link_to_what_is_not_there_shows_the_page_nevertheless(browser, url, place):
    with opened(browser, f"{url}#{place}", refusals=True) as page:
        layer, what, cell, _ = selected(page)
        assert (layer, what, len(cell)) == ("conv2d", "y", 3)


def test_a_server_that_stops_is_said_and_one_that_comes_back_is_found(browser, url):
    tab = Tab(browser)
    page = tab.open(f"{url}#digit=test:3")
    until(page, "location.hash.includes('label')")  # written a moment later
    link, answer = page.url, page.text_content("#summary")
    page.route("**/api/**", lambda route: route.abort())
    page.wait_for_selector("#banner:not([hidden])")
    page.unroute("**/api/**")
    page.wait_for_selector("#banner", state="hidden")
    ready(page)
    assert (page.url, page.text_content("#summary")) == (link, answer)
    assert all("ERR_FAILED" in error for error in tab.errors)
    tab.context.close()


@pytest.mark.parametrize("width", [360, 800, 2560])
def test_the_page_is_never_wider_than_the_window(browser, url, width):
    with opened(browser, url, viewport={"width": width, "height": 900}) as page:
        for key in "g1234":
            page.keyboard.press(key)
            ready(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, key
