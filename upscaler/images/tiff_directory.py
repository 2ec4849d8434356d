"""Directories of TIFF, which EXIF uses too: reading and packing entries without interpreting their values.

(TIFF 6.0, section 2; BigTIFF. Values are kept as bytes, in little-endian order whatever that of the file is.)
"""

import mmap
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BYTE, LONG, RATIONAL, UNDEFINED, DOUBLE = 1, 4, 5, 7, 12
_ELEMENT_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_WORD_BYTES = _ELEMENT_BYTES | {5: 4, 10: 4}  # the parts that a byte order applies to
_BIG = 43  # the version of a BigTIFF
_LONG8 = 16


@dataclass(frozen=True)
class Entry:
    """A tag and its value.

    Attributes:
        tag: Its number.
        kind: The type of its elements, a code of TIFF.
        count: Of elements.
        data: All of them, little-endian.
    """

    tag: int
    kind: int
    count: int
    data: bytes

    def numbers(self) -> list[int | float]:
        """The elements of an integer or floating-point type."""
        codes = {
            1: "B",
            3: "H",
            4: "I",
            6: "b",
            8: "h",
            9: "i",
            11: "f",
            12: "d",
            13: "I",
            16: "Q",
            17: "q",
            18: "Q",
        }
        return (
            list(struct.unpack(f"<{self.count}{codes[self.kind]}", self.data)) if self.kind in codes else []
        )


Directory = dict[int, Entry]


def doubles(tag: int, values: Iterable[float]) -> Entry:
    """An entry of floating-point numbers."""
    numbers = list(values)
    return Entry(tag, DOUBLE, len(numbers), struct.pack(f"<{len(numbers)}d", *numbers))


def long(tag: int, value: int) -> Entry:
    """An entry of one 32-bit integer."""
    return Entry(tag, LONG, 1, struct.pack("<I", value))


def offset(tag: int, value: int, *, is_big: bool) -> Entry:
    """An entry with an offset in the file: 32 bits, 64 in a BigTIFF."""
    return Entry(tag, _LONG8, 1, struct.pack("<Q", value)) if is_big else long(tag, value)


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """The content of a file, of which only the parts that are used are read."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        yield view


def first_offset(block: memoryview) -> int:
    """Where the first directory is.

    Raises:
        ValueError: The block does not start as a TIFF does.
    """
    order, is_big = _layout(block)
    return int(struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", block, 8 if is_big else 4)[0])


def read(block: memoryview, offset: int) -> Directory:
    """The entries of a directory that are intact.

    Args:
        block: A TIFF file, or an EXIF block from its byte order mark on.
        offset: Of the directory.

    Raises:
        ValueError: There is no directory at the offset.
    """
    order, is_big = _layout(block)
    entry_format, count_format, field = (
        (f"{order}HHQ", f"{order}Q", 8) if is_big else (f"{order}HHI", f"{order}H", 4)
    )
    try:
        (count,) = struct.unpack_from(count_format, block, offset)
    except struct.error as error:
        raise ValueError("there is no directory at this offset") from error
    found: Directory = {}
    start = offset + struct.calcsize(count_format)
    for _ in range(min(count, 65_535)):
        try:
            tag, kind, elements = struct.unpack_from(entry_format, block, start)
            place = start + struct.calcsize(entry_format)
            length = elements * _ELEMENT_BYTES.get(kind, 0)
            if length > field:
                (place,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", block, place)
        except struct.error:
            break
        data = bytes(block[place : place + length])
        if length and len(data) == length:
            found.setdefault(tag, Entry(tag, kind, elements, _little_endian(data, kind, order)))
        start += struct.calcsize(entry_format) + field
    return found


def _layout(block: memoryview) -> tuple[str, bool]:
    """Byte order in the notation of ``struct``, and whether it is a BigTIFF."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None or len(block) < 8:
        raise ValueError("this is not a TIFF")
    (version,) = struct.unpack_from(f"{order}H", block, 2)
    return order, version == _BIG


def _little_endian(data: bytes, kind: int, order: str) -> bytes:
    size = _WORD_BYTES[kind]
    if order == "<" or size == 1:
        return data
    return np.frombuffer(data, f">u{size}").astype(f"<u{size}").tobytes()


def packed(directory: Iterable[Entry], offset: int, *, following: int = 0, is_big: bool = False) -> bytes:
    """A little-endian directory followed by its values.

    Args:
        directory: Its entries.
        offset: Where it will be, an even number.
        following: Where the next directory will be; 0 for none.
        is_big: Whether it is for a BigTIFF.
    """
    entries = sorted(directory, key=lambda entry: entry.tag)
    count_format, entry_format, field_format = ("<Q", "<HHQ", "<Q") if is_big else ("<H", "<HHI", "<I")
    field = struct.calcsize(field_format)
    row_bytes = struct.calcsize(entry_format) + field
    values_at = offset + struct.calcsize(count_format) + row_bytes * len(entries) + field
    rows, values = struct.pack(count_format, len(entries)), b""
    for entry in entries:
        rows += struct.pack(entry_format, entry.tag, entry.kind, entry.count)
        if len(entry.data) <= field:
            rows += entry.data.ljust(field, b"\0")
        else:
            rows += struct.pack(field_format, values_at + len(values))
            values += entry.data + bytes(len(entry.data) % 2)  # values start at even offsets
    return rows + struct.pack(field_format, following) + values
