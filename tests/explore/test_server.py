"""The server of the page over real sockets: what it serves, and what it refuses and survives."""

import base64
import gzip
import hashlib
import json
import re
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from urllib.parse import urlsplit

import numpy as np
import pytest

from nanocnn.explore import incoming, readers
from support.explore_client import Client

pytest.importorskip("uvicorn", reason="uvicorn is not installed: extra [explore]")
pytest.importorskip("starlette", reason="starlette is not installed: extra [explore]")

from nanocnn.explore import server


class Session:
    """In place of a session with a model: a thread and a number."""

    def __init__(self):
        self.number, self.closed, self.pool = 0, False, ThreadPoolExecutor(1)

    def submit(self, function, *args):
        return self.pool.submit(function, *args)

    def close(self):
        self.closed = True
        self.pool.shutdown(wait=False, cancel_futures=True)


def add(session, body):
    session.number += body.get("by", 0)
    return {"number": session.number}, []


def fail(session, body):
    raise body.get("kind", ValueError)("no \ud800 good: " + "x" * 5000)


def wait(session, body):
    time.sleep(body.get("seconds", 0.5))
    return {}, []


ACTIONS = {
    "session": add, "add": add, "fail": fail, "wait": wait,
    "echo": lambda session, body: ({"body": body}, [np.arange(3)]),
    "image": lambda session, body: ({"bytes": len(body["file"])}, []),
    "bug": lambda session, body: {}["missing"],
}  # fmt: skip


@pytest.fixture
def start(monkeypatch):
    """`start()` serves pages of sessions without a model, which are closed at the end."""
    actions = ModuleType("nanocnn.explore.actions")
    actions.ACTIONS = ACTIONS
    monkeypatch.setitem(sys.modules, actions.__name__, actions)
    monkeypatch.setattr("nanocnn.explore.actions", actions, raising=False)
    pages = []

    def serve(make=Session, **options):
        pages.append(server.serve(make, open=False, **options))
        return pages[-1]

    yield serve
    for page in pages:
        page.close()


@pytest.fixture
def page(start):
    return start()


@pytest.fixture
def client(page):
    with Client(page) as client:
        client.call("session")
        yield client


def lives(client):
    return client.call("add", {"by": 0})[0]["number"] >= 0


def test_the_page_and_its_files_are_served_compressed(client):
    status, headers, plain = client.request("GET", "")
    assert status == 200 and headers["content-type"].startswith("text/html")
    assert b"<html" in plain and "content-encoding" not in headers
    status, headers, small = client.request("GET", "", headers={"Accept-Encoding": "gzip, br"})
    assert headers["content-encoding"] == "gzip" and gzip.decompress(small) == plain
    status, headers, script = client.request("GET", "page/main.js")
    assert status == 200 and headers["content-type"].startswith("text/javascript")


def test_every_answer_has_the_security_headers(client):
    for method, path in (("GET", ""), ("GET", "page/main.js"), ("GET", "page/none.js"), ("GET", "/"),
                         ("POST", "api/add"), ("POST", "api/none"), ("PUT", "")):  # fmt: skip
        _, headers, _ = client.request(method, path)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        policy = dict(each.split(" ", 1) for each in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["base-uri"] == "'none'"
        assert policy["connect-src"] == "'self'" and policy["style-src"] == "'self'"
        assert "unsafe" not in str(policy) and "server" not in headers
    _, headers, _ = client.request("GET", "", headers={"Host": "evil.example"})
    assert headers["content-security-policy"]


def test_the_import_map_is_the_only_inline_script_and_has_its_hash_in_the_policy(client):
    _, headers, page = client.request("GET", "")
    scripts = re.findall(rb"<script([^>]*)>(.*?)</script>", page, re.S)
    inline = [(kind, text) for kind, text in scripts if b"src=" not in kind]
    [(kind, text)] = inline
    assert kind.split() == [b'type="importmap"'] and json.loads(text)["imports"]
    digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}'" in headers["content-security-policy"]
    assert b"style=" not in page and not re.search(rb"\son\w+=", page)


