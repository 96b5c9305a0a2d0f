"""Weights changed and trained on the page: all that is shown follows, and all can be taken back."""

import numpy as np
import pytest

from nanocnn.data import mnist
from support.browser import has, settled, until
from support.desk import reading_model
from support.explored import weights

pytestmark = pytest.mark.slow

STEP = "() => parseInt(document.querySelector('#train-scrub-step').textContent.slice(5)) || 0"
ENDED = """() => {
  const status = document.querySelector("#train-status").textContent;
  return status.startsWith("paused: step ") && status.includes("epoch 2");
}"""


def check_everywhere(one, layer, cell):
    """The bars, the loss, the large map and the panel show the numbers of the model as it is."""
    one.newest()
    trace = one.trace()
    bars = one.page.locator("#answer .number").evaluate_all("(all) => all.map((one) => one.title)")
    assert np.array(bars, np.float32).tobytes() == trace.prediction[0].tobytes()
    loss = one.page.get_attribute("#summary", "title")
    assert np.float32(loss) == np.float32(trace.loss)
    wanted = trace[layer].y[(0, *cell)]
    assert np.float32(one.page.get_attribute("#selected-value", "data-value")) == wanted
    assert np.float32(one.page.text_content("#panel-cell .value")) == wanted
    return trace


def test_a_changed_weight_moves_every_number_after_it_and_undo_moves_them_back(desk):
    one = desk(address="layer=dense&cell=7")
    page, before = one.page, weights(one.session)
    first = check_everywhere(one, "dense", (7,))
    page.click("#tab-edit")
    page.select_option("#edit-layer", "conv2d")
    one.set(weight="kernel:2,2,0,3")
    has(page, "#weight-title", "conv2d/kernel[2, 2, 0, 3]")
    for count in (1, 2, 3):
        page.fill("#weight-value", str(1.5 * count))
        page.press("#weight-value", "Enter")
        has(page, "#edit-undo", f"Undo ({count})")
    page.uncheck("#filter-1")
    has(page, "#edit-undo", "Undo (4)")
    has(page, "#accuracy", "%")
    one.set(layer="dense", cell="7", weight=None, panel="cell")
    second = check_everywhere(one, "dense", (7,))
    kernel = one.session.model.get_layer("conv2d").params["kernel"]
    assert kernel[2, 2, 0, 3] == 4.5 and not kernel[..., 1].any()
    assert second.prediction.tobytes() != first.prediction.tobytes()
    page.click("#tab-edit")
    for count in (3, 2, 1):
        page.click("#edit-undo")
        has(page, "#edit-undo", f"Undo ({count})")
    page.click("#edit-undo")
    until(page, "document.querySelector('#edit-undo').disabled")
    assert weights(one.session) == before
    page.click("#tab-cell")
    third = check_everywhere(one, "dense", (7,))
    assert third.prediction.tobytes() == first.prediction.tobytes()
    page.click("#tab-edit")
    page.check("#edit-freeze")
    has(page, "#edit-undo", "Undo (1)")
    page.click("#edit-reset")
    until(page, "document.querySelector('#edit-undo').disabled")
    assert weights(one.session) == before
    assert all(layer.trainable for layer in one.session.model.layers)


def test_the_accuracy_of_a_changed_network_is_counted_anew(desk):
    one = desk(address="panel=edit&layer=conv2d_1")
    page = one.page
    has(page, "#accuracy", "%")
    good = page.text_content("#accuracy")
    count = one.session.model.get_layer("conv2d_1").params["bias"].size
    for k in range(count):
        page.uncheck(f"#filter-{k}")
        has(page, "#edit-undo", f"Undo ({k + 1})")
    until(page, "(old) => !document.getElementById('accuracy').textContent.includes(old)", good)
    x, y = mnist.sample()[1]
    score = (one.ask(lambda session: session.model.predict(x)).argmax(axis=1) == y).mean()
    until(page, "(part) => document.getElementById('accuracy').textContent.includes(part)",
          f"{100 * score:.1f}")  # fmt: skip
    assert float(good.split("%")[0].split()[-1]) > 85 > 20 > 100 * score


def test_a_network_learns_on_the_page_and_is_scrubbed_back(desk):
    one = desk(reading_model(), address="panel=train&layer=dense&cell=7")
    page, before = one.page, weights(one.session)
    has(page, "#train-status", "not trained here yet")
    page.click("#train-step")
    has(page, "#train-status", "paused: step 1,")
    until(page, "() => document.documentElement.dataset.ready === '1'")
    page.click("#train-step")
    has(page, "#train-status", "paused: step 2,")
    page.fill("#batch-size", "500")
    page.press("#batch-size", "Enter")
    page.click("#train-epoch")
    until(page, ENDED)
    assert one.ask(lambda session: session.model.optimizer.iterations) > 8
    page.click("#train-start")
    start = page.evaluate(STEP)
    until(page, f"(() => {{ {STEP[6:].replace('parseInt', 'return parseInt')} }})() > {start + 10}")
    page.click("#train-pause")
    has(page, "#train-status", "paused: step ")
    until(page, "!document.getElementById('train-start').disabled")
    settled(page)
    one.set(panel="cell")
    last = check_everywhere(one, "dense", (7,))
    one.set(panel="train")
    summary = page.text_content("#chart-loss-summary")
    assert "training: " in summary
    page.focus("#train-scrub")
    page.keyboard.press("Home")
    has(page, "#train-status", "looking back at step 0")
    assert weights(one.session) == before
    one.set(panel="cell")
    first = check_everywhere(one, "dense", (7,))
    assert first.prediction.tobytes() != last.prediction.tobytes()
    one.set(panel="train")
    page.focus("#train-scrub")
    page.keyboard.press("End")
    until(page, "document.querySelector('#train-continue').disabled === false")
    page.click("#train-continue")
    has(page, "#train-status", "running: step ")
    page.click("#train-pause")
    has(page, "#train-status", "paused: step ")


def test_what_is_in_view_follows_a_running_training(desk):
    one = desk(reading_model(), address="panel=train&layer=dense&cell=3")
    page = one.page
    page.click("#train-start")
    has(page, "#train-status", "running: step ")
    page.keyboard.press("1")
    seen = set()

    def look():
        seen.add(page.text_content("#panel-cell .value"))
        return len(seen) > 3

    for _ in range(400):
        if look():
            break
        page.wait_for_timeout(50)
    assert len(seen) > 3, seen
    assert page.get_attribute("html", "data-version") is not None
    page.click("#clear")  # drawing goes on while it trains
    one.line([(140, 50), (140, 230)])
    one.drawn()
    assert one.ask(lambda session: session.digit["kind"]) == "drawn"
    page.keyboard.press("3")
    page.click("#train-pause")
    has(page, "#train-status", "paused: step ")
    one.set(panel="cell")
    check_everywhere(one, "dense", (3,))
