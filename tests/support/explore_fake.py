"""In place of sessions with a model: sessions with a number, and actions that do little."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np


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


def lives(client):
    return client.call("add", {"by": 0})[0]["number"] >= 0


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
