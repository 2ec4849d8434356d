"""What an image file holds besides pixels: ICC profile, EXIF, XMP, IPTC, texts, resolution, appended data.

Pixels stay in the colours of their profile all the way, and the profile is written with them. Where that is
impossible (CMYK and Lab, which no network takes; formats without profiles), pixels are converted to sRGB.
"""

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from upscaler.images import appended, cicp, exif, png_chunks, webp, xmp
from upscaler.images.appended import Appended
from upscaler.images.cicp import CodePoints
from upscaler.images.formats import ImageFormat
from upscaler.images.orientation import read_orientation
from upscaler.images.png_chunks import Chunk
from upscaler.images.tiff_directory import Entry

COMMENTED = ("GIF", "JPEG")  # the formats that store a comment
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
        iptc: IPTC, or ``None``; written to JPEG and TIFF only.
        comment: Of a JPEG or GIF, or ``None``; written to these only.
        chunks: Text and colour chunks of a PNG; written to PNG only.
        tiff_tags: Tags of a TIFF, such as those of GeoTIFF; written to TIFF only.
        codes: Colours of an AVIF, or of a PNG that states them; written to PNG only. ``None`` if unknown, and
            if there is a profile.
        appended: What a phone appended to a JPEG; written to JPEG only.
        size: Height and width of the upright source; ``None`` if unknown.
        dropped: What is kept in no target, in words, such as ``depth map``.
        exr_attributes: Of an EXR, by name, such as its primaries; written to EXR only.
        lossless: Whether the source is a lossless WebP; written to WebP as lossless again unless a
            quality is asked for.
    """

    profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    chunks: tuple[Chunk, ...] = ()
    tiff_tags: tuple[Entry, ...] = ()
    codes: CodePoints | None = None
    appended: Appended = field(default_factory=Appended)
    size: tuple[int, int] | None = None
    dropped: tuple[str, ...] = ()
    exr_attributes: tuple[tuple[str, Any], ...] = ()
    lossless: bool = False


def read(image: Image.Image) -> Metadata:
    """The metadata of an opened image; damaged parts are left out, because the pixels may be intact."""
    profile, dpi, packet = (image.info.get(name) for name in ("icc_profile", "dpi", "xmp"))
    chunks: tuple[Chunk, ...] = ()
    behind = Appended()
    codes: CodePoints | None = None
    if isinstance(image, PngImagePlugin.PngImageFile):
        chunks = png_chunks.read(_path(image))
        if not profile:
            codes = next((cicp.of_chunk(data) for kind, data in chunks if kind == b"cICP"), None)
    elif image.format in ("JPEG", "MPO"):
        behind = appended.read(_path(image), read_orientation(image))
    packet = packet if isinstance(packet, bytes) else None
    # That of a JPEG 2000 names its encoder.
    comment = image.info.get("comment") if image.format in (*COMMENTED, "MPO") else None
    return Metadata(
        profile=profile or None,
        exif=exif.read(image),
        dpi=_plausible_dpi(dpi),
        xmp=packet,
        iptc=(image.info.get("photoshop") or {}).get(_IPTC_RESOURCE),
        comment=comment if isinstance(comment, bytes) and comment else None,
        chunks=chunks,
        codes=codes,
        appended=behind,
        dropped=_dropped(packet, behind),
        lossless=image.format == "WEBP" and webp.is_lossless(_path(image)),
    )


def _dropped(packet: bytes | None, behind: Appended) -> tuple[str, ...]:
    names = list(behind.dropped)
    if packet and xmp.has_depth_map(packet):
        names.append("depth map")
    return tuple(dict.fromkeys(names))


def _path(image: Image.Image) -> Path:
    return Path(os.fsdecode(getattr(image, "filename", "")))


def _plausible_dpi(dpi: Any) -> tuple[float, float] | None:  # noqa: ANN401 - anything that a file may hold
    try:
        horizontal, vertical = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # Pillow reports 1 for a TIFF without resolution.
    return (horizontal, vertical) if 1 < horizontal < 65536 and 1 < vertical < 65536 else None


def updated_xmp(
    source: Metadata, format_name: str, height: int, width: int, gain_map_bytes: int = 0
) -> bytes | None:
    """The XMP packet for an upscaled, upright image.

    Args:
        source: Metadata of the source.
        format_name: Pillow's name of the format to write.
        height: Of the image to write.
        width: Likewise.
        gain_map_bytes: Length of the gain map that is written behind a JPEG.
    """
    if not source.xmp:
        return None
    video_bytes = len(source.appended.video) if format_name == "JPEG" else 0
    change = xmp.Change(height, width, source.size, gain_map_bytes, video_bytes)
    return xmp.updated(source.xmp, format_name, change)


def save_arguments(
    metadata: Metadata, image_format: ImageFormat, height: int, width: int, gain_map_bytes: int = 0
) -> dict[str, Any]:
    """Arguments of Pillow's ``save`` that write what the format can hold.

    Args:
        metadata: Its profile must describe the pixels to save.
        image_format: The format to save in.
        height: Of the upright image to save.
        width: Likewise.
        gain_map_bytes: As in ``updated_xmp``.
    """
    arguments: dict[str, Any] = {}
    name = image_format.name
    packet = updated_xmp(metadata, name, height, width, gain_map_bytes)
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
    elif image_format.metadata and packet:
        arguments["xmp"] = packet
    if name in COMMENTED and metadata.comment:
        arguments["comment"] = metadata.comment
    if name == "JPEG" and metadata.iptc:
        arguments["extra"] = _iptc_segment(metadata.iptc)
    return arguments


def png_chunks_to_write(metadata: Metadata, height: int, width: int) -> list[Chunk]:
    """The chunks of a PNG of this size other than profile, EXIF and resolution."""
    packet = updated_xmp(metadata, "PNG", height, width)
    chunks = [*metadata.chunks, *([png_chunks.xmp_chunk(packet)] if packet else [])]
    if metadata.codes and not any(kind == b"cICP" for kind, _ in chunks):
        chunks.append((b"cICP", metadata.codes.chunk_data()))
    return chunks


def keeps_iptc(iptc: bytes, format_name: str) -> bool:
    """Whether IPTC is written to a format, given Pillow's name of it."""
    return format_name == "TIFF" or (format_name == "JPEG" and bool(_iptc_segment(iptc)))


def _iptc_segment(iptc: bytes) -> bytes:
    """A JPEG segment (APP13) with IPTC as the only Photoshop resource; empty if it would be too long."""
    resource = b"8BIM" + struct.pack(">HxxI", _IPTC_RESOURCE, len(iptc)) + iptc + bytes(len(iptc) % 2)
    segment = b"Photoshop 3.0\0" + resource
    if len(segment) > _MAX_BYTES_IN_JPEG_SEGMENT:
        return b""
    return b"\xff\xed" + struct.pack(">H", 2 + len(segment)) + segment
