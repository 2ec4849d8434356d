"""Which module reads what neither Pillow nor tifffile does: by the first bytes, raw files by suffix."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from upscaler.images import exr, heif, jpeg_2000, jpeg_xl, netpbm, radiance, raw
from upscaler.images.formats import FORMATS, READ_ONLY_FORMATS
from upscaler.images.still import Still

_HEAD_BYTES = 64


@dataclass(frozen=True)
class Reader:
    """Functions of a module; they raise ``MediaError``, or whatever damage leads their library to raise.

    Attributes:
        read: Decodes an image, upright.
        read_size: Height and width of the upright image, from the header.
        bytes_per_pixel: When it is decoded, at most.
    """

    read: Callable[[Path], Still]
    read_size: Callable[[Path], tuple[int, int]]
    bytes_per_pixel: int


_READERS = {
    "EXR": Reader(exr.read, exr.read_size, 16),
    "HDR": Reader(radiance.read, radiance.read_size, 12),
    "HEIF": Reader(heif.read, heif.read_size, 8),
    "JXL": Reader(jpeg_xl.read, jpeg_xl.read_size, 4),
    "RAW": Reader(raw.read, raw.read_size, 6),
}
_NETPBM = Reader(netpbm.read, netpbm.read_size, 12)
_DEEP_JPEG_2000 = Reader(jpeg_2000.read, jpeg_2000.read_size, 8)
_PATTERNS = [
    (re.compile(row.signature, re.DOTALL), row.name)
    for row in (*FORMATS, *READ_ONLY_FORMATS)
    if row.signature and row.name in (*_READERS, "JPEG2000", "PFM", "PPM")
]
[_RAW_SUFFIXES] = [row.suffixes for row in READ_ONLY_FORMATS if row.name == "RAW"]


def reader_of(path: Path) -> Reader | None:
    """What reads a file; ``None`` for Pillow or tifffile, which also report what cannot be opened."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    name = next((name for pattern, name in _PATTERNS if pattern.match(head)), None)
    if name in ("PFM", "PPM"):
        return _NETPBM if netpbm.describes(path) else None
    if name == "JPEG2000":
        return _DEEP_JPEG_2000 if jpeg_2000.is_deep(path) else None
    if name is None and path.suffix.lower() in _RAW_SUFFIXES:
        name = "RAW"
    return _READERS.get(name or "")
