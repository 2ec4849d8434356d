"""Formats beyond those of the web: what is read is what other programs wrote."""

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pylibjxl
import pytest
import tifffile
from PIL import Image
from support.heif_files import codes_box, heic, profile_box
from support.kept import XMP, exif
from support.pictures import photograph
from support.profiles import exchanged

from upscaler.content import content_of
from upscaler.errors import MediaError, UsageError
from upscaler.images import library_settings, light, stills
from upscaler.images.cicp import CodePoints
from upscaler.images.formats import READ_ONLY_FORMATS, READ_ONLY_SUFFIXES

RGB = photograph(64, 96)
LIGHT = ((RGB / 255.0) ** 2.2 * 6).astype(np.float32)  # up to six times white
EXIF = exif().tobytes().removeprefix(b"Exif\0\0")


def write_psd(path: Path) -> None:
    """A PSD without layers: header, three empty sections, and the merged image, raw."""
    height, width = RGB.shape[:2]
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, height, width, 8, 3)
    path.write_bytes(header + bytes(12) + b"\0\0" + RGB.transpose(2, 0, 1).tobytes())


def by_pillow(name: str, **options: Any) -> Callable[[Path], None]:  # noqa: ANN401 - as Pillow's
    return lambda path: Image.fromarray(RGB).save(path, name, **options)


WRITERS: dict[str, Callable[[Path], None]] = {
    ".dds": by_pillow("DDS"),
    ".ico": by_pillow("ICO", sizes=[(96, 64)], bitmap_format="bmp"),
    ".jp2": by_pillow("JPEG2000"),
    ".j2k": by_pillow("JPEG2000", no_jp2=True),
    ".jxl": lambda path: _write(path, pylibjxl.encode(RGB, lossless=True)),
    ".pcx": by_pillow("PCX"),
    ".ppm": by_pillow("PPM"),
    ".psd": write_psd,
    ".qoi": by_pillow("QOI"),
    ".tga": by_pillow("TGA", compression="tga_rle"),
}


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", WRITERS)
def test_lossless_formats_are_read_to_the_bit(tmp_path: Path, suffix: str) -> None:
    WRITERS[suffix](tmp_path / f"a{suffix}")
    still = stills.read(tmp_path / f"a{suffix}")
    assert np.array_equal(still.pixels, RGB) and not still.gray
    assert still.alpha is None or (suffix == ".ico" and (still.alpha == 255).all())
    assert stills.read_size_and_depth(tmp_path / f"a{suffix}") in ((64, 96, 3), (64, 96, 4))


@pytest.mark.parametrize("suffix", sorted(set(WRITERS) - {".tga"}))
def test_formats_are_known_by_their_content(tmp_path: Path, suffix: str) -> None:
    WRITERS[suffix](tmp_path / "a")
    found = content_of(tmp_path / "a")
    assert found is not None and found.kind == "still"
    assert READ_ONLY_SUFFIXES[found.suffix] == ".png"
    (tmp_path / "a").rename(tmp_path / "b.jpg")  # a wrong name
    assert np.array_equal(stills.read(tmp_path / "b.jpg").pixels, RGB)


@pytest.mark.parametrize("suffix", [*WRITERS, ".exr", ".hdr", ".heic", ".pfm", ".dng"])
def test_damaged_files_are_an_error_in_one_line(tmp_path: Path, suffix: str) -> None:
    writer = (
        WRITERS.get(suffix)
        or {
            ".exr": write_exr,
            ".hdr": write_hdr,
            ".heic": lambda path: _write(path, heic(RGB)),
            ".pfm": write_pfm,
            ".dng": write_dng,
        }[suffix]
    )
    writer(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    for cut in (0, 5, 40, 300, len(content) // 2):
        (tmp_path / f"a{suffix}").write_bytes(content[:cut])
        with pytest.raises(MediaError) as caught:
            stills.read(tmp_path / f"a{suffix}")
        assert f"a{suffix}' " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".exr", ".hdr", ".heic", ".jxl", ".pfm", ".dng", ".jp2", ".ppm"])
