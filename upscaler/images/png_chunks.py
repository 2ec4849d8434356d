"""Chunks of a PNG that neither Pillow nor OpenCV keeps: texts, and colour information other than a profile.

(PNG, third edition: 5.3 for the layout of chunks, 11.3 for their content.)
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

Chunk = tuple[bytes, bytes]  # type, data

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_TYPES = (b"cHRM", b"cICP", b"gAMA", b"sRGB")
# What files in sRGB state, in 1/100000.
_SRGB = {
    b"gAMA": (45_455,),
    b"cHRM": (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000),
}
_ROUNDING = 200
TEXT_TYPES = (b"iTXt", b"tEXt", b"zTXt")
_XMP_KEYWORD = b"XML:com.adobe.xmp\0"
# Texts that are written from their parsed content, because as they are they describe the small image.
_REPLACED_KEYWORDS = (_XMP_KEYWORD, b"Raw profile type ")
_INCHES_PER_METRE = 1 / 0.0254


def heads(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Type and length in bytes of each chunk of a PNG that was opened and not read yet.

    While one is at hand, the file stands at its data, which may be read.
    """
    offset = len(SIGNATURE)
    file.seek(offset)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        yield kind, length
        offset += 12 + length
        file.seek(offset)


def read_intact(file: BinaryIO, kind: bytes, length: int) -> bytes | None:
    """The data of a chunk at which a file stands; ``None`` if they are not those of its checksum."""
    data, checksum = file.read(length), file.read(4)
    return data if checksum == struct.pack(">I", zlib.crc32(kind + data)) else None


def read(path: Path) -> tuple[Chunk, ...]:
    """The intact text and colour chunks of a PNG that also hold for the upscaled image."""
    chunks = []
    try:
        with path.open("rb") as file:
            for kind, length in heads(file):
                data = read_intact(file, kind, length) if kind in COLOR_TYPES + TEXT_TYPES else None
                if data is not None and not (kind in TEXT_TYPES and data.startswith(_REPLACED_KEYWORDS)):
                    chunks.append((kind, data))
    except OSError:  # losing these is better than losing the image
        return ()
    return tuple(chunks)


def states_other_colors(chunks: Iterable[Chunk]) -> bool:
    """Whether chunks state a gamma (gAMA) or primaries (cHRM) that are not those of sRGB (11.3.2)."""
    stated = dict(chunks)
    if b"sRGB" in stated or b"cICP" in stated:  # go before the others
        return False
    return any(kind in stated and _differs(stated[kind], usual) for kind, usual in _SRGB.items())


def _differs(data: bytes, usual: tuple[int, ...]) -> bool:
    if len(data) != 4 * len(usual):
        return False
    values = struct.unpack(f">{len(usual)}I", data)
    return any(abs(value - expected) > _ROUNDING for value, expected in zip(values, usual, strict=True))


def xmp_chunk(packet: bytes) -> Chunk:
    """An uncompressed text chunk with an XMP packet."""
    return b"iTXt", _XMP_KEYWORD + bytes(4) + packet


def resolution_chunk(dpi: tuple[float, float]) -> Chunk:
    """A chunk with pixels per inch, horizontally and vertically."""
    horizontal, vertical = (round(value * _INCHES_PER_METRE) for value in dpi)
    return b"pHYs", struct.pack(">IIB", horizontal, vertical, 1)


def profile_chunk(profile: bytes) -> Chunk:
    """A chunk with an ICC profile, compressed."""
    return b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)


def exif_chunk(block: bytes) -> Chunk:
    """A chunk with an EXIF block, from its byte order mark on."""
    return b"eXIf", block


def packed(chunk: Chunk) -> bytes:
    """A chunk with its length and checksum."""
    kind, data = chunk
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
