"""The panel of a cell, in a browser: every number that it shows is the trace's, bit for bit."""

import numpy as np
import pytest

from nanocnn.data import mnist
from nanocnn.explore.digits import Digits
from nanocnn.explore.server import serve
from nanocnn.explore.session import Session
from nanocnn.trace import receptive_field
from support.browser import opened, until
from support.page_reader import CHAINS, SHOWN, STATE, Reader, cells, model_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sample():
    return mnist.sample()[1]


@pytest.fixture(scope="module")
def reader(browser, sample):
    made = {}

    def make(kind, dtype="float32"):
        if (kind, dtype) not in made:
            model = model_of(kind, dtype)
            digits = Digits(model, tests=sample)
            shown = serve(lambda: Session(model, digits), open=False)
            page = opened(browser, shown.url)
            made[kind, dtype] = shown, page, Reader(page.__enter__(), model, digits)
        return made[kind, dtype][2]

    yield make
    for shown, page, _ in made.values():
        page.__exit__(None, None, None)
        shown.close()


@pytest.mark.parametrize(
    "kind, dtype",
    [
        ("small", "float64"),
        ("all kinds", "float32"),
        ("squares", "float32"),
        ("odd ones", "float32"),
    ],
)
def test_every_number_of_a_cell_is_the_traces_forward_and_backward(reader, rng, kind, dtype):
    shown, one = 0, reader(kind, dtype)
    for layer in [None, *one.model.layers]:
        name, shape = (layer.name, layer.output_shape) if layer else ("", (28, 28, 1))
        for cell in cells(shape, rng):
            index = ",".join(map(str, cell))
            for grad, lead in ((None, ""), ("1", "dL/d")):
                letter = "x" if layer is None else "y"
                if grad and layer is one.model.layers[-1] and one.trace.fused:
                    letter = "z"
                place = f"[{index}] of {name or 'the image'}"
                one.show(f"{lead}{letter}{place}", layer=name, cell=index, grad=grad)
                shown += one.check()
    assert shown > 200


@pytest.mark.parametrize("kind", ["all kinds", "odd ones"])
def test_every_number_of_a_weight_is_the_traces(reader, rng, kind):
    shown, one = 0, reader(kind)
    for layer in one.model.layers:
        for name, array in layer.params.items():
            for cell in cells(array.shape, rng):
                index = ",".join(map(str, cell))
                one.show(f"{name}[{index}]", layer=layer.name, weight=f"{name}:{index}")
                shown += one.check()
    assert shown > 50


def test_training_mode_shows_dropout_masks_and_statistics_of_the_batch(browser, sample):
    model = model_of("all kinds")
    digits = Digits(model, tests=sample)
    with (
        serve(lambda: Session(model, digits), open=False) as shown,
        opened(browser, f"{shown.url}#training=1") as page,
    ):
        one = Reader(page, model, digits)
        one.show("y[5,6,2]", layer="batch_normalization", cell="5,6,2")
        assert "in the batch" in page.locator("#panel-cell").inner_text()
        x = one.trace["conv2d"].y  # nothing before it is random
        line = page.locator("[data-what='saved:mean']").get_attribute("data-value")
        assert float(line) == pytest.approx(float(x[0, ..., 2].mean()), rel=1e-5)
        one.show("y[1,1,0]", layer="dropout", cell="1,1,0")
        mask = page.locator("[data-what='saved:mask']").inner_text()
        value = page.locator("#panel-cell .value .number").inner_text()
        assert mask == ("0" if value == "0" else "1")


def test_a_term_leads_to_its_cell_and_its_weight_and_back_leads_home(reader):
    one = reader("small")
    one.show("y[5,6,1]", layer="conv2d", cell="5,6,1")
    one.click("#panel-cell .grid [data-what='x']", "x[")
    assert one.title().endswith("of the image")
    one.page.go_back()
    until(one.page, SHOWN, ["y[5,6,1]"])
    one.click("#panel-cell .grid [data-what='param:kernel']", "kernel[")
    one.check()
    one.page.get_by_role("button", name="back to the cell").click()
    until(one.page, SHOWN, ["y[5,6,1]"])


def test_folded_terms_unfold_to_all_of_them(reader):
    one = reader("small")
    one.show("y[3]", layer="dense", cell="3")
    rows = one.page.locator("#panel-cell .terms").last.locator("tbody tr")
    assert rows.count() == 8
    one.page.get_by_role("button", name="all 108 terms").click()
    assert rows.count() == 108
    assert one.check() > 216


def test_a_change_of_the_label_keeps_what_is_unfolded_and_marks_answers_as_old(reader):
    one = reader("small")
    label = int(one.y[0])
    call = "async (label) => (await import('nanocnn/source.js')).source.call('label', {label})"
    one.show("kernel[2,2,0,1]", layer="conv2d", weight="kernel:2,2,0,1")
    before = one.page.locator("#panel-cell [data-what='grad:kernel']").first.inner_text()
    one.page.get_by_role("button", name="all 144 terms").click()
    one.page.locator("#nudge").click()
    one.page.wait_for_selector("#panel-cell .answer table")
    one.page.evaluate(call, (label + 1) % 10)
    one.page.wait_for_selector("#panel-cell .outdated")
    assert one.page.locator("#panel-cell .terms tbody tr").count() == 144
    after = one.page.locator("#panel-cell [data-what='grad:kernel']").first.inner_text()
    assert after != before
    one.page.locator("#nudge").click()
    one.page.wait_for_selector("#panel-cell .answer:not(:has(.outdated)) table")
    one.page.evaluate(call, label)
    one.page.wait_for_selector("#panel-cell .outdated")
    one.check()


