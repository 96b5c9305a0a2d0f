"""What the fuzzers try and what must hold then, for `fuzz.py` (guided) and `test_fuzz.py` (short).

A target's `check(data)` raises for anything but a right answer or the documented error. Its
`mutate(data, choice, change)` makes the changes that blind ones (`change`: bytes to bytes) hardly
ever make: a value in the JSON inside an archive, with the checksums right again.

Most inputs of `h5` and `keras` are recipes, see hdf5_recipes.py; blind changes of the bytes of HDF5
are the smaller part.
"""

import contextlib
import gzip
import io
import json
import os
import random
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from support.fuzz_models import FOLDER, check_model, check_weights
from support.hdf5_recipes import packed, zipped
from support.paths import CORPUS

DEFLATE = 1032  # how far gzip can blow bytes up, by the format

# What Python reports of itself and reading a file must never do.
FORBIDDEN = {"pickle.find_class", "marshal.loads", "compile", "exec", "os.exec", "os.posix_spawn",
             "os.system", "subprocess.Popen", "socket.connect", "ctypes.dlopen"}  # fmt: skip
watching, done = False, []


def audit(event, arguments):
    if watching and event in FORBIDDEN:
        done.append(event)
    elif watching and event == "open":
        path, _, flags = arguments
        inside = isinstance(path, int) or str(path).startswith(FOLDER.name)
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not inside:
            done.append(f"{path!r} opened for writing")


sys.addaudithook(audit)


def attempt(target, data):
    """The target's `check`, during which nothing is evaluated, started or written elsewhere."""
    global watching
    data = target.pack(data)
    for _ in range(2):  # the first time, modules may be imported
        done.clear()
        watching = True
        try:
            target.check(data)
        finally:
            watching = False
        if not done:
            return
    raise AssertionError(f"reading did: {', '.join(done)}")


# --- IDX


def check_idx(data):
    """No array is larger than the bytes can hold, and what was read is written and read back."""
    from nanocnn.common.errors import DatasetError
    from nanocnn.data import idx

    for variant in (data, gzip.compress(data, 1)):
        try:
            array = idx.read(io.BytesIO(variant))
        except DatasetError as error:
            assert "<open file>" in str(error)
            continue
        assert array.nbytes <= DEFLATE * len(variant) and array.flags.writeable
        again = io.BytesIO()
        idx.write(again, array)
        back = idx.read(io.BytesIO(again.getvalue()))
        assert back.dtype == array.dtype and back.shape == array.shape
        assert back.tobytes() == array.tobytes()


def blindly(data, choice, change):
    return change(data)


# --- Images


def check_image(data):
    """A digit of 28 x 28 pixels, or an error."""
    from nanocnn.common.errors import DatasetError
    from nanocnn.data.photo import read_digit

    with contextlib.suppress(DatasetError):
        digit = read_digit(io.BytesIO(data))
        assert digit.shape == (28, 28) and digit.dtype == np.uint8 and digit.any()


SIGNATURE = b"\x89PNG\r\n\x1a\n"


def mutate_image(data, choice, change):
    """Change, move, copy or leave out a chunk of a PNG; the checksums are right again."""
    if choice.random() < 0.3 or not data.startswith(SIGNATURE):
        return change(data)
    chunks, at = [], len(SIGNATURE)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return change(data)
    place, kind = choice.randrange(len(chunks)), choice.random()
    name, body = chunks[place]
    if kind < 0.1:
        del chunks[place]
    elif kind < 0.2:
        chunks.insert(choice.randrange(len(chunks) + 1), chunks[place])
    elif kind < 0.25:
        chunks[place] = change(name)[:4].ljust(4), body
    elif name == b"IDAT" and kind < 0.8:
        with contextlib.suppress(zlib.error):
            pixels = zlib.decompressobj().decompress(body, 1 << 16)
            chunks[place] = name, zlib.compress(change(pixels), 1)
    else:
        chunks[place] = name, change(body)
    return SIGNATURE + b"".join(
        len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)
        for name, body in chunks
    )


# --- Models


VALUES = [
    None, True, False, 0, -1, 1, 2**31, 10**30, 1e-3, 1e400, float("nan"), "", "x", "a/b", "..",
    [], {}, [0], [1, 1], [None, 28, 28, 1], "relu", "same", "float64", "SGD", "Conv2D", "int64",
    {"class_name": "L2", "config": {"l2": 1}}, "empty", "gzip", "external", "virtual", "S9", "O",
    "chunked", ["data", "float32", [2]], ["data", "int64", []], "/model_weights", "vars", "kernel",
    "bias:0", {"class_name": "Sequential", "config": {"layers": []}}, "@weight_names", "layers",
]  # fmt: skip


