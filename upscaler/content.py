"""Whether a file is an image or a video, by its first bytes: its name may say something else, or nothing."""

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from upscaler.images.formats import FORMATS, IMAGE_SUFFIXES, READ_ONLY_FORMATS
from upscaler.video.formats import (
    HEAD_BYTES,
    SIGNATURES,
    SUFFIXES_OF_CODE,
    SUFFIXES_OF_JPEG_STREAMS,
    VIDEO_SUFFIXES,
)


@dataclass(frozen=True)
class Content:
    """What a file contains.

    Attributes:
        kind: An image or a video.
        suffix: The file's own suffix if it fits that kind, else the usual one of its format.
    """

    kind: Literal["still", "video"]
    suffix: str


_PATTERNS = [
    *(
        (re.compile(row.signature, re.DOTALL), Content("still", row.suffixes[0]))
        for row in (*FORMATS, *READ_ONLY_FORMATS)
        if row.signature
    ),
    *((re.compile(each.pattern, re.DOTALL), Content("video", each.suffix)) for each in SIGNATURES),
]


def content_of(path: Path) -> Content | None:
    """What a file contains; ``None`` if it is neither image nor video.

    Its first bytes decide; if they are not those of a known format, its suffix does.
    """
    suffix = path.suffix.lower()
    by_suffix = kind_of(path)
    head = _head(path)
    found = next((content for pattern, content in _PATTERNS if pattern.match(head)), None)
    if found is None:
        is_code = suffix in SUFFIXES_OF_CODE and _is_text(head)
        return Content(by_suffix, path.suffix) if by_suffix and not is_code else None
    if found.kind == by_suffix or (found.kind == "still" and suffix in SUFFIXES_OF_JPEG_STREAMS):
        return Content("video" if by_suffix == "video" else "still", path.suffix)
    return found


def is_animation(path: Path) -> bool:
    """Whether a file is a GIF or an animated PNG, which can be read as a video, too."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            if head.startswith(b"GIF8"):
                return True
            while head.startswith(b"\x89PNG"):
                length, kind = struct.unpack(">I4s", file.read(8))
                if kind in (b"acTL", b"IDAT"):  # the first announces frames, and comes before the second
                    return bool(kind == b"acTL")
                file.seek(length + 4, os.SEEK_CUR)
    except (OSError, struct.error):
        pass
    return False


def kind_of(path: Path) -> Literal["still", "video"] | None:
    """Image or video, by the suffix; ``None`` if neither."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "still"
    return "video" if suffix in VIDEO_SUFFIXES else None


def _is_text(head: bytes) -> bool:
    characters = head.decode("utf-8", errors="ignore")
    invalid = len(head) - len(characters.encode("utf-8"))
    cut_off = 3  # bytes of the last character
    return bool(head) and invalid <= cut_off and not re.search(r"[\x00-\x08\x0e-\x1a]", characters)


def _head(path: Path) -> bytes:
    """The first bytes; none if the file cannot be read, which is reported when its turn comes."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""
