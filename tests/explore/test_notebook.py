"""In a notebook: what a cell shows, run by a real kernel, and seen by a real browser."""

import http.server
import threading

import pytest

from support.browser import Tab, chromium

pytestmark = pytest.mark.slow

SETUP = """
import numpy as np, nanocnn
from nanocnn import Conv2D, Dense, Flatten, Input, Sequential
layers = [Input((28, 28, 1)), Conv2D(2, 5), Flatten(), Dense(10, activation="softmax")]
model = Sequential(layers, seed=1)
model.compile("adam", "sparse_categorical_crossentropy")
x, y = np.full((2, 28, 28, 1), 0.5, np.float32), np.array([3, 7])
"""
CELLS = [
    SETUP,
    "nanocnn.explore(model, x, y)",
    "page = _\nimport urllib.request\nprint(urllib.request.urlopen(page.url).status)",
    "nanocnn.explore(model, x, y, save='digit.html')",
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """(the outputs of the cells, the page while the kernel runs): run once, the kernel is alive."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=folder)
    with client.setup_kernel():
        for k, cell in enumerate(cells):
            client.execute_cell(cell, k)
        yield [cell.outputs for cell in cells]


def html(output):
    (shown,) = [each for each in output if each.output_type == "execute_result"]
    return shown.data["text/html"]


def seen(text, check):
    """Show the output as a notebook's server does: from another port of this machine."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(f"<!doctype html>{text}".encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with chromium() as browser:
            tab = Tab(browser)
            tab.page.goto(f"http://127.0.0.1:{server.server_port}/")
            frame = tab.page.frame_locator("iframe")
            frame.locator("html[data-ready='1']").wait_for(state="attached")
            check(frame)
            assert not [each for each in tab.errors if "favicon" not in each], tab.errors
    finally:
        server.shutdown()
        server.server_close()


def test_a_cell_shows_the_live_page_and_the_kernel_goes_on(outputs):
    text = html(outputs[1])
    assert text.startswith('<iframe src="http://127.0.0.1:')
    assert [each.text for each in outputs[2]] == ["200\n"]

    def check(frame):
        assert frame.locator("#paper").is_visible()
        frame.locator(".column[data-layer=conv2d] .title").click()
        frame.locator("#zoom-title", has_text="conv2d").wait_for()

    seen(text, check)


def test_a_cell_shows_a_saved_page_itself(outputs):
    text = html(outputs[3])
    assert "<iframe srcdoc=" in text and "digit.html" in text

    def check(frame):
        frame.locator(".column[data-layer=dense] .title").click()
        frame.locator("#zoom-title", has_text="dense").wait_for()

    seen(text, check)
