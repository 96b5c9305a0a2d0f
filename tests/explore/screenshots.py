"""Write the pictures of the page in README.md, of a saved model.

python tests/explore/screenshots.py results/lenet/mnist_LeNet.h5 --out examples/pictures
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import nanocnn  # noqa: E402
from nanocnn import presets  # noqa: E402
from support.browser import Tab, chromium  # noqa: E402

WIDE = {"viewport": {"width": 1400, "height": 1000}}
HIGHEST = 950
PHONE = {"viewport": {"width": 360, "height": 740}}


def main():
    parser = ArgumentParser(description="Write the pictures of the page.")
    parser.add_argument("model", metavar="MODEL", help="a saved model with two convolutions")
    parser.add_argument("--out", metavar="FOLDER", default="examples/pictures")
    parser.add_argument("--phone", action="store_true", help="at the width of a phone")
    options = parser.parse_args()
    size, out = PHONE if options.phone else WIDE, Path(options.out)
    model = nanocnn.load_model(options.model)
    conv = [layer.name for layer in model.layers if isinstance(layer, nanocnn.Conv2D)][1]
    with nanocnn.explore(model, open=False, block=False) as served, chromium() as browser:

        def shoot(name, state, act=lambda page: None, panel=False):
            tab = Tab(browser, **size)
            page = tab.open(f"{served.url}#{state}")
            act(page)
            page.wait_for_timeout(1500)
            save(page, out / f"explore_{name}.png", panel)
            tab.context.close()

        shoot("main", f"digit=test:3&layer={conv}&cell=7,4,8")
        shoot("cell", f"digit=test:3&layer={conv}&cell=7,4,8&panel=cell", panel=True)
        shoot(
            "backward", f"digit=test:3&label=6&layer={conv}&grad=1&panel=cell", weight, panel=True
        )
    live = nanocnn.explore(presets.build("simple"), open=False, block=False, train=True)
    with live as served, chromium() as browser:
        tab = Tab(browser, **size)
        page = tab.open(f"{served.url}#panel=train&layer=conv2d")
        page.wait_for_timeout(25_000)
        page.locator("#train-pause").click()
        page.wait_for_timeout(2000)
        save(page, out / "explore_training.png", True)
        tab.context.close()
    return 0


def save(page, path, panel):
    """A picture of what is seen, or of the panel beside the network, at most HIGHEST pixels."""
    if not panel:
        page.screenshot(path=path)
        return
    box = page.locator("aside").bounding_box()
    clip = {**box, "height": min(box["height"], HIGHEST)}
    page.screenshot(path=path, full_page=True, clip=clip)


def weight(page):
    """Choose the weight with the largest gradient, and nudge it."""
    page.locator(".extremes li", has_text="kernel").locator("a, button").first.click()
    page.locator("#nudge").click()


if __name__ == "__main__":
    sys.exit(main())
