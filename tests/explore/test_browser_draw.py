"""Digits, drawn and chosen in a real browser."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from nanocnn.data import mnist
from support.browser import has, settled, until
from support.desk import BOX, ONE, SEVEN

pytestmark = pytest.mark.slow

DROP = """async ([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type: "image/png"}));
  for (const type of ["dragover", "drop"]) {
    const event = new DragEvent(type, {dataTransfer: transfer, bubbles: true, cancelable: true});
    document.getElementById("paper").dispatchEvent(event);
  }
}"""
READ = """() => {
  const canvas = document.getElementById("read");
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.width, canvas.height, Array.from(data)];
}"""


def shares(desk):
    """The probabilities in the bars, in full."""
    bars = desk.page.locator("#answer .number").all()
    return np.array([float(each.get_attribute("title")) for each in bars], np.float32)


def check_answer(desk):
    """Compare the bars, the loss and the two pictures with the engine's."""
    trace, picture = desk.trace(), desk.ask(lambda one: one.picture)
    assert shares(desk).tobytes() == trace.prediction[0].tobytes()
    loss = desk.page.get_attribute("#summary", "title")
    assert np.float32(loss) == np.float32(trace.loss)
    wide, high, data = desk.page.evaluate(READ)
    shown = np.array(data).reshape(high, wide, 4)
    assert shown.shape[:2] == picture.shape
    assert np.array_equal(shown[..., 0] == 255, picture * (255 / max(1, picture.max())) < 0.5)
    darkest = np.unravel_index(picture.argmax(), picture.shape)
    assert shown[darkest][0] == shown[..., 0].min()


def test_a_seven_drawn_with_the_mouse_is_read_as_a_seven(desk):
    one = desk()
    assert one.picture().any()  # a test digit, which nobody chose
    one.line(SEVEN)
    has(one.page, "#summary", "Read as 7.")
    one.drawn()
    check_answer(one)
    assert one.ask(lambda session: session.digit["kind"]) == "drawn"
    ink = one.picture()
    assert ink[75, 140] == ink[140, 170] == 255 and not ink[:40].any() and not ink[240:, 150:].any()
    picture = one.ask(lambda session: session.picture)  # centred and scaled, as photos are
    rows = np.flatnonzero(picture.any(axis=1))
    assert rows[-1] - rows[0] == 19 and picture.shape == (28, 28)
    assert one.page.locator("#answer .bar.best .name").text_content() == "7"


def test_a_seven_drawn_by_keys_is_read_as_a_seven(desk):
    one = desk()
    keyboard = one.page.keyboard
    one.page.focus("#paper")
    keys = ["ArrowLeft"] * 9 + [" "] + ["ArrowRight"] * 18
    for key in keys + ["ArrowDown", "ArrowDown", "ArrowLeft"] * 11:
        keyboard.press(key)
    assert one.page.locator(".pen.down").is_visible()
    keyboard.press(" ")
    has(one.page, "#message", "The pen is up")
    for _ in range(12):  # nothing is drawn any more
        keyboard.press("Shift+ArrowRight")
    has(one.page, "#summary", "Read as 7.")
    one.drawn()
    check_answer(one)
    ink = one.picture()
    assert ink[70, 140] == ink[140, 168] == 255 and not ink[:40].any() and not ink[90:, 260:].any()
    keyboard.press("Tab")
    assert one.page.locator(".pen").is_hidden()


@pytest.mark.parametrize("pointer", ["finger", "pen"])
def test_a_finger_and_a_pen_draw_too_and_the_page_stays_where_it_is(desk, pointer):
    one = desk(has_touch=True, viewport={"width": 390, "height": 800})
    one.page.click("#clear")
    one.page.evaluate("scrollTo(0, 40)")
    left, top, width, _ = one.page.evaluate(BOX, "#paper")
    before = one.page.evaluate("scrollY")
    scale, tools = width / 280, one.page.context.new_cdp_session(one.page)
    way = [(left + x * scale, top + y * scale) for x, y in SEVEN]
    for (x, y), (to_x, to_y) in zip(way, way[1:] + way[-1:], strict=True):
        is_first, is_last = (x, y) == way[0], (x, y) == way[-1]
        for part in np.linspace(0, 1, 5):
            at = {"x": x + (to_x - x) * part, "y": y + (to_y - y) * part}
            start, end = is_first and part == 0, is_last and part == 1
            if pointer == "finger":
                kind = "touchStart" if start else "touchEnd" if end else "touchMove"
                tools.send("Input.dispatchTouchEvent", {
                    "type": kind, "touchPoints": [] if end else [{**at, "force": 0.5}],
                })  # fmt: skip
            else:
                kind = "mousePressed" if start else "mouseReleased" if end else "mouseMoved"
                tools.send("Input.dispatchMouseEvent", {
                    "type": kind, "pointerType": "pen", "button": "left", "buttons": 1,
                    "clickCount": 1, "force": 0.5, **at,
                })  # fmt: skip
    has(one.page, "#summary", "Read as 7.")
    one.drawn()
    check_answer(one)
    assert one.page.evaluate("scrollY") == before


