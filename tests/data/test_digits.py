"""The digit in a photo comes out as MNIST had it; what is no photo of a digit is refused."""

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageDraw

from nanocnn.common.errors import DatasetError
from nanocnn.data import mnist, photo as photos
from nanocnn.data.photo import read_digit

DIGITS, LABELS = mnist.sample()[1]
COUNT = 30


def photo(
    digit: np.ndarray,
    rng: np.random.Generator,
    scale: int = 6,
    size: int = 240,
    turn: float = 3,
    dark: bool = True,
    noise: float = 6,
    light: float = 50,
    contrast: float = 120,
) -> np.ndarray:
    """`digit` written on a larger sheet, a little turned, lit from one side, with noise."""
    big = Image.fromarray(digit).resize((28 * scale,) * 2, Image.Resampling.BICUBIC)
    turned = np.asarray(big.rotate(rng.uniform(-turn, turn), Image.Resampling.BICUBIC))
    ink = np.zeros((size, size))
    top, left = rng.integers(0, size - 28 * scale + 1, 2)
    ink[top : top + 28 * scale, left : left + 28 * scale] = turned / 255
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    paper = (190 if dark else 60) + light / 2 * (np.cos(angle) * x + np.sin(angle) * y + x * y / 4)
    sheet = paper + (-contrast if dark else contrast) * ink + rng.normal(0, noise, ink.shape)
    return sheet.clip(0, 255).astype(np.uint8)


def likeness(got: np.ndarray, digit: np.ndarray) -> float:
    """Correlation of two digits, the better of all shifts by a pixel: that much is rounding."""
    shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    shifted = [np.roll(got, shift, (0, 1)).ravel().astype(float) for shift in shifts]
    return max(np.corrcoef(s, digit.ravel())[0, 1] for s in shifted)


def nearest(images: np.ndarray) -> np.ndarray:
    """The label of the nearest of the sample's 4,000 digits to train on."""
    (x, y), _ = mnist.sample()
    x, images = (a.reshape(len(a), -1).astype(np.float32) for a in (x, images))
    return y[((images @ x.T) / np.linalg.norm(x, axis=1)).argmax(1)]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"dark": False},
        {"noise": 15, "light": 90, "contrast": 80},
        {"scale": 2, "size": 60},
        {"scale": 2, "size": 400, "noise": 3},
        {"scale": 16, "size": 600},
        {"scale": 6, "size": 168},
    ],
    ids=["dark", "light", "hard", "small", "far away", "large", "tight"],
)
def test_digits_in_photos(how: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    got = np.stack([read_digit(photo(digit, rng, **how)) for digit in DIGITS[:COUNT]])  # type: ignore[arg-type]
    assert got.dtype == np.uint8 and got.shape == (COUNT, 28, 28)
    alike = np.array([likeness(*pair) for pair in zip(got, DIGITS, strict=False)])
    assert (alike > 0.8).mean() >= 0.95, np.sort(alike)[:10]
    as_originals = (nearest(DIGITS[:COUNT]) == LABELS[:COUNT]).sum()
    assert (nearest(got) == LABELS[:COUNT]).sum() >= as_originals - 2


def test_mnist_s_own_digits_stay_as_they_are() -> None:
    alike = [likeness(read_digit(digit), digit) for digit in DIGITS[:100]]
    assert np.mean(np.array(alike) > 0.95) >= 0.97, sorted(alike)[:10]
    for digit in DIGITS[:20]:
        for scale in (1e-300, 1 / 256, 1e300):
            np.testing.assert_allclose(read_digit(digit * scale), read_digit(digit), atol=1)


def test_size_and_place_are_mnist_s() -> None:
    for got in (read_digit(photo(digit, np.random.default_rng(1))) for digit in DIGITS[:COUNT]):
        rows, columns = (np.flatnonzero(got.any(axis)) for axis in (1, 0))
        assert 19 <= max(np.ptp(rows) + 1, np.ptp(columns) + 1) <= 20
        assert got.max() >= 230
        for axis, where in ((0, rows), (1, columns)):
            centre = got.sum(1 - axis) @ np.arange(28) / got.sum()
            at_edge = where[0] == 0 or where[-1] == 27
            assert abs(centre - 14) <= 0.51 or at_edge


MODES = ["L", "RGB", "RGBA", "LA", "P", "1", "I;16", "CMYK"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode(mode: str, tmp_path: Path) -> None:
    sheet = Image.fromarray(photo(DIGITS[14], np.random.default_rng(2), noise=2, light=5))
    expected = read_digit(np.asarray(sheet))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(sheet).astype(np.uint16) * 257)
    elif mode == "P":
        image = sheet.convert("RGB").quantize(64)
    else:
        image = sheet.convert(mode, dither=Image.Dither.NONE)
    assert image.mode == mode
    path = tmp_path / ("digit.jpg" if mode == "CMYK" else "digit.png")
    image.save(path)
    got = read_digit(path)
    assert likeness(got, expected) > (0.85 if mode == "1" else 0.97)
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_digit(file), got)
    np.testing.assert_array_equal(read_digit(str(path)), got)


