"""A reader of nanocnn.explore without a browser: requests over a real socket, answers unpacked."""

import http.client
import json
from urllib.parse import urlsplit

import numpy as np

from nanocnn.explore.exploration import Exploration


def unpack(data):
    """(result, arrays) of a packed answer; arrays are [(array, descriptor)]."""
    size = int.from_bytes(data[:4], "little")
    assert (4 + size) % 8 == 0
    text = json.loads(data[4 : 4 + size])
    place, arrays = 4 + size, []
    for each in text["arrays"]:
        dtype, shape = np.dtype(each["dtype"]).newbyteorder("<"), each["shape"]
        count = int(np.prod(shape, dtype=np.int64))
        arrays.append((np.frombuffer(data, dtype, count, place).reshape(shape), each))
        place += -(-count * dtype.itemsize // 8) * 8
    assert place == len(data)
    return text["result"], arrays


class Client:
    """One connection to a page's server, with one session."""

    def __init__(self, page: Exploration):
        parts = urlsplit(page.url)
        self.host, self.base, self.session = parts.netloc, parts.path, None
        self.connection = http.client.HTTPConnection(parts.netloc, timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def request(self, method, path, body=None, headers=None, **options):
        """(status, headers, body) of any request; `path` is after the token, or begins with /."""
        path = path if path.startswith("/") else self.base + path
        self.connection.request(method, path, body, headers or {}, **options)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def post(self, action, body=b"", headers=None):
        """(status, body) of an action; `body` is bytes or an object."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        mine = {} if self.session is None else {"X-Session": self.session}
        status, _, answer = self.request("POST", f"api/{action}", data, {**mine, **(headers or {})})
        return status, answer

    def call(self, action, body=b""):
        """(result, arrays) of an action that must succeed; the first makes the session."""
        status, answer = self.post(action, body)
        assert status == 200, f"{action}: {status} {answer[:500]!r}"
        result, arrays = unpack(answer)
        if action == "session":
            self.session = result["id"]
        return result, arrays

    def error(self, action, body=b"", **options):
        """(status, text) of an action that must fail."""
        status, answer = self.post(action, body, **options)
        return status, json.loads(answer)["error"]
