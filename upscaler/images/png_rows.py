"""Reading a PNG in bands.

Libraries decode only whole files, and filters (PNG, third edition: 9) take too long in Python. So the rows of
a band, as they are stored, become a small PNG below the row before them, to which the filters of the first
row refer: a library undoes the filters. Then they become another one, for the readers of whole files.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from upscaler.images import eight_bit, picture_rows, pillow_corrections, repair, sixteen_bit_png
from upscaler.images.orientation import read_orientation
from upscaler.images.picture_rows import BAND_BYTES, NotInRowsError, PictureRows
from upscaler.images.png_chunks import SIGNATURE, Chunk, heads, packed, read_intact
from upscaler.images.still import Still

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type (PNG, third edition: 11.2.1)
_KINDS = {1: (8, 0), 2: (8, 4), 3: (8, 2), 4: (8, 6), 6: (16, 2), 8: (16, 6)}  # bits, colour type
_READ_BYTES = 1 << 20
_DECODES = (b"PLTE", b"tRNS")  # what pixels depend on


def is_png(path: Path) -> bool:
    """Whether a file starts as a PNG does."""
    try:
        with path.open("rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:  # the reader reports the reason
        return False


def opened(path: Path) -> PictureRows:
    """A PNG that is not animated.

    Raises:
        NotInRowsError: It is interlaced, or stored turned.
        OSError: It cannot be read.
        ValueError: It is damaged.
    """
    stored = _parsed(path)
    if stored.is_interlaced:
        raise NotInRowsError("it is interlaced")
    described, orientation = _described(path, stored)
    if orientation != 1:
        raise NotInRowsError("it is stored turned or mirrored")
    rows = picture_rows.of_bands(
        stored.height, stored.width, lambda: _bands(path, stored), described.metadata
    )
    return replace(rows, head=replace(rows.head, damage=stored.damage))


@dataclass(frozen=True)
class _Stored:
    """What a file holds: its header, all intact chunks but those with pixels, and where these are."""

    header: bytes
    chunks: list[Chunk]
    data: list[tuple[int, int]]
    damage: str

    @property
    def width(self) -> int:
        return int(struct.unpack_from(">I", self.header)[0])

    @property
    def height(self) -> int:
        return int(struct.unpack_from(">I", self.header, 4)[0])

    @property
    def is_interlaced(self) -> bool:
        return self.header[12] != 0

    @property
    def row_bytes(self) -> int:
        """Of a row, with the type of its filter."""
        bits, kind = self.header[8], self.header[9]
        return 1 + -(-self.width * _SAMPLES[kind] * bits // 8)


def _parsed(path: Path) -> _Stored:
    header, chunks, data, damage = b"", list[Chunk](), list[tuple[int, int]](), ""
    with path.open("rb") as file:
        for kind, length in heads(file):
            if kind == b"IDAT":
                data.append((file.tell(), length))
            elif kind == b"IHDR":
                header = file.read(length)
            elif kind == b"IEND":
                break
            elif (content := read_intact(file, kind, length)) is not None:
                chunks.append((kind, content))
            elif kind in _DECODES:
                raise ValueError(f"its {kind.decode()} chunk is damaged")
            else:
                damage = repair.DAMAGED_METADATA
    if len(header) != 13 or header[9] not in _SAMPLES or not data:
        raise ValueError("its header or its pixels are missing")
    return _Stored(header, chunks, data, damage)


def _as_file(header: bytes, rows: int, filtered: bytes, chunks: list[Chunk]) -> bytes:
    """A PNG with some rows; they are not compressed, which costs no time."""
    header = header[:4] + struct.pack(">I", rows) + header[8:]
    pixels = zlib.compress(filtered, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return SIGNATURE + b"".join(map(packed, parts))


def _described(path: Path, stored: _Stored) -> tuple[Still, int]:
    """One row with the metadata of the file, and its orientation."""
    content = _as_file(stored.header, 1, bytes(stored.row_bytes), stored.chunks)
    return _decoded(path, content, described_by=path)


def _decoded(path: Path, content: bytes, described_by: Path | None = None) -> tuple[Still, int]:
    """A PNG in memory as it is stored, and its orientation.

    Args:
        path: Of the file that it is made from.
        content: The PNG.
        described_by: A file whose texts belong to it.
    """
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        if described_by:
            image.filename = os.fspath(described_by)
        is_deep = sixteen_bit_png.describes(image)
        pillow_corrections.apply(image)
        image.load()
        if not is_deep:
            return eight_bit.read(image), read_orientation(image)
        encoded = np.frombuffer(content, np.uint8)
        return sixteen_bit_png.of_bytes(path, encoded, image), read_orientation(image)


def _bands(path: Path, stored: _Stored) -> Iterator[Still]:
    decoding = [chunk for chunk in stored.chunks if chunk[0] in _DECODES]
    each = max(1, BAND_BYTES // stored.row_bytes)
    before: NDArray[np.uint8] = np.zeros(stored.row_bytes - 1, np.uint8)
    with path.open("rb") as file:
        filtered = _Filtered(file, stored)
        for start in range(0, stored.height, each):
            rows = min(each, stored.height - start)
            raw = _without_filters(stored, before, filtered.read(rows))
            before = raw[-1].copy()
            plain = np.zeros((rows, stored.row_bytes), np.uint8)  # with the filter type "none"
            plain[:, 1:] = raw
            yield _decoded(path, _as_file(stored.header, rows, plain.tobytes(), decoding))[0]
        filtered.finish()


def _without_filters(stored: _Stored, before: NDArray[np.uint8], filtered: bytes) -> NDArray[np.uint8]:
    """Rows of bytes ``(rows, bytes)``, from rows as they are stored and the bytes ``before`` them.

    A library takes them for pixels of another kind, of as many bytes: the filters need no more.
    """
    row_bytes = len(before)
    pixel_bytes = max(1, _SAMPLES[stored.header[9]] * stored.header[8] // 8)
    bits, kind = _KINDS[pixel_bytes]
    rows = 1 + len(filtered) // (row_bytes + 1)
    header = struct.pack(">IIBBBBB", row_bytes // pixel_bytes, rows, bits, kind, 0, 0, 0)
    content = _as_file(header, rows, b"\0" + before.tobytes() + filtered, [])
    if bits == 8:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return np.asarray(image).reshape(rows, row_bytes)[1:]
    decoded: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    in_order = decoded[:, :, [2, 1, 0, 3][: decoded.shape[2]]]  # OpenCV starts with blue
    return np.ascontiguousarray(in_order.astype(">u2")).view(np.uint8).reshape(rows, row_bytes)[1:]


class _Filtered:
    """The rows of a file as they are stored, decompressed."""

    def __init__(self, file: BinaryIO, stored: _Stored) -> None:
        self._parts = self._compressed(file, stored)
        self._decompressor = zlib.decompressobj()
        self._row_bytes = stored.row_bytes

    def _compressed(self, file: BinaryIO, stored: _Stored) -> Iterator[bytes]:
        for offset, length in stored.data:
            file.seek(offset)
            while length:
                part = file.read(min(length, _READ_BYTES))
                if not part:
                    raise ValueError("the file is truncated")
                length -= len(part)
                yield part

    def read(self, rows: int) -> bytes:
        """The next rows, each behind the type of its filter."""
        wanted, found = rows * self._row_bytes, list[bytes]()
        while wanted:
            stored = self._decompressor.unconsumed_tail or next(self._parts, b"")
            found.append(self._decompressor.decompress(stored, wanted))
            if not stored and not found[-1]:
                raise ValueError("the file is truncated")
            wanted -= len(found[-1])
        return b"".join(found)

    def finish(self) -> None:
        """Read on to the checksum, which zlib verifies."""
        while not self._decompressor.eof:
            stored = self._decompressor.unconsumed_tail or next(self._parts, b"")
            if not stored:
                raise ValueError("the file is truncated")
            self._decompressor.decompress(stored, _READ_BYTES)
