"""A page in one file: what it holds, where it can be written, and how a browser shows it."""

import base64
import gzip
import json
import re

import numpy as np
import pytest

import nanocnn
from nanocnn import Dense, Flatten, Input, Sequential
from nanocnn.explore import single
from support.browser import Tab, chromium
from support.explore_client import unpack
from support.explored import TESTS, small

X, Y = TESTS


def content(path):
    """(the file's text, result, {(layer, what): array}) of a saved page."""
    text = path.read_text(encoding="utf-8")
    (data,) = re.findall(r'id="explore-data">([^<]*)</script>', text)
    planes = np.frombuffer(gzip.decompress(base64.b64decode(data)), np.uint8)
    result, arrays = unpack(planes.reshape(single.PLANES, -1).T.tobytes())
    found = {}
    for each in result["stored"]:
        if "outer" in each:
            x, dz = (arrays[k][0] for k in each["outer"])
            array = np.array([float(a) * float(b) + 0.0 for a in x for b in dz], x.dtype)
        elif "array" in each:
            array = arrays[each["array"]][0]
        else:
            array = np.empty(0)
        found[each["layer"], each["what"]] = array.reshape(each.get("shape", (0,)))
    return text, result, found


def saved(tmp_path, model=None, x=X, y=Y, **options):
    path = tmp_path / "digit.html"
    page = nanocnn.explore(model or small(), x, y, save=path, **options)
    return page, path


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saved_page_holds_every_array_of_the_pass_bit_for_bit(tmp_path, dtype):
    model = small(dtype=dtype)
    _, path = saved(tmp_path, model)
    _, result, found = content(path)
    trace = model.trace(X[:1], Y[:1], False)
    assert found[None, "x"].tobytes() == trace.x[0].tobytes()
    assert found[None, "dx"].tobytes() == trace.dx[0].tobytes()
    for step in trace:
        for what in ("x", "y", "z", "dx", "dy", "dz"):
            array = getattr(step, what)
            expected = b"" if array is None else array[0].tobytes()
            assert found[step.name, what].tobytes() == expected, (step.name, what)
        for kind, arrays in (("param", step.params), ("grad", step.grads)):
            for name, array in arrays.items():
                assert found[step.name, f"{kind}:{name}"].tobytes() == array.tobytes()
    assert result["loss"] == trace.loss and result["tests"] == 0 and not result["can_draw"]


def entry(path, layer, what):
    (found,) = (e for e in content(path)[1]["stored"] if (e["layer"], e["what"]) == (layer, what))
    return found


def test_the_gradient_of_a_dense_kernel_is_stored_as_the_product_that_it_is(tmp_path):
    _, path = saved(tmp_path)
    assert "outer" in entry(path, "dense", "grad:kernel")
    assert "array" in entry(path, "conv2d", "grad:kernel")


def test_a_gradient_that_is_no_product_is_stored_itself(tmp_path):
    layers = [Input((28, 28, 1)), Flatten(), Dense(10, "softmax", kernel_regularizer=nanocnn.L2(1))]
    model = Sequential(layers, seed=1)
    model.compile("adam", "sparse_categorical_crossentropy")
    _, path = saved(tmp_path, model)
    assert "array" in entry(path, "dense", "grad:kernel")
    grad = content(path)[2]["dense", "grad:kernel"]
    assert grad.tobytes() == model.trace(X[:1], Y[:1], False)["dense"].grads["kernel"].tobytes()


def test_an_array_of_two_names_is_stored_once(tmp_path):
    _, path = saved(tmp_path)
    conv, pool = entry(path, "conv2d", "y"), entry(path, "max_pooling2d", "x")
    assert conv["array"] == pool["array"] and conv["shape"] == pool["shape"]


