"""Sessions of the page's server: independent, at most 16, and told when they are gone."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nanocnn.explore import readers
from support.explore_client import Client
from support.explore_fake import Session


def test_two_sessions_are_independent(page):
    with Client(page) as one, Client(page) as two:
        one.call("session")
        two.call("session")
        assert one.session != two.session
        one.call("add", {"by": 3})
        assert two.call("add", {"by": 1})[0]["number"] == 1
        assert one.call("add", {"by": 0})[0]["number"] == 3


@pytest.mark.parametrize("name", ["", "x", "0", "../..", "é", "a" * 5000])
def test_an_unknown_session_is_gone(client, name):
    name = name.encode("utf-8").decode("latin-1")
    assert client.error("add", headers={"X-Session": name}) == (410, readers.OVER)


def test_of_17_sessions_the_one_idle_longest_goes(start):
    made = []

    def make():
        made.append(Session())
        return made[-1]

    with Client(start(make)) as client:
        names = []
        for _ in range(16):
            client.call("session")
            names.append(client.session)
        client.session = names[0]
        client.call("add")  # used again, so that the second is idle longest
        client.call("session")
        for name, status in zip(names, [200, 410, *[200] * 14], strict=True):
            assert client.post("add", b"", {"X-Session": name})[0] == status
    assert [session.closed for session in made] == [False, True, *[False] * 15]


def test_a_session_that_ends_under_a_request_is_gone(start):
    made = []

    def make():
        made.append(Session())
        return made[-1]

    page = start(make)
    with Client(page) as one, Client(page) as two, ThreadPoolExecutor(2) as pool:
        one.call("session")
        two.session = one.session
        first = pool.submit(one.post, "wait", {"seconds": 0.5})
        time.sleep(0.2)
        second = pool.submit(two.post, "add")
        time.sleep(0.1)
        made[0].close()
        assert second.result()[0] == 410
        assert first.result()[0] == 200
        assert one.error("add") == (410, readers.OVER)


def test_a_session_that_cannot_be_made_says_why(start):
    def make():
        raise ValueError("no such digits")

    with Client(start(make)) as client:
        assert client.error("session") == (400, "no such digits")
