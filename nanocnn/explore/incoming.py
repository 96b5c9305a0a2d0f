"""What may come from a page: the checks of a request before anything is done for it."""

import json
import math
import secrets
import socket
import time
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

MAX_JSON = 256 * 1024  # bytes
MAX_IMAGE = 8 * 1024 * 1024
MAX_DEPTH = 16  # lists and objects within each other

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Names:
    """The names by which a server may be asked for.

    A page of another site can make its own name point to this machine (DNS rebinding), but the
    browser then says that name in Host. Ports are not compared: a tunnel has its own.
    """

    def __init__(self, bound: Iterable[str]) -> None:
        self.known = {*LOOPBACK, *(name.lower() for name in bound)}
        self.everywhere = bool({"0.0.0.0", "::"} & self.known)
        if self.everywhere:
            self.known |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def allow(self, host: str) -> bool:
        """Whether the value of a Host header is one of this server's names."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if name is None or parts.netloc != host or "@" in host:
            return False
        return name in self.known or (self.everywhere and _is_address(name))


def same_origin(origin: str, host: str) -> bool:
    """Whether the value of an Origin header is the server's own, as asked for in Host."""
    return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def new_token() -> str:
    """A secret for the address, of 128 random bits."""
    return secrets.token_urlsafe(16)


def same_secret(given: str, secret: str) -> bool:
    """Whether two secrets are equal, in a time that does not depend on where they differ."""
    return secrets.compare_digest(given.encode("utf-8", "replace"), secret.encode())


class Bucket:
    """A token bucket: `burst` requests at once, and `rate` more a second."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst, self.left, self.at = rate, burst, burst, time.monotonic()

    def take(self) -> bool:
        """Take one token; False if there is none."""
        now = time.monotonic()
        self.left = min(self.burst, self.left + self.rate * (now - self.at))
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


def parse(data: bytes) -> dict[str, Any]:
    """The JSON object in a request's body; an empty body is an empty object.

    Raises ValueError for anything else: not UTF-8, not an object, NaN or infinity, which JSON does
    not have, and more than `MAX_DEPTH` levels.
    """
    try:
        body = json.loads(data.decode() or "{}", parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError(f"JSON with more than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise ValueError(f"the request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ValueError("the request is not a JSON object")
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        level = [child for each in level for child in _children(each)]
    if level:
        raise ValueError(f"JSON with more than {MAX_DEPTH} levels")
    return body


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f"{text:.80} is not a finite number")


def _is_address(name: str) -> bool:
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
