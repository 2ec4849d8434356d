"""Tags of a TIFF: GeoTIFF, EXIF, GPS, dates and IPTC are kept; what is not is named."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational
from support.pictures import photograph

from upscaler.images import losses, stills, tiff_directory
from upscaler.images.formats import format_of
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still

SHORT, ASCII, UNDEFINED, DOUBLE = 3, 2, 7, 12
IPTC = b"\x1c\x02\x78\0\x05hello"


def written_twice_as_large(tmp_path: Path, **arguments: Any) -> dict[int, Any]:  # noqa: ANN401
    """The tags of a TIFF made of ``a.tif``, which is written with these arguments of tifffile."""
    tifffile.imwrite(tmp_path / "a.tif", photograph(24, 32), photometric="rgb", metadata=None, **arguments)
    still = stills.read(tmp_path / "a.tif")
    stills.write(tmp_path / "b.tif", replace(still, pixels=still.pixels.repeat(2, 0).repeat(2, 1)))
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        return {tag.code: tag.value for tag in file.pages.first.tags}


def keys(raster_type: int) -> tuple[int, int, int, tuple[int, ...], bool]:
    return 34735, SHORT, 12, (1, 1, 0, 2, 1024, 0, 1, 2, 1025, 0, 1, raster_type), True


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(("raster_type", "tie"), [(1, 20.0), (2, 20.5)])
def test_a_geotiff_lies_where_its_source_lies(
    tmp_path: Path, raster_type: int, tie: float, byteorder: str
) -> None:
    """A factor of 2: half the pixel scale; pixel 10 starts at 20, but its centre, 10, is at 20.5."""
    tags = [
        (33550, DOUBLE, 3, (0.5, 0.25, 0.0), True),
        (33922, DOUBLE, 6, (10.0, 10.0, 0.0, 440_720.0, 3_751_320.0, 0.0), True),
        keys(raster_type),
        (34737, ASCII, 8, "WGS 84|\0", True),
    ]
    tags_now = written_twice_as_large(tmp_path, extratags=tags, byteorder=byteorder)
    assert tags_now[33550] == (0.25, 0.125, 0.0)
    assert tags_now[33922] == (tie, tie, 0.0, 440_720.0, 3_751_320.0, 0.0)
    assert tags_now[34735] == keys(raster_type)[3] and tags_now[34737] == "WGS 84|"


@pytest.mark.parametrize("raster_type", [1, 2])
def test_a_transformation_maps_the_centre_of_a_pixel_to_the_same_place(
    tmp_path: Path, raster_type: int
) -> None:
    matrix = np.array([[2.0, 0.5, 0, 100], [0.25, -3.0, 0, 900], [0, 0, 0, 0], [0, 0, 0, 1]])
    tags = [(34264, DOUBLE, 16, tuple(matrix.ravel()), True), keys(raster_type)]
    tags_now = written_twice_as_large(tmp_path, extratags=tags)
    half = 0.5 if raster_type == 1 else 0.0  # where the centre of the first pixel is
    centre = 2 * (7 + 0.5) - 0.5 + half  # of the four pixels that pixel 7 has become
    now = np.array(tags_now[34264]).reshape(4, 4) @ [centre, centre, 0, 1]
    assert np.allclose(now, matrix @ [7 + half, 7 + half, 0, 1])


def test_dates_names_and_iptc_of_a_tiff(tmp_path: Path) -> None:
    tags = [
        (306, ASCII, 20, "2026:01:02 03:04:05", True),
        (315, ASCII, 7, "Jürgen".encode()[:6] + b"\0", True),
        (269, ASCII, 5, "doc\0", True),
        (33723, UNDEFINED, len(IPTC), IPTC, True),
    ]
    tags_now = written_twice_as_large(tmp_path, extratags=tags, description="a description")
    assert tags_now[306] == "2026:01:02 03:04:05" and tags_now[270] == "a description"
    assert tags_now[33723] == IPTC and tags_now[269].strip("\0") == "doc"
    stills.write(tmp_path / "c.jpg", stills.read(tmp_path / "a.tif"))
    with Image.open(tmp_path / "c.jpg") as image:
        assert image.getexif()[ExifTags.Base.DateTime] == "2026:01:02 03:04:05"
        assert image.info["photoshop"] == {0x0404: IPTC}


def camera_jpeg(path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.DateTime] = "2026:01:02 03:04:05"
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = "2025:12:31 23:59:59"
    details[ExifTags.Base.ExposureTime] = IFDRational(1, 250)
    details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight] = 32, 24
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "N", (52.0, 31.0, 12.5)
    resources = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HxxI", 0x0404, len(IPTC)) + IPTC
    segment = b"\xff\xed" + struct.pack(">H", 2 + len(resources)) + resources
    Image.fromarray(photograph(24, 32)).save(path, exif=exif, extra=segment, dpi=(300, 300))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_jpeg_to_tiff_and_back(tmp_path: Path, dtype: type) -> None:
    camera_jpeg(tmp_path / "a.jpg")
    still = stills.read(tmp_path / "a.jpg")
    pixels: Any = still.pixels.astype(dtype).repeat(2, 0).repeat(2, 1)
    stills.write(tmp_path / "b.tif", replace(still, pixels=pixels))
    stills.write(tmp_path / "c.jpg", stills.read(tmp_path / "b.tif"))
    for name in ("b.tif", "c.jpg"):
        with Image.open(tmp_path / name) as image:
            exif = image.getexif()
            details, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
            assert image.info["dpi"] == (300, 300)
        assert exif[ExifTags.Base.DateTime] == "2026:01:02 03:04:05" and exif[ExifTags.Base.Make] == "Maker"
        assert details[ExifTags.Base.DateTimeOriginal] == "2025:12:31 23:59:59"
        assert details[ExifTags.Base.ExposureTime] == 1 / 250
        assert (details[ExifTags.Base.ExifImageWidth], details[ExifTags.Base.ExifImageHeight]) == (64, 48)
        assert gps[ExifTags.GPS.GPSLatitude] == (52.0, 31.0, 12.5)
    assert stills.read(tmp_path / "c.jpg").metadata.iptc == IPTC


def test_tags_that_are_not_kept_are_named(tmp_path: Path) -> None:
    tags = [(34377, UNDEFINED, 4, b"8BIM", True), (50_341, UNDEFINED, 4, b"abcd", True), keys(1)]
    written_twice_as_large(tmp_path, extratags=tags, description="<?xml?><OME></OME>")
    still = stills.read(tmp_path / "a.tif")
    always = "OME metadata, Photoshop resources, TIFF tags 50341"
    for suffix, said in ((".tif", always), (".png", f"{always}, GeoTIFF tags")):
        image_format = format_of(Path(f"a{suffix}"))
        assert image_format is not None
        assert losses.describe_still(still, image_format) == f"not kept in {suffix}: {said}"


def test_directories_of_a_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upscaler.images.tiff_writer._MAX_CLASSIC_BYTES", 0)
    camera_jpeg(tmp_path / "a.jpg")
    stills.write(tmp_path / "b.tif", stills.read(tmp_path / "a.jpg"))
    assert (tmp_path / "b.tif").read_bytes()[:4] == b"II+\0"
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages.first.tags[34665].value["DateTimeOriginal"] == "2025:12:31 23:59:59"
        assert file.pages.first.tags[34853].value["GPSLatitudeRef"] == "N"
        assert np.array_equal(file.asarray(), stills.read(tmp_path / "a.jpg").pixels)


def test_damaged_entries_are_left_out() -> None:
    """A type that does not exist, a value behind the end, a count that cannot be."""
    entries = [(1, 99, 1, 5), (2, 4, 1, 7), (3, 4, 1000, 8), (4, 2, 2**32 - 1, 8)]
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    block = b"II*\0" + struct.pack("<IH", 8, 60_000) + rows
    assert tiff_directory.read(memoryview(block), 8) == {2: tiff_directory.long(2, 7)}
    with pytest.raises(ValueError, match="no directory"):
        tiff_directory.read(memoryview(block), 10**6)


def test_a_page_without_metadata_gets_none(tmp_path: Path) -> None:
    stills.write(tmp_path / "a.tif", Still(photograph(24, 32), metadata=Metadata()))
    assert replace(stills.read(tmp_path / "a.tif").metadata, size=None) == Metadata()
