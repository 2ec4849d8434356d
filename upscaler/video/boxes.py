"""Boxes of mp4 and mov (ISO/IEC 14496-12): found in a file, taken apart, and added to a finished one."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

Box = tuple[bytes, bytes]  # type, content


def packed(kind: bytes, content: bytes) -> bytes:
    """A box with its size and type, below 4 GB."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def inside(content: bytes) -> list[Box]:
    """The boxes of a content, as far as they are whole."""
    found, at = list[Box](), 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        header = 8
        if size == 1 and at + 16 <= len(content):
            (size,), header = struct.unpack_from(">Q", content, at + 8), 16
        size = size or len(content) - at
        if size < header or at + size > len(content):
            break
        found.append((kind, content[at + header : at + size]))
        at += size
    return found


def first(content: bytes, *path: bytes) -> bytes:
    """The content of the first box along a path of types; empty if there is none."""
    for kind in path:
        content = next((each for name, each in inside(content) if name == kind), b"")
    return content


def movie(path: Path) -> bytes:
    """The content of a file's ``moov``; empty if it has none, or is no mp4.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        for kind, start, end in _outer(file):
            if kind == b"moov":
                file.seek(start)
                return file.read(end - start)
    return b""


def start_of_movie(file: BinaryIO) -> int:
    """Where the ``moov`` of a finished mp4 of ours begins, which is its last box.

    Raises:
        OSError: It has none.
    """
    size = file.seek(0, os.SEEK_END)
    for kind, start, end in _outer(file):
        if kind == b"moov":
            assert end == size, "our own files end with their index"
            return start - 8
    raise OSError("the file has no index")


def _outer(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the content of every box of a file."""
    end, at = file.seek(0, os.SEEK_END), 0
    while at + 8 <= end:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            size, header = int.from_bytes(file.read(8)), 16
        size = size or end - at
        if size < header or at + size > end:
            return
        yield kind, at + header, at + size
        at += size