def test_an_answer_is_packed(client):
    result, [(array, about)] = client.call("echo", {"a": [1, "ü", None]})
    assert result == {"body": {"a": [1, "ü", None]}} and about["dtype"] == "int32"
    assert array.tolist() == [0, 1, 2]


@pytest.mark.parametrize("host", [
    "evil.example", "127.0.0.1.evil.example", "evil.example:80", "127.0.0.1@evil.example",
    "localhost.", "0.0.0.0", "", "127.0.0.1/", "[", "127.0.0.1:x", "192.168.0.1",
])  # fmt: skip
def test_a_foreign_host_is_refused(client, host):
    status, _, body = client.request("GET", "", headers={"Host": host})
    assert (status, json.loads(body)) == (403, {"error": "wrong Host or Origin"})
    assert client.error("add", headers={"Host": host})[0] == 403


def test_the_names_of_this_machine_are_accepted(client):
    port = client.host.partition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", "localhost:8888",
                 f"[::1]:{port}"):  # fmt: skip
        assert client.request("GET", "", headers={"Host": host})[0] == 200, host


def test_two_hosts_or_none_are_refused(client):
    for lines in (b"", b"Host: localhost\r\nHost: localhost\r\n"):
        data = exchange(client, b"GET %s HTTP/1.1\r\n%s\r\n" % (client.base.encode(), lines))
        assert data.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403"))
    data = exchange(client, b"GET %s HTTP/1.0\r\n\r\n" % client.base.encode())
    assert data.startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("origin", [
    "http://evil.example", "null", "http://localhost:1", "", "file://", "http://127.0.0.1",
    "ftp://{host}", "http://{host}.evil.example", "http://{host}/",
])  # fmt: skip
def test_a_foreign_origin_is_refused(client, origin):
    headers = {"Origin": origin.format(host=client.host)}
    assert client.error("add", headers=headers) == (403, "wrong Host or Origin")
    assert client.request("GET", "", headers=headers)[0] == 403


def test_the_own_origin_is_accepted(client):
    assert client.post("add", {}, {"Origin": f"http://{client.host}"})[0] == 200


@pytest.mark.parametrize("base", [
    "/", "//", "/x/", "/{half}/", "/{token}x/", "/{other}/", "/%00/", "/%C3%A9/", "/%ff/",
])  # fmt: skip
def test_without_the_token_there_is_nothing(client, base):
    token = client.base.strip("/")
    base = base.format(half=token[:-1], token=token, other=incoming.new_token())
    for method, path in (("GET", ""), ("GET", "page/main.js"), ("POST", "api/session")):
        status, _, body = client.request(method, base + path)
        assert status == 404 and "not found" in json.loads(body)["error"].lower()
    assert lives(client)


def test_tokens_differ_and_are_long(start):
    pages = [urlsplit(start().url).path.strip("/") for _ in range(3)]
    assert len(set(pages)) == 3 and min(map(len, pages)) >= 22


@pytest.mark.parametrize("path", [
    "page/..", "page/../server.py", "page/%2e%2e/server.py", "page/..%2fserver.py", "../etc/passwd",
    "page/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "page//etc/passwd", "page/..%5cserver.py",
    "page/main.js%00", "page/", "page", "page/main.js/", "api/..%2f..", "api/../page/main.js",
    "page/%", "page/%ff", "page/" + "a" * 5000, "index.html?x=../..", "page/C:%5cx",
])  # fmt: skip
def test_no_path_leads_to_other_files(client, path):
    status, _, body = client.request("GET", path)
    assert status in (404, 405) and len(body) < 200
    assert lives(client)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"])
def test_actions_are_only_posted(client, method):
    status, headers, _ = client.request(method, "api/add")
    assert status == 405 and headers["allow"] == "POST"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_files_are_only_read(client, method):
    assert client.request(method, "page/main.js")[0] == 405


