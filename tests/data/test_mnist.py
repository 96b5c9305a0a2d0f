"""MNIST is found, fetched and verified, or refused with a reason; the web server is in here."""

import gzip
import hashlib
import io
import socket
import struct
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from nanocnn.common.errors import DatasetError
from nanocnn.data import download, idx, mnist

X = np.random.default_rng(0).integers(0, 256, (30, 28, 28), np.uint8)
Y = np.arange(30, dtype=np.uint8) % 10
PARTS = (X[:20], Y[:20], X[20:], Y[20:])
Files = dict[str, bytes]


def raw(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    idx.write(file, array)
    return file.getvalue()


def packed(names: tuple[str, ...] = download.MNIST_FILES, level: int = 9) -> Files:
    return {f"{n}.gz": gzip.compress(raw(a), level) for n, a in zip(names, PARTS, strict=True)}


def hashed(files: Files) -> dict[str, tuple[int, str]]:
    return {name: (len(b), hashlib.sha256(b).hexdigest()) for name, b in files.items()}


def put(folder: Path, files: Files) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def assert_loaded(loaded: tuple[mnist.Split, mnist.Split]) -> None:
    (x_train, y_train), (x_test, y_test) = loaded
    for got, part in zip((x_train, y_train, x_test, y_test), PARTS, strict=True):
        np.testing.assert_array_equal(got, part)
        assert got.dtype == np.uint8 and got.flags.c_contiguous and got.flags.writeable


class Server:
    """Serves {path: bytes}; a path that is missing is a 404, one cut short hangs up half-way."""

    def __init__(self) -> None:
        self.files: Files = {}
        self.cut: set[str] = set()
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.lstrip("/")
                server.asked.append(path)
                data = server.files.get(path)
                if data is None:
                    return self.send_error(404)
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if path in server.cut else data)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no $NANOCNN_DATA, no proxy, and mirrors that refuse every connection."""
    for name in ("NANOCNN_DATA", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path / "cache")
    for name, source in download.SOURCES.items():
        dead = source._replace(mirrors=("http://127.0.0.1:9/", "http://127.0.0.1:9/again/"))
        monkeypatch.setitem(download.SOURCES, name, dead)
    return tmp_path / "cache"


def serve(monkeypatch: pytest.MonkeyPatch, name: str, urls: list[str], files: Files) -> None:
    """Let `name` be fetched from `urls`, and be right if it is `files`."""
    monkeypatch.setitem(download.SOURCES, name, download.Source(tuple(urls), hashed(files)))


UNPACKED = dict(zip(download.MNIST_FILES, map(raw, PARTS), strict=True))


def test_a_given_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = put(tmp_path / "my digits", packed())
    assert_loaded(mnist.load(folder))
    assert capsys.readouterr().out == f"mnist: 20 + 10 images from {folder}\n"
    assert_loaded(mnist.load(str(folder), verbose=False))
    assert capsys.readouterr().out == ""
    put(tmp_path / "kmnist", {name.replace("-idx", ".idx"): b for name, b in UNPACKED.items()})
    assert_loaded(mnist.load(tmp_path, name="kmnist"))


def test_a_given_folder_that_lacks_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a folder"):
        mnist.load(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"expected train-images-idx3-ubyte.* has none"):
        mnist.load(tmp_path)
    folder = put(tmp_path / "partial", packed())
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match="partial lacks t10k-labels-idx1-ubyte "):
        mnist.load(folder)


def test_locate_tells_where_load_would_read(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`locate` says what `load` does then, without reading or fetching."""
    monkeypatch.setattr(download, "fetch", lambda *arguments: "")
    for name, end in (("mnist", ", or the embedded sample without a network"), ("kmnist", "")):
        nowhere = f"a download from http://127.0.0.1:9/ to {cache / name}{end}"
        assert mnist.locate(name) == nowhere
        monkeypatch.setenv("NANOCNN_DATA", str(tmp_path))
        assert mnist.locate(name) == f"{nowhere} ($NANOCNN_DATA, {tmp_path}, does not have it)"
        monkeypatch.delenv("NANOCNN_DATA")
    folder = put(cache / "mnist", packed())
    assert mnist.locate() == f"{folder}, from earlier downloads"
    mnist.load()
    assert f"images from {folder}\n" in capsys.readouterr().out
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert mnist.locate().startswith("a download ")
    chosen = put(tmp_path / "chosen", packed())
    monkeypatch.setenv("NANOCNN_DATA", str(chosen))
    assert mnist.locate() == f"{chosen} ($NANOCNN_DATA)"
    mnist.load()
    assert f"images from {mnist.locate()}\n" in capsys.readouterr().out
    (chosen / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match="chosen lacks t10k-labels-idx1-ubyte "):
        mnist.locate()


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown data set 'fashionmnist'; did you mean 'fashion_"):
        mnist.load(name="fashionmnist")


