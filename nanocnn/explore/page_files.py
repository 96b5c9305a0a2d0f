"""The files of the page, read once and compressed, and the policy under which a browser runs it."""

import base64
import gzip
import hashlib
import re
from importlib.resources import files
from typing import NamedTuple

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
INDEX = "index.html"
_IMPORT_MAP = re.compile(rb'<script type="importmap">(.*?)</script>', re.S)


class PageFile(NamedTuple):
    """A file of the page."""

    kind: str  # its media type
    data: bytes
    gzipped: bytes


def read() -> dict[str, PageFile]:
    """All files of page/ by name. No other file is ever served."""
    found = {}
    for each in files(__package__).joinpath("page").iterdir():
        kind = TYPES.get("." + each.name.rpartition(".")[2])
        if kind and each.is_file():
            data = each.read_bytes()
            found[each.name] = PageFile(kind, data, gzip.compress(data, 6, mtime=0))
    return found


def security_headers(index: bytes) -> dict[str, str]:
    """The headers of every answer, for the page `index`.

    Nothing is loaded from elsewhere, and no script or style runs that stands in the page itself,
    but for its import map, by its hash. Only pages of this machine, such as a notebook, may frame
    it.
    """
    maps = "".join(f" 'sha256-{_hash(text)}'" for text in _IMPORT_MAP.findall(index))
    policy = {
        "default-src": "'none'",
        "script-src": f"'self'{maps}",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "frame-ancestors": "'self' http://localhost:* http://127.0.0.1:*",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }


def _hash(text: bytes) -> str:
    return base64.b64encode(hashlib.sha256(text).digest()).decode()
