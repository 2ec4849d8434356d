"""PNG files of any bit depth, with any chunks."""

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode_png(codes: NDArray[Any], bits: int, chunks: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """A PNG of ``(H, W)`` or ``(H, W, channels)`` codes with ``bits`` each and chunks after the header."""
    height, width = codes.shape[:2]
    flat = codes.reshape(height, -1)
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    else:  # the last bits of each code, packed from the left
        rows = [
            np.packbits(np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :]).tobytes()
            for row in flat
        ]
    color_type = _COLOR_TYPES[codes.shape[2] if codes.ndim == 3 else 1]
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    content = [
        (b"IHDR", header),
        *chunks,
        (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in content)