def test_the_eraser_undo_and_clear_take_ink_away_and_give_it_back(desk):
    one = desk()
    one.page.click("#clear")
    one.drawn()
    assert not one.picture().any() and not one.ask(lambda session: session.picture.any())
    check_answer(one)
    one.line(ONE)
    one.drawn()
    stroke = one.picture()
    assert stroke[140, 140] and not stroke[:, :120].any()
    one.page.click("#eraser")
    assert one.page.get_attribute("#eraser", "aria-pressed") == "true"
    one.line([(100, 140), (180, 140)])
    one.drawn()
    rubbed = one.picture()
    assert not rubbed[140, 140] and rubbed[60, 140] and rubbed[220, 140]
    check_answer(one)
    one.page.click("#undo-stroke")
    one.drawn()
    assert np.array_equal(one.picture(), stroke)
    one.page.click("#undo-stroke")
    one.drawn()
    assert not one.picture().any()
    one.page.click("#undo-stroke")  # the clearing: the test digit is there again
    one.drawn()
    assert one.picture().any()
    one.page.click("#brush")
    one.line(ONE)
    one.drawn()
    assert one.picture()[140, 140]
    check_answer(one)


def test_a_digit_that_was_chosen_is_drawn_upon_and_the_first_one_comes_back_by_undo(desk):
    one = desk(address="digit=test:4")
    chosen = one.picture()
    one.line(ONE)
    one.drawn()
    assert (one.picture() >= chosen).all() and one.picture()[60, 140] == 255
    one = desk()
    first = one.picture()
    one.line(ONE)
    one.drawn()
    assert not (one.picture() >= first).all()
    for _ in range(2):
        one.page.click("#undo-stroke")
        one.drawn()
    assert np.array_equal(one.picture(), first)


def test_the_true_label_is_chosen_and_stays_with_the_next_strokes(desk):
    one = desk()
    one.page.click("#clear")
    one.line(SEVEN)
    one.drawn()
    one.page.check("#answer input[value='4']")
    until(one.page, "location.hash.includes('label=4')")
    settled(one.page)
    share = shares(one)[4]
    assert float(one.page.get_attribute("#summary", "title")) == pytest.approx(
        -np.log(share), rel=1e-4
    )
    one.line(ONE)
    one.drawn()
    assert one.ask(lambda session: session.label) == 4
    assert one.page.is_checked("#answer input[value='4']")
    check_answer(one)


def test_digits_are_picked_by_class_by_loss_and_by_mistake(desk):
    one, (digits, labels) = desk(), mnist.sample()[1]
    one.page.click("#picker summary")
    one.page.wait_for_selector("#picks button")
    losses = {}
    for by in ("class:7", "hardest", "wrong"):
        before = one.page.locator("#picks button").first.element_handle()
        one.page.select_option("#pick-by", by)
        until(one.page, "(old) => !old.isConnected", before)
        names = one.page.locator("#picks button").evaluate_all(
            "(all) => all.map((one) => [one.dataset.digit, one.ariaLabel])"
        )
        losses[by] = [float(name.rsplit(" ", 1)[1]) for _, name in names]
        for digit, name in names:
            index = int(digit.split(":")[1])
            assert f"a {labels[index]}, " in name
            if by == "class:7":
                assert labels[index] == 7
            if by == "wrong":
                assert f"read as {labels[index]}," not in name
    assert losses["hardest"] == sorted(losses["hardest"], reverse=True)
    assert max(losses["wrong"]) <= losses["hardest"][0] < 100
    last = one.page.locator("#picks button").nth(1)
    index = int(last.get_attribute("data-digit").split(":")[1])
    last.click()
    until(one.page, f"location.hash.includes('digit=test:{index}')")
    settled(one.page)
    assert np.array_equal(one.ask(lambda session: session.picture), digits[index])
    assert last.get_attribute("aria-pressed") == "true"
    assert one.picture().any()  # it is on the paper, to be drawn on
    check_answer(one)


def png(digit):
    """A digit as a photo: dark ink on light paper."""
    file = BytesIO()
    Image.fromarray(255 - np.kron(digit, np.ones((8, 8), np.uint8))).save(file, "png")
    return file.getvalue()


def test_a_broken_image_is_refused_in_words_and_a_good_one_is_read(desk):
    one = desk(refusals=True)
    before = one.ask(lambda session: session.version)
    good = png(mnist.sample()[1][0][3])
    for data in (good[:200], b"", b"no image at all", b"<svg xmlns='http://www.w3.org/2000/svg'/>"):
        one.page.evaluate(DROP, [base64.b64encode(data).decode(), "digit.png"])
        has(one.page, "#message", "image")
        assert one.page.evaluate("document.getElementById('message').textContent.length") < 200
        assert one.ask(lambda session: session.version) == before
        one.page.evaluate("document.getElementById('message').textContent = ''")
    check_answer(one)
    one.page.evaluate(DROP, [base64.b64encode(good).decode(), "digit.png"])
    has(one.page, "#message", "digit.png is read as a digit")
    settled(one.page)
    assert one.ask(lambda session: session.digit["kind"]) == "image"
    check_answer(one)
    seven = png(mnist.sample()[1][0][np.flatnonzero(mnist.sample()[1][1] == 7)[0]])
    one.page.set_input_files("#image-file", {
        "name": "seven.png", "mimeType": "image/png", "buffer": seven,
    })  # fmt: skip
    has(one.page, "#message", "seven.png is read")
    has(one.page, "#summary", "Read as 7.")
    check_answer(one)
