"""Download a data set from its public mirrors, verified.

A file gets its name only after its SHA-256 is checked. The mirrors are tried in turn; without a
network this fails within seconds.
"""

import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from nanocnn.common.errors import DatasetError
from nanocnn.common.terminal import progress_bar


class Source(NamedTuple):
    """The mirrors of a data set, and the size in bytes and SHA-256 of each file.

    A name without .gz or .zip is downloaded as name.gz and unpacked; size and hash are those of the
    unpacked file, because mirrors compress it differently.
    """

    mirrors: tuple[str, ...]
    files: dict[str, tuple[int, str]]


# File names: training images and labels, test images and labels.
MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
EMNIST_FILES = tuple("emnist-digits-" + name.replace("t10k", "test") for name in MNIST_FILES)
EMNIST_ZIP = "gzip.zip"

# Hashes: tensorflow_datasets/url_checksums for the .gz files and the .zip; MNIST's are
# those of unpacked files whose packed hashes are listed there.
_MNIST = (
    (47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    (60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    (7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    (10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)
_FASHION = (
    (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
)
_KMNIST = (
    (18165135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
    (29497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
    (3041136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
    (5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
)
_EMNIST = (561753746, "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e")

SOURCES = {
    "mnist": Source(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        dict(zip(MNIST_FILES, _MNIST, strict=True)),
    ),
    "fashion_mnist": Source(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        dict(zip((f"{name}.gz" for name in MNIST_FILES), _FASHION, strict=True)),
    ),
    "kmnist": Source(
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        dict(zip((f"{name}.gz" for name in MNIST_FILES), _KMNIST, strict=True)),
    ),
    "emnist_digits": Source(
        (
            "https://biometrics.nist.gov/cs_links/EMNIST/",
            "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
        ),
        {EMNIST_ZIP: _EMNIST},
    ),
}

RESPONSE_TIMEOUT = 5.0  # seconds for a mirror to respond
READ_TIMEOUT = 30.0  # seconds a download may receive no data


def cache_folder() -> Path:
    """Return the folder for downloads: the user's cache folder on this platform."""
    return Path(_pooch().os_cache("nanocnn"))


def fetch(name: str, folder: Path, verbose: bool = True) -> str:
    """Download the files of `name` to `folder`, except those already there with the right hash.

    Returns the mirror of the last download, "" if there was none. Raises ConnectionError with the
    error of each mirror for a file that no mirror provides.
    """
    pooch = _pooch()
    used = ""
    problems: list[str] = []
    source = SOURCES[name]
    mirrors = list(source.mirrors)
    with _quiet(pooch.get_logger()):
        for file, (size, sha256) in source.files.items():
            packed = not file.endswith((".gz", ".zip"))
            for mirror in tuple(mirrors):
                url = mirror + file + ".gz" * packed
                download = _Download(size, packed, verbose)
                try:
                    pooch.retrieve(url, f"sha256:{sha256}", file, folder, downloader=download)
                    used = mirror if download.begun else used
                    break
                except (OSError, ValueError, zlib.error) as error:  # requests' errors are OSErrors
                    problems.append(f"{urlsplit(url).netloc}: {_reason(error, file)}")
                    mirrors.append(mirrors.pop(0))  # try another mirror first for the next file
            else:
                raise ConnectionError("; ".join(problems))
    return used


def _pooch() -> Any:
    """Import pooch without its warning about a missing notebook widget, which is not used here."""
    with warnings.catch_warnings(action="ignore"):
        import pooch
    return pooch


class _Download:
    """Downloads at most `size` bytes to a file; unpacks gzip data if `packed`, as they come."""

    def __init__(self, size: int, packed: bool, verbose: bool) -> None:
        self.size = self.left = size
        self.packed, self.verbose, self.begun = packed, verbose, False
        self.unpacker = zlib.decompressobj(wbits=31)

    def __call__(self, url: str, part: str, _: Any) -> None:
        """Called by pooch, to write `url` to the file `part`."""
        _check_server(url)
        self.begun = True
        name = url.rpartition("/")[2]
        with (
            open(part, "wb") as self.file,
            progress_bar(
                self.verbose, desc=name, total=self.size, unit="B", unit_scale=True
            ) as bar,
        ):
            fetch = _pooch().HTTPDownloader(
                progressbar=bar,
                chunk_size=1 << 16,
                timeout=(RESPONSE_TIMEOUT, READ_TIMEOUT),
                headers={"Accept-Encoding": "identity"},  # the .gz itself, not unpacked in transit
            )
            fetch(url, self, None)

    def write(self, chunk: bytes) -> None:
        """Called by pooch's downloader."""
        if self.packed:
            chunk = self.unpacker.decompress(chunk, self.left + 1)
        self.left -= len(chunk)
        if self.left < 0:
            raise DatasetError("the file is larger than expected")
        self.file.write(chunk)

    def flush(self) -> None:
        pass


def _check_server(url: str) -> None:
    """Raise unless the server sends any response within RESPONSE_TIMEOUT seconds in total.

    A connect timeout restarts for each address of the server and does not cover name resolution.
    """
    import requests

    outcome: list[Exception | None] = []

    def request() -> None:
        try:
            requests.head(url, timeout=RESPONSE_TIMEOUT).close()
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(RESPONSE_TIMEOUT)
    if not outcome:
        raise TimeoutError
    if outcome[0] is not None:
        raise outcome[0]


def _reason(error: Exception, file: str) -> str:
    import requests

    if isinstance(error, (requests.HTTPError, DatasetError)):
        return str(error)
    if isinstance(error, requests.RequestException):
        return type(error).__name__  # its message is a paragraph of nested exceptions
    if isinstance(error, ValueError):
        return f"{file} has the wrong SHA-256"
    return f"{type(error).__name__} {error}".strip()


@contextmanager
def _quiet(logger: Any) -> Iterator[None]:
    """Silence pooch's log: `load` prints one line instead."""
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