def test_the_environment_variable_names_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put(tmp_path / "data", packed())
    monkeypatch.setenv("NANOCNN_DATA", str(folder))
    assert_loaded(mnist.load())
    assert capsys.readouterr().out == f"mnist: 20 + 10 images from {folder} ($NANOCNN_DATA)\n"
    with pytest.raises(DatasetError, match=r"\$NANOCNN_DATA, .*data, does not have it"):
        mnist.load(name="kmnist")  # MNIST's files are not taken for KMNIST's
    put(folder / "kmnist", packed())
    assert_loaded(mnist.load(name="kmnist"))
    put(tmp_path / "Fashion-MNIST", packed())
    monkeypatch.setenv("NANOCNN_DATA", str(tmp_path / "Fashion-MNIST"))
    assert_loaded(mnist.load(name="fashion_mnist"))
    assert len(mnist.load()[0][0]) == 4000, "nor Fashion-MNIST's for MNIST's"
    assert "Fashion-MNIST, does not have it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("index", "array", "message"),
    [
        (1, Y[:19], "20 images but .*train-labels.* 19 labels"),
        (1, Y[:20] + np.uint8(1), "expected labels 0 to 9, got 10 at index 9"),
        (3, Y[20:].astype(np.int32), "t10k-labels.*expected uint8 labels .*got int32"),
        (0, X[:20, :27], r"train-images.*expected uint8 images \(N, 28, 28\).*got uint8 \(20, 27"),
        (2, X[20:].astype(np.float32), "t10k-images.*got float32"),
        (2, X[:0], "1 or more, got uint8"),
        (0, X[:20, 0], "expected uint8 images"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(
    tmp_path: Path, index: int, array: np.ndarray, message: str
) -> None:
    folder = put(tmp_path / "data", packed())
    idx.write(folder / f"{download.MNIST_FILES[index]}.gz", array)
    with pytest.raises(DatasetError, match=message):
        mnist.load(folder)


def test_a_file_that_unpacks_to_too_much_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blank images, a thousand times smaller when packed; real ones are 5 times smaller."""
    assert mnist.MAX_BYTES <= 64 << 20 and mnist.MAX_RATIO <= 100
    monkeypatch.setattr(mnist, "MAX_BYTES", 1 << 20)
    count = mnist.MAX_BYTES // 784 + 1
    head = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28)
    bomb = gzip.compress(head + bytes(count * 784))
    for name, found in (("mnist", download.MNIST_FILES), ("emnist_digits", download.EMNIST_FILES)):
        folder = put(tmp_path / name, {f"{stem}.gz": bomb for stem in found})
        tracemalloc.start()
        with pytest.raises(DatasetError, match=f"uint8, more than max_bytes={mnist.MAX_BYTES:,}"):
            mnist.load(folder, name)
        assert tracemalloc.get_traced_memory()[1] < 4 * idx.CHUNK
        tracemalloc.stop()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:  # packed once more
        for stem in download.EMNIST_FILES:
            archive.writestr(f"gzip/{stem}.gz", gzip.compress(head + bytes(count * 784), 0))
    put(tmp_path / "zip", {download.EMNIST_ZIP: stream.getvalue()})
    with pytest.raises(DatasetError, match="more than max_bytes="):
        mnist.load(tmp_path / "zip", "emnist_digits")


@pytest.mark.parametrize("path", [3, b"folder", [], ""])
def test_wrong_arguments_are_refused(path: object) -> None:
    with pytest.raises(ValueError, match=r"^path=.*expected the name of a file"):
        mnist.load(path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown data set"):
        mnist.load(name=path)  # type: ignore[arg-type]


def test_the_sample(capsys: pytest.CaptureFixture[str]) -> None:
    (x_train, y_train), (x_test, y_test) = mnist.sample()
    assert x_train.shape == (4000, 28, 28) and x_test.shape == (1000, 28, 28)
    assert (
        np.bincount(y_train).tolist() == [400] * 10 and np.bincount(y_test).tolist() == [100] * 10
    )
    assert len(np.unique(np.concatenate([x_train, x_test]).reshape(5000, -1), axis=0)) == 5000
    folder = Path(mnist.__file__).parent / "sample"
    note = (folder / "README.md").read_text()
    for path in folder.glob("*.gz"):
        assert (
            f"{hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()}  {path.name}" in note
        )
    assert capsys.readouterr().out == ""


def test_fetched_once_then_from_the_cache(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files = packed(level=1)  # packed anew: the hash is that of the unpacked file
    serve(monkeypatch, "mnist", [server.url], UNPACKED)
    assert_loaded(mnist.load())
    first = capsys.readouterr()
    assert (
        first.out == f"mnist: 20 + 10 images from {server.url}, now cached in {cache / 'mnist'}\n"
    )
    assert first.err == ""
    assert sorted(p.name for p in (cache / "mnist").iterdir()) == sorted(UNPACKED)
    server.asked.clear()
    assert_loaded(mnist.load())
    assert capsys.readouterr().out == f"mnist: 20 + 10 images from {cache / 'mnist'}\n"
    assert server.asked == []
    (cache / "mnist" / download.MNIST_FILES[1]).write_bytes(b"rotten")
    assert_loaded(mnist.load())
    assert server.asked == ["train-labels-idx1-ubyte.gz"]


def test_packed_files_of_the_others(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files = packed()
    serve(monkeypatch, "kmnist", [server.url], server.files)
    assert_loaded(mnist.load(name="kmnist"))


@pytest.mark.parametrize("trouble", ["dead", "missing", "corrupt", "cut off", "endless", "page"])
def test_the_next_mirror_is_tried(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    good = packed()
    server.files = {f"good/{name}": data for name, data in good.items()}
    bad = dict(good)
    match trouble:
        case "missing":
            bad = {}
        case "corrupt":
            bad = {n: b[:30] + bytes([b[30] ^ 1]) + b[31:] for n, b in good.items()}
        case "cut off":
            server.cut = {f"bad/{name}" for name in good}
        case "endless":
            bad = {name: gzip.compress(UNPACKED[name[:-3]] + bytes(1 << 24)) for name in good}
        case "page":
            bad = dict.fromkeys(good, b"<html>moved</html>")
    server.files |= {f"bad/{name}": data for name, data in bad.items()}
    first = "http://127.0.0.1:9/" if trouble == "dead" else f"{server.url}bad/"
    serve(monkeypatch, "mnist", [first, f"{server.url}good/"], UNPACKED)
    assert_loaded(mnist.load())
    assert len(server.asked) == 4 + (trouble != "dead"), "a bad mirror is asked once"
    assert sorted(p.name for p in (cache / "mnist").iterdir()) == sorted(UNPACKED)


def test_with_no_working_mirror_mnist_is_the_sample_and_others_an_error(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files = packed()
    broken = "t10k-images-idx3-ubyte.gz"
    server.files[broken] = gzip.compress(UNPACKED[broken[:-3]].replace(b"\0", b"\1"))
    serve(monkeypatch, "mnist", [server.url, "http://127.0.0.1:9/"], UNPACKED)
    (x_train, _), _ = mnist.load(verbose=False)
    assert len(x_train) == 4000
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "from the embedded sample" in out
    assert f"{broken[:-3]} has the wrong SHA-256" in out
    assert "127.0.0.1:9: ConnectionError" in out
    kept = {p.name for p in (cache / "mnist").iterdir()}
    assert kept == set(UNPACKED) - {broken[:-3], "t10k-labels-idx1-ubyte"}, "no half-written file"
    with pytest.raises(DatasetError, match=r"kmnist: not in .*pass their folder as path"):
        mnist.load(name="kmnist")


def test_an_endless_download_is_cut_off(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = {name: gzip.compress(UNPACKED[name[:-3]] + bytes(1 << 24)) for name in packed()}
    server.files = bomb
    serve(monkeypatch, "mnist", [server.url], UNPACKED)
    with pytest.raises(ConnectionError, match="larger than expected"):
        download.fetch("mnist", cache, verbose=False)
    assert list(cache.iterdir()) == []


def test_a_silent_mirror_costs_seconds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RESPONSE_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, never answers
        serve(monkeypatch, "mnist", [f"http://127.0.0.1:{silent.getsockname()[1]}/"], UNPACKED)
        with pytest.raises(ConnectionError, match="Time"):
            download.fetch("mnist", cache, verbose=False)
    answer, answered = threading.Event(), []
    monkeypatch.setattr(  # a name look-up that takes a minute
        "requests.head", lambda *_, **__: answer.wait(60) or answered.append("late")
    )
    with pytest.raises(ConnectionError, match="TimeoutError"):
        download.fetch("mnist", cache, verbose=False)
    assert not answered  # it was not waited for
    answer.set()


def emnist_zip() -> bytes:
    """As NIST's: other splits beside the digits, images stored with rows and columns swapped."""
    file = io.BytesIO()
    swapped = [a.swapaxes(1, 2) if a.ndim == 3 else a for a in PARTS]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("gzip/emnist-letters-train-images-idx3-ubyte.gz", b"not to be read")
        archive.writestr("gzip/../../escaped", b"not to be written")
        for name, array in zip(download.EMNIST_FILES, swapped, strict=True):
            archive.writestr(f"gzip/{name}.gz", gzip.compress(raw(array)))
    return file.getvalue()


def test_emnist_from_its_zip(
    server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = {download.EMNIST_ZIP: emnist_zip()}
    serve(monkeypatch, "emnist_digits", [server.url], server.files)
    assert_loaded(mnist.load(name="emnist_digits"))
    kept = sorted(p.name for p in (cache / "emnist_digits").iterdir())
    assert kept == sorted(f"{name}.gz" for name in download.EMNIST_FILES), "the zip is dropped"
    assert_loaded(mnist.load(name="emnist_digits"))
    assert len(server.asked) == 1
    assert_loaded(mnist.load(put(tmp_path / "own", server.files), name="emnist_digits"))
    put(tmp_path / "bad", {download.EMNIST_ZIP: emnist_zip()[:-30]})
    with pytest.raises(DatasetError, match="expected a zip file"):
        mnist.load(tmp_path / "bad", name="emnist_digits")
    wrong = bytearray(emnist_zip())
    wrong[200] ^= 1  # inside the first member that is read
    put(tmp_path / "wrong", {download.EMNIST_ZIP: bytes(wrong)})
    with pytest.raises(DatasetError):
        mnist.load(tmp_path / "wrong", name="emnist_digits")
    assert not list(tmp_path.rglob("escaped"))
