"""PGM and PPM with more than 8 bits, which Pillow reduces, and PFM (netpbm's manual pages)."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from upscaler.errors import MediaError
from upscaler.images import library_settings
from upscaler.images.light_still import still_of_light
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still

_MAX_HEADER_BYTES = 1 << 12
_SKIPPED = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(
    rb"(P[56Ff])" + _SKIPPED + rb"(\d{1,9})" + _SKIPPED + rb"(\d{1,9})" + _SKIPPED + rb"(-?\d+(?:\.\d+)?)\s"
)


class _Header(NamedTuple):
    kind: bytes
    width: int
    height: int
    peak: float
    length: int


def describes(path: Path) -> bool:
    """Whether a file is one of these."""
    with path.open("rb") as file:
        header = _parsed(file.read(_MAX_HEADER_BYTES))
    return header is not None and (header.kind in (b"PF", b"Pf") or header.peak > 255)


def _parsed(head: bytes) -> _Header | None:
    found = _HEADER.match(head)
    if not found:
        return None
    return _Header(found[1], int(found[2]), int(found[3]), float(found[4]), found.end())


def read_size(path: Path) -> tuple[int, int]:
    """Height and width, from the header; the file is one that ``describes`` knows."""
    with path.open("rb") as file:
        header = _parsed(file.read(_MAX_HEADER_BYTES))
    if header is None:
        raise MediaError(f"'{path}' is damaged")
    return header.height, header.width


def read(path: Path) -> Still:
    """Decode an image.

    Raises:
        MediaError: It is truncated or too large.
    """
    library_settings.check_size(path, *read_size(path))
    content = path.read_bytes()
    header = _parsed(content)
    assert header is not None, "its size was read"
    is_light, depth = header.kind in (b"PF", b"Pf"), 3 if header.kind in (b"P6", b"PF") else 1
    stored: Any = np.dtype(("<f4" if header.peak < 0 else ">f4") if is_light else ">u2")
    count = header.width * header.height * depth
    if not count or len(content) - header.length < count * stored.itemsize:
        raise MediaError(f"'{path}' is damaged or truncated")
    samples = np.frombuffer(content, stored, count, header.length).reshape(header.height, header.width, depth)
    if is_light:  # rows from the bottom up
        colors = samples[::-1, :, 0] if depth == 1 else samples[::-1]
        return still_of_light(colors, None, Metadata(), dtype="float32", gray=depth == 1)
    scaled = np.rint(samples.astype(np.float64).clip(0, header.peak) * (65_535 / header.peak))
    codes = np.ascontiguousarray(np.broadcast_to(scaled.astype(np.uint16), (*samples.shape[:2], 3)))
    return Still(codes, gray=depth == 1)