@pytest.mark.parametrize("shade", [0, 255])
def test_ink_on_a_transparent_background(shade: int) -> None:
    """A transparent sheet has no brightness of its own: what is drawn on it is the ink."""
    alpha = np.kron(DIGITS[3], np.ones((4, 4), np.uint8))
    sheet = np.dstack([np.full((*alpha.shape, 3), shade, np.uint8), alpha])
    assert likeness(read_digit(sheet), DIGITS[3]) > 0.95


def test_specks_and_a_dark_edge_are_ignored() -> None:
    rng = np.random.default_rng(3)
    sheet = np.full((300, 400), 220.0) + rng.normal(0, 4, (300, 400))
    sheet[60:228, 120:288] -= 0.6 * np.asarray(Image.fromarray(DIGITS[5]).resize((168, 168)))
    sheet[:, :30] = 40  # the table beside the sheet
    sheet[250:253, 330:333] = 30
    sheet = sheet.clip(0, 255).astype(np.uint8)
    assert likeness(read_digit(sheet), DIGITS[5]) > 0.9


def test_a_thin_pen_is_thickened() -> None:
    sheet = Image.new("L", (800, 800), 255)
    ImageDraw.Draw(sheet).line([(250, 150), (550, 150), (400, 650)], fill=0, width=6)
    got = read_digit(np.asarray(sheet))
    assert 7 in nearest(got[np.newaxis]) and got[8:20].max(axis=1).min() > 150
    assert 1.5 < (got / 255).sum() / 27 < 3, "strokes of about two pixels"


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "below"])
@pytest.mark.parametrize("count", [2, 3])
def test_several_digits_on_a_page_are_not_read_as_one(beside: bool, count: int) -> None:
    rng = np.random.default_rng(7)
    for gap in (24, 60, 150):  # a digit is 80 high
        for _ in range(5):
            page = np.full((700, 700), 235.0) + rng.normal(0, 4, (700, 700))
            at = 20
            for digit in DIGITS[rng.integers(len(DIGITS), size=count)]:
                big = np.kron(digit, np.ones((4, 4)))
                big = big[big.any(axis=1)][:, big.any(axis=0)]
                height, width = big.shape
                top, left = (60, at) if beside else (at, 60)
                page[top : top + height, left : left + width] -= 0.8 * big
                at += gap + (width if beside else height)
            with pytest.raises(DatasetError, match=r"found \d separate shapes .* crop the image"):
                read_digit(page.clip(0, 255).astype(np.uint8))


