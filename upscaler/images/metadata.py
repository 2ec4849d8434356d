"""What an image file holds besides pixels: ICC profile, EXIF, XMP, IPTC, texts, resolution.

Pixels stay in the colours of their profile all the way, and the profile is written with them. Where that is
impossible (CMYK and Lab, which no network takes; formats without profiles), pixels are converted to sRGB.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from upscaler.images import exif, png_chunks, webp, xmp
from upscaler.images.formats import ImageFormat
from upscaler.images.png_chunks import Chunk

_IPTC_RESOURCE = 0x0404  # the number of IPTC among Photoshop's image resources
_MAX_BYTES_IN_JPEG_SEGMENT = 65_533


@dataclass(frozen=True)
class Metadata:
    """Metadata of a source, as bytes of its own file.

    Attributes:
        profile: ICC profile of the pixels; ``None`` for sRGB or unknown.
        exif: As from ``exif.read``, or ``None``.
        dpi: Pixels per inch, horizontally and vertically, or ``None``.
        xmp: XMP packet, or ``None``.
        iptc: IPTC of a JPEG, or ``None``; written to JPEG only.
        dropped: What is kept in no target, in words, such as ``HDR gain map``.
        lossless: Whether the source is a lossless WebP; written to WebP as lossless again.
        chunks: Text and colour chunks of a PNG; written to PNG only.
    """

    profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    chunks: tuple[Chunk, ...] = ()
    dropped: tuple[str, ...] = ()
    lossless: bool = False


def read(image: Image.Image) -> Metadata:
    """The metadata of an opened image; damaged parts are left out, because the pixels may be intact."""
    profile, dpi, packet = (image.info.get(name) for name in ("icc_profile", "dpi", "xmp"))
    chunks: tuple[Chunk, ...] = ()
    if isinstance(image, PngImagePlugin.PngImageFile):
        chunks = png_chunks.read(_path(image))
    packet = packet if isinstance(packet, bytes) else None
    return Metadata(
        profile=profile or None,
        exif=exif.read(image),
        dpi=_plausible_dpi(dpi),
        xmp=packet,
        iptc=(image.info.get("photoshop") or {}).get(_IPTC_RESOURCE),
        chunks=chunks,
        dropped=_appended_data(image, packet),
        lossless=image.format == "WEBP" and webp.is_lossless(_path(image)),
    )


def _appended_data(image: Image.Image, packet: bytes | None) -> tuple[str, ...]:
    named = xmp.appended_data(packet) if packet else ()
    if named or getattr(image, "n_frames", 1) == 1:
        return named
    others = {"MPO": "further images", "TIFF": "reduced copies (thumbnail or pyramid)"}
    return (others[image.format],) if image.format in others else ()


def _path(image: Image.Image) -> Path:
    return Path(os.fsdecode(getattr(image, "filename", "")))


def _plausible_dpi(dpi: Any) -> tuple[float, float] | None:  # noqa: ANN401 - anything that a file may hold
    try:
        horizontal, vertical = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # Pillow reports 1 for a TIFF without resolution.
    return (horizontal, vertical) if 1 < horizontal < 65536 and 1 < vertical < 65536 else None


def save_arguments(metadata: Metadata, image_format: ImageFormat, height: int, width: int) -> dict[str, Any]:
    """Arguments of Pillow's ``save`` that write what the format can hold.

    Args:
        metadata: Its profile must describe the pixels to save.
        image_format: The format to save in.
        height: Of the upright image to save.
        width: Likewise.
    """
    arguments: dict[str, Any] = {}
    name = image_format.name
    packet = metadata.xmp and xmp.updated(metadata.xmp, image_format.name, height, width)
    if image_format.metadata:
        arguments["icc_profile"] = metadata.profile
        if metadata.exif and (block := exif.updated(metadata.exif, name, height, width)):
            arguments["exif"] = block
    if image_format.resolution and metadata.dpi:
        arguments["dpi"] = metadata.dpi
    if name == "PNG":
        arguments["pnginfo"] = PngImagePlugin.PngInfo()
        for chunk in png_chunks_to_write(metadata, height, width):
            arguments["pnginfo"].add(*chunk)
    elif name == "TIFF" and packet:
        arguments["exif"] = _tiff_tags(arguments.get("exif"), packet)
    elif image_format.metadata and packet:
        arguments["xmp"] = packet
    if name == "WEBP" and metadata.lossless:
        arguments["lossless"] = True
    if name == "JPEG" and metadata.iptc:
        arguments["extra"] = _iptc_segment(metadata.iptc)
    return arguments


def png_chunks_to_write(metadata: Metadata, height: int, width: int) -> list[Chunk]:
    """The chunks of a PNG of this size other than profile, EXIF and resolution."""
    packet = metadata.xmp and xmp.updated(metadata.xmp, "PNG", height, width)
    return [*metadata.chunks, *([png_chunks.xmp_chunk(packet)] if packet else [])]


def _iptc_segment(iptc: bytes) -> bytes:
    """A JPEG segment (APP13) with IPTC as the only Photoshop resource; empty if it would be too long."""
    resource = b"8BIM" + struct.pack(">HxxI", _IPTC_RESOURCE, len(iptc)) + iptc + bytes(len(iptc) % 2)
    segment = b"Photoshop 3.0\0" + resource
    if len(segment) > _MAX_BYTES_IN_JPEG_SEGMENT:
        return b""
    return b"\xff\xed" + struct.pack(">H", 2 + len(segment)) + segment


def _tiff_tags(block: bytes | None, packet: bytes) -> Image.Exif:
    """The first directory of a TIFF: that of the EXIF block, and the XMP packet."""
    tags = Image.Exif()
    tags.load(block or b"")
    tags[ExifTags.Base.XMLPacket] = packet
    return tags