def test_a_saved_page_loads_nothing_and_runs_only_what_it_holds(tmp_path):
    model = small()
    model.name = '</script><script>alert("x")</script>'
    _, path = saved(tmp_path, model)
    text, result, _ = content(path)
    assert result["model"]["name"] == model.name and model.name not in text
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src &#x27;none&#x27;;") and "unsafe" not in policy
    assert not re.search(r'(src|href)="(?!data:)', text)
    modules = json.loads(re.search(r'<script type="importmap">(.*?)</script>', text)[1])["imports"]
    assert all(address.startswith("data:text/javascript;base64,") for address in modules.values())
    code = {name: base64.b64decode(a.partition(",")[2]).decode() for name, a in modules.items()}
    for name, module in code.items():
        for imported in re.findall(r'"(nanocnn/[\w.]+)"', module):
            assert imported in modules, (name, imported)


@pytest.mark.parametrize("place", ["missing/digit.html", ".", ""])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch, place):
    monkeypatch.setattr("nanocnn.explore._sessions", None)  # the work
    monkeypatch.chdir(tmp_path)
    with pytest.raises((OSError, ValueError), match=r"folder|save"):
        nanocnn.explore(small(), save=place)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "digit.html"
    path.write_text("before")
    monkeypatch.setattr(single, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="numbers"):
        saved(tmp_path)
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("option", [{"port": 1}, {"host": "0.0.0.0"}, {"block": True},
                                    {"train": True}])  # fmt: skip
def test_what_only_a_server_can_do_is_refused(tmp_path, option):
    (name,) = option
    with pytest.raises(ValueError, match=name):
        saved(tmp_path, **option)


def test_a_saved_page_is_opened_on_request(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    page, path = saved(tmp_path, open=True)
    assert opened == [page.url] == [path.as_uri()]


def test_a_notebook_holds_the_saved_page_itself(tmp_path):
    page, path = saved(tmp_path)
    html = page._repr_html_()
    assert "<iframe srcdoc=" in html and 'sandbox="allow-scripts"' in html
    path.unlink()
    assert "iframe" not in page._repr_html_() and path.as_uri() in page._repr_html_()


def read(tab, what="#panel-cell .value .number"):
    return tab.page.locator(what).first.text_content()


@pytest.mark.slow
def test_a_browser_shows_a_saved_page_from_a_file(tmp_path):
    model = small()
    page, _ = saved(tmp_path, model)
    trace = model.trace(X[:1], Y[:1], False)
    with chromium() as browser:
        tab = Tab(browser)
        tab.open(f"{page.url}#layer=conv2d&cell=3,4,1&panel=cell")
        assert np.float32(read(tab)) == trace["conv2d"].y[0, 3, 4, 1]
        tab.page.locator("#panel-cell .source pre").first.wait_for()
        assert "def conv2d_forward" in read(tab, "#panel-cell .source pre")
        tab.open(f"{page.url}?again#layer=dense&weight=kernel:7,3&panel=cell&grad=1")
        marked = '#panel-cell [data-what="grad:kernel"]'
        assert np.float32(read(tab, marked)) == trace["dense"].grads["kernel"][7, 3]
        assert (
            tab.page.locator("#tab-train").is_hidden() and tab.page.locator("#paper").count() == 0
        )
        assert tab.errors == []
        assert all(url.startswith(("data:", page.url)) for url in tab.asked)
        tab.page.keyboard.press("2")  # no panel here
        assert tab.page.locator("#panel-cell").is_visible()


@pytest.mark.slow
def test_a_browser_shows_a_saved_page_within_a_notebook(tmp_path):
    page, _ = saved(tmp_path)
    outer = tmp_path / "notebook.html"
    outer.write_text(f"<!doctype html><meta charset=utf-8>{page._repr_html_()}", encoding="utf-8")
    with chromium() as browser:
        tab = Tab(browser)
        tab.page.goto(outer.as_uri())
        frame = tab.page.frame_locator("iframe")
        frame.locator("html[data-ready='1']").wait_for(state="attached")
        frame.locator(".column[data-layer=conv2d] .title").click()
        frame.locator("#zoom-title", has_text="conv2d").wait_for()
        assert tab.errors == [] and tab.page.url == outer.as_uri()
        assert len([url for url in tab.asked if not url.startswith("data:")]) == 1
