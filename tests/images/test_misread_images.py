"""Valid files that Pillow and OpenCV decode as something else than they show, unless they are corrected."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image
from support.pictures import photograph
from support.png import encode_png
from support.profiles import linear_gray

from upscaler.errors import UsageError
from upscaler.images import stills
from upscaler.images.still import Still


def test_a_palette_tiff_with_8_bit_entries_is_not_black(tmp_path: Path) -> None:
    """Old scanner software wrote entries of 0 to 255 where TIFF 6.0 has 0 to 65535."""
    gray = photograph(16, 20)[:, :, 0]
    red_ramp = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 7)]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", gray, photometric="palette", colormap=red_ramp)
    expected = np.dstack([gray, 255 - gray, np.full_like(gray, 7)])
    assert np.array_equal(stills.read(tmp_path / "a.tif").pixels, expected)


def test_a_palette_tiff_with_16_bit_entries(tmp_path: Path) -> None:
    gray = photograph(16, 20)[:, :, 0]
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    tifffile.imwrite(tmp_path / "a.tif", gray, photometric="palette", colormap=ramp)
    assert np.array_equal(stills.read(tmp_path / "a.tif").pixels[:, :, 1], gray)


def bitmap(alpha: int) -> bytes:
    """A 32-bit BMP with a version 4 header and an alpha mask (BITMAPV4HEADER), 4x3 pixels of one colour."""
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 4, 3, 1, 32, 3, 48, 2835, 2835, 0, 0) + masks + bytes(52)
    pixels = bytes([30, 60, 200, alpha]) * 12
    return struct.pack("<2sIHHI", b"BM", 14 + 108 + 48, 0, 0, 14 + 108) + header + pixels


@pytest.mark.parametrize("alpha", [0, 128])
def test_a_bmp_whose_alpha_is_0_everywhere_is_opaque(tmp_path: Path, alpha: int) -> None:
    (tmp_path / "a.bmp").write_bytes(bitmap(alpha))
    still = stills.read(tmp_path / "a.bmp")
    assert (still.pixels == (200, 60, 30)).all()
    assert still.alpha is None if alpha == 0 else still.alpha is not None and (still.alpha == alpha).all()


@pytest.mark.parametrize("width", [160, 116, 16])
def test_a_bmp_with_16_in_its_row_length_has_8_bits(tmp_path: Path, width: int) -> None:
    Image.new("L", (width, 40), 99).save(tmp_path / "g.bmp")
    still = stills.read(tmp_path / "g.bmp")
    assert still.pixels.dtype == np.uint8 and (still.pixels == 99).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_transparent_gray_of_a_png_with_few_bits(tmp_path: Path, bits: int) -> None:
    codes = (np.arange(16).reshape(2, 8) % (1 << bits)).astype(np.uint8)
    for transparent in (0, (1 << bits) - 1):
        (tmp_path / "a.png").write_bytes(
            encode_png(codes, bits, chunks=[(b"tRNS", struct.pack(">H", transparent))])
        )
        still = stills.read(tmp_path / "a.png")
        assert still.gray and still.alpha is not None
        assert np.array_equal(still.alpha == 0, codes == transparent)
        assert np.array_equal(still.pixels[:, :, 0], codes.astype(int) * 255 // ((1 << bits) - 1))


def gray_with_alpha(path: Path) -> NDArray[np.uint16]:
    """A 16-bit grayscale PNG with alpha and a linear profile; returns its samples ``(6, 7, 2)``."""
    samples = np.random.default_rng(0).integers(1, 65536, (6, 7, 2)).astype(np.uint16)
    profile = b"ICC\0\0" + zlib.compress(linear_gray())
    path.write_bytes(encode_png(samples, 16, chunks=[(b"iCCP", profile)]))
    return samples


def test_16_bit_gray_with_alpha_stays_gray_and_keeps_its_profile(tmp_path: Path) -> None:
    samples = gray_with_alpha(tmp_path / "a.png")
    still = stills.read(tmp_path / "a.png")
    assert still.gray and still.alpha is not None and still.metadata.profile == linear_gray()
    assert np.array_equal(still.pixels, samples[:, :, [0, 0, 0]]) and np.array_equal(
        still.alpha, samples[:, :, 1]
    )
    stills.write(tmp_path / "b.png", still)
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["icc_profile"] == linear_gray()
    assert (tmp_path / "b.png").read_bytes()[24:26] == bytes([16, 4])  # bits; grayscale with alpha
    again = stills.read(tmp_path / "b.png")
    assert again.gray and again.alpha is not None
    assert np.array_equal(again.pixels, still.pixels) and np.array_equal(again.alpha, still.alpha)


def test_16_bit_gray_with_alpha_and_its_profile_in_tiff(tmp_path: Path) -> None:
    samples = gray_with_alpha(tmp_path / "a.png")
    stills.write(tmp_path / "b.tif", stills.read(tmp_path / "a.png"))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert np.array_equal(file.asarray(), samples) and file.pages.first.iccprofile == linear_gray()
    again = stills.read(tmp_path / "b.tif")
    assert again.gray and again.alpha is not None
    assert np.array_equal(again.pixels[:, :, 0], samples[:, :, 0])
    assert np.array_equal(again.alpha, samples[:, :, 1])


@pytest.mark.parametrize("unit", [0, 5])
def test_a_resolution_unit_that_tiff_does_not_know(
    tmp_path: Path, unit: int, capfd: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ResolutionUnit], exif[ExifTags.Base.Make] = unit, "Maker"
    Image.fromarray(photograph(16, 20)).save(tmp_path / "a.png", exif=exif)
    stills.write(tmp_path / "b.tif", stills.read(tmp_path / "a.png"))
    with Image.open(tmp_path / "b.tif") as image:
        assert image.getexif()[ExifTags.Base.Make] == "Maker"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_equal_channels_stay_equal_and_rgb_stays_rgb(tmp_path: Path, suffix: str, kind: type) -> None:
    """A network with texture tints each channel of a black-and-white photograph differently."""
    gray = photograph(16, 20)[:, :, :1].astype(kind)
    stills.write(tmp_path / f"a{suffix}", Still(np.repeat(gray, 3, axis=2)))
    still = stills.read(tmp_path / f"a{suffix}")
    assert still.equal_channels and not still.gray
    tinted = still.pixels.copy()
    tinted[:, :, 0] += 9
    stills.write(tmp_path / f"b{suffix}", replace(still, pixels=tinted))
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.mode == "RGB"
    again = stills.read(tmp_path / f"b{suffix}")
    assert again.equal_channels
    if suffix == ".png":
        assert np.abs(again.pixels[:, :, 2].astype(int) - still.pixels[:, :, 2] - 3).max() <= 1


def test_avif_of_more_than_32768_pixels_a_side_is_rejected() -> None:
    """libavif writes larger ones and cannot read them."""
    stills.check_target(Path("a.avif"), 100, 32_768)
    with pytest.raises(UsageError, match="limited to 32768"):
        stills.check_target(Path("a.avif"), 100, 32_769)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("full_page", [0, 1])
def test_a_tiff_with_one_full_page_and_reduced_copies(tmp_path: Path, full_page: int, kind: type) -> None:
    full = photograph(32, 40).astype(kind)
    reduced = np.ascontiguousarray(full[::4, ::4])
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in range(3):
            if page == full_page:
                file.write(full, photometric="rgb")
            else:
                file.write(reduced, photometric="rgb", subfiletype=1)
    still = stills.read(tmp_path / "a.tif")
    assert np.array_equal(still.pixels, full)
    assert still.metadata.dropped == ("reduced copies (thumbnail or pyramid)",)


def test_a_tiff_that_calls_its_only_page_reduced(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", photograph(24, 32), photometric="rgb", subfiletype=1)
    assert np.array_equal(stills.read(tmp_path / "a.tif").pixels, photograph(24, 32))
