"""`Explorer`: a fit is watched, and is the same as one that is not."""

import json
import math
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import nullcontext

import numpy as np
import pytest

from nanocnn import (
    Dense,
    Explorer,
    Flatten,
    Input,
    NonFiniteError,
    Sequential,
    TerminateOnNaN,
)
from nanocnn.common import processes
from nanocnn.common.errors import MissingExtraError
from support.small_models import BOTH_SETS, bits, digits, every_layer, small_model

pytest.importorskip("uvicorn", reason='uvicorn: pip install ".[explore]"')
pytest.importorskip("starlette", reason='starlette: pip install ".[explore]"')
X, Y = digits(100)


@pytest.fixture
def explorer():
    made = Explorer(X, Y, open=False)
    yield made
    made.close()


def ask(explorer, action, body, session=""):
    """The JSON of a packed answer."""
    request = urllib.request.Request(
        f"{explorer.url}api/{action}", json.dumps(body).encode(), {"X-Session": session}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        data = answer.read()
    size = int.from_bytes(data[:4], "little")
    return json.loads(data[4 : 4 + size])["result"]


@BOTH_SETS
@pytest.mark.parametrize("build", [small_model, every_layer])
def test_a_fit_has_the_same_bits_with_and_without(build, kernels, explorer):
    plain, watched = build(kernels), build(kernels)
    options = dict(epochs=3, verbose=0, batch_size=16, validation_split=0.2)
    histories = [plain.fit(X, Y, **options), watched.fit(X, Y, callbacks=explorer, **options)]
    assert bits(plain) == bits(watched)
    assert histories[0].history == histories[1].history


def test_shards_have_the_same_bits_with_and_without(explorer):
    plain, watched = small_model(), small_model()
    plain.fit(X, Y, 20, verbose=0, shards=2)
    watched.fit(X, Y, 20, verbose=0, shards=2, callbacks=explorer)
    assert bits(plain) == bits(watched)
    assert len(explorer._recorder.curves.steps) == 5


def test_the_curve_has_the_numbers_of_each_batch_and_not_the_means(explorer):
    model, other = small_model(), small_model()
    model.fit(X, Y, 16, 2, verbose=0, callbacks=explorer, shuffle=False, validation_data=(X, Y))
    expected = [
        other.train_on_batch(X[start : start + 16], Y[start : start + 16])
        for start in [*range(0, 100, 16)] * 2
    ]
    curves = explorer._recorder.curves
    assert curves.steps == [*range(1, 15)]
    assert curves.losses == [loss for loss, _ in expected]
    np.testing.assert_allclose(curves.accuracies, [each for _, each in expected], atol=1e-12)
    tests = explorer._recorder.tests
    assert [step for step, *_ in tests] == [7, 14]
    assert tests[-1][1:] == pytest.approx(model.evaluate(X, Y), rel=1e-6)


def test_the_address_is_printed_and_the_page_is_served(explorer, capsys):
    assert explorer.url == ""
    small_model().fit(X, Y, verbose=0, callbacks=explorer)
    assert explorer.url in capsys.readouterr().out.splitlines()
    with urllib.request.urlopen(explorer.url, timeout=60) as page:
        assert b"<script" in page.read()
    explorer.close()
    assert explorer.url == ""
    explorer.close()


def test_readers_see_the_training_while_it_runs(explorer):
    model, seen, done = small_model("fast"), [], threading.Event()

    def poll():
        while not explorer.url:
            time.sleep(0.001)
        name = ask(explorer, "session", {})["id"]
        while not done.is_set():
            seen.append(ask(explorer, "run", {"since": -1}, name))

    reader = threading.Thread(target=poll)
    reader.start()
    deadline = time.monotonic() + 60
    while len(seen) < 3 and time.monotonic() < deadline:
        model.fit(X, Y, 16, 50, verbose=0, callbacks=explorer)
    done.set()
    reader.join()
    assert any(each["running"] for each in seen) and all(each["live"] for each in seen)
    steps = [each["step"] for each in seen]
    assert steps == sorted(steps) and steps[-1] > 0
    session = explorer._make_session()
    assert bits(session.model)[0] == bits(model)[0], "the last step is always kept"
    session.close()


def test_several_fits_go_on_in_one_page(explorer):
    model = small_model()
    model.fit(X, Y, 16, verbose=0, callbacks=explorer)
    url = explorer.url
    model.fit(X, Y, 16, verbose=0, callbacks=explorer)
    assert explorer.url == url
    assert explorer._recorder.curves.steps == [*range(1, 15)]
    assert explorer._recorder.weights.steps[0] == 0
    assert explorer._recorder.weights.steps[-1] == 14


def test_a_fit_of_another_model_begins_anew_in_the_same_page(explorer):
    small_model().fit(X, Y, 16, verbose=0, callbacks=explorer)
    url, name = explorer.url, ask(explorer, "session", {})["id"]
    other = every_layer()
    other.fit(X, Y, 16, verbose=0, callbacks=explorer)
    with pytest.raises(urllib.error.HTTPError, match="410"):
        ask(explorer, "state", {}, name)
    found = ask(explorer, "session", {})
    assert explorer.url == url
    assert len(found["model"]["layers"]) == len(other.layers)


def test_a_resumed_fit_counts_on(explorer):
    model = small_model()
    model.fit(X, Y, 16, verbose=0)
    model.fit(X, Y, 16, 2, initial_epoch=1, verbose=0, callbacks=explorer)
    assert explorer._recorder.curves.steps == [*range(8, 15)]
    assert explorer._recorder.weights.steps[0] == 7
    assert explorer._recorder.place[0] == 1


def test_a_loss_that_is_nan_is_shown():
    x, y = np.ones((12, 2), np.float32), np.ones((12, 1), np.float32)
    x[5] = 1e30  # its square is infinite
    for more, expected in (
        ([TerminateOnNaN()], nullcontext()),
        ([], pytest.raises(NonFiniteError)),
    ):
        model = Sequential([Input((2,)), Dense(1)], kernels="reference")
        model.compile("sgd", "mean_squared_error")
        explorer = Explorer(x, y, open=False)
        with expected:
            model.fit(x, y, 4, verbose=0, shuffle=False, callbacks=[explorer, *more])
        losses = explorer._recorder.curves.losses
        assert np.isnan(losses).tolist() == [False, *[True] * len(more)]
        assert not explorer._recorder.runs and model.optimizer.iterations == 1
        explorer.close()


def test_a_model_with_a_layer_of_ones_own_and_no_accuracy_can_be_watched(explorer):
    class Twice(Dense):
        def forward(self, x, training=False):
            return 2 * super().forward(x, training)

        def backward(self, dy, need_dx=True):
            return super().backward(2 * dy, need_dx)

    model = Sequential([Input((12, 10, 1)), Flatten(), Twice(1)], kernels="reference")
    model.compile("sgd", "mean_squared_error")
    model.fit(X, Y, verbose=0, callbacks=explorer)
    curves = explorer._recorder.curves
    assert math.isnan(curves.accuracies[-1]) and math.isfinite(curves.losses[-1])
    session = explorer._make_session()
    assert type(session.model.layers[-1]) is Twice
    session.close()


def test_a_loss_that_is_a_function_is_shown_too():
    def squared(y_true, y_pred):
        return ((y_true - y_pred) ** 2).mean(axis=-1)

    model = small_model()
    model.compile("sgd", squared)
    explorer = Explorer(X, np.eye(10)[Y], open=False)
    model.fit(X, np.eye(10)[Y], verbose=0, callbacks=explorer)
    session = explorer._make_session()
    explorer.close()
    x, _ = session.sample
    expected = squared(np.eye(10)[Y[:1]], model.predict(x)).item()
    assert session.call(session.state)["loss"] == pytest.approx(expected, rel=1e-5)
    session.close()


def test_samples_that_do_not_fit_are_refused_before_the_first_step():
    for x, y in ((X[:, :5], Y), (X, Y[:3]), (None, None), (X, np.array(["a"] * 100))):
        model = small_model()
        before = bits(model)
        with pytest.raises(ValueError):
            model.fit(X, Y, verbose=0, callbacks=Explorer(x, y, open=False))
        assert bits(model) == before


def test_a_port_in_use_is_an_error_before_the_first_step(explorer):
    small_model().fit(X, Y, verbose=0, callbacks=explorer)
    port = int(explorer.url.split(":")[2].partition("/")[0])
    model = small_model()
    before = bits(model)
    with pytest.raises(OSError, match=str(port)):
        model.fit(X, Y, verbose=0, callbacks=Explorer(X, Y, open=False, port=port))
    assert bits(model) == before


@pytest.mark.parametrize("wrong", [dict(open="yes"), dict(open=None), dict(port=-1),
                                   dict(port=70_000), dict(port="80")], ids=str)  # fmt: skip
def test_wrong_arguments_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"Explorer: {next(iter(wrong))}"):
        Explorer(**wrong)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "nanocnn.explore.server", raising=False)
    with pytest.raises(MissingExtraError, match=r'pip install "nanocnn\[explore\]"'):
        Explorer()


def test_of_several_processes_the_first_one_shows_the_page(explorer, monkeypatch):
    monkeypatch.setattr(processes, "first", False)
    small_model().fit(X, Y, verbose=0, callbacks=explorer)
    assert explorer.url == "" and explorer._recorder is None


def test_the_state_is_not_part_of_saved_models(explorer, tmp_path):
    model = small_model()
    model.fit(X, Y, verbose=0, callbacks=explorer)
    model.save(tmp_path / "a.npz")
    assert model.progress["callbacks"] == [{"class_name": "Explorer", "state": {}}]
