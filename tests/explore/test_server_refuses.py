"""Requests that the server of the page refuses, over real sockets; it lives on after each."""

import json
from urllib.parse import urlsplit

import pytest

from nanocnn.explore import incoming
from support.explore_fake import exchange, lives


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
    (b"[" * 100_000, "JSON"), (b'{"a":' * 50_000, "JSON"),
    (b'{"a":' * 20 + b"1" + b"}" * 20, "levels"),
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
