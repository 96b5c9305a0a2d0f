"""Fixtures: servers of sessions without a model; a browser, and readers at the page."""

from contextlib import ExitStack

import pytest

from nanocnn import load_model
from nanocnn.explore import actions, server
from support.browser import chromium
from support.desk import seated, trained_model
from support.explore_client import Client
from support.explore_fake import ACTIONS, Session


@pytest.fixture
def start(monkeypatch):
    """`start()` serves pages of sessions without a model, which are closed at the end."""
    monkeypatch.setattr(actions, "ACTIONS", ACTIONS)
    pages = []

    def serve(make=Session, **options):
        pages.append(server.serve(make, open=False, **options))
        return pages[-1]

    yield serve
    for page in pages:
        page.close()


@pytest.fixture
def page(start):
    """One page."""
    return start()


@pytest.fixture
def client(page):
    """A reader of `page`, with a session."""
    with Client(page) as client:
        client.call("session")
        yield client


@pytest.fixture(scope="module")
def browser():
    """A browser, led by Playwright."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The file of a network that reads digits."""
    path = tmp_path_factory.mktemp("trained") / "reader.npz"
    trained_model().save(path)
    return path


@pytest.fixture
def desk(browser, request):
    """`desk(model=None, x, y, address=, ...)`: a reader at the page of a model, or of `trained`."""
    with ExitStack() as stack:

        def open_desk(model=None, *data, **options):
            model = model or load_model(request.getfixturevalue("trained"))
            return stack.enter_context(seated(browser, model, *data, **options))

        yield open_desk
