"""Rough use of the page: held keys, quick hands, two fingers, screens of other densities."""

import numpy as np
import pytest

from support.browser import has, settled, until
from support.desk import BOX, ONE, SEVEN

pytestmark = pytest.mark.slow


def test_an_arrow_key_that_is_held_down_is_followed_to_the_last_cell(desk):
    one = desk(address="layer=conv2d&cell=0,0,1")
    one.page.focus("#zoom-map")
    for _ in range(150):  # more than the server's rate of a second
        one.page.keyboard.press("ArrowRight", delay=0)
        one.page.keyboard.press("ArrowDown", delay=0)
        one.page.keyboard.press("ArrowLeft", delay=0)
    one.page.keyboard.press("ArrowRight")
    until(one.page, "location.hash.includes('cell=23,')")
    has(one.page, "#panel-cell h2", "y[23,")
    settled(one.page)
    shown = one.page.text_content("#selected-value").split("[")[1].split("]")[0]
    cell = tuple(map(int, shown.split(",")))
    wanted = one.trace()["conv2d"].y[(0, *cell)]
    has(one.page, "#panel-cell h2", f"y[{','.join(map(str, cell))}]")
    one.newest()
    assert np.float32(one.page.text_content("#panel-cell .value")) == wanted
    assert "many" not in one.page.text_content("#message")


def test_a_long_scribble_ends_with_the_answer_to_its_last_point(desk):
    one = desk()
    one.page.click("#clear")
    spiral = [(140 + r * np.cos(r / 5), 140 + r * np.sin(r / 5)) for r in np.linspace(2, 110, 80)]
    one.line([(float(x), float(y)) for x, y in spiral], steps=3)
    one.page.click("#clear")
    one.line(SEVEN, steps=40)
    one.drawn()
    has(one.page, "#summary", "Read as 7.")
    one.newest()
    bars = one.page.locator("#answer .number").evaluate_all("(all) => all.map((one) => one.title)")
    assert np.array(bars, np.float32).tobytes() == one.trace().prediction[0].tobytes()


def test_a_second_finger_draws_no_line_and_the_first_goes_on(desk):
    one = desk(has_touch=True)
    one.page.click("#clear")
    left, top, width, _ = one.page.evaluate(BOX, "#paper")
    tools, scale = one.page.context.new_cdp_session(one.page), width / 280

    def touch(kind, *points):
        tools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [
            {"x": left + x * scale, "y": top + y * scale, "id": k} for k, (x, y) in points
        ]})  # fmt: skip

    touch("touchStart", (0, (40, 40)))
    touch("touchMove", (0, (40, 120)))
    touch("touchStart", (0, (40, 120)), (1, (240, 240)))
    touch("touchMove", (0, (40, 160)), (1, (240, 200)))
    touch("touchMove", (0, (40, 240)), (1, (240, 160)))
    touch("touchEnd")
    one.drawn()
    ink = one.picture()
    assert ink[60, 40] and ink[140, 40]  # the first finger's line
    assert not ink[:, 80:200].any()  # and none from one finger to the other


def test_other_buttons_of_the_mouse_draw_nothing(desk):
    one = desk()
    one.page.click("#clear")
    one.drawn()
    left, top, width, height = one.page.evaluate(BOX, "#paper")
    for button in ("right", "middle"):
        one.page.mouse.move(left + width / 4, top + height / 4)
        one.page.mouse.down(button=button)
        one.page.mouse.move(left + width / 2, top + height / 2, steps=4)
        one.page.mouse.up(button=button)
    assert not one.picture().any()


@pytest.mark.parametrize("density, width", [(1.25, 1100), (2, 500), (3, 360)])
def test_cells_are_hit_and_lines_drawn_on_screens_of_any_density(desk, density, width):
    one = desk(device_scale_factor=density, viewport={"width": width, "height": 900})
    for cell in ((0, 0, 0), (7, 3, 5), (11, 11, 2)):
        one.click("max_pooling2d", cell)
        has(one.page, "#panel-cell h2", f"y[{','.join(map(str, cell))}] of max_pooling2d")
        large = one.page.evaluate_handle("() => document.getElementById('zoom-map')")
        left, top, *_ = one.page.evaluate(BOX, large)
        size = int(one.page.get_attribute("#zoom-map", "data-size"))
        one.page.mouse.click(left + 2.5 * size, top + 4.5 * size)
        has(one.page, "#panel-cell h2", f"y[4,2,{cell[2]}] of max_pooling2d")
    one.page.click("#clear")
    one.line(ONE)
    one.drawn()
    columns = np.flatnonzero(one.picture().any(axis=0))
    assert 126 <= columns[0] < 132 and 148 <= columns[-1] <= 154  # a brush of 22 around 140


def test_drawing_while_it_trains_is_answered_by_the_newest_weights(desk):
    one = desk(address="panel=train")
    one.page.click("#train-start")
    has(one.page, "#train-status", "running: step ")
    one.page.click("#clear")
    for _ in range(3):
        one.line(SEVEN)
        one.drawn()
        assert one.ask(lambda session: session.digit["kind"]) == "drawn"
    one.page.click("#train-pause")
    has(one.page, "#train-status", "paused: step ")
    one.newest()
    bars = one.page.locator("#answer .number").evaluate_all("(all) => all.map((one) => one.title)")
    assert np.array(bars, np.float32).tobytes() == one.trace().prediction[0].tobytes()
    has(one.page, "#summary", "Read as 7.")


@pytest.mark.parametrize(
    "media", [{"media": "print"}, {"forced_colors": "active"}, {"reduced_motion": "reduce"}]
)
def test_the_page_prints_and_obeys_the_readers_settings(desk, media):
    one = desk(address="layer=conv2d&cell=3,4,1")
    one.page.emulate_media(**media)
    one.page.wait_for_timeout(100)
    assert one.page.is_visible("#panel-cell .value") and one.page.is_visible("#answer")
    if media.get("media") == "print":
        assert not one.page.is_visible("#tabs") and not one.page.is_visible("#clear")
        assert one.page.pdf()[:4] == b"%PDF"
    else:
        one.click("conv2d", (5, 5, 2))
        has(one.page, "#panel-cell h2", "y[5,5,2]")
    if media.get("reduced_motion"):
        moving = one.page.evaluate(
            "() => document.getAnimations().filter((one) => one.playState === 'running').length"
        )
        assert moving == 0
