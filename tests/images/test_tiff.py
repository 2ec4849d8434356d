"""TIFF of every kind of sample, compression and layout that people have; several pages; messages."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms
from support import tiff_files
from support.media import identity
from support.messages import Messages
from support.pictures import photograph

from upscaler import pipeline
from upscaler.errors import MediaError, UpscalerError, UsageError
from upscaler.images import losses, stills, tiff_samples
from upscaler.images.formats import format_of
from upscaler.images.still import Still
from upscaler.jobs import Job
from upscaler.options import ImageOptions

RGB = photograph(24, 32)
DEEP = np.random.default_rng(0).integers(0, 65_536, (24, 32, 3)).astype(np.uint16)
HEIGHTS = np.random.default_rng(1).integers(-400, 4000, (24, 32)).astype(np.int16)


def again(tmp_path: Path) -> NDArray[Any]:
    """The samples of ``a.tif`` after reading and writing it without a change."""
    stills.write(tmp_path / "b.tif", stills.read(tmp_path / "a.tif"))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        return file.asarray()


def lost(still: Still, suffix: str) -> str:
    image_format = format_of(Path(f"a{suffix}"))
    assert image_format is not None
    return losses.describe_still(still, image_format)


@pytest.mark.parametrize(
    "dtype", [np.int8, np.int16, np.uint32, np.int32, np.float16, np.float32, np.float64]
)
def test_samples_that_are_not_codes_come_back(tmp_path: Path, dtype: type) -> None:
    values = (HEIGHTS // 40).astype(dtype) if dtype == np.int8 else np.abs(HEIGHTS).astype(dtype)
    values = values if np.issubdtype(dtype, np.unsignedinteger) else values - dtype(5)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    still = stills.read(tmp_path / "a.tif")
    assert still.gray and still.pixels.dtype == np.uint16
    assert (still.pixels.min(), still.pixels.max()) == (0, 65_535)  # contrast as the network knows it
    written = again(tmp_path)
    step = 1 if np.issubdtype(dtype, np.integer) else float(np.ptp(values.astype(float))) / 65_535
    exact = dtype in (np.int8, np.int16, np.uint32, np.int32)  # a range of less than 16 bits
    assert written.dtype == dtype and np.abs(written.astype(float) - values).max() <= (
        0 if exact else step * 2
    )
    assert ("precision" in lost(still, ".tif")) == (not exact)
    assert f"{np.dtype(dtype).name} samples (" in lost(still, ".png")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_floating_point_rgb_from_0_to_1(tmp_path: Path, dtype: type) -> None:
    tifffile.imwrite(tmp_path / "a.tif", (RGB / 255).astype(dtype), photometric="rgb")
    still = stills.read(tmp_path / "a.tif")
    assert np.abs(still.pixels / 65_535 - RGB / 255).max() < (1e-3 if dtype == np.float16 else 2e-5)
    assert np.abs(again(tmp_path).astype(float) - RGB / 255).max() < 1e-3


@pytest.mark.parametrize("nodata", ["-9999", "nan"])
def test_missing_heights_stay_missing_and_spoil_no_contrast(tmp_path: Path, nodata: str) -> None:
    heights = HEIGHTS.astype(np.float32)
    heights[3:9, 4:12] = float(nodata)
    extra = [(42113, 2, len(nodata) + 1, nodata, True)] if nodata != "nan" else []
    tifffile.imwrite(tmp_path / "a.tif", heights, photometric="minisblack", extratags=extra)
    still = stills.read(tmp_path / "a.tif")
    assert still.alpha is not None
    assert (still.alpha[3:9, 4:12] == 0).all() and (still.alpha == 0).sum() == 48
    written = again(tmp_path)
    assert np.allclose(written, heights, atol=0.1, equal_nan=True)


def test_several_kinds_of_layout(tmp_path: Path) -> None:
    """Tiles, strips, planes, both byte orders, BigTIFF, horizontal differences."""
    layouts: list[dict[str, Any]] = [
        {"tile": (16, 16)},
        {"tile": (16, 16), "planarconfig": "separate"},
        {"rowsperstrip": 5, "byteorder": ">"},
        {"rowsperstrip": 5, "compression": "zlib", "predictor": True},
        {"bigtiff": True, "byteorder": ">"},
    ]
    for pixels in (DEEP, RGB):
        for layout in layouts:
            stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in layout else pixels
            tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **layout)
            assert np.array_equal(stills.read(tmp_path / "a.tif").pixels, pixels), layout
            assert stills.read_size(tmp_path / "a.tif") == (24, 32)


@pytest.mark.parametrize("compression", ["tiff_lzw", "zstd", "packbits", "lzma", "tiff_adobe_deflate"])
@pytest.mark.parametrize("pixels", [DEEP, RGB], ids=["16 bits", "8 bits"])
def test_compressions_of_libtiff(tmp_path: Path, pixels: NDArray[Any], compression: str) -> None:
    tiff_files.write(tmp_path / "a.tif", pixels, compression)
    assert np.array_equal(stills.read(tmp_path / "a.tif").pixels, pixels)


@pytest.mark.parametrize(
    ("number", "name"), [(34712, "JPEG2000"), (33003, "JPEG2000"), (50001, "WEBP"), (34933, "PNG")]
)
def test_image_files_in_tiles(tmp_path: Path, number: int, name: str) -> None:
    def encode(tile: NDArray[np.uint8]) -> bytes:
        output, image = io.BytesIO(), Image.fromarray(tile)
        if number == 33003:  # without the transform of JPEG 2000 itself
            image = Image.frombytes("RGB", image.size, image.convert("YCbCr").tobytes())
        options: dict[str, Any] = (
            {"no_jp2": True} if name == "JPEG2000" else {"lossless": True} if name == "WEBP" else {}
        )
        image.save(output, name, **options)
        return output.getvalue()

    tiff_files.write_tiles(tmp_path / "a.tif", RGB, number, encode)
    off = np.abs(stills.read(tmp_path / "a.tif").pixels.astype(int) - RGB).max()
    assert off <= (4 if number == 33003 else 0)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_samples(tmp_path: Path, bits: int) -> None:
    codes = DEEP >> (16 - bits)
    tiff_files.write_packed(tmp_path / "a.tif", codes, bits)
    still = stills.read(tmp_path / "a.tif")
    assert np.array_equal(still.pixels, np.rint(codes * (65_535 / (2**bits - 1))))


def test_floating_point_predictor() -> None:
    """Bytes of a row, the most significant ones first, as differences (Technical Note 3)."""
    values = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    planes = values.astype(">f4").view(np.uint8).reshape(2, 15, 4).transpose(0, 2, 1).reshape(2, -1, 3)
    differences = np.diff(planes, axis=1, prepend=np.zeros((2, 1, 3), np.uint8))
    restored = tiff_samples._without_float_predictor(differences.reshape(2, -1), (2, 5, 3), 4)
    assert np.array_equal(restored.reshape(-1).view(">f4").reshape(2, 5, 3), values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cmyk_with_alpha(tmp_path: Path, dtype: type) -> None:
    factor = 257 if dtype == np.uint16 else 1
    inks = np.dstack([255 - RGB, np.zeros_like(RGB[:, :, :1]), RGB[:, :, :1]]).astype(dtype) * factor
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated", extrasamples=["unassalpha"])
    still = stills.read(tmp_path / "a.tif")
    assert still.alpha is not None and np.array_equal(still.alpha, RGB[:, :, 0])
    assert np.array_equal(still.pixels, RGB)  # the complement, without a profile
    assert "CMYK colours (converted to sRGB)" in lost(still, ".tif")


@pytest.mark.parametrize(("photometric", "number"), [("rgb", 2), ("minisblack", 4)])
def test_five_channels(tmp_path: Path, photometric: str, number: int) -> None:
    five = np.dstack([DEEP, DEEP[:, :, :2]])
    kinds = ["unspecified"] * number
    tifffile.imwrite(
        tmp_path / "a.tif", five, photometric=photometric, planarconfig="contig", extrasamples=kinds
    )
    still = stills.read(tmp_path / "a.tif")
    assert np.array_equal(still.pixels, DEEP if photometric == "rgb" else DEEP[:, :, [0, 0, 0]])
    assert still.alpha is None and still.metadata.dropped == (f"{number} more channels",)


@pytest.mark.parametrize("encoding", [8, 9])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lab_becomes_srgb(tmp_path: Path, encoding: int, dtype: type) -> None:
    """Compared with Pillow's conversion, in 8 bits."""
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(Image.fromarray(RGB), *profiles, outputMode="LAB")
    assert converted is not None
    lab = np.asarray(converted).astype(float)  # a* and b* with an offset of 128
    lab[:, :, 1:] = np.frombuffer(converted.tobytes(), np.int8).reshape(24, 32, 3)[:, :, 1:]
    unit, full = (256, 65_535 if encoding == 8 else 65_280) if dtype == np.uint16 else (1, 255)
    stored = lab * unit + (0 if encoding == 8 else 128 * unit)
    stored[:, :, 0] = lab[:, :, 0] / 255 * full
    codes = np.rint(stored).astype(np.int64).astype(dtype)
    tiff_files.write(tmp_path / "a.tif", codes, "raw", photometric=encoding)
    pixels = stills.read(tmp_path / "a.tif").pixels
    eight = pixels / 257 if pixels.dtype == np.uint16 else pixels.astype(float)
    assert np.abs(eight - RGB).mean() < 1.5