@pytest.mark.parametrize("body, why", [
    (b'{"by": NaN}', "not a finite number"), (b'{"by": -Infinity}', "not a finite number"),
    (b'{"by": 1e999}', "not a finite number"), (b"[1]", "not a JSON object"), (b"1", "JSON object"),
    (b"{", "not JSON"), (b"\xff{}", "not JSON"), (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
    (b"[" * 100_000, "JSON"), (b'{"a":' * 50_000, "JSON"), (b'{"a":' * 20 + b"1" + b"}" * 20, "levels"),
    (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "levels"), (b"null", "JSON object"),
    (b"{} {}", "not JSON"), (b"PK\x03\x04", "not JSON"), (b"{'a': 1}", "not JSON"),
])  # fmt: skip
def test_what_is_not_json_is_refused(client, body, why):
    status, text = client.error("add", body)
    assert status == 400 and why in text
    assert lives(client)


@pytest.mark.parametrize("body", [{"by": -1}, {"by": -1e300}, {"\ud800": "\x00"}, {"x": [[]] * 9}])
def test_json_of_any_numbers_and_texts_reaches_the_action(client, body):
    assert client.call("echo", body)[0]["body"] == body


def test_large_bodies_are_refused_by_their_length(client):
    for action, limit in (("add", incoming.MAX_JSON), ("image", incoming.MAX_IMAGE)):
        status, text = client.error(action, b" " * (limit + 1))
        assert status == 413 and f"{limit // 1024} KB" in text
    assert client.call("image", b" " * incoming.MAX_IMAGE)[0]["bytes"] == incoming.MAX_IMAGE
    assert client.call("add", b"{}" + b" " * (incoming.MAX_JSON - 2))


def test_a_large_body_is_refused_before_it_is_sent(client):
    head = f"POST {client.base}api/add HTTP/1.1\r\nHost: {client.host}\r\nX-Session: "
    head += f"{client.session}\r\nContent-Length: 99999999999\r\n\r\n"
    assert exchange(client, head.encode()).startswith(b"HTTP/1.1 413")
    assert lives(client)


def test_large_bodies_in_chunks_are_refused(client):
    def chunks():
        for _ in range(50):
            yield b" " * 10_000

    headers = {"X-Session": client.session, "Transfer-Encoding": "chunked"}
    status, _, _ = client.request("POST", "api/add", chunks(), headers, encode_chunked=True)
    assert status == 413 and lives(client)


@pytest.mark.parametrize("head", [
    b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 20_000 + b"\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01" * 9,
    b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n\r\nhello\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", b"GET \x00 HTTP/1.1\r\nHost: a\r\n\r\n",
])  # fmt: skip
def test_what_is_not_http_is_refused(client, head):
    answer = exchange(client, head)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431", b"HTTP/1.1 403")), answer[:100]
    assert lives(client)


def test_errors_of_actions_reach_the_reader(client):
    status, text = client.error("fail")
    assert status == 400 and text.startswith("no \ud800 good") and len(text) == 1000
    assert client.error("none")[0] == 404
    assert lives(client)


def test_a_mistake_in_an_action_is_told_and_the_server_goes_on(client, caplog):
    status, text = client.error("bug")
    assert status == 500 and text.startswith("KeyError: 'missing'")
    assert "Traceback" in caplog.text
    assert lives(client)


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


def test_10000_requests_in_a_row_are_slowed_down_and_survived(client):
    found = {200: 0, 429: 0}
    started = time.monotonic()
    for _ in range(10_000):
        found[client.post("add")[0]] += 1
    allowed = server.BURST + server.RATE * (time.monotonic() - started)
    assert 0 < found[429] and server.BURST / 2 < found[200] <= allowed + 1
    status, headers, body = client.request("GET", "")
    assert status == 200 or (headers["retry-after"], "too many" in str(body)) == ("1", True)
    time.sleep(0.1)
    assert lives(client)


def test_requests_of_a_session_do_not_pile_up(page, monkeypatch):
    monkeypatch.setattr(server, "MAX_WAITING", 2)
    with Client(page) as first:
        first.call("session")

        def ask(_):
            with Client(page) as client:
                client.session = first.session
                return client.post("wait", {"seconds": 0.3})[0]

        with ThreadPoolExecutor(5) as pool:
            assert sorted(pool.map(ask, range(5))) == [200, 200, 429, 429, 429]
        assert lives(first)


def test_an_answer_that_takes_long_is_given_up(page, monkeypatch):
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.2)
    with Client(page) as client:
        client.call("session")
        status, text = client.error("wait", {"seconds": 0.5})
        assert status == 503 and "no answer" in text


