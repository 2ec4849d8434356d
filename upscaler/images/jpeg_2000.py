"""JPEG 2000 with more than 8 bits, which Pillow reduces; OpenCV decodes it (ISO/IEC 15444-1, annex A)."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from upscaler.errors import MediaError
from upscaler.images import library_settings, native_stderr
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still

_SIZE_MARKER = b"\xff\x4f\xff\x51"  # SOC, and SIZ right behind it
_MAX_HEADER_BYTES = 1 << 20


def _layout(path: Path) -> tuple[int, int, list[int]] | None:
    """Height, width, and bits of each channel; ``None`` if the header is not found."""
    with path.open("rb") as file:
        head = file.read(_MAX_HEADER_BYTES)
    start = head.find(_SIZE_MARKER)
    try:
        right, bottom, left, top = struct.unpack_from(">4I", head, start + 8)
        (count,) = struct.unpack_from(">H", head, start + 40)
        depths = [head[start + 42 + 3 * index] for index in range(count)]
    except (struct.error, IndexError):
        return None
    if start < 0 or any(depth & 0x80 for depth in depths):  # signed
        return None
    return bottom - top, right - left, [depth + 1 for depth in depths]


def is_deep(path: Path) -> bool:
    """Whether an image has more than 8 bits in 1 or 3 channels."""
    layout = _layout(path)
    return layout is not None and max(layout[2], default=0) > 8 and len(layout[2]) in (1, 3)


def read_size(path: Path) -> tuple[int, int]:
    """Height and width, from the header; the image is one that ``is_deep`` knows."""
    layout = _layout(path)
    if layout is None:
        raise MediaError(f"'{path}' is damaged")
    return layout[:2]


def read(path: Path) -> Still:
    """Decode an image to 16 bits; one that ``is_deep`` knows.

    Raises:
        MediaError: It is damaged or too large.
    """
    layout = _layout(path)
    assert layout is not None, "it is_deep"
    library_settings.check_size(path, *layout[:2])
    with native_stderr.discarded():
        decoded: Any = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise MediaError(f"'{path}' is damaged or truncated")
    peak = 2 ** max(layout[2]) - 1
    samples = decoded if decoded.ndim == 3 else np.repeat(decoded[:, :, None], 3, axis=2)
    codes = np.rint(samples[:, :, ::-1] * (65_535 / peak)).clip(0, 65_535).astype(np.uint16)
    return Still(np.ascontiguousarray(codes), gray=decoded.ndim == 2, metadata=Metadata())
