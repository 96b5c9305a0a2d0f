"""How the page looks at every width, in light and dark, and what a screen reader hears of it."""

import pytest

from support.browser import has, settled, until
from support.desk import SEVEN

pytestmark = pytest.mark.slow

WIDTHS = 360, 768, 1400, 2560
NAMED = {
    "button", "textbox", "spinbutton", "slider", "checkbox", "radio", "combobox", "tab",
    "img", "image", "dialog", "link", "table", "grid", "region", "tabpanel", "searchbox",
    "DisclosureTriangle", "group", "form", "menuitem", "Canvas", "tablist", "radiogroup",
}  # fmt: skip
# What sticks out of the window to the right, other than within parts that scroll.
WIDE = """() => {
  const scrolls = (one) => one && (/auto|scroll|hidden|clip/.test(getComputedStyle(one).overflowX)
    && one !== document.body && one !== document.documentElement || scrolls(one.parentElement));
  const wide = [...document.querySelectorAll("body *")].filter((one) => {
    const {right, left, width} = one.getBoundingClientRect();
    return width > 1 && (right > innerWidth + 1 || left < -1) && !scrolls(one.parentElement);
  });
  return [document.documentElement.scrollWidth, wide.map((one) => one.outerHTML.slice(0, 90))];
}"""
# Texts whose contrast with what is behind them is under 4.5 to 1 (3 to 1 where they are large).
FAINT = """() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith("color(") ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const over = (top, below) =>
    below.map((v, k) => (k < 3 ? top[k] * top[3] + v * (1 - top[3]) : 1));
  const behind = (one) => {
    const found = [];
    for (let each = one; each; each = each.parentElement) {
      found.unshift(parse(getComputedStyle(each).backgroundColor));
    }
    return found.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const faint = [];
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const style = getComputedStyle(one);
    if (!own || !one.checkVisibility({visibilityProperty: true}) || one.closest(":disabled, .sr")
      || one.closest("option, canvas")) continue;
    let opacity = 1;
    for (let each = one; each; each = each.parentElement) opacity *= getComputedStyle(each).opacity;
    const paper = behind(one);
    const ink = parse(style.color);
    const [a, b] = [light(over([...ink.slice(0, 3), ink[3] * opacity], paper)), light(paper)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const most = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    if (ratio < most) faint.push([one.outerHTML.slice(0, 110), ratio, style.color, paper.join()]);
  }
  return faint;
}"""
SMALL = """() => [...document.querySelectorAll(
  "button, select, input:not([type=checkbox]):not([type=radio]), summary")].filter((one) => {
    const {height, width} = one.getBoundingClientRect();
    return height > 0 && !one.matches(".sr, .jump, .title") && (height < 24 || width < 24);
  }).map((one) => one.outerHTML.slice(0, 90))"""


def panels(one):
    """Each panel in turn, filled."""
    address = {"layer": "conv2d_1", "cell": "2,2,1"}
    for panel, grad in (("cell", None), ("cell", "1"), ("edit", None), ("train", None),
                        ("tour", None)):  # fmt: skip
        one.set(**address, panel=panel, grad=grad)
        one.page.wait_for_timeout(200)
        settled(one.page)
        yield panel if not grad else "gradients"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_or_too_faint_at_any_width(desk, scheme):
    one = desk(color_scheme=scheme)
    one.page.click("#picker summary")
    one.page.wait_for_selector("#picks button")
    for width in WIDTHS:
        one.page.set_viewport_size({"width": width, "height": 900})
        for panel in panels(one):
            for script, good in ((WIDE, [width, []]), (FAINT, []), (SMALL, [])):
                assert one.page.evaluate(script) == good, (width, panel)


def test_pages_with_an_open_dialog_a_message_and_a_banner_fit_a_phone(desk):
    one = desk(viewport={"width": 360, "height": 640}, refusals=True)
    one.page.click("#help-button")
    one.page.wait_for_selector("#help[open]")
    assert one.page.evaluate(WIDE)[0] <= 360
    inside = one.page.evaluate(
        "(() => { const box = document.getElementById('help')"
        ".getBoundingClientRect(); return [box.left, box.right]; })()"
    )
    assert inside[0] >= 0 and inside[1] <= 360
    one.page.keyboard.press("Escape")
    one.set(digit="test:999999")
    until(one.page, "document.getElementById('message').textContent.length > 5")
    assert one.page.evaluate(WIDE) == [360, []]


def test_a_name_is_read_out_for_everything_that_can_be_used_or_looked_at(desk):
    one = desk()
    one.page.click("#picker summary")
    one.page.wait_for_selector("#picks button")
    one.page.click("#clear")
    one.line(SEVEN)
    one.drawn()
    tools, heard = one.page.context.new_cdp_session(one.page), set()
    for panel in panels(one):
        nodes = tools.send("Accessibility.getFullAXTree")["nodes"]
        for node in nodes:
            role = node.get("role", {}).get("value")
            if node["ignored"] or role not in NAMED:
                continue
            name = node.get("name", {}).get("value", "").strip()
            if role in ("group", "table", "form", "region") and not name:
                continue  # nothing to use
            heard.add(role)
            assert name, (panel, role, node.get("properties"), html(tools, node))
            assert not name.startswith("[object") and "undefined" not in name, name
            assert "NaN" not in name or role == "img", name
    assert {
        "button",
        "tab",
        "radio",
        "checkbox",
        "combobox",
        "slider",
        "spinbutton",
        "textbox",
    } <= heard
    assert heard & {"img", "image"}


def html(tools, node):
    """The beginning of an element, for the message of a failed test."""
    described = tools.send("DOM.resolveNode", {"backendNodeId": node["backendDOMNodeId"]})
    result = tools.send("Runtime.callFunctionOn", {
        "objectId": described["object"]["objectId"],
        "functionDeclaration": "function() { return this.outerHTML?.slice(0, 150); }",
        "returnByValue": True,
    })  # fmt: skip
    return result["result"].get("value")


def test_the_answer_and_the_chosen_number_are_announced(desk):
    one = desk()
    for place in ("#summary", "#selected-value", "#message"):
        assert one.page.get_attribute(place, "aria-live") == "polite"
    assert one.page.get_attribute("#banner", "role") == "alert"
    assert one.page.get_attribute("html", "lang") == "en"
    one.click("conv2d", (5, 6, 2))
    has(one.page, "#selected-value", "y[5, 6, 2]")
    canvas = one.page.get_attribute("#zoom-map", "aria-label")
    assert "y[5, 6, 2] = " in canvas and "Arrow keys" in canvas
    assert one.page.locator("h1").count() == 1
    assert one.page.locator("#tabs [role=tab][tabindex='0']").count() == 1


def test_nothing_moves_or_is_lost_when_the_window_is_made_narrow_and_wide_again(desk):
    one = desk()
    one.set(layer="conv2d", cell="5,6,2")
    for width in (1400, 360, 2560, 768):
        one.page.set_viewport_size({"width": width, "height": 900})
        one.page.wait_for_timeout(150)
        one.click("conv2d", (3, 4, 1))
        has(one.page, "#panel-cell h2", "y[3,4,1]")
        one.click("conv2d_1", (3, 4, 9))
        has(one.page, "#panel-cell h2", "y[3,4,9]")