def test_keys_lead_through_the_whole_pass_and_back_the_same_way(reader):
    one = reader("small")
    layers = [layer.name for layer in one.model.layers]
    one.show("x[14,14,0]", layer="", cell="14,14,0")
    seen = [one.title()]
    while one.page.locator("#step-on").is_enabled():
        place = one.page.locator("#walk-place").inner_text()
        one.page.keyboard.press("f")
        until(
            one.page,
            "([place]) => document.getElementById('walk-place').textContent !== place",
            [place],
        )
        seen.append(one.title())
        one.check()
    where = [title.split(" of ")[-1].split(" ")[0] for title in seen]
    names = ["the", *layers]
    assert where == [*names, "The", *reversed(names)]
    assert [t.startswith("dL/d") for t in seen] == [False] * 7 + [True] * 6
    for title in reversed(seen[:-1]):
        one.page.keyboard.press("b")
        until(
            one.page, "([t]) => document.querySelector('#panel-cell h2').textContent === t", [title]
        )


def test_the_weight_that_matters_most_is_named_with_its_direction(reader):
    one = reader("all kinds")
    one.show("y[2,2,3]", layer="conv2d_1", cell="2,2,3")
    lines = one.page.locator("#panel-cell .extremes li").all_inner_texts()
    grads = one.trace["conv2d_1"].grads
    name = max(grads, key=lambda name: np.abs(grads[name]).max())
    place = np.unravel_index(np.abs(grads[name]).argmax(), grads[name].shape)
    assert lines[0].startswith(f"{name}[{','.join(map(str, place))}]")
    assert ("Lowering it" if grads[name][place] > 0 else "Raising it") in lines[0]
    one.click("#panel-cell .extremes li .jump", f"{name}[")
    assert one.check() >= 2


def test_a_nudge_puts_the_quotient_beside_the_gradient_and_changes_nothing(reader):
    one = reader("small")
    grads = one.trace["conv2d"].grads["kernel"]
    place = np.unravel_index(np.abs(grads).argmax(), grads.shape)
    index = ",".join(map(str, place))
    one.show(f"kernel[{index}]", layer="conv2d", weight=f"kernel:{index}")
    one.page.fill("#nudge-e", "0.01")
    one.page.press("#nudge-e", "Enter")
    one.page.wait_for_selector("#panel-cell .answer table")
    answers = one.page.locator("#panel-cell .answer [data-value]")
    values = {
        each.get_attribute("data-what"): float(each.get_attribute("data-value"))
        for each in answers.all()
    }
    assert values["loss before"] == one.trace.loss
    assert values["loss with w + 0.01"] != one.trace.loss
    assert values["quotient in float64"] == pytest.approx(float(grads[place]), rel=1e-3)
    assert values["gradient"] == float(grads[place])
    one.show(f"kernel[{index}]", layer="conv2d", weight=f"kernel:{index}")
    one.check()  # the weight has its bits again


def test_gradients_are_checked_and_an_optimizer_step_is_written_out(reader):
    one = reader("small")
    one.show("kernel[2,2,0,1]", layer="conv2d", weight="kernel:2,2,0,1")
    one.page.locator("#gradcheck").click()
    one.page.wait_for_selector("#panel-cell .answer .good")
    assert "all agree" in one.page.locator("#panel-cell .answer").inner_text()
    one.page.locator("#step-weight").click()
    after = one.page.locator("[data-what='step:after']")
    step = one.page.locator("[data-what='step:gradient']")
    assert (
        np.float32(after.get_attribute("data-value"))
        != one.array("conv2d", "param:kernel")[2, 2, 0, 1]
    )
    assert step.count() == 1 and "beta_1" in one.page.locator("#panel-cell .answer").inner_text()


def test_a_cell_is_chosen_by_its_index_and_a_wrong_one_is_refused(reader):
    one = reader("small")
    one.show("y[5,6,1]", layer="conv2d", cell="5,6,1")
    for text in ("12,0,0", "1,2", "a", "-1,0,0", "1.5,0,0", ""):
        one.page.fill("#cell-index", text)
        one.page.press("#cell-index", "Enter")
        assert one.title().startswith("y[5,6,1]"), text
    one.page.fill("#cell-index", "[11, 0, 2]")
    one.page.press("#cell-index", "Enter")
    until(one.page, SHOWN, ["y[11,0,2]"])


@pytest.mark.parametrize("kind", CHAINS)
def test_the_fields_that_are_lit_are_those_of_receptive_field(reader, rng, kind):
    one = reader(kind)
    for layer in one.model.layers:
        for cell in cells(layer.output_shape, rng):
            one.page.evaluate(STATE, {"layer": layer.name, "cell": ",".join(map(str, cell))})
            lit = one.page.evaluate("async () => (await import('nanocnn/cell.js')).highlight()")
            for name, field in receptive_field(one.model, layer.name, cell).items():
                box = [
                    [int(places.min()), int(places.max()) + 1]
                    for places in field.mask.nonzero()
                    if field.mask.any()
                ]
                assert lit.get(name, []) == box, (layer.name, cell, name)
