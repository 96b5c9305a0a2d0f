"""`nanocnn.explore` and the command: where they show the page, and how they end."""

import builtins
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

import nanocnn
from nanocnn import Dense, Input, MissingExtraError, Sequential, explore
from nanocnn.cli import main
from support.explore_client import Client
from support.explored import small
from support.processes import ENVIRONMENT
from support.small_models import bits

ADDRESS = re.compile(r"^http://127\.0\.0\.1:\d+/[\w-]{22}/\n$")
SCRIPT = """
from nanocnn import explore
from support.explored import small
page = explore(small(kernels="reference"), open=False)
print("after", page)
"""


@pytest.fixture
def page():
    with explore(small(), open=False, block=False) as page:
        yield page


@contextmanager
def started(*arguments):
    """A program that was started, and the address that it has printed."""
    command = [sys.executable, "-W", "error", *arguments]
    program = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    with program:
        try:
            line = program.stdout.readline()
            assert ADDRESS.match(line), line + program.stderr.read()
            yield program, SimpleNamespace(url=line.strip())
        finally:
            program.kill()


def end(program):
    """Press Ctrl-C; the exit code, and what else was printed."""
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=20)
    return program.returncode, out, err


def test_the_module_is_called_and_reached_by_every_way():
    assert callable(nanocnn.explore) and nanocnn.explore is sys.modules["nanocnn.explore"]
    assert nanocnn.explore is explore and explore.Explorer is nanocnn.Explorer
    assert nanocnn.explore.explore.__doc__.startswith("Show `model` on a page")


def test_a_page_shows_the_numbers_of_trace(page):
    model = small()
    with Client(page) as client:
        label = client.call("session")[0]["label"]
        _, arrays = client.call("arrays", {"arrays": [
            {"layer": layer.name, "what": what} for layer in model.layers[1:] for what in "xy"
        ] + [{"layer": "conv2d", "what": "grad:kernel"}]})  # fmt: skip
        picture = client.call("digit", {"test": 0})[1][-1][0]
    trace = model.trace(
        (picture / np.float32(255)).reshape(1, 28, 28, 1), np.array([label]), training=False
    )
    expected = [getattr(layer, what)[0] for layer in trace.layers[1:] for what in "xy"]
    expected.append(trace["conv2d"].grads["kernel"])
    for (found, _), right in zip(arrays, expected, strict=True):
        assert found.dtype == right.dtype and np.array_equal(found, right)


def test_readers_change_copies_of_the_model_as_it_was(rng):
    model = small()
    before = bits(model)
    with explore(model, open=False, block=False) as page, Client(page) as client:
        client.call("session")
        kernel = model.get_layer("dense").params["kernel"]
        was = kernel[0, 0]
        kernel[0, 0] = 5  # after the call: the page does not see it
        array = {"arrays": [{"layer": "dense", "what": "param:kernel", "index": [0, 0]}]}
        assert client.call("arrays", array)[1][0][0] == was
        kernel[0, 0] = was
        change = {"kind": "weight", "layer": "dense", "name": "kernel", "index": [0, 0], "value": 9}
        client.call("edit", change)
        assert client.call("arrays", array)[1][0][0] == 9
    assert bits(model) == before


def test_samples_of_ones_own_are_shown(rng):
    x, y = rng.random((5, 28, 28, 1), np.float32), np.arange(5)
    with explore(small(), x, y, open=False, block=False) as page, Client(page) as client:
        opened, _ = client.call("session")
        assert (opened["tests"], opened["label"]) == (5, 0)
        [(found, _)] = client.call("arrays", {"arrays": [{"layer": None, "what": "x"}]})[1]
        assert np.array_equal(found, x[0])


def test_a_page_ends_once_and_says_so(page):
    assert repr(page) == f"<Exploration {page.url}>"
    threading.Timer(0.1, page.close).start()
    page.wait()  # until then
    page.close()
    assert repr(page).endswith("(closed)>")
    with Client(page) as client, pytest.raises(OSError):
        client.call("session")
    page.wait()


def test_a_page_that_is_forgotten_takes_no_memory_and_starts_anew(page):
    with Client(page) as client:
        client.call("session")
        page.forget()
        assert client.error("state")[0] == 410
        client.call("session")
        assert client.call("state")


