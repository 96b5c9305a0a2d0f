"""Coverage-guided fuzzing of the `.npz` reader: `python tests/fuzz_npz.py -runs=100000`.

Needs the `[fuzz]` extra (atheris). Starts from tests/corpus/npz, keeps what it finds in a temporary
folder, and stops at the first input that gives anything but a model or a `ModelFileError`, takes
over 5 seconds or over 1 GB. Half of the mutations change one member (a value in its JSON, for the
first) and pack the archive anew, so that the checksums are right and what lies behind is reached.
"""

import contextlib
import io
import json
import random
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["nanocnn.storage", "zipfile", "json"]):
    from nanocnn import storage
    from nanocnn.errors import ModelFileError

CORPUS = Path(__file__).parent / "corpus" / "npz"


def read(data):
    """What is under test."""
    with contextlib.suppress(ModelFileError):
        storage.npz.read(io.BytesIO(data))


VALUES = [None, True, False, 0, -1, 2**31, 10**30, 1e-3, 1e400, float("nan"), "", "x", "a/b", "..",
          [], {}, [0], [1, 1], [None, 28, 28, 1], "relu", "same", "float64", "SGD", "Conv2D",
          {"class_name": "L2", "config": {"l2": 1}}]  # fmt: skip


def mutate_json(member, choice):
    """An array of JSON bytes with one value replaced, copied to another place or deleted."""
    try:
        root = json.loads(member[member.index(b"\n") + 1 :])
    except ValueError:
        return atheris.Mutate(member, len(member) + 64)
    places, todo = [], [root] * isinstance(root, (dict, list))
    while todo:
        node = todo.pop()
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            todo += [node[key]] * isinstance(node[key], (dict, list))
    for _ in range(choice.randint(1, 3) if places else 0):
        (node, key), (other, name) = choice.choice(places), choice.choice(places)
        with contextlib.suppress(KeyError, IndexError):
            kind = choice.random()
            if kind < 0.2:
                del node[key]
            elif kind < 0.4:
                node[key] = json.loads(json.dumps(other[name]))
            else:
                node[key] = choice.choice(VALUES)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.frombuffer(json.dumps(root).encode(), np.uint8))
    return stream.getvalue()


def mutate(data, max_size, seed):
    """Mutate the archive's bytes, or one member's bytes or name."""
    choice = random.Random(seed)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:
        members = []
    if not members or choice.random() < 0.5:
        return atheris.Mutate(data, max_size)
    place = choice.randrange(len(members))
    name, content = members[place]
    kind = choice.random()
    if kind < 0.5:  # most of the code is about the JSON
        members[0] = members[0][0], mutate_json(members[0][1], choice)
    elif kind < 0.8:
        members[place] = name, atheris.Mutate(content, len(content) + 64)
    elif kind < 0.9:
        members[place] = choice.choice(members)[0], content
    else:
        del members[place]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()[:max_size]


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")  # zipfile's, about members of one name
    with tempfile.TemporaryDirectory() as found:
        limits = ["-rss_limit_mb=1024", "-timeout=5", "-max_len=20000"]
        atheris.Setup(
            [sys.argv[0], *limits, *sys.argv[1:], found, str(CORPUS)],
            read,
            custom_mutator=mutate,
        )
        atheris.Fuzz()