def test_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    writers = WRITERS | {
        ".exr": write_exr,
        ".hdr": write_hdr,
        ".heic": lambda path: _write(path, heic(RGB)),
        ".pfm": write_pfm,
        ".dng": write_dng,
        ".jp2": lambda path: Image.fromarray(RGB[:, :, 0].astype(np.uint16)).save(path, "JPEG2000"),
        ".ppm": lambda path: _write(path, b"P6 96 64 999\n" + bytes(2 * RGB.size)),
    }
    writers[suffix](tmp_path / f"a{suffix}")
    with library_settings.accepting(10), pytest.raises(MediaError, match=r"--max-pixels allows \(10\)"):
        stills.read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    ("package", "suffix"), [("pi_heif", ".heic"), ("pylibjxl", ".jxl"), ("OpenEXR", ".exr")]
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, suffix: str
) -> None:
    writer = {".heic": lambda path: _write(path, heic(RGB)), ".exr": write_exr} | WRITERS
    writer[suffix](tmp_path / f"a{suffix}")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MediaError, match=r"needs the package .*pip install 'upscaler\[formats\]'"):
        stills.read(tmp_path / f"a{suffix}")


def test_a_text_is_not_taken_for_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(100) + b"TRUEVISION-XFILE.\0")
    with pytest.raises(MediaError, match="not an image"):
        stills.read(tmp_path / "a.png")


def test_the_largest_icon_is_read(tmp_path: Path) -> None:
    Image.fromarray(photograph(64, 64)).save(tmp_path / "a.ico", sizes=[(16, 16), (48, 48), (32, 32)])
    assert stills.read(tmp_path / "a.ico").pixels.shape == (48, 48, 3)


@pytest.mark.parametrize("depth", [1, 3])
def test_sixteen_bits_of_netpbm(tmp_path: Path, depth: int) -> None:
    codes = RGB[:, :, :depth].astype(np.uint16) * 4
    (tmp_path / "a.pnm").write_bytes(b"P%d\n# made by hand\n96 64\n1020\n" % (6 if depth == 3 else 5))
    with (tmp_path / "a.pnm").open("ab") as file:
        file.write(codes.astype(">u2").tobytes())
    still = stills.read(tmp_path / "a.pnm")
    assert still.gray == (depth == 1) and still.pixels.dtype == np.uint16
    assert np.abs(still.pixels - RGB[:, :, :depth].astype(float) * 257).max() <= 0.5


@pytest.mark.parametrize("suffix", [".jp2", ".j2k"])
def test_sixteen_bits_of_jpeg_2000(tmp_path: Path, suffix: str) -> None:
    gray = RGB[:, :, 0].astype(np.uint16) * 257
    Image.fromarray(gray).save(tmp_path / f"a{suffix}", "JPEG2000", no_jp2=suffix == ".j2k")
    still = stills.read(tmp_path / f"a{suffix}")
    assert still.gray and np.array_equal(still.pixels[:, :, 0], gray)
    succeeded, encoded = cv2.imencode(".jp2", RGB[:, :, ::-1].astype(np.uint16) * 257)
    assert succeeded
    (tmp_path / "b.jp2").write_bytes(encoded.tobytes())
    deep = stills.read(tmp_path / "b.jp2")
    assert deep.pixels.dtype == np.uint16
    assert np.abs(deep.pixels.astype(float) / 257 - RGB).mean() < 2  # OpenCV writes with loss


# HEIC


@pytest.mark.parametrize("bits", [8, 10])
def test_heic_with_everything(tmp_path: Path, bits: int) -> None:
    (tmp_path / "a.heic").write_bytes(
        heic(RGB, bits=bits, colors=profile_box(exchanged()), exif=EXIF, xmp=XMP, turned=1)
    )
    still = stills.read(tmp_path / "a.heic")
    assert still.pixels.dtype == (np.uint16 if bits == 10 else np.uint8)
    white = np.iinfo(still.pixels.dtype).max
    assert np.abs(still.pixels / white * 255 - np.rot90(RGB)).mean() < 1
    assert stills.read_size(tmp_path / "a.heic") == still.pixels.shape[:2] == (96, 64)
    assert (still.metadata.profile, still.metadata.xmp) == (exchanged(), XMP)
    assert still.metadata.exif is not None and b"Maker" in still.metadata.exif
    stills.write(tmp_path / "b.jpg", still)
    with Image.open(tmp_path / "b.jpg") as result:
        assert result.getexif()[0x010F] == "Maker" and result.info["icc_profile"] == exchanged()


