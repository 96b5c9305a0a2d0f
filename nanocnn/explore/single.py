"""One HTML file that shows a whole pass with the modules of the page, and needs no server.

Styles stand in the file, modules are data: addresses in the import map, and the numbers are an
answer as the server packs it, its bytes in planes, gzipped, in base64. Arrays are stored once:
the output of a layer is the input of the next. The gradient of a dense layer's kernel is not
stored where it is, bit for bit, the product of x and dz, which the page then computes.
"""

import base64
import gzip
import hashlib
import json
import os
import re
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from ..common.arrays import Array
from ..common.files import atomic_write, check_writable, path_name
from .actions import open_session
from .packing import pack
from .parts import FUSED, WHAT, find, saved, value_range
from .session import Session
from .study import largest, source

MOST_BYTES = 200 * 2**20  # of numbers in a file: a browser keeps all of them, as text too
PLANES = 8  # bytes of the widest number; those of one significance stand together and pack better
SECONDS = 600  # that it may take
OMITTED = "edit.js", "train.js"  # they need a server
_LINK = re.compile(r'<link rel="stylesheet" href="page/([\w.]+)">\n')
_PRELOAD = re.compile(r'<link rel="modulepreload"[^>]*>\n')
_MAP = re.compile(r'<script type="importmap">.*?</script>\n', re.S)
_MAIN = re.compile(r'<script type="module" src="page/main\.js"></script>\n')
_IMPORT = re.compile(r'(?:from |import\()"nanocnn/([\w.]+)"')


def check_path(path: Any) -> str:
    """`path` if a file can be written there; ValueError or OSError if not."""
    name = path_name(path, "save")
    folder = os.path.dirname(os.path.abspath(name))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"save={name!r}: there is no folder {folder!r}, expected one")
    check_writable(name)
    return name


def save(session: Session, path: Any) -> None:
    """Write the pass of the session's digit as one HTML file.

    Raises ValueError for a model with too many numbers, OSError where no file can be written.
    """
    name = check_path(path)
    content = page(session.call(numbers, session, timeout=SECONDS))
    with atomic_write(name) as file:
        file.write(content)


def numbers(session: Session) -> bytes:
    """The description, the state, and every array of the pass, packed. In the session's thread."""
    result, _ = open_session(session, {})
    stored, arrays = _stored(session)
    names = sorted(set(re.findall(r'"function": "(\w+)"', json.dumps(result["model"]))))
    calls = {"largest {}": largest(session, {})[0]}
    for function in names:
        body = {"function": function}
        calls[f"source {json.dumps(body, separators=(',', ':'))}"] = source(session, body)[0]
    result |= {"stored": stored, "calls": calls, "can_draw": False, "can_train": False, "tests": 0}
    return pack(result | {"live": False, "tours": []}, arrays)


def _stored(session: Session) -> tuple[list[dict[str, Any]], list[Array]]:
    """What there is, and the arrays: each once, however many names it has.

    An entry has "layer" and "what", and "array", its number; or "outer", the numbers of the two
    whose products it is; or "missing", why there is none.
    """
    entries: list[dict[str, Any]] = []
    arrays: list[Array] = []
    known: dict[tuple[str, bytes], int] = {}
    count = 0

    def place(array: Array) -> int:
        nonlocal count
        key = array.dtype.name, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
        if key not in known:
            count += array.nbytes
            if count > MOST_BYTES:
                raise ValueError(
                    f"save: the pass of {session.model.name!r} has more than {MOST_BYTES >> 20} MB "
                    "of numbers, expected fewer: a browser cannot hold such a file"
                )
            known[key] = len(arrays)
            arrays.append(array.reshape(-1))
        return known[key]

    for layer, what in _names(session):
        entry: dict[str, Any] = {"layer": layer, "what": what}
        entries.append(entry)
        array = find(session.model, session.trace(), layer, what)
        if array is None:
            entry["missing"] = f"{what}: {FUSED}"
            continue
        entry |= {"shape": array.shape, "whole": value_range(array)}
        factors = _factors(session, layer, what, array)
        if factors is None:
            entry["array"] = place(array)
        else:
            entry["outer"] = [place(factor) for factor in factors]
    return entries, arrays


def _names(session: Session) -> list[tuple[str | None, str]]:
    """Every array of the pass as (layer, what)."""
    names: list[tuple[str | None, str]] = [(None, "x"), (None, "dx")]
    for step in session.trace():
        weights = session.model.get_layer(step.name).weights
        whats = [*WHAT, *(f"param:{name}" for name in weights)]
        whats += [
            *(f"grad:{name}" for name in step.grads),
            *(f"saved:{name}" for name in saved(step)),
        ]
        names += [(step.name, what) for what in whats]
    return names


def _factors(
    session: Session, layer: str | None, what: str, array: Array
) -> tuple[Array, Array] | None:
    """x and dz of a dense layer if their products are its kernel's gradient, bit for bit."""
    if layer is None or what != "grad:kernel" or array.ndim != 2:
        return None
    step = session.trace()[layer]
    if step.dz is None or step.x.size != array.shape[0] or step.dz.size != array.shape[1]:
        return None
    x, dz = step.x[0], step.dz[0]
    products = np.outer(x, dz) + array.dtype.type(0)  # the sum of one product: never -0
    return (x, dz) if products.tobytes() == array.tobytes() else None


def page(packed: bytes) -> bytes:
    """The file that shows a packed answer."""
    folder = files(__package__).joinpath("page")

    def text(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    index = text("index.html")
    style = "".join(text(name) for name in _LINK.findall(index))
    modules = {name: _address(name, code) for name, code in _modules(text).items()}
    imports = json.dumps({"imports": modules}, separators=(",", ":"))
    start = 'import "nanocnn/main.js";'
    policy = (
        f"default-src 'none'; script-src data: {_hash(imports)} {_hash(start)}; "
        f"style-src {_hash(style)}; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    index = _PRELOAD.sub("", _LINK.sub("", index))
    index = _replaced(_MAP, f'<script type="importmap">{imports}</script>\n', index)
    index = _replaced(_MAIN, f'<script type="module">{start}</script>\n', index)
    meta = f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
    index = index.replace('<meta charset="utf-8">\n', f'<meta charset="utf-8">\n{meta}', 1)
    index = index.replace("</head>", f"<style>{style}</style>\n</head>", 1)
    data = f'<script type="application/octet-stream" id="explore-data">{_squeezed(packed)}</script>'
    return index.replace("</body>", f"{data}\n</body>", 1).encode()


def _modules(text: Any) -> dict[str, str]:
    """main.js and all that it imports, by their names in the import map."""
    found: dict[str, str] = {}
    wanted = ["main.js"]
    while wanted:
        name = wanted.pop()
        if f"nanocnn/{name}" not in found:
            code = "export const mount = () => {};\n" if name in OMITTED else text(name)
            found[f"nanocnn/{name}"] = code
            wanted += _IMPORT.findall(code)
    return found


def _replaced(pattern: re.Pattern[str], by: str, text: str) -> str:
    changed, count = pattern.subn(lambda _: by, text)
    assert count == 1, pattern.pattern
    return changed


def _squeezed(packed: bytes) -> str:
    """The bytes of an answer in planes, gzipped, in base64."""
    data = np.frombuffer(packed, np.uint8).reshape(-1, PLANES).T.tobytes()
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def _address(name: str, code: str) -> str:
    code += f"//# sourceURL={name}\n"  # what errors and a debugger call it
    return f"data:text/javascript;base64,{base64.b64encode(code.encode()).decode()}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
