"""16-bit images with tags that OpenCV ignores."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from upscaler.images import stills


def samples(channels: int) -> NDArray[np.uint16]:
    drawn = np.random.default_rng(0).integers(1, 65536, (12, 16, channels))
    return drawn.astype(np.uint16).squeeze()


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_planar_samples(tmp_path: Path, compression: str | None) -> None:
    planes = np.moveaxis(samples(3), -1, 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", compression=compression)
    assert np.array_equal(stills.read(path).pixels, samples(3))


def test_white_is_zero(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", samples(1), photometric="miniswhite")
    still = stills.read(tmp_path / "a.tif")
    assert still.gray and np.array_equal(still.pixels[:, :, 0], 65535 - samples(1))


def test_an_unspecified_fourth_sample_is_ignored(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", samples(4), photometric="rgb", extrasamples=["unspecified"])
    still = stills.read(tmp_path / "a.tif")
    assert still.alpha is None and np.array_equal(still.pixels, samples(4)[:, :, :3])


def test_premultiplied_colours_become_straight(tmp_path: Path) -> None:
    alpha = samples(1)
    stored = np.dstack([np.rint(samples(3) * (alpha[:, :, None] / 65535)).astype(np.uint16), alpha])
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    still = stills.read(tmp_path / "a.tif")
    assert still.alpha is not None and np.array_equal(still.alpha, alpha)
    off = np.abs(still.pixels.astype(int) - samples(3))
    assert (off <= 65535 / alpha[:, :, None]).all()


def test_the_transparent_value_of_a_16_bit_gray_png(tmp_path: Path) -> None:
    gray = samples(1)
    gray[2, 3] = gray[5, 6] = 40_000
    done, encoded = cv2.imencode(".png", gray)
    assert done
    whole = encoded.tobytes()
    chunk = b"tRNS" + struct.pack(">H", 40_000)
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    at = whole.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(whole[:at] + chunk + whole[at:])
    still = stills.read(tmp_path / "a.png")
    assert still.gray and still.alpha is not None
    assert np.array_equal(still.alpha, np.where(gray == 40_000, 0, 65535))
    stills.write(tmp_path / "b.png", still)
    again = stills.read(tmp_path / "b.png")
    assert again.alpha is not None and np.array_equal(again.alpha, still.alpha)
    assert np.array_equal(again.pixels, still.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Compared with Pillow, for 8 bits of the same image."""
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    eight = samples(3) // 257
    picture = Image.fromarray(eight.astype(np.uint8))
    picture.save(tmp_path / "eight.png", exif=exif)
    with Image.open(tmp_path / "eight.png") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    if suffix == ".png":
        block = np.frombuffer(exif.tobytes().removeprefix(b"Exif\0\0"), np.uint8)
        bgr = np.ascontiguousarray(eight[:, :, ::-1] * 257)
        done, encoded = cv2.imencodeWithMetadata(".png", bgr, [cv2.IMAGE_METADATA_EXIF], [block])
        assert done
        encoded.tofile(path)
    else:
        extra = [(ExifTags.Base.Orientation, 3, 1, orientation, True)]
        tifffile.imwrite(path, eight * 257, photometric="rgb", extratags=extra)
    assert np.array_equal(stills.read(path).pixels, expected.astype(np.uint16) * 257)


def test_premultiplied_8_bit_grayscale(tmp_path: Path) -> None:
    stored = np.array([[[60, 120], [100, 255]]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", extrasamples=["assocalpha"])
    still = stills.read(tmp_path / "a.tif")
    assert still.gray and still.alpha is not None
    assert np.abs(still.pixels[0, :, 0] - np.array([60 * 255 / 120, 100])).max() < 1
    assert still.alpha[0].tolist() == [120, 255]