def test_heic_with_the_colours_that_it_states(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(heic(RGB, bits=10, colors=codes_box(12, 13)))
    assert stills.read(tmp_path / "a.heic").metadata.codes == CodePoints(12, 13)
    (tmp_path / "b.heic").write_bytes(heic(RGB, bits=10, colors=codes_box(9, 16)))
    with pytest.raises(UsageError, match="HDR"):
        codes = stills.read(tmp_path / "b.heic").metadata.codes
        stills.check_target(tmp_path / "b.jpg", 64, 96, codes)


def test_the_gain_map_of_heic_goes_into_a_jpeg(tmp_path: Path) -> None:
    gain = photograph(64, 64)[:, :, 1]
    (tmp_path / "a.heic").write_bytes(heic(RGB, gain_map=np.ascontiguousarray(gain)))
    still = stills.read(tmp_path / "a.heic")
    stills.write(tmp_path / "b.jpg", still)
    found = stills.read(tmp_path / "b.jpg").metadata.appended.gain_map
    assert found is not None and np.abs(found.pixels.astype(int) - gain).mean() < 3
    with Image.open(tmp_path / "b.jpg") as result:  # as other programs see it: a second image
        assert result.format == "MPO" and result.n_frames == 2


# JPEG XL


def test_metadata_and_alpha_of_jpeg_xl(tmp_path: Path) -> None:
    rgba = np.dstack([RGB, RGB[::-1, :, 1]])
    content = pylibjxl.encode(rgba, lossless=True, exif=EXIF, xmp=XMP, icc=exchanged())
    (tmp_path / "a.jxl").write_bytes(content)
    still = stills.read(tmp_path / "a.jxl")
    assert np.array_equal(still.pixels, RGB) and np.array_equal(still.alpha, rgba[:, :, 3])
    assert (still.metadata.profile, still.metadata.xmp) == (exchanged(), XMP)
    assert still.metadata.exif is not None and b"Maker" in still.metadata.exif
    (tmp_path / "g.jxl").write_bytes(pylibjxl.encode(np.ascontiguousarray(RGB[:, :, 0]), lossless=True))
    assert stills.read(tmp_path / "g.jxl").gray


# Linear light: EXR, HDR, PFM


def write_exr(path: Path, channels: dict[str, Any] | None = None, **attributes: object) -> None:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **attributes}
    OpenEXR.File(header, channels or {"RGB": LIGHT}).write(str(path))


def write_hdr(path: Path) -> None:
    path.write_bytes(cv2.imencode(".hdr", LIGHT[:, :, ::-1])[1].tobytes())


def write_pfm(path: Path) -> None:
    path.write_bytes(b"PF\n96 64\n-1.0\n" + LIGHT[::-1].astype("<f4").tobytes())


def relative_difference(light_out: np.ndarray, expected: np.ndarray) -> float:
    """To the brightest channel, whose exponent the others share in HDR."""
    return float((np.abs(light_out - expected) / (expected.max(2, keepdims=True) + 0.01)).max())


@pytest.mark.parametrize(("suffix", "limit"), [(".exr", 1e-3), (".hdr", 2e-2), (".pfm", 1e-3)])
def test_light_is_the_same_after_a_round_trip(tmp_path: Path, suffix: str, limit: float) -> None:
    {".exr": write_exr, ".hdr": write_hdr, ".pfm": write_pfm}[suffix](tmp_path / f"a{suffix}")
    still = stills.read(tmp_path / f"a{suffix}")
    assert stills.read_size(tmp_path / f"a{suffix}") == (64, 96)
    for target in ("b.exr", "b.tif"):
        stills.write(tmp_path / target, still)
    from_tiff = tifffile.imread(tmp_path / "b.tif")
    from_exr = OpenEXR.File(str(tmp_path / "b.exr")).channels()["RGB"].pixels
    for result in (from_exr, from_tiff):
        assert result.dtype == np.float32 and relative_difference(result, LIGHT) < limit


def test_light_up_to_white_is_shown_as_srgb(tmp_path: Path) -> None:
    write_exr(tmp_path / "a.exr", {"RGB": light.to_light(RGB / 255).astype(np.float32)})
    stills.write(tmp_path / "b.png", stills.read(tmp_path / "a.exr").in_8_bits())
    assert np.array_equal(stills.read(tmp_path / "b.png").pixels, RGB)
    stills.write(tmp_path / "c.exr", stills.read(tmp_path / "b.png"))  # and back
    halves = OpenEXR.File(str(tmp_path / "c.exr")).channels()["RGB"].pixels
    assert halves.dtype == np.float16 and relative_difference(halves, light.to_light(RGB / 255)) < 1e-3


