"""Repairs of damaged files, in memory, so that Pillow decodes what is left of the image."""

import io
import os
import struct
import zlib
from pathlib import Path

from PIL import Image

from upscaler.images import jpeg_file, png_chunks
from upscaler.images.formats import READ_FORMATS, pillow_formats
from upscaler.images.jpeg_damage import DAMAGED_PIXELS

DAMAGED_METADATA = "damaged metadata of the PNG was left out"

_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_TRANSPARENCY = b"tRNS"
_ANCILLARY_BIT = 0x20  # of a chunk type's first byte (PNG, third edition: 5.4)


def opened(path: Path) -> tuple[Image.Image, str]:
    """Open an image, repaired if it has to be.

    Returns:
        The image, not decoded yet, and what is damaged, as a line for the user; empty for an intact file.

    Raises:
        Exception: Whatever damage that cannot be repaired leads Pillow to raise.
    """
    try:
        return Image.open(path, formats=pillow_formats(path)), ""
    except (OSError, SyntaxError, ValueError, struct.error):
        repair = repaired(path)
        if repair is None:
            raise
    content, damage = repair
    image = Image.open(io.BytesIO(content), formats=READ_FORMATS)
    image.filename = os.fspath(path)  # from which metadata are read
    return image, damage


def has_damaged_metadata(path: Path) -> bool:
    """Whether a file is a PNG with damaged texts and the like; decoders skip those behind the pixels."""
    try:
        content = path.read_bytes()
    except OSError:  # removed since it was read
        return False
    is_png = content.startswith(png_chunks.SIGNATURE)
    return is_png and _without_ancillary_chunks(content, only_damaged=True) != content


def repaired(path: Path) -> tuple[bytes, str] | None:
    """Repair a file that Pillow does not read.

    Returns:
        The repaired file and what is damaged, as a line for the user; ``None`` if nothing can be repaired.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if content.startswith(_JPEG_START):
        cleaned = jpeg_file.without_wrong_markers(content)
        if cleaned is not None:
            return cleaned, DAMAGED_PIXELS
        # Without its end marker, Pillow rejects even a complete image. Missing rows become gray.
        return content + _JPEG_END, "the file is truncated: the lower part of the image may be missing"
    if content.startswith(png_chunks.SIGNATURE):
        intact = _without_ancillary_chunks(content, only_damaged=True)
        if intact == content:  # perhaps one of them has a right checksum and wrong content
            intact = _without_ancillary_chunks(content, only_damaged=False)
        if intact != content:
            return intact, DAMAGED_METADATA
    return None


def _without_ancillary_chunks(png: bytes, *, only_damaged: bool) -> bytes:
    """The PNG without ancillary chunks (texts and the like), or only those whose checksum is wrong."""
    kept, offset = [png_chunks.SIGNATURE], len(png_chunks.SIGNATURE)
    while offset + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, offset)
        chunk = png[offset : offset + 12 + length]
        is_ancillary = chunk[4] & _ANCILLARY_BIT and chunk[4:8] != _TRANSPARENCY
        is_intact = only_damaged and chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))
        if is_intact or not is_ancillary:
            kept.append(chunk)
        offset += 12 + length
    return b"".join([*kept, png[offset:]])
