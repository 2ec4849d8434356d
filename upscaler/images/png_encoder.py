"""The pixels of a PNG, filtered and compressed band by band, so that no picture has to be held as a whole."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.uint8] | NDArray[np.uint16]
Bytes = NDArray[np.uint8]

_NONE, _SUB, _UP, _AVERAGE, _PAETH = range(5)  # filter types (PNG, third edition: 9.2)
# Half the time of zlib's default, 6, for 1 % more bytes. The lowest bits of 16-bit samples are noise, for
# which a search takes three times as long and saves 1 %, and all five filters twice as long and save 2 %.
_LEVEL, _DEEP_LEVEL = 4, 1
_MEMORY_LEVEL = 9
_FILTERED_BYTES = 1 << 20  # that are filtered at once: more do not fit into a processor's cache
_BLOCK_BYTES = 1 << 16  # of compressed data, at least


def compressed(bands: Iterable[Samples]) -> Iterator[bytes]:
    """Compress a picture.

    Args:
        bands: ``(rows, width)`` or ``(rows, width, channels)`` each, all of one width, dtype and number of
            channels.

    Yields:
        The content of IDAT chunks: one zlib stream, in parts.
    """
    compressor: Any = None
    before: Bytes | None = None
    waiting: list[bytes] = []
    for band in bands:
        if compressor is None:
            is_deep = band.dtype == np.uint16
            strategy, level = (zlib.Z_RLE, _DEEP_LEVEL) if is_deep else (zlib.Z_FILTERED, _LEVEL)
            compressor = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, _MEMORY_LEVEL, strategy)
        pixel_bytes = band.itemsize * (band.shape[2] if band.ndim == 3 else 1)
        row_bytes = band.shape[1] * pixel_bytes
        each = max(1, _FILTERED_BYTES // row_bytes)
        for start in range(0, len(band), each):
            rows = _big_endian(band[start : start + each])
            before = np.zeros(row_bytes, np.uint8) if before is None else before
            filtered = (_filtered_deep if band.dtype == np.uint16 else _filtered)(rows, before, pixel_bytes)
            waiting.append(compressor.compress(filtered))
            before = rows[-1].copy()
            if sum(map(len, waiting)) >= _BLOCK_BYTES:
                yield b"".join(waiting)
                waiting.clear()
    assert compressor is not None, "a picture has rows"
    yield b"".join([*waiting, compressor.flush()])


def _big_endian(rows: Samples) -> Bytes:
    """The bytes of rows, ``(rows, bytes)``, as PNG stores them."""
    ordered = rows.astype(">u2") if rows.dtype == np.uint16 else np.ascontiguousarray(rows)
    return ordered.view(np.uint8).reshape(len(rows), -1)


def _filtered(rows: Bytes, before: Bytes, pixel_bytes: int) -> Bytes:
    """Rows with the type of their filter in front, each by the filter whose result is the smallest (12.7).

    Args:
        rows: ``(rows, bytes)``.
        before: ``(bytes,)``, the row above the first; zeros above a picture.
        pixel_bytes: Bytes of a pixel.
    """
    up = np.vstack([before, rows[:-1]])
    left, corner = (_moved(each, pixel_bytes) for each in (rows, up))
    return _smallest(
        {
            _NONE: rows,
            _SUB: rows - left,
            _UP: rows - up,
            _AVERAGE: rows - _averages(left, up),
            _PAETH: rows - _predicted(left, up, corner),
        }
    )


def _filtered_deep(rows: Bytes, before: Bytes, pixel_bytes: int) -> Bytes:
    """As ``_filtered``, by the two filters that suit 16-bit samples and take a fifth of the time."""
    left = _moved(rows, pixel_bytes)
    average = _averages(left, np.vstack([before, rows[:-1]]))
    return _smallest({_SUB: rows - left, _AVERAGE: rows - average})


def _smallest(filtered: dict[int, Bytes]) -> Bytes:
    """Of each row the smallest result, as the sum of absolute values, each byte being a signed difference.

    Args:
        filtered: By the type of the filter, ``(rows, bytes)`` each.
    """
    sizes = [np.abs(each.view(np.int8)).view(np.uint8) for each in filtered.values()]
    best = np.array(list(filtered))[np.argmin([each.sum(axis=1, dtype=np.uint64) for each in sizes], axis=0)]
    rows, row_bytes = next(iter(filtered.values())).shape
    result = np.empty((rows, 1 + row_bytes), np.uint8)
    for kind, each in filtered.items():
        chosen = best == kind
        result[chosen, 0] = kind
        result[chosen, 1:] = each[chosen]
    return result


def _averages(left: Bytes, up: Bytes) -> Bytes:
    """Without the carry that the sum of two bytes would need."""
    averages: Bytes = (left >> 1) + (up >> 1) + (left & up & 1)
    return averages


def _moved(rows: Bytes, pixel_bytes: int) -> Bytes:
    """Of each byte that of the pixel to the left, which is 0 before the first pixel."""
    moved = np.zeros_like(rows)
    moved[:, pixel_bytes:] = rows[:, :-pixel_bytes]
    return moved


def _predicted(left: Bytes, up: Bytes, corner: Bytes) -> Bytes:
    """Paeth's predictor: which of the three is nearest to left + up - corner; at a tie the first (9.4)."""
    from_left, from_up = cv2.absdiff(up, corner), cv2.absdiff(left, corner)
    distance = left.astype(np.int16)
    distance += up
    distance -= corner
    distance -= corner
    np.abs(distance, out=distance)
    is_left = (from_left <= from_up) & (from_left <= distance)
    predicted: Any = np.where(is_left, left, np.where(from_up <= distance, up, corner))
    return predicted  # type: ignore[no-any-return]  # of the same dtype
