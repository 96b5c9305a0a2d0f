"""A page in the browser that shows a model at work: every number of the forward and backward pass.

    nanocnn.explore(model)              draw digits, look at each cell, change weights, train
    nanocnn.explore(model, x, y)        with samples of your own
    nanocnn.explore(model, x, y, save="digit.html")     one file without a server
    python -m nanocnn explore [MODEL]   the same from the command line
    model.fit(x, y, callbacks=[nanocnn.Explorer()])     watch a training

The module itself can be called. Needs starlette and uvicorn: pip install "nanocnn[explore]".
"""

import builtins
import sys
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from ..common.files import path_name
from ..common.terminal import say
from ..common.validate import flag
from ..data import mnist
from ..models import Sequential
from . import single
from .digits import Digits
from .exploration import Exploration, SavedPage
from .explorer import Explorer
from .original import Original
from .session import Session

__all__ = ["Exploration", "Explorer", "explore"]


def explore(
    model: Sequential,
    x: Any = None,
    y: Any = None,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    open: bool | None = None,
    block: bool | None = None,
    save: Any = None,
    raw_pixels: bool = False,
    data: Any = None,
    train: bool = False,
) -> Exploration:
    """Show `model` on a page in the browser; print the page's address.

    model       a built Sequential; each reader gets a copy, so that it stays as it is
    x, y        samples (N, *input_shape) to look at and their labels as in `fit`; without them
                MNIST's test digits
    port        0: any that is free
    host        the address to bind to; "0.0.0.0" lets other machines in that know the address with
                its token, over an unencrypted connection
    open        whether to open a browser; None: unless in a notebook, which shows the page itself
    block       whether to return only when Ctrl-C is pressed; None: in scripts, but not in a
                notebook or an interactive interpreter
    save        write one HTML file with the pass of x[0] instead, which needs no server; the
                folder must exist. A notebook shows it
    raw_pixels  the model takes pixels as 0 to 255, not as 0 to 1
    data        folder with MNIST's files, for the digits to test and to train with
    train       start to train at once

    Returns an `Exploration` with `url`, `close()` and `wait()`, shown as a frame in a notebook.
    Raises ValueError for what does not fit the model, OSError for a port in use and
    MissingExtraError without starlette and uvicorn.
    """
    if not isinstance(model, Sequential):
        raise ValueError(f"model={model!r:.80}, expected a Sequential")
    for name, value in (("open", open), ("block", block)):
        if value is not None:
            flag(value, name)
    flag(train, "train")
    if save is not None:
        _only_for_servers(port=port != 0, host=host != "127.0.0.1", block=block, train=train)
        path = single.check_path(save)
    make = _sessions(model, x, y, raw_pixels, data, train)
    if save is not None:
        return _save(make, path, bool(open))
    from .server import serve

    notebook = _in_notebook()
    exploration = serve(make, host=host, port=port, open=not notebook if open is None else open)
    if not notebook:
        say(exploration.url)
    if not _is_interactive() if block is None else block:
        with suppress(KeyboardInterrupt):
            exploration.wait()
    return exploration


def _sessions(
    model: Sequential, x: Any, y: Any, raw_pixels: bool, data: Any, train: bool
) -> Callable[[], Session]:
    """What makes a session; all arguments are checked now."""
    train_digits, tests = (None, None) if data is None else mnist.load(path_name(data, "data"))
    digits = Digits(model, x, y, raw_pixels=raw_pixels, tests=tests, train=train_digits)
    model = Original(model).copy()  # as it is now, whatever becomes of it
    first = Session(model, digits)  # what does not fit is an error here, not on the page
    first.close()
    if train and not first.training.can_train:
        raise ValueError("train=True, expected samples with labels: explore(model, x, y)")

    def make() -> Session:
        session = Session(model, digits)
        if train:
            session.submit(session.training.control, "start")
        return session

    return make


def _only_for_servers(**given: object) -> None:
    """ValueError for an argument that says nothing of a saved page."""
    for name, value in given.items():
        if value:
            raise ValueError(f"{name} with save: a saved page has no server, expected no {name}")


def _save(make: Callable[[], Session], path: str, open: bool) -> Exploration:
    """Write one file; the page that it holds."""
    session = make()
    try:
        single.save(session, path)
    finally:
        session.close()
    saved = SavedPage(path)
    if open:
        webbrowser.open(saved.url)
    return saved


def _in_notebook() -> bool:
    """Whether this is a notebook, which shows what a cell returns."""
    shell = getattr(builtins, "get_ipython", None)
    return shell is not None and hasattr(shell(), "kernel")


def _is_interactive() -> bool:
    """Whether someone types in Python or IPython, who wants to go on."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or hasattr(builtins, "get_ipython")


class _Callable(ModuleType):
    """A module that is called as its function of the same name."""

    __call__ = staticmethod(explore)


sys.modules[__name__].__class__ = _Callable