def test_a_notebook_shows_the_page_in_a_frame(monkeypatch, capsys):
    shell = SimpleNamespace(kernel=1)
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    monkeypatch.setattr("webbrowser.open", lambda url: pytest.fail("opens a browser"))
    with explore(small()) as page:  # returns at once
        shown = page._repr_html_()
    assert capsys.readouterr().out == ""
    assert re.search(rf'<iframe src="{page.url}"[^>]* height="900"', shown)
    assert f'<a href="{page.url}" target="_blank" rel="noopener">' in shown


def test_an_interactive_interpreter_goes_on_and_a_browser_opens(monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    monkeypatch.setattr("webbrowser.open", opened.append)
    with explore(small()) as page:  # returns at once
        assert capsys.readouterr().out == f"{page.url}\n"
        for _ in range(100):
            time.sleep(0 if opened else 0.01)
    assert opened == [page.url]


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way")
def test_a_script_serves_until_it_is_interrupted_and_goes_on():
    with started("-c", SCRIPT) as (program, page), Client(page) as client:
        client.call("session")
        assert program.poll() is None
        code, out, err = end(program)
        assert (code, out, err) == (0, f"after <Exploration {page.url} (closed)>\n", "")


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way")
def test_the_command_shows_a_saved_model_until_it_is_interrupted(tmp_path):
    small().save(tmp_path / "model.npz")
    options = ("explore", str(tmp_path / "model.npz"), "--no-open", "--kernels", "reference")
    with started("-m", "nanocnn", *options) as (program, page), Client(page) as client:
        assert client.request("GET", "")[0] == 200
        opened, _ = client.call("session")
        assert opened["model"]["name"] == "small" and opened["model"]["kernels"] == "reference"
        assert not client.call("run")[0]["running"]
        assert end(program) == (130, "", "")


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way")
def test_the_command_trains_a_preset_on_the_page():
    with (
        started("-m", "nanocnn", "explore", "--no-open") as (program, page),
        Client(page) as client,
    ):
        opened, _ = client.call("session")
        assert opened["model"]["name"] == "simple"
        deadline = time.monotonic() + 60
        while (run := client.call("run")[0])["step"] < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert run["running"] and run["step"] >= 3
        assert end(program) == (130, "", "")


def refused(capsys, *options):
    assert main(["explore", *options, "--no-open"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("nanocnn explore: ") and err.count("\n") == 1
    return err


def test_the_command_says_in_one_line_what_is_wrong(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} of 127.0.0.1 is in use" in refused(capsys, "simple", "--port", port)
    assert "port=99999" in refused(capsys, "--port", "99999")
    assert "unknown preset 'simpel'; did you mean 'simple'" in refused(capsys, "simpel")
    assert "No such file" in refused(capsys, "none.npz")
    assert "no/such/folder" in refused(capsys, "--data", "no/such/folder")


@pytest.mark.parametrize("name", ["starlette.routing", "uvicorn"])
def test_without_the_extra_its_command_is_told(name, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "nanocnn.explore.server", raising=False)
    monkeypatch.delattr("nanocnn.explore.server", raising=False)
    with pytest.raises(MissingExtraError, match=r'pip install "nanocnn\[explore\]"'):
        explore(small(), open=False, block=False)
    assert 'pip install "nanocnn[explore]"' in refused(capsys)


@pytest.mark.parametrize("name, value", [
    ("model", 1), ("open", 1), ("block", "yes"), ("train", 2), ("raw_pixels", None),
    ("x", np.zeros((2, 3))), ("y", [1]), ("port", -1), ("host", "no such host"), ("data", "none"),
])  # fmt: skip
def test_wrong_arguments_are_refused_before_anything_is_served(name, value, capsys):
    options = {"model": small(), "open": False, "block": False, name: value}
    with pytest.raises(ValueError, match=rf"\b{name}\b|mnist: expected"):
        explore(**options)
    assert capsys.readouterr().out == ""


def test_what_cannot_be_trained_is_not(rng):
    model = Sequential([Input((4,)), Dense(3)])
    with pytest.raises(ValueError, match=r"^train=True, expected samples with labels"):
        explore(model, rng.random((5, 4)), train=True, open=False, block=False)


def test_the_module_is_still_a_module():
    assert pickle.loads(pickle.dumps(explore.explore)) is explore.explore
    assert "Explorer" in dir(explore) and explore.__name__ == "nanocnn.explore"
