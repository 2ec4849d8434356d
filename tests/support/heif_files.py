"""HEIC files as phones write them, made of HEVC by FFmpeg and boxes by hand (ISO/IEC 23008-12)."""

import re
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray


@dataclass(frozen=True)
class Item:
    """An item of the file: its type, content, and property boxes."""

    kind: bytes
    content: bytes
    properties: tuple[bytes, ...] = ()
    about: int = 0  # the item that it describes
    relation: bytes = b"cdsc"


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full_box(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def coded(pixels: NDArray[Any], pixel_format: str) -> Item:
    """An image item; ``(H, W, 3)`` RGB or ``(H, W)`` uint8, in 4:4:4, nearly without loss."""
    height, width = pixels.shape[:2]
    encoder = av.CodecContext.create("libx265", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, pixel_format
    encoder.color_range, encoder.time_base = 2, Fraction(1)
    encoder.options = {"crf": "1", "x265-params": "log-level=none:info=0:repeat-headers=1"}
    frame = VideoFrame.from_ndarray(pixels, format="gray" if pixels.ndim == 2 else "rgb24")
    frame = frame.reformat(format=pixel_format, dst_colorspace="ITU601", dst_color_range="JPEG")
    frame.pts = 0
    stream = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    units = [unit for unit in re.split(rb"\0?\0\0\x01", stream) if unit]
    kinds = [unit[0] >> 1 & 0x3F for unit in units]
    headers = {kind: unit for kind, unit in zip(kinds, units, strict=True) if kind in _HEADERS}
    pictures = [unit for kind, unit in zip(kinds, units, strict=True) if kind < _FIRST_HEADER]
    data = b"".join(struct.pack(">I", len(unit)) + unit for unit in pictures)
    size = full_box(b"ispe", struct.pack(">II", width, height))
    return Item(b"hvc1", data, (_settings(headers, gray=pixels.ndim == 2, deep="10" in pixel_format), size))


_FIRST_HEADER = 32
_HEADERS = (32, 33, 34)  # video, sequence and picture parameter sets


def _settings(headers: dict[int, bytes], *, gray: bool, deep: bool) -> bytes:
    """An ``hvcC`` box (ISO/IEC 14496-15, 8.3.3.1)."""
    profile = headers[33].replace(b"\0\0\x03", b"\0\0")[3:15]
    depth = 0xF8 | (2 if deep else 0)
    rest = struct.pack(">HBBBBHB", 0xF000, 0xFC, 0xFC | (0 if gray else 3), depth, depth, 0, 0x0F)
    arrays = b"".join(
        struct.pack(">BHH", 0x80 | kind, 1, len(headers[kind])) + headers[kind] for kind in _HEADERS
    )
    return box(b"hvcC", b"\x01", profile, rest, bytes([len(_HEADERS)]), arrays)


def heif(items: list[Item]) -> bytes:
    """A file; the first item is its image."""
    properties: list[bytes] = []
    associated = b""
    for number, item in enumerate(items, 1):
        if item.properties:
            places = [0x80 | len(properties) + index for index in range(1, len(item.properties) + 1)]
            associated += struct.pack(">HB", number, len(places)) + bytes(places)
            properties += item.properties
    count = sum(bool(item.properties) for item in items)
    entries = b"".join(
        full_box(
            b"infe",
            struct.pack(">HH4s", number, 0, item.kind),
            b"\0" + (b"application/rdf+xml\0" if item.kind == b"mime" else b""),
            version=2,
        )
        for number, item in enumerate(items, 1)
    )
    references = b"".join(
        box(item.relation, struct.pack(">HHH", number, 1, item.about))
        for number, item in enumerate(items, 1)
        if item.about
    )

    def meta(first: int) -> bytes:
        offset, places = first, b""
        for number, item in enumerate(items, 1):
            places += struct.pack(">HHHII", number, 0, 1, offset, len(item.content))
            offset += len(item.content)
        return full_box(
            b"meta",
            full_box(b"hdlr", struct.pack(">I4s12x", 0, b"pict"), b"\0"),
            full_box(b"pitm", struct.pack(">H", 1)),
            full_box(b"iloc", b"\x44\0", struct.pack(">H", len(items)), places),
            full_box(b"iinf", struct.pack(">H", len(items)), entries),
            full_box(b"iref", references) if references else b"",
            box(
                b"iprp",
                box(b"ipco", *properties),
                full_box(b"ipma", struct.pack(">I", count), associated),
            ),
        )

    kind = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    first = len(kind) + len(meta(0)) + 8
    return kind + meta(first) + box(b"mdat", *(item.content for item in items))


def heic(
    pixels: NDArray[Any],
    *,
    bits: int = 8,
    colors: bytes = b"",
    turned: int = 0,
    exif: bytes = b"",
    xmp: bytes = b"",
    gain_map: NDArray[np.uint8] | None = None,
) -> bytes:
    """A HEIC.

    Args:
        pixels: ``(H, W, 3)`` RGB uint8; sides are multiples of 8, at least 64.
        bits: Per sample.
        colors: A ``colr`` box, or none.
        turned: Quarter turns, counter-clockwise (``irot``).
        exif: A block from its byte order mark on.
        xmp: A packet.
        gain_map: ``(H, W)``, Apple's.
    """
    image = coded(pixels, "yuv444p10le" if bits == 10 else "yuv444p")
    more = ((colors,) if colors else ()) + ((box(b"irot", bytes([turned])),) if turned else ())
    items = [Item(image.kind, image.content, (*image.properties, *more))]
    if exif:
        items.append(Item(b"Exif", struct.pack(">I", 6) + b"Exif\0\0" + exif, about=1))
    if xmp:
        items.append(Item(b"mime", xmp, about=1))
    if gain_map is not None:
        second = coded(gain_map, "gray")
        kind = full_box(b"auxC", b"urn:com:apple:photo:2020:aux:hdrgainmap\0")
        items.append(Item(second.kind, second.content, (*second.properties, kind), 1, b"auxl"))
    return heif(items)


def profile_box(profile: bytes) -> bytes:
    return box(b"colr", b"prof", profile)


def codes_box(primaries: int, transfer: int) -> bytes:
    return box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, 6, 0x80))
