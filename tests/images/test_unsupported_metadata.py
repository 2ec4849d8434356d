"""One line says what a target cannot store of its source, and only that."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from support.command import run
from support.pictures import photograph
from support.profiles import exchanged, linear_gray

from upscaler.images import losses, stills
from upscaler.images.formats import WRITABLE_SUFFIXES, format_of
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>somebody</x:xmpmeta>"


def exif(*, maker_notes: bool = False) -> bytes:
    block = Image.Exif()
    block[ExifTags.Base.Make] = "Maker"
    block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:01:02 03:04:05"
    if maker_notes:
        block.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = bytes(9)
    return block.tobytes().removeprefix(b"Exif\0\0")


EVERYTHING = Metadata(
    exchanged(), exif(), (300, 300), XMP, b"\x1c\x02\x78\0\x05hello", chunks=((b"tEXt", b"a\0b"),)
)
PIXELS = photograph(16, 20)
GAMMA = [struct.pack(">I", value) for value in (45_455, 100_000)]  # of sRGB, of linear light


@pytest.mark.parametrize(
    ("suffix", "still", "lost"),
    [
        (".jpg", Still(PIXELS, metadata=replace(EVERYTHING, chunks=())), ""),
        (".png", Still(PIXELS.astype(np.uint16), PIXELS[:, :, 0].astype(np.uint16)), ""),
        (".jpg", Still(PIXELS, np.full((16, 20), 255, np.uint8)), ""),  # opaque
        (".jpg", Still(PIXELS, PIXELS[:, :, 0]), "transparency (black instead)"),
        (".webp", Still(PIXELS.astype(np.uint16)), "16 bits per sample (rounded to 8)"),
        (
            ".webp",
            Still(PIXELS, gray=True, metadata=Metadata(linear_gray())),
            "colour profile (converted to sRGB)",
        ),
        (".png", Still(PIXELS, metadata=EVERYTHING), "IPTC"),
        (".webp", Still(PIXELS, metadata=Metadata(dpi=(300, 300))), "resolution in pixels per inch"),
        (".tif", Still(PIXELS.astype(np.uint16), metadata=replace(EVERYTHING, chunks=())), ""),
        (".tif", Still(PIXELS, metadata=Metadata(exif=exif(maker_notes=True))), "maker notes"),
        (
            ".bmp",
            Still(PIXELS, metadata=EVERYTHING),
            "colour profile (converted to sRGB), EXIF, XMP, IPTC, texts of the PNG",
        ),
        (".jpg", Still(PIXELS, metadata=Metadata(iptc=bytes(70_000))), "IPTC"),
        (".jpg", Still(PIXELS, metadata=Metadata(chunks=((b"gAMA", GAMMA[0]),))), ""),
        (
            ".jpg",
            Still(PIXELS, metadata=Metadata(chunks=((b"gAMA", GAMMA[1]),))),
            "gamma or primaries of the PNG",
        ),
        (".png", Still(PIXELS, metadata=Metadata(chunks=((b"gAMA", GAMMA[1]),))), ""),
        (".jpg", Still(PIXELS, metadata=Metadata(dropped=("HDR gain map",))), "HDR gain map"),
        (".gif", Still(PIXELS), "more than 256 colours"),
        (".gif", Still(PIXELS // 64 * 64), ""),
        (".gif", Still(PIXELS // 64 * 64, PIXELS[:, :, 0] // 128 * 255), ""),  # opaque or transparent
        (".gif", Still(PIXELS // 64 * 64, PIXELS[:, :, 0]), "partial transparency"),
    ],
)
def test_what_is_lost(suffix: str, still: Still, lost: str) -> None:
    image_format = format_of(Path(f"a{suffix}"))
    assert image_format is not None
    expected = f"not kept in {image_format.suffixes[0]}: {lost}" if lost else ""
    assert losses.describe_still(still, image_format) == expected


@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_unmentioned_metadata_is_kept(tmp_path: Path, suffix: str) -> None:
    still = Still(PIXELS, PIXELS[:, :, 0], metadata=EVERYTHING)
    stills.write(tmp_path / f"a{suffix}", still)
    written = stills.read(tmp_path / f"a{suffix}")
    image_format = format_of(Path(f"a{suffix}"))
    assert image_format is not None
    said = losses.describe_still(still, image_format)
    assert ("transparency (black" in said) == (written.alpha is None)
    assert ("profile" in said) == (written.metadata.profile != EVERYTHING.profile)
    assert ("EXIF," in said) == (written.metadata.exif is None)
    assert ("XMP" in said) == (written.metadata.xmp is None)
    assert ("IPTC" in said) == (written.metadata.iptc is None)
    assert ("texts" in said) == (not written.metadata.chunks)
    assert ("resolution" in said) == (written.metadata.dpi is None)


def test_further_images_of_a_jpeg_are_named(tmp_path: Path) -> None:
    views = [Image.fromarray(photograph(24, 24, seed)) for seed in range(2)]
    views[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=views[1:])
    assert stills.read(tmp_path / "a.jpg").metadata.dropped == ("further images",)


@pytest.mark.parametrize("lossless", [False, True])
def test_a_lossless_webp_stays_lossless(tmp_path: Path, lossless: bool) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.webp", lossless=lossless, exif=b"Exif\0\0" + exif())
    still = stills.read(tmp_path / "a.webp")
    assert still.metadata.lossless == lossless
    stills.write(tmp_path / "b.webp", still)
    written = stills.read(tmp_path / "b.webp")
    assert written.metadata.lossless == lossless
    assert np.array_equal(written.pixels, still.pixels) == lossless


def test_the_summary_counts_files_that_are_not_kept_completely(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    Image.fromarray(PIXELS).save(tmp_path / "p/a.png")
    Image.fromarray(PIXELS).save(tmp_path / "p/b.jpg")
    (tmp_path / "p/b.jpg").write_bytes((tmp_path / "p/b.jpg").read_bytes() + b"something")
    pages = [Image.fromarray(PIXELS).convert("CMYK") for _ in range(2)]
    pages[0].save(tmp_path / "p/c.tif", save_all=True, append_images=pages[1:])
    said = run(tmp_path / "p", "--scale", 1)
    assert said.count("not kept in .tif: CMYK colours (converted to sRGB)\n") == 1  # for both pages
    assert "3 of 3 files, 4 frames" in said and "; 2 not kept completely" in said
    assert "not kept in .jpg: data behind the image\n" in said
