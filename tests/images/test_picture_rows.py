"""Files read in bands: what comes is what comes at once, with everything that is said about it."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from support import tiff_files
from support.kept import Kind, kinds
from support.pictures import photograph
from support.png import encode_png

from upscaler.errors import MediaError
from upscaler.images import picture_rows, png_rows, stills, tiff_rows
from upscaler.images.picture_rows import NotInRowsError, PictureRows
from upscaler.images.still import Still


@pytest.fixture(autouse=True)
def _small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (picture_rows, png_rows, tiff_rows):
        monkeypatch.setattr(module, "BAND_BYTES", 30)


def opened(path: Path) -> PictureRows:
    return (png_rows if path.suffix == ".png" else tiff_rows).opened(path)


def joined(bands: Sequence[Still]) -> Still:
    alphas: list[Any] = [band.alpha for band in bands if band.alpha is not None]
    assert len(alphas) in (0, len(bands))
    pixels: Any = np.concatenate([band.pixels for band in bands])
    return replace(bands[0], pixels=pixels, alpha=np.concatenate(alphas) if alphas else None)


def check(path: Path, *, is_one_strip: bool = False) -> None:
    whole, rows = stills.read(path), opened(path)
    bands = list(rows.bands())
    assert (len(bands) == 1) == is_one_strip
    still = joined(bands)
    assert (rows.height, rows.width) == whole.pixels.shape[:2]
    for name in (field.name for field in fields(Still)):
        ours, theirs = getattr(still, name), getattr(whole, name)
        if isinstance(theirs, np.ndarray):
            assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs), name
        else:
            assert ours == theirs or repr(ours) == repr(theirs), name  # not a number is not itself
    for said in (rows.head, bands[-1]):
        assert said.metadata == whole.metadata and said.equal_channels == whole.equal_channels
    assert (rows.head.alpha is None) == (whole.alpha is None)
    if whole.alpha is not None:
        assert rows.head.alpha is not None and rows.head.alpha[0, 0] == whole.alpha.min()
        assert rows.alpha_is_uniform == (whole.alpha.min() == whole.alpha.max())


KINDS = [kind for kind in kinds() if kind.suffix in (".png", ".tif") and "animated" not in kind.name]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.suffix} {kind.name}")
def test_every_kind_of_file(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / f"a{kind.suffix}"
    kind.make(path)
    check(path, is_one_strip=kind.name == "of a camera")  # Pillow writes small files so


RGB = photograph(40, 48)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_png_of_every_depth(tmp_path: Path, bits: int) -> None:
    """Gray, with a transparent value: rows whose last byte is not full, too."""
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (13, 11)).astype(np.uint16)
    transparent = int(codes[5, 5])
    chunks = [(b"tRNS", transparent.to_bytes(2, "big"))]
    (tmp_path / "a.png").write_bytes(encode_png(codes, bits, chunks))
    check(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_png_with_all_filters(tmp_path: Path, mode: str) -> None:
    Image.fromarray(photograph(120, 90)).convert(mode).save(tmp_path / "a.png")
    check(tmp_path / "a.png")


def _pillow(mode: str, strip_size: int = 100, **how: object) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(RGB).convert(mode).save(path, "TIFF", strip_size=strip_size, **how)


def _tifffile(samples: object, **how: object) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, samples, **how)


HOLED = np.where(RGB[:, :, 0] > 220, np.nan, RGB[:, :, 0] * 3.0).astype(np.float32)
TIFFS: dict[str, Callable[[Path], None]] = {
    "JPEG": _pillow("RGB", compression="jpeg", strip_size=1200),
    "CCITT": _pillow("1", compression="group4"),
    "palette": _pillow("P", compression="tiff_lzw"),
    "one bit, not compressed": _pillow("1"),
    "CMYK": _pillow("CMYK", compression="tiff_deflate"),
    "LZW": lambda path: tiff_files.write(path, RGB, "tiff_lzw", predictor=2),
    "one strip, not compressed": _tifffile(RGB, photometric="rgb"),
    "one strip, 16 bits, big-endian": _tifffile(
        RGB.astype(np.uint16) * 257, photometric="rgb", byteorder=">"
    ),
    "tiles": _tifffile(RGB, photometric="rgb", tile=(16, 16), compression="zlib"),
    "planes": _tifffile(
        np.moveaxis(RGB.astype(np.uint16), 2, 0), photometric="rgb", planarconfig="separate", rowsperstrip=7
    ),
    "white is zero": _tifffile(RGB[:, :, 0], photometric="miniswhite", rowsperstrip=5),
    "floats with holes": _tifffile(HOLED, photometric="minisblack", rowsperstrip=9),
    "floats in RGB": _tifffile(RGB / np.float32(255), photometric="rgb", rowsperstrip=9),
    "BigTIFF": _tifffile(RGB, photometric="rgb", bigtiff=True, rowsperstrip=8),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_tiff_of_every_kind(tmp_path: Path, kind: str) -> None:
    TIFFS[kind](tmp_path / "a.tif")
    check(tmp_path / "a.tif")


def test_what_cannot_be_read_in_bands_says_why(tmp_path: Path) -> None:
    interlaced = bytearray(encode_png(np.zeros((3, 3), np.uint16), 8))
    interlaced[28] = 1
    (tmp_path / "a.png").write_bytes(interlaced)
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(RGB).save(tmp_path / "b.png", exif=turned)
    Image.fromarray(RGB).save(tmp_path / "b.tif", tiffinfo={274: 6})
    tifffile.imwrite(tmp_path / "c.tif", np.stack([RGB, RGB]), photometric="rgb")
    for name, why in {"a.png": "interlaced", "b.png": "turned", "b.tif": "turned", "c.tif": "pages"}.items():
        with pytest.raises(NotInRowsError, match=why):
            opened(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_truncated_file_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    stills.write(path, Still(photograph(60, 60)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if suffix == ".png" else content[:900] + content[-200:])
    with pytest.raises((MediaError, ValueError, OSError)):
        list(opened(path).bands())