def test_a_body_that_comes_too_slowly_is_given_up(client, monkeypatch):
    monkeypatch.setattr(server, "BODY_SECONDS", 0.2)
    head = f"POST {client.base}api/add HTTP/1.1\r\nHost: {client.host}\r\nX-Session: "
    head += f"{client.session}\r\nContent-Length: 100\r\n\r\n{{"
    assert exchange(client, head.encode()).startswith(b"HTTP/1.1 408")
    assert lives(client)


def test_connections_on_which_nothing_happens_are_dropped(start, monkeypatch):
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)
    page = start()
    with Client(page) as client:
        client.call("session")
        for start_of_request in (b"", b"GET / HTTP/1.1\r\nX: "):
            assert exchange(client, start_of_request) == b""  # it ends
        client.connection.close()  # and so would this
        with Client(page) as other:
            other.session = client.session
            assert other.post("wait", {"seconds": 0.8})[0] == 200  # but not one that is waited for


def test_a_reader_who_does_not_read_stops_nobody_else(client, page):
    with socket.create_connection(client.host.split(":")) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        request = f"GET {client.base} HTTP/1.1\r\nHost: {client.host}\r\n\r\n"
        one.sendall(request.encode() * 200)
        assert lives(client)
        started = time.monotonic()
        page.close()
        assert time.monotonic() - started < 1


def test_closing_takes_less_than_a_second_and_frees_the_port(start):
    for _ in range(2):
        page = start()
        with Client(page) as client:
            client.call("session")
            threading.Thread(target=broken, args=(page, client.session)).start()
            time.sleep(0.1)
            started = time.monotonic()
            page.close()
            assert time.monotonic() - started < 1
            page.close()  # once more does nothing
            with pytest.raises(OSError):
                socket.create_connection(client.host.split(":")).close()
        port = urlsplit(page.url).port
        again = start(port=port)
        assert urlsplit(again.url).port == port
        again.close()
    assert not [t for t in threading.enumerate() if t.name == "nanocnn explore" and t.is_alive()]


def broken(page, session):
    with Client(page) as client, pytest.raises((OSError, Exception)):
        client.session = session
        assert client.post("wait", {"seconds": 2})[0] == 200


def test_a_port_in_use_is_said_clearly(page):
    port = urlsplit(page.url).port
    with pytest.raises(OSError, match=rf"'127.0.0.1', port {port}: it is in use"):
        server.serve(Session, port=port, open=False)


@pytest.mark.parametrize("options", [
    {"port": -1}, {"port": 65536}, {"port": 1.5}, {"port": "80"}, {"port": True}, {"host": 1},
    {"host": "\0"}, {"open": 1},
])  # fmt: skip
def test_wrong_arguments_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        server.serve(Session, **{"open": False, **options})


def test_hosts_that_do_not_exist_are_refused():
    with pytest.raises(OSError, match=r"cannot listen at host 'no\.such\.host\.invalid', port 0"):
        server.serve(Session, host="no.such.host.invalid", open=False)


def test_bound_to_all_addresses_only_names_are_foreign(start):
    page = start(host="0.0.0.0")
    assert urlsplit(page.url).hostname == "127.0.0.1"
    with Client(page) as client:
        for host in ("192.168.0.7:80", "[fe80::1]:80", socket.gethostname()):
            assert client.request("GET", "", headers={"Host": host})[0] == 200
        assert client.request("GET", "", headers={"Host": "evil.example"})[0] == 403


def test_the_server_writes_nothing(client, capfd, caplog):
    client.request("GET", "")
    exchange(client, b"hello\r\n\r\n")
    client.request("GET", "page/none")
    assert capfd.readouterr() == ("", "") and caplog.text == ""


def exchange(client, data):
    """What a connection of its own answers to these bytes, until it ends."""
    host, port = client.host.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as one:
        one.sendall(data)
        found = b""
        try:
            while part := one.recv(65536):
                found += part
                if b"\r\n\r\n" in found:
                    break
        except ConnectionResetError:
            pass
        return found
