"""PNG with 16-bit grayscale and alpha, which neither OpenCV nor Pillow writes."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from upscaler.images.png_chunks import Chunk, packed

_GRAY_WITH_ALPHA = 4  # colour type (PNG, third edition: 11.2.1)
_SUB_FILTER = 1  # each byte minus that of the pixel to the left (9.2)
_BYTES_PER_PIXEL = 4
_COMPRESSION = 4


def encode_gray_alpha(gray: NDArray[np.uint16], alpha: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Encode an image.

    Args:
        gray: ``(H, W)`` uint16.
        alpha: ``(H, W)`` uint16, straight.

    Returns:
        ``(N,)`` bytes of a PNG file.
    """
    height, width = gray.shape
    rows = np.dstack([gray, alpha]).astype(">u2").view(np.uint8).reshape(height, width * _BYTES_PER_PIXEL)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _SUB_FILTER
    filtered[:, 1:] = rows
    filtered[:, 1 + _BYTES_PER_PIXEL :] -= rows[:, :-_BYTES_PER_PIXEL]
    header = struct.pack(">IIBBBBB", width, height, 16, _GRAY_WITH_ALPHA, 0, 0, 0)
    chunks: list[Chunk] = [
        (b"IHDR", header),
        (b"IDAT", zlib.compress(filtered.tobytes(), _COMPRESSION)),
        (b"IEND", b""),
    ]
    return np.frombuffer(b"\x89PNG\r\n\x1a\n" + b"".join(map(packed, chunks)), np.uint8)
