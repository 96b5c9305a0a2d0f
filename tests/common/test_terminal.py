"""Nothing to write to is no error: under pythonw, in services, behind loggers, on broken pipes."""

import contextlib
import io
import os
import subprocess
import sys

import numpy as np
import pytest

from nanocnn import EarlyStopping, LearningRateScheduler
from nanocnn.common import terminal
from nanocnn.data import download, mnist
from support.small_models import digits, small_model

X, Y = digits(20)


class NoIsatty:
    def write(self, text):
        pass


class Raises:
    """A stream that says it is a terminal and raises at everything else."""

    encoding = "utf-8"

    def isatty(self):
        return True

    def write(self, text):
        raise OSError("the other side is gone")

    flush = fileno = write


class IsattyRaises(NoIsatty):
    def isatty(self):
        raise RuntimeError("no")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "none": lambda: None, "no isatty": NoIsatty, "raises": Raises, "closed": closed,
    "isatty raises": IsattyRaises,
}  # fmt: skip


@contextlib.contextmanager
def streams(monkeypatch, stream):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        yield


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_printing_without_a_stream_is_no_error(kind, verbose, monkeypatch):
    model = small_model()
    with streams(monkeypatch, STREAMS[kind]()):
        said = LearningRateScheduler(lambda epoch: 0.1, verbose=1)
        model.fit(X, Y, 8, verbose=verbose, callbacks=[said, EarlyStopping("loss", verbose=1)])
        model.evaluate(X, Y, verbose=verbose)
        model.predict(X, verbose=verbose)
        model.summary()
        mnist.sample("the sample")
    assert model.history.epoch == [0]


@pytest.mark.parametrize("kind", STREAMS)
def test_compiling_and_downloading_work_without_a_stream(kind, monkeypatch, tmp_path):
    pytest.importorskip("numba")
    from nanocnn.kernels.fast.progress import Progress

    def hand_over(url, sink, _):
        sink.write(b"1234")

    monkeypatch.setattr(download, "_check_server", lambda url: None)
    monkeypatch.setattr(
        download, "_pooch", lambda: type("Pooch", (), {"HTTPDownloader": lambda **k: hand_over})
    )
    with streams(monkeypatch, STREAMS[kind]()):
        progress = Progress()
        for starts in True, False:  # a kernel is compiled
            progress(starts)
        assert progress.done == 1
        download._Download(4, False, True)("http://host/file", str(tmp_path / "file"), None)
    assert (tmp_path / "file").read_bytes() == b"1234"


@pytest.mark.skipif(os.name == "nt", reason="preexec_fn")
@pytest.mark.parametrize("stream", ["None", "open('closed', 'w')", "io.StringIO()"])
def test_a_warning_that_cannot_be_printed_is_no_error(stream, tmp_path):
    close = "sys.stderr and sys.stderr.close()"
    code = f"import io, sys; from nanocnn.common.errors import warn; sys.stderr = {stream}; {close}"
    subprocess.run([sys.executable, "-c", f"{code}; warn('gone')"], cwd=tmp_path, check=True)


def test_descriptors_closed_before_the_start():
    code = (
        "import numpy as np, os, sys\n"
        "from nanocnn import *\n"
        "m = Sequential([Input((3,)), Dense(2, 'softmax')], kernels='reference')\n"
        "m.compile('sgd', 'sparse_categorical_crossentropy')\n"
        "x = np.ones((4, 3)); m.fit(x, [0, 1, 0, 1], verbose=1); m.summary()\n"
        "assert sys.stdout is None or sys.stdout.fileno() not in (1, 2)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], preexec_fn=close_output)
    assert run.returncode == 0


def close_output():
    os.close(1)
    os.close(2)


def test_a_character_that_the_stream_lacks_is_replaced(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    terminal.say("naïve 1×1")
    assert raw.getvalue().split() == [b"na?ve", b"1?1"]


def test_only_a_terminal_gets_a_bar(monkeypatch):
    for stream in ("no isatty", "none", "closed", "isatty raises"):
        monkeypatch.setattr(sys, "stderr", STREAMS[stream]())
        assert not terminal.shows_bars()
    monkeypatch.setattr(sys, "stderr", Raises())
    assert terminal.shows_bars()


def test_predict_shows_what_is_asked_for(capfd):
    model = small_model()
    expected = model.predict(X)
    assert capfd.readouterr() == ("", "")
    np.testing.assert_array_equal(model.predict(X, verbose=2), expected)
    assert capfd.readouterr().out.startswith("Prediction - ")
    with pytest.raises(ValueError, match="verbose=3, expected 0, 1, 2 or 'auto'"):
        model.predict(X, verbose=3)
