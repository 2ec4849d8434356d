"""The index of the images in one JPEG file (CIPA DC-007, Multi-Picture Format).

It is an APP2 segment of the first image: a directory as in TIFF. Readers of HDR gain maps find the map by it.
"""

import struct
from collections.abc import Sequence

from upscaler.images.jpeg_file import APP2, Segment, end_of_application_segments

SIGNATURE = b"MPF\0"
_VERSION, _NUMBER_OF_IMAGES, _ENTRY = 0xB000, 0xB001, 0xB002  # 5.2.3
_UNDEFINED, _LONG = 7, 4  # types of values
_PRIMARY = 0x03_0000  # 5.2.3.3.1: baseline primary image, JPEG
_HEADER = b"II*\0" + struct.pack("<I", 8)  # little-endian; the directory follows
_DIRECTORY_BYTES = 2 + 3 * 12 + 4
_ENTRY_BYTES = 16
_SEGMENT_HEADER_BYTES = 4  # marker and length


def with_index(jpeg: bytes, others: Sequence[bytes]) -> bytes:
    """The first image with an index, followed by the other images.

    Args:
        jpeg: The first image, without index.
        others: JPEG images.

    Returns:
        The whole file.
    """
    at = end_of_application_segments(jpeg)
    others_bytes = [len(other) for other in others]
    index_bytes = len(_index([0, *others_bytes], origin=0).packed())  # whatever the numbers are
    # Offsets count from the byte order mark (5.2.3.3.3).
    index = _index(
        [len(jpeg) + index_bytes, *others_bytes], origin=at + _SEGMENT_HEADER_BYTES + len(SIGNATURE)
    )
    return b"".join([jpeg[:at], index.packed(), jpeg[at:], *others])


def starts(content: bytes) -> list[int]:
    """Where the images of a file start according to its index, ascending; empty without an intact index."""
    found = []
    try:
        origin = content.index(SIGNATURE) + len(SIGNATURE)
        order = {b"II": "<", b"MM": ">"}[content[origin : origin + 2]]
        (directory,) = struct.unpack_from(f"{order}I", content, origin + 4)
        (count,) = struct.unpack_from(f"{order}H", content, origin + directory)
        for entry in range(origin + directory + 2, origin + directory + 2 + 12 * count, 12):
            tag, _, length, values_at = struct.unpack_from(f"{order}HHII", content, entry)
            if tag == _ENTRY:
                values = range(origin + values_at, origin + values_at + length, _ENTRY_BYTES)
                offsets = [struct.unpack_from(f"{order}I", content, value + 8)[0] for value in values]
                found = [origin + offset if offset else 0 for offset in offsets]
    except (ValueError, KeyError, struct.error):
        return []
    return sorted(found)


def _index(lengths: Sequence[int], origin: int) -> Segment:
    entries, offset = b"", 0
    for number, length in enumerate(lengths):
        attribute, relative = (_PRIMARY, 0) if number == 0 else (0, offset - origin)
        entries += struct.pack("<IIIHH", attribute, length, relative, 0, 0)
        offset += length
    directory = struct.pack("<H", 3)
    directory += struct.pack("<HHI4s", _VERSION, _UNDEFINED, 4, b"0100")
    directory += struct.pack("<HHII", _NUMBER_OF_IMAGES, _LONG, 1, len(lengths))
    values_at = len(_HEADER) + _DIRECTORY_BYTES
    directory += struct.pack("<HHII", _ENTRY, _UNDEFINED, _ENTRY_BYTES * len(lengths), values_at)
    return Segment(APP2, SIGNATURE + _HEADER + directory + bytes(4) + entries)