def test_exr_with_alpha_halves_and_attributes(tmp_path: Path) -> None:
    alpha = np.linspace(0.2, 1, 96, dtype=np.float16) * np.ones((64, 1), np.float16)
    premultiplied = np.dstack([LIGHT * alpha[:, :, None], alpha]).astype(np.float16)
    primaries = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329)
    channels = {"RGBA": premultiplied, "Z": alpha}
    write_exr(tmp_path / "a.exr", channels, chromaticities=primaries, comments="hello")
    still = stills.read(tmp_path / "a.exr")
    assert still.metadata.dropped == ("channels Z",)
    stills.write(tmp_path / "b.exr", still)
    result = OpenEXR.File(str(tmp_path / "b.exr"))
    assert result.channels()["RGBA"].pixels.dtype == np.float16
    assert np.abs(result.channels()["RGBA"].pixels - premultiplied.astype(float)).max() < 0.01
    assert result.header()["comments"] == "hello"
    assert np.allclose(result.header()["chromaticities"], primaries)


def test_gray_negative_and_infinite_light(tmp_path: Path) -> None:
    samples = np.ascontiguousarray(LIGHT[:, :, 0]) - 0.5
    write_exr(tmp_path / "a.exr", {"Y": samples})
    still = stills.read(tmp_path / "a.exr")
    assert still.gray
    stills.write(tmp_path / "b.exr", still)
    assert np.abs(OpenEXR.File(str(tmp_path / "b.exr")).channels()["Y"].pixels - samples).max() < 1e-3
    samples[0, 0], samples[0, 1] = np.inf, np.nan
    write_exr(tmp_path / "c.exr", {"Y": samples})
    assert np.isfinite(stills.read(tmp_path / "c.exr").sample_range.ends).all()


def test_exr_without_colours(tmp_path: Path) -> None:
    write_exr(tmp_path / "a.exr", {"Z": np.ascontiguousarray(LIGHT[:, :, 0])})
    with pytest.raises(MediaError, match="no channels R, G and B, or Y"):
        stills.read(tmp_path / "a.exr")


def test_display_values_are_those_of_srgb_and_go_on() -> None:
    values = np.array([-1.0, -0.001, 0, 0.001, 0.18, 1, 1.0001, 4, 100])
    display = light.to_display(values)
    assert np.allclose(light.to_light(display), values)
    assert np.allclose(display[[0, 2, 4, 5]], [-1, 0, 0.4614, 1], atol=1e-4)
    assert 3 < display[-1] < 3.1 and display[6] - display[5] < 5e-5


# Raw files


def write_dng(path: Path) -> None:
    """A DNG of a uniform gray-green scene with a bright square."""
    mosaic = np.full((64, 96), 800, np.uint16)
    mosaic[16:32, 16:48] = 3000
    tags = [
        (33421, 3, 2, (2, 2), True),  # CFARepeatPatternDim
        (33422, 1, 4, (0, 1, 1, 2), True),  # CFAPattern: RGGB
        (50706, 1, 4, (1, 4, 0, 0), True),  # DNGVersion
        (50708, 2, 6, "Maker\0", True),  # UniqueCameraModel
        (50714, 3, 1, 0, True),  # BlackLevel
        (50717, 3, 1, 4095, True),  # WhiteLevel
        (50721, 10, 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),  # ColorMatrix1
        (50728, 5, 3, (1, 1, 1, 1, 1, 1), True),  # AsShotNeutral
        (50778, 3, 1, 21, True),  # CalibrationIlluminant1: D65
        (271, 2, 6, "Maker\0", True),
    ]
    tifffile.imwrite(path, mosaic, photometric=32803, extratags=tags, metadata=None, software=False)


def test_raw_files_are_developed_to_16_bits(tmp_path: Path) -> None:
    write_dng(tmp_path / "a.dng")
    still = stills.read(tmp_path / "a.dng")
    assert still.pixels.dtype == np.uint16 and stills.read_size(tmp_path / "a.dng") == still.pixels.shape[:2]
    assert still.pixels.shape == (64, 96, 3)
    inside, outside = still.pixels[20:28, 24:40].mean(), still.pixels[40:60, 60:90].mean()
    assert inside > 1.5 * outside > 1000
    assert still.metadata.exif is not None and b"Maker" in still.metadata.exif


@pytest.mark.parametrize("suffix", [".exr", ".dng"])
def test_libraries_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str) -> None:
    {".exr": write_exr, ".dng": write_dng}[suffix](tmp_path / "whole")
    (tmp_path / f"a{suffix}").write_bytes((tmp_path / "whole").read_bytes()[:9000])
    with pytest.raises(MediaError, match="damaged or truncated"):
        stills.read(tmp_path / f"a{suffix}")
    assert capfd.readouterr() == ("", "")


def test_no_suffix_has_two_formats() -> None:
    suffixes = [suffix for row in READ_ONLY_FORMATS for suffix in row.suffixes]
    assert len(suffixes) == len(set(suffixes))