STROKES = {
    "5, its bar detached": [
        [(40, 22), (80, 22)],
        [(40, 36), (40, 60), (75, 62), (70, 98), (40, 95)],
    ],
    "4 in two strokes": [[(30, 20), (30, 62), (66, 62)], [(76, 20), (76, 100)]],
    "4, the second stroke within": [[(30, 20), (30, 62), (90, 62)], [(70, 76), (70, 110)]],
    "7 and its crossbar": [[(30, 20), (85, 20), (50, 100)], [(35, 62), (47, 62)]],
    "1 and its foot": [[(60, 20), (60, 84)], [(40, 98), (80, 98)]],
}


@pytest.mark.parametrize("strokes", STROKES.values(), ids=STROKES)
def test_one_digit_in_two_strokes_is_one(strokes: list[list[tuple[int, int]]]) -> None:
    page = Image.new("L", (240, 240), 250)
    for stroke in strokes:
        ImageDraw.Draw(page).line(stroke, fill=10, width=8)
    ImageDraw.Draw(page).rectangle([200, 200, 204, 204], fill=10)  # a speck
    assert (
        len(np.unique(photos._components(np.asarray(page) < 128))) == 4
    )  # two strokes, speck, paper
    rows, columns = np.nonzero(read_digit(page))
    assert max(np.ptp(rows), np.ptp(columns)) >= 18


def test_mnist_s_own_digits_are_one_each() -> None:
    for digit in (*DIGITS, *mnist.sample()[0][0][750:780]):  # a wide 4, open at its top, at 764
        read_digit(digit)


def test_pil_images_and_arrays_are_read_as_their_files_are(tmp_path: Path) -> None:
    sheet = photo(DIGITS[14], np.random.default_rng(2))
    image = Image.fromarray(sheet)
    image.save(tmp_path / "digit.png")
    expected = read_digit(tmp_path / "digit.png")
    colours = np.dstack([sheet] * 3)
    sources = [image, Image.open(tmp_path / "digit.png"), image.convert("RGBA"), sheet]
    sources += [sheet[:, :, np.newaxis], colours, np.dstack([colours, 255 + 0 * sheet])]
    sources += [sheet / 255, colours / 255, (colours / 255).astype(np.float32)]
    for source in sources:
        np.testing.assert_allclose(read_digit(source).astype(int), expected, atol=1)
    assert np.array_equal(np.asarray(image), sheet)  # left as it was


def test_a_wrong_type_of_image_source_is_refused_by_name(tmp_path: Path) -> None:
    closed = Image.open(io.BytesIO(PHOTO))
    closed.close()
    for source, message in (
        (None, "source=None, expected the path"),
        (3, "source=3, expected the path"),
        ([[0, 255], [255, 0]], r"source=\[\[0, 255\], \[255, 0\]\], expected .* np.asarray"),
        (PHOTO[:5], "expected the path of an image, a file open"),
        (tmp_path, f"{tmp_path}: expected an image, got a folder"),
        (str(tmp_path), f"{tmp_path}: expected an image, got a folder"),
        (io.StringIO("text"), "expected a file open in binary mode"),
        (Image.new("L", (0, 0)), "the image: expected at least 1 pixel, .* got 0x0"),
        (Image.new("L", (1, 1 << 16)), "32,768 per side, got 1x65536"),
        (closed, "expected an image .* closed"),
        (np.full((5, 5, 3), 200.0), "floats from 0 to 1, got float64"),
    ):
        with pytest.raises(DatasetError, match=message):
            read_digit(source)  # type: ignore[arg-type]


