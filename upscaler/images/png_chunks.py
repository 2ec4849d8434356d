"""What a PNG says of itself in chunks of its own: texts, and what its codes mean where no profile says it.

(PNG, third edition: 5.3 on the layout of chunks, 11.3 on what they hold.)
"""

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Chunk = tuple[bytes, bytes]  # its type, and its data

_BEFORE_CHUNKS = 33  # bytes: the signature, and the header's chunk
_COLOR = (b"cHRM", b"cICP", b"gAMA", b"sRGB")
_TEXT = (b"iTXt", b"tEXt", b"zTXt")
_XMP = b"XML:com.adobe.xmp\0"
# They are written from what was read of them; as they are, they would speak of the small picture.
_REPLACED = (_XMP, b"Raw profile type ")
_INCHES_PER_METRE = 1 / 0.0254


def chunks(path: Path) -> tuple[Chunk, ...]:
    """The chunks of a file that are true for the enlarged picture, too; none of what is no PNG."""
    kept = []
    try:
        with path.open("rb") as file:
            file.seek(_BEFORE_CHUNKS)
            while len(head := file.read(8)) == 8:
                length, kind = struct.unpack(">I4s", head)
                if kind not in _COLOR + _TEXT:
                    file.seek(length + 4, 1)
                    continue
                data, checksum = file.read(length), file.read(4)
                whole = checksum == struct.pack(">I", zlib.crc32(kind + data))
                if whole and not (kind in _TEXT and data.startswith(_REPLACED)):
                    kept.append((kind, data))
    except OSError:  # the pixels are there; what is said of them is the lesser loss
        return ()
    return tuple(kept)


def xmp_chunk(packet: bytes) -> Chunk:
    """XMP as a text that is not compressed."""
    return b"iTXt", _XMP + bytes(4) + packet


def resolution_chunk(dpi: tuple[float, float]) -> Chunk:
    """Pixels per inch along rows and columns."""
    across, down = (round(value * _INCHES_PER_METRE) for value in dpi)
    return b"pHYs", struct.pack(">IIB", across, down, 1)


def write_with_chunks(path: Path, encoded: NDArray[np.uint8], added: Iterable[Chunk]) -> None:
    """Write an encoded PNG, with chunks behind its header.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("wb") as file:
        file.write(encoded[:_BEFORE_CHUNKS].data)
        for kind, data in added:
            file.write(
                struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            )
        file.write(encoded[_BEFORE_CHUNKS:].data)
