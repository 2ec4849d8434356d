"""What belongs to a picture besides its pixels: colour profile, EXIF, XMP, IPTC, texts, resolution.

Pixels stay in the colours of their profile all the way, and the profile goes with them into the target. Where
it cannot (CMYK and Lab, which no network takes; formats without profiles), they are converted to sRGB.
"""

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from upscaler.images import exif, png_chunks, xmp

# The colours that a profile is for, as its bytes 16 to 19 say (ICC.1:2022, 7.2.6), by Pillow's mode.
_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}
_WITH_PROFILE = {"JPEG", "PNG", "WEBP", "TIFF", "AVIF"}
_WITH_RESOLUTION = {"JPEG", "PNG", "TIFF", "BMP"}
_IPTC = 0x0404  # number of this one of Photoshop's resources
_LONGEST_IN_PNG = 1 << 20  # bytes of a profile that Pillow reads again


@dataclass(frozen=True)
class Metadata:
    """What a picture brings along, as bytes of its own file.

    Attributes:
        profile: ICC profile of the pixels; ``None`` for sRGB or unknown.
        exif: Of the source, as ``exif.block_of`` has it, or ``None``.
        dpi: Pixels per inch along rows and columns, or ``None``.
        xmp: Of the source, or ``None``.
        iptc: Of a JPEG, or ``None``; goes into JPEG alone.
        chunks: What a PNG says of itself otherwise; goes into PNG alone.
    """

    profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    chunks: tuple[png_chunks.Chunk, ...] = ()


def read(picture: Image.Image) -> Metadata:
    """What an opened picture brings along; what is damaged in it is left out, for the pixels may be whole."""
    profile, dpi, packet = (picture.info.get(name) for name in ("icc_profile", "dpi", "xmp"))
    packet = packet if isinstance(packet, bytes) else None
    is_png = isinstance(picture, PngImagePlugin.PngImageFile)
    chunks = png_chunks.chunks(Path(os.fsdecode(picture.filename))) if is_png else ()  # type: ignore[attr-defined]
    iptc = (picture.info.get("photoshop") or {}).get(_IPTC)
    return Metadata(profile or None, exif.block_of(picture), _resolution(dpi), packet, iptc, chunks)


def _resolution(dpi: Any) -> tuple[float, float] | None:  # noqa: ANN401 - whatever stood in the file
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # 1 is what Pillow makes of a TIFF that does not say it.
    return (across, down) if 1 < across < 65536 and 1 < down < 65536 else None


def fits(profile: bytes | None, mode: str) -> bool:
    """Whether a profile is one for pixels of this mode of Pillow's."""
    return profile is not None and profile[16:20] == _SPACES.get(mode)


def save_arguments(metadata: Metadata, form: str, size: tuple[int, int]) -> dict[str, Any]:
    """What to tell Pillow's ``save``, for a format (``JPEG``, ``PNG``, ...) and a size (width, height)."""
    arguments: dict[str, Any] = {}
    width, height = size
    packet = metadata.xmp and xmp.for_picture(metadata.xmp, form, height, width)
    if form in _WITH_PROFILE:
        arguments["icc_profile"] = metadata.profile
        if metadata.exif and (block := exif.for_picture(metadata.exif, form, height, width)):
            arguments["exif"] = block
    if form in _WITH_RESOLUTION and metadata.dpi:
        arguments["dpi"] = metadata.dpi
    if form == "PNG":
        arguments["pnginfo"] = PngImagePlugin.PngInfo()
        for chunk in chunks_for_picture(metadata, height, width):
            arguments["pnginfo"].add(*chunk)
    elif form == "TIFF" and packet:
        arguments["exif"] = _tiff_tags(arguments.get("exif"), packet)
    elif form in _WITH_PROFILE and packet:
        arguments["xmp"] = packet
    if form == "JPEG" and metadata.iptc:
        arguments["extra"] = _iptc_segment(metadata.iptc)
    return arguments


def chunks_for_picture(metadata: Metadata, height: int, width: int) -> list[png_chunks.Chunk]:
    """What a PNG of this size says of itself besides profile, EXIF and resolution."""
    packet = metadata.xmp and xmp.for_picture(metadata.xmp, "PNG", height, width)
    return [*metadata.chunks, *([png_chunks.xmp_chunk(packet)] if packet else [])]


def _iptc_segment(iptc: bytes) -> bytes:
    """A segment of JPEG (APP13) with IPTC as the only one of Photoshop's resources; its name is empty."""
    resource = b"8BIM" + struct.pack(">HxxI", _IPTC, len(iptc)) + iptc + bytes(len(iptc) % 2)
    segment = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + struct.pack(">H", 2 + len(segment)) + segment if len(segment) < 65_534 else b""


def _tiff_tags(block: bytes | None, packet: bytes) -> Image.Exif:
    """The first directory of a TIFF: EXIF's, and XMP."""
    tags = Image.Exif()
    tags.load(block or b"")
    tags[ExifTags.Base.XMLPacket] = packet
    return tags


def goes_along(profile: bytes | None, form: str, mode: str) -> bool:
    """Whether a file of this format, with pixels of this mode, can hold the profile."""
    too_long = form == "PNG" and len(profile or b"") > _LONGEST_IN_PNG
    return fits(profile, mode) and form in _WITH_PROFILE and not too_long


def in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture as sRGB, mode ``RGB``, by its profile if that can be used; no transparency.

    Lab needs no profile. Without one, CMYK is taken as the complement of RGB, as Pillow does.
    """
    srgb = ImageCms.createProfile("sRGB")
    source: Any = None
    if fits(profile, picture.mode):
        source = io.BytesIO(profile or b"")
    elif picture.mode == "LAB":
        source = ImageCms.createProfile("LAB")
    if source is not None:
        try:
            converted = ImageCms.profileToProfile(
                picture,
                source,
                srgb,
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                "RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):  # a damaged profile
            pass
    return picture.convert("RGB")