def mutate_json(text, choice, change):
    """Replace, copy, rename or delete up to three values, each somewhere in a JSON object."""
    try:
        root = json.loads(text)
    except (ValueError, RecursionError):
        return change(text)
    places, todo = [], [root] * isinstance(root, (dict, list))
    while todo:
        node = todo.pop()
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            todo += [node[key]] * isinstance(node[key], (dict, list))
    for _ in range(choice.randint(1, 3) if places else 0):
        (node, key), (other, name) = choice.choice(places), choice.choice(places)
        with contextlib.suppress(KeyError, IndexError, RecursionError):
            kind = choice.random()
            if kind < 0.15:
                del node[key]
            elif kind < 0.4:
                node[key] = json.loads(json.dumps(other[name]))
            elif kind < 0.5 and isinstance(node, dict):
                node[str(choice.choice([name, *VALUES]))] = node.pop(key)
            else:
                node[key] = choice.choice(VALUES)
    try:
        return json.dumps(root).encode()
    except RecursionError:
        return text


def mutate_archive(data, choice, change):
    """Change the bytes, or one member's bytes or name: most of the code is about the JSON."""
    members = unzipped(data)
    if not members or choice.random() < 0.4:
        return change(data)
    place, kind = choice.randrange(len(members)), choice.random()
    name, content = members[place]
    if kind < 0.5:
        texts = [i for i, (name, _) in enumerate(members) if name in ("nanocnn.npy", "config.json")]
        place = choice.choice(texts or [place])
        name, content = members[place]
        start, array = content.partition(b"\n")[::2] if name.endswith(".npy") else (b"", content)
        text = mutate_json(array, choice, change)
        members[place] = name, npy(text) if start else text
    elif kind < 0.85:
        members[place] = name, change(content)
    elif kind < 0.95:
        members[place] = choice.choice(members)[0], content
    else:
        del members[place]
    return zipped(members)


def npy(data):
    """Bytes as NumPy saves an array of them."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.frombuffer(data, np.uint8))
    return stream.getvalue()


def unzipped(data):
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:
        return []


# --- HDF5


def mutate_recipe(data, choice, change):
    """Change a recipe; or make it the file, whose bytes are then changed blindly."""
    if not data.startswith(b"{"):
        return mutate_archive(data, choice, change)
    if choice.random() < 0.9:
        return mutate_json(data, choice, change)
    return mutate_archive(packed(data), choice, change)


# --- All of them


@dataclass(frozen=True)
class Target:
    check: Callable[[bytes], None]
    mutate: Callable
    modules: list[str]  # whose coverage guides
    seconds: int  # for one input
    memory: int  # MB of the whole process, Python, libraries and the fuzzer's own included
    pack: Callable[[bytes], bytes] = bytes  # from what is mutated to what is checked
    confirm: Callable[[bytes], None] | None = None  # `check` for what the C library fails on


def keras_target(suffix):
    check, confirm = check_model(suffix), check_model(suffix, isolated=True)
    return Target(check, mutate_recipe, MODELS, 2, 500, packed, confirm)


MODELS = ["nanocnn.storage", "nanocnn.models.sequential", "zipfile", "json"]
TARGETS = {
    "idx": Target(check_idx, blindly, ["nanocnn.data", "gzip"], 10, 200),
    "npz": Target(check_model(".npz"), mutate_archive, MODELS, 5, 500),
    "h5": keras_target(".h5"),
    "keras": keras_target(".keras"),
    "weights": Target(check_weights(), mutate_recipe, MODELS, 2, 500, packed, check_weights(True)),
    "png": Target(check_image, mutate_image, ["nanocnn.data", "PIL"], 10, 1000),
}


def flips(choice):
    """A `change` without a fuzzer: a few bytes set, cut or copied."""

    def change(data):
        data = bytearray(data)
        for _ in range(choice.randint(1, 4)):
            at = choice.randrange(len(data) + 1)
            kind = choice.randrange(3)
            if kind == 0:
                data[at : at + 1] = choice.randbytes(1)
            elif kind == 1:
                del data[at : at + choice.randint(1, 8)]
            else:
                data[at:at] = data[choice.randrange(len(data) + 1) :][:8]
        return bytes(data)

    return change


def mutants(name, count, seed=0, blind=True):
    """`count` mutants of the files in the corpus of target `name`, made without a fuzzer.

    `blind` False leaves out HDF5 whose bytes were changed, on which its library may loop forever.
    """
    choice = random.Random(seed)
    files = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    target = TARGETS[name]
    while count:
        data = target.mutate(choice.choice(files), choice, flips(choice))
        if blind or not target.confirm or data.startswith(b"{"):
            count -= 1
            yield data
