"""The parts of a JPEG file: segments, where an image ends, and what is behind it (ITU-T T.81, annex B)."""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_END_OF_IMAGE, _START_OF_SCAN, _PROGRESSIVE = 0xD9, 0xDA, 0xC2
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}  # TEM and the restart markers
# Other than restart markers, which are part of the pixels.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# And other than tables and headers of further scans.
_WRONG_IN_SCANS = re.compile(rb"\xff[^\x00\xc4\xd0-\xd7\xda\xdb\xdd\xff]")
_ZEROS = re.compile(rb"\0*")
_IMAGE = b"\xff\xd8\xff"
APP1, APP2 = 0xE1, 0xE2


@dataclass(frozen=True)
class Segment:
    """A marker and its data.

    Attributes:
        marker: Its second byte, such as ``0xE1`` for APP1.
        data: Without marker and length.
    """

    marker: int
    data: bytes

    def packed(self) -> bytes:
        """The segment as it is in a file."""
        return struct.pack(">BBH", 0xFF, self.marker, 2 + len(self.data)) + self.data


def segments(jpeg: bytes) -> list[Segment]:
    """The segments of an image before its first scan; of a damaged file, those before the damage."""
    found = []
    for marker, start, end in _walk(jpeg, 0):
        if marker == _START_OF_SCAN:
            break
        if start < end:
            found.append(Segment(marker, jpeg[start:end]))
    return found


def end_of_image(content: bytes, start: int = 0) -> int | None:
    """The offset behind the end marker of the image that starts at an offset; ``None`` if it has none."""
    for marker, _, end in _walk(content, start):
        if marker == _END_OF_IMAGE:
            return end
    return None


def images_behind(content: bytes, end: int, indexed: Sequence[int] = ()) -> tuple[list[bytes], bytes]:
    """What is behind the first image of a file.

    Args:
        content: The whole file.
        end: Of its first image.
        indexed: Where further images start according to an index, in ascending order.

    Returns:
        Further JPEG images, each directly behind the one before it, or behind zeros, or where the index says;
        and the rest of the file.
    """
    images: list[bytes] = []
    while True:
        padding = _ZEROS.match(content, end)
        starts = [padding.end() if padding else end, *(start for start in indexed if start >= end)]
        start = next((start for start in starts if content.startswith(_IMAGE, start)), None)
        following = None if start is None else end_of_image(content, start)
        if following is None:
            return images, content[end:]
        images.append(content[start:following])
        end = following


def end_of_application_segments(jpeg: bytes) -> int:
    """Where the segments for applications (APP0 to APP15) at the start of an image end."""
    for marker, start, _ in _walk(jpeg, 0):
        if not 0xE0 <= marker <= 0xEF:
            return start - 4
    return 2


def without_wrong_markers(jpeg: bytes) -> bytes | None:
    """The image with markers between pixels, where no marker can be, made pixels; decoders stop at them.

    Returns:
        The image; ``None`` if no end marker follows its pixels.
    """
    found = list(_walk(jpeg, 0))
    offset = next((start for marker, start, _ in found if marker == _START_OF_SCAN), None)
    end = jpeg.rfind(b"\xff\xd9")
    if offset is None or end < offset:
        return None
    is_progressive = any(marker == _PROGRESSIVE for marker, start, _ in found if start < offset)
    wrong = _WRONG_IN_SCANS if is_progressive else _MARKER
    return jpeg[:offset] + wrong.sub(b"\xff\0", jpeg[offset:end]) + jpeg[end:]


def _walk(content: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the data of every segment; the end marker, without data, is the last.

    Ends early where the file is truncated or damaged. ``start`` is that of the start marker.
    """
    offset = start + 2
    while offset + 2 <= len(content) and content[offset] == 0xFF:
        marker = content[offset + 1]
        if marker == 0xFF:  # a fill byte
            offset += 1
        elif marker == _END_OF_IMAGE:
            yield marker, offset + 2, offset + 2
            return
        elif marker in _WITHOUT_LENGTH:
            offset += 2
        elif offset + 4 <= len(content):
            (length,) = struct.unpack_from(">H", content, offset + 2)
            yield marker, offset + 4, min(offset + 2 + length, len(content))
            offset += 2 + length
            if marker == _START_OF_SCAN:
                following = _MARKER.search(content, offset)
                offset = following.start() if following else len(content)
        else:
            return