def png(width: int, height: int, data: bytes = b"", kind: int = 0) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">2I5B", width, height, 8, kind, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def saved(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


PHOTO = saved(Image.fromarray(photo(DIGITS[0], np.random.default_rng(4))))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected an image"),
        (b"not an image", r"expected an image \(PNG, JPEG, BMP, GIF\)"),
        (PHOTO[: len(PHOTO) // 2], "expected an image .* truncated"),
        (PHOTO[:1000] + bytes(50) + PHOTO[1050:], "expected an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "expected an image"),
        (png(1 << 14, 1 << 13, bytes(1 << 20)), "at most 67,108,864 pixels .*, got 16384x8192"),
        (png(1, 1 << 16, bytes(1 << 17)), "32,768 per side, got 1x65536"),
        (png(1 << 16, 1, bytes((1 << 16) + 1)), "32,768 per side, got 65536x1"),
        (png(1 << 30, 1 << 30), "expected an image|at most"),
        (png(0, 5), "expected an image"),
        (saved(Image.new("L", (100, 80), 200)), "found nothing that stands out"),
        (saved(Image.new("RGBA", (100, 80))), "found nothing that stands out"),
        (saved(Image.new("L", (1, 1), 9)), "found nothing that stands out"),
    ],
)
def test_images_without_a_digit_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "scan.png").write_bytes(data)
    with pytest.raises(DatasetError, match=rf"scan\.png: .*({message})"):
        read_digit(tmp_path / "scan.png")


def test_blank_sheets_with_noise_and_shade_hold_nothing() -> None:
    rng = np.random.default_rng(5)
    for how in (
        {},
        {"noise": 15, "light": 100},
        {"noise": 1, "light": 10},
        {"size": 60, "scale": 2},
    ):
        for _ in range(5):
            with pytest.raises(DatasetError, match="stands out"):
                read_digit(photo(np.zeros((28, 28), np.uint8), rng, **how))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 5)),
        np.zeros(5),
        np.zeros((5, 5, 2), np.uint8),
        np.zeros((5, 5, 3)),
        np.zeros((5, 5), object),
        np.zeros((1 << 16, 1)),
        np.zeros((1, 1 << 16, 3), np.uint8),
        np.full((5, 5), np.nan),
        np.zeros((5, 5), np.complex64),
    ],
)
def test_arrays_that_are_not_images_are_refused(array: np.ndarray) -> None:
    with pytest.raises(DatasetError, match="the array: expected"):
        read_digit(array)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damaged_files_raise_dataset_errors_only(data: st.DataObject) -> None:
    mutant = bytearray(PHOTO[:2000] + PHOTO[-50:] if data.draw(st.booleans()) else PHOTO)
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(mutant)))
        mutant[where : where + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    with suppress(DatasetError):
        assert read_digit(io.BytesIO(bytes(mutant))).shape == (28, 28)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99), st.floats(0.01, 0.99))
def test_any_pattern_is_a_digit_or_refused(h: int, w: int, seed: int, density: float) -> None:
    sheet = (np.random.default_rng(seed).random((h, w)) < density).astype(np.uint8) * 255
    with suppress(DatasetError):
        assert read_digit(sheet).any()


def test_label_finds_the_parts() -> None:
    spiral = np.array(
        [
            [1, 1, 1, 1, 1, 0, 1],
            [0, 0, 0, 0, 1, 0, 1],
            [1, 1, 1, 0, 1, 0, 0],
            [1, 0, 0, 0, 1, 0, 1],
            [1, 1, 1, 1, 1, 0, 1],
        ],
        bool,
    )
    labels = photos._components(spiral)
    assert len(np.unique(labels[spiral])) == 3 and len(np.unique(labels[:, :5][spiral[:, :5]])) == 1
    rng = np.random.default_rng(6)
    for density in (0.2, 0.4, 0.6):
        mask = rng.random((40, 30)) < density
        np.testing.assert_array_equal(same(photos._components(mask), mask), same(naive(mask), mask))


def naive(mask: np.ndarray) -> np.ndarray:
    """Flood each part in turn."""
    labels = np.zeros(mask.shape, int)
    for start in zip(*np.nonzero(mask), strict=True):
        todo = [start] if labels[start] == 0 else []
        number = labels.max() + 1
        while todo:
            i, j = todo.pop()
            if (
                0 <= i < mask.shape[0]
                and 0 <= j < mask.shape[1]
                and mask[i, j]
                and not labels[i, j]
            ):
                labels[i, j] = number
                todo += [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    return labels


def same(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which pixels of the mask share a part, whatever the parts are called."""
    inside = labels[mask]
    return inside[:, np.newaxis] == inside
