"""Fixtures: servers of the page whose sessions have no model."""

import pytest

from nanocnn.explore import actions, server
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
