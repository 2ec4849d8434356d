"""The element ``Projection`` (RFC 9559, 5.1.4.1.28.41), written into a finished Matroska or WebM file.

Neither av nor a tag tells the muxer about it, and an element that grows would move everything behind it. So
the muxer writes a long title, and its room is taken: the title becomes what it was, the rest of it is void.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

ROOM = "-" * 120  # what is added to the title
_SEGMENT, _TRACKS, _ENTRY, _VIDEO, _NAME = 0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x536E
_TYPE, _VIDEO_TYPE, _VOID, _CRC = 0x83, b"\1", 0xEC, 0xBF
_PROJECTION, _KIND, _PRIVATE, _ANGLES = 0x7670, 0x7671, 0x7672, (0x7673, 0x7674, 0x7675)
EQUIRECTANGULAR, CUBEMAP = 1, 2  # ProjectionType


def element(kind: int, private: bytes, angles: tuple[float, float, float]) -> bytes:
    """A ``Projection``.

    Args:
        kind: ``EQUIRECTANGULAR`` or ``CUBEMAP``.
        private: The content of the box ``equi`` or ``cbmp`` of an mp4; empty for a whole sphere.
        angles: Yaw, pitch and roll, degrees.
    """
    parts = [_element(_KIND, bytes([kind]))]
    parts += [_element(_PRIVATE, private)] if private else []
    parts += [
        _element(number, struct.pack(">d", angle))
        for number, angle in zip(_ANGLES, angles, strict=True)
        if angle
    ]
    return _element(_PROJECTION, b"".join(parts))


def write(path: Path, projection: bytes) -> None:
    """Write a ``Projection`` into the description of the video of a file whose title ends with ``ROOM``.

    Raises:
        OSError: The file cannot be read or written, or has no such title.
    """
    with path.open("r+b") as file:
        start, size = _place_of_tracks(file)
        file.seek(start)
        changed = _changed(file.read(size), projection)
        assert len(changed) == size, "nothing moves"
        file.seek(start)
        file.write(changed)


def _place_of_tracks(file: BinaryIO) -> tuple[int, int]:
    """Where the content of ``Tracks`` is, and its length."""
    at, end = 0, file.seek(0, 2)
    while at < end:
        file.seek(at)
        head = file.read(16)
        number, length = _number(head)
        size, size_length = _size(head[length:])
        at += length + size_length
        if number == _TRACKS:
            return at, size
        at += 0 if number == _SEGMENT else size
    raise OSError("the file has no tracks")


def _changed(tracks: bytes, projection: bytes) -> bytes:
    """The content of ``Tracks`` with one more element, of the same length."""
    checksum = b""
    content = b""
    for number, body, stored in _elements(tracks):
        if number == _CRC:  # the first element
            checksum = stored
        else:
            content += _with_content(stored, _entry(body, projection)) if number == _ENTRY else stored
    return (_with_content(checksum, struct.pack("<I", zlib.crc32(content))) if checksum else b"") + content


def _with_content(stored: bytes, content: bytes) -> bytes:
    """An element as it is stored, with other content of the same length."""
    return stored[: len(stored) - len(content)] + content


def _entry(entry: bytes, projection: bytes) -> bytes:
    """The content of a ``TrackEntry``; that of the video with the projection."""
    elements = {number: content for number, content, _ in _elements(entry)}
    if elements.get(_TYPE) != _VIDEO_TYPE:
        return entry
    title = elements.get(_NAME, b"").removesuffix(ROOM.encode())
    if title == elements.get(_NAME, b""):
        raise OSError("the muxer has left no room for the projection")
    changed = b""
    for number, content, stored in _elements(entry):
        if number == _NAME:
            changed += _element(_NAME, title) if title else b""
        elif number == _VIDEO:
            changed += _element(_VIDEO, content + projection)
        else:
            changed += stored
    left = len(entry) - len(changed) - 9  # the head of what is void
    assert left >= 0, "there is room enough"
    return changed + bytes([_VOID]) + struct.pack(">Q", (1 << 56) | left) + bytes(left)


def _elements(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, content and stored bytes of each element."""
    at = 0
    while at < len(content):
        number, length = _number(content[at:])
        size, size_length = _size(content[at + length :])
        stop = at + length + size_length + size
        yield number, content[at + length + size_length : stop], content[at:stop]
        at = stop


def _element(number: int, content: bytes) -> bytes:
    size = struct.pack(">I", (1 << 28) | len(content))
    return number.to_bytes((number.bit_length() + 7) // 8) + size + content


def _number(data: bytes) -> tuple[int, int]:
    """The number of an element, with its marker, and the length of it."""
    length = 9 - data[0].bit_length()
    return int.from_bytes(data[:length]), length


def _size(data: bytes) -> tuple[int, int]:
    length = 9 - data[0].bit_length()
    return int.from_bytes(data[:length]) & ((1 << 7 * length) - 1), length