def test_a_pyramid_below_its_page_is_named(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(RGB, photometric="rgb", subifds=1)
        file.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
    assert lost(stills.read(tmp_path / "a.tif"), ".tif").endswith("reduced copies (thumbnail or pyramid)")


def test_every_page_goes_into_a_tiff_of_pages(tmp_path: Path) -> None:
    """Of several sizes and kinds, with a reduced copy in between, each with its own description."""
    pages = [RGB, DEEP[:10, :20], RGB[:, :, 0], HEIGHTS]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number, page in enumerate(pages):
            kind = "rgb" if page.ndim == 3 else "minisblack"
            file.write(page, photometric=kind, description=f"page {number}", metadata=None)
            if number == 1:
                file.write(RGB[::4, ::4], photometric="rgb", subfiletype=1)
    messages = Messages()
    job = Job(tmp_path / "a.tif", tmp_path / "b.tif", "still")
    done = pipeline.upscale_still(job, identity(tmp_path), ImageOptions(), lambda _: None, messages)
    assert done.frames == 4 and "4 pages" in messages[0]
    assert messages[1:] == ["not kept in .tif: reduced copies (thumbnail or pyramid)"]
    with tifffile.TiffFile(tmp_path / "b.tif") as written:
        assert len(written.pages) == 4
        for number, (page, expected) in enumerate(zip(written.pages, pages, strict=True)):
            assert np.array_equal(page.asarray(), expected)
            assert page.description == f"page {number}"
    with pytest.raises(UsageError, match=r"only one of 4 pages.*\n?.*"):
        pipeline.upscale_still(
            replace(job, target=tmp_path / "b.png"), identity(tmp_path), ImageOptions(), print, messages
        )
    with pytest.raises(MediaError, match="several pages"):
        stills.read(tmp_path / "a.tif")  # for training and evaluation


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"compression": 34887}, r"compression LERC \(34887\), which is not supported"),
        ({"compression": 50002}, r"compression JPEGXL \(50002\)"),
        ({"compression": 64_999}, r"compression 64999"),
        ({"photometric": 32803}, r"colours of the kind CFA"),
        ({"predictor": 34892}, r"predictor 34892"),
    ],
)
def test_what_is_not_supported_is_not_called_damaged(
    tmp_path: Path, change: dict[str, int], said: str
) -> None:
    tiff_files.write(tmp_path / "a.tif", DEEP[:, :, :1], "raw", **change)
    with pytest.raises(MediaError, match=said) as caught:
        stills.read(tmp_path / "a.tif", tolerant=True)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("make", [
    lambda path: tifffile.imwrite(path, DEEP, photometric="rgb", compression="zlib"),
    lambda path: tiff_files.write(path, DEEP, "tiff_lzw"),
    lambda path: tiff_files.write(path, RGB, "tiff_lzw"),
])  # fmt: skip
def test_a_damaged_file_is_one_line(
    tmp_path: Path, make: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "a.tif")
    whole = (tmp_path / "a.tif").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:300] + bytes(400) + whole[700:], whole[:9], whole[:3]):
        (tmp_path / "b.tif").write_bytes(content)
        try:
            stills.read(tmp_path / "b.tif", tolerant=True)
        except UpscalerError as error:
            assert "b.tif" in str(error)
    assert capfd.readouterr().err == ""
