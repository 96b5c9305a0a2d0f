"""The server of the page over real sockets: what it serves, and what it survives."""

import base64
import gzip
import hashlib
import http.client
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from nanocnn.explore import server
from support.explore_client import Client
from support.explore_fake import Session, exchange, lives


def test_the_page_and_its_files_are_served_compressed(client):
    status, headers, plain = client.request("GET", "")
    assert status == 200 and headers["content-type"].startswith("text/html")
    assert b"<html" in plain and "content-encoding" not in headers
    status, headers, small = client.request("GET", "", headers={"Accept-Encoding": "gzip, br"})
    assert headers["content-encoding"] == "gzip" and gzip.decompress(small) == plain
    status, headers, _ = client.request("GET", "page/main.js")
    assert status == 200 and headers["content-type"].startswith("text/javascript")


def test_every_answer_has_the_security_headers(client):
    asked = [
        ("GET", ""), ("GET", "page/main.js"), ("GET", "page/none.js"), ("GET", "/"),
        ("POST", "api/add"), ("POST", "api/none"), ("PUT", ""),
    ]  # fmt: skip
    for method, path in asked:
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


def test_10000_requests_in_a_row_are_slowed_down_and_survived(start, monkeypatch):
    monkeypatch.setattr(server, "RATE", 20)
    monkeypatch.setattr(server, "BURST", 100)
    with Client(start()) as client:
        client.call("session")
        request = (
            f"POST {client.base}api/add HTTP/1.1\r\nHost: {client.host}\r\n"
            f"X-Session: {client.session}\r\nContent-Length: 2\r\n\r\n{{}}"
        ).encode()
        started, found = time.monotonic(), {200: 0, 429: 0}
        with socket.create_connection(client.host.split(":"), timeout=60) as one:
            lines = one.makefile("rb")
            for _ in range(100):
                one.sendall(100 * request)  # without waiting for an answer
                for _ in range(100):
                    status, headers = read_answer(lines)
                    found[status] += 1
                    assert status == 200 or headers["retry-after"] == "1"
            lines.close()
        allowed = server.BURST + server.RATE * (time.monotonic() - started)
        assert server.BURST - 1 <= found[200] <= allowed and sum(found.values()) == 10_000
        time.sleep(0.2)
        assert lives(client)


def read_answer(lines):
    """Status and headers of the next answer on a connection."""
    status = int(lines.readline().split()[1])
    headers = http.client.parse_headers(lines)
    lines.read(int(headers["content-length"]))
    return status, headers


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
    before = threading.enumerate()
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
    left = set(threading.enumerate()) - set(before)
    assert not [thread for thread in left if thread.name == "nanocnn explore"]


def test_a_page_that_ends_at_once_frees_its_port(start):
    for _ in range(10):
        page = start()
        page.close()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", urlsplit(page.url).port)).close()


def broken(page, session):
    with Client(page) as client, pytest.raises((OSError, Exception)):
        client.session = session
        assert client.post("wait", {"seconds": 2})[0] == 200


def test_a_port_in_use_is_said_clearly(page):
    port = urlsplit(page.url).port
    with pytest.raises(OSError, match=rf"^port {port} of 127.0.0.1 is in use: use another"):
        server.serve(Session, port=port, open=False)


def test_answers_are_not_held_back(client):
    """Until the reader acknowledges their headers, which takes 40 ms."""
    times = []
    for _ in range(60):
        started = time.perf_counter()
        client.post("add")
        times.append(time.perf_counter() - started)
    assert min(times[30:]) < 0.03


@pytest.mark.parametrize("options", [
    {"port": -1}, {"port": 65536}, {"port": 1.5}, {"port": "80"}, {"port": True}, {"host": 1},
    {"host": "\0"}, {"open": 1},
])  # fmt: skip
def test_wrong_arguments_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        server.serve(Session, **{"open": False, **options})


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "a" * 300])
def test_hosts_that_are_not_this_machine_are_refused(host):
    with pytest.raises(ValueError, match=rf"^host='{host[:70]}"):
        server.serve(Session, host=host, open=False)


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
