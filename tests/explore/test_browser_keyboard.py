"""The page used by keyboard alone, and what a newcomer finds out with it."""

import numpy as np
import pytest

from support.browser import has, settled, until

pytestmark = pytest.mark.slow

PLACE = "() => document.getElementById('walk-place').textContent"
FOCUS = """() => {
  const one = document.activeElement;
  const {outlineStyle, outlineWidth, boxShadow} = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  return {
    tag: one.tagName, id: one.id, text: (one.ariaLabel || one.textContent || "").slice(0, 40),
    seen: (outlineStyle !== "none" && parseFloat(outlineWidth) > 0) || boxShadow !== "none",
    inside: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight
      && box.right > 0 && box.left < innerWidth,
  };
}"""


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def tab_to(page, script, most=150):
    """Press Tab until a condition on `one`, the focused element, is true."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(f"() => {{ const one = document.activeElement; return {script}; }}"):
            return
    raise AssertionError(f"Tab leads to no element with {script}")


def title(page):
    return page.text_content("#panel-cell h2")


def test_f_and_b_walk_through_the_whole_pass_and_back(desk):
    one = desk(address="layer=")
    page, names = one.page, [layer.name for layer in one.session.model.layers]
    stops = 2 * (len(names) + 1) + 1
    has(page, "#walk-place", f"forward, 1 of {stops}")
    seen = [title(page)]
    for step in range(2, stops + 1):
        press(page, "f")
        has(page, "#walk-place", f"{step} of {stops}")
        settled(page)
        seen.append(title(page))
        if "loss" not in page.evaluate(PLACE):
            assert (
                page.text_content("#panel-cell .value")
                == (page.text_content("#selected-value").split(" = ")[1])
            )
    where = [each.split(" of ")[-1].split(" ")[0] for each in seen]
    assert where == ["the", *names, "The", *reversed(names), "the"]
    assert [each.startswith("dL/d") for each in seen] == (
        [False] * (len(names) + 2) + [True] * (len(names) + 1)
    )
    press(page, "f")  # there is nothing after the last
    for step in range(stops - 1, 0, -1):
        press(page, "b")
        has(page, "#walk-place", f"{step} of {stops}")
        settled(page)
        assert title(page) == seen[step - 1]


def test_many_steps_at_once_are_all_taken(desk):
    one = desk(address="layer=")
    press(one.page, *"fffffff")
    has(one.page, "#walk-place", "forward, 8 of")
    press(one.page, *"bbb")
    has(one.page, "#walk-place", "forward, 5 of")
    settled(one.page)
    assert one.page.evaluate("location.hash.includes('layer=max_pooling2d_1')")


def test_arrows_and_brackets_move_through_layers_cells_and_maps(desk):
    one = desk(address="layer=conv2d&cell=3,4,1")
    page = one.page
    press(page, "ArrowRight")
    until(page, "location.hash.includes('layer=max_pooling2d&')")
    press(page, "ArrowLeft")
    until(page, "location.hash.includes('layer=conv2d&')")
    one.set(cell="3,4,1")
    press(page, "]")
    has(page, "#panel-cell h2", "y[3,4,2]")
    press(page, "[", "[", "[")
    has(page, "#panel-cell h2", "y[3,4,5]")  # around the end
    tab_to(page, "one.matches('canvas.values') && one.dataset.layer === 'dense'")
    page.wait_for_timeout(100)
    assert page.evaluate("location.hash.includes('layer=conv2d&')")  # Tab alone selects nothing
    press(page, "ArrowDown")
    until(page, "location.hash.includes('layer=dense&')")
    press(page, *["Shift+Tab"] * 8)
    until(page, "document.activeElement.dataset.layer === 'conv2d_1'")
    press(page, "Enter")
    until(page, "document.activeElement.id === 'zoom-map'")
    until(page, "location.hash.includes('layer=conv2d_1&')")
    page.go_back()
    until(page, "location.hash.includes('layer=dense&')")
    one.set(layer="conv2d", cell="3,4,5")
    page.focus(".column canvas.values[data-layer='conv2d']")
    press(page, "ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowLeft")
    has(page, "#panel-cell h2", "y[5,3,5]")
    for _ in range(30):
        press(page, "ArrowUp", "ArrowLeft")
    has(page, "#panel-cell h2", "y[0,0,5]")
    press(page, "Enter")
    assert page.evaluate("document.activeElement.id") == "zoom-map"
    press(page, "ArrowDown", "g")
    has(page, "#panel-cell h2", "dL/dy[1,0,5]")
    press(page, "Enter")
    until(page, "document.getElementById('panel-cell').contains(document.activeElement)")
    press(page, "Escape")
    until(page, "document.activeElement.dataset.layer === 'conv2d'")
    press(page, "g")
    has(page, "#panel-cell h2", "y[1,0,5]")
    for key, panel in zip("2341", ("edit", "train", "tour", "cell"), strict=True):
        press(page, key)
        page.wait_for_selector(f"#panel-{panel}", state="visible")


def test_keys_typed_into_a_field_are_left_to_it(desk):
    one = desk(address="layer=conv2d&cell=3,4,1")
    one.page.focus("#cell-index")
    press(one.page, "End", "g", "2", "f", "b", "ArrowLeft", "?")
    settled(one.page)
    assert one.page.input_value("#cell-index") == "3,4,1g2f?b"
    assert title(one.page) == "y[3,4,1] of conv2d Conv2D"
    assert one.page.is_visible("#panel-cell") and not one.page.is_visible("#help")


def test_the_keys_are_listed_in_a_dialog_that_gives_the_focus_back(desk):
    page = desk().page
    page.focus("#help-button")
    press(page, "?")
    page.wait_for_selector("#help[open]")
    listed = page.text_content("#help")
    assert all(word in listed for word in ("Enter", "Escape", "values or gradients"))
    press(page, "g")  # not of the page while it is open
    press(page, "Escape")
    page.wait_for_selector("#help:not([open])", state="attached")
    assert page.evaluate("document.activeElement.id") == "help-button"
    assert page.get_attribute("#switch button >> nth=0", "aria-pressed") == "true"


@pytest.mark.parametrize("panel", ["cell", "edit", "train", "tour"])
def test_tab_leads_to_everything_is_seen_and_is_never_caught(desk, panel):
    one = desk(address=f"layer=conv2d_1&cell=2,2,1&panel={panel}")
    one.page.wait_for_timeout(300)
    stops = []
    for _ in range(200):
        press(one.page, "Tab")
        focus = one.page.evaluate(FOCUS)
        if focus["tag"] == "BODY":
            break
        assert focus["seen"], focus
        assert focus["inside"], focus
        stops.append(focus["id"] or focus["text"])
    else:
        raise AssertionError(f"Tab never leaves the page: {stops[-9:]}")
    needed = {"copy-link", "help-button", "clear", "zoom-map", f"tab-{panel}"}
    assert needed <= set(stops)
    more = {
        "cell": {"step-on", "cell-index"}, "edit": {"edit-map", "filter-0", "weight-value"},
        "train": {"train-start", "optimizer", "batch-size"}, "tour": set(),
    }  # fmt: skip
    assert more[panel] <= set(stops), stops


def answer(model, trace):
    """The weight of the second convolution with the largest |gradient|, and what the page says."""
    layer = [layer for layer in model.layers if layer.name.startswith("conv2d")][1]
    gradient = trace[layer.name].grads["kernel"]
    index = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    verb = "Lowering" if gradient[index] > 0 else "Raising"
    return layer.name, ",".join(map(str, index)), f"{verb} it lowers the loss.", gradient[index]


@pytest.mark.parametrize("hand", ["keyboard", "mouse"])
def test_a_newcomer_finds_the_weight_that_matters_most_and_its_direction(desk, hand):
    one = desk()
    page = one.page
    name, index, words, gradient = answer(one.session.model, one.trace())
    if hand == "mouse":
        page.click(f".column .title:text-is('{name}')")
    else:
        press(page, *["ArrowRight"] * 2)
    has(page, ".extremes", f"Which weight of {name} would change this digit's loss most?")
    link = page.locator(".extremes .jump").filter(has_text=f"kernel[{index}]")
    assert words in link.locator("..").text_content()
    if hand == "mouse":
        link.click()
    else:
        tab_to(page, f"one.textContent === 'kernel[{index}]'")
        press(page, "Enter")
    has(page, "#panel-cell h2", f"kernel[{index}] of {name}")
    said = page.get_attribute("#panel-cell [data-what='grad:kernel']", "data-value")
    assert np.float32(said) == gradient
    assert words in page.text_content("#panel-cell")
    if hand == "mouse":  # and tries it
        page.click("#nudge")
    else:
        tab_to(page, "one.id === 'nudge'")
        press(page, "Enter")
    quotient = page.locator("[data-what='quotient in float64']")
    assert float(quotient.get_attribute("data-value")) == pytest.approx(gradient, rel=0.02)
