"""EXIF, kept byte for byte except for what the upscaled image makes wrong: size, orientation, thumbnail.

A block is rebuilt only where it has to be: if it is too long for JPEG, and from or for a TIFF, whose own
structure it is. Maker notes are lost then, because their offsets are only right in their original place.
(CIPA DC-008; the structure is that of TIFF 6.0.)
"""

import struct
from dataclasses import dataclass

from PIL import ExifTags, Image

from upscaler.images import tiff_directory
from upscaler.images.tiff_directory import Directory

_JPEG_PREFIX = b"Exif\0\0"  # of JPEG; Pillow takes it for every format
_MAX_BYTES_IN_JPEG = 65_533 - len(_JPEG_PREFIX)  # what a segment holds
_LONG = 4  # TIFF's type of a 32-bit value
_HEADER_BYTES = 8

# Tags that cameras and people write; the others in the first directory of a TIFF describe the file itself.
DESCRIPTIVE_TAGS = {
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Rating,
    ExifTags.Base.RatingPercent,
    ExifTags.Base.Copyright,
    ExifTags.Base.XPTitle,
    ExifTags.Base.XPComment,
    ExifTags.Base.XPAuthor,
    ExifTags.Base.XPKeywords,
    ExifTags.Base.XPSubject,
}
POINTERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


@dataclass(frozen=True)
class Directories:
    """The parts of a block: what was photographed by whom, how, and where."""

    first: Directory
    exposure: Directory
    gps: Directory

    def __bool__(self) -> bool:
        return bool(self.first or self.exposure or self.gps)

    @property
    def has_maker_notes(self) -> bool:
        """Whether there is a maker's own part, which no block but its own can hold."""
        return ExifTags.Base.MakerNote in self.exposure


def read(image: Image.Image) -> bytes | None:
    """The EXIF block of an opened image, from its byte order mark on; ``None`` if it has no usable one."""
    block = image.info.get("exif")
    return usable(block) if isinstance(block, bytes) else None


def usable(block: bytes) -> bytes | None:
    """A block as a file has it, from its byte order mark on; ``None`` if nothing of it is usable."""
    block = block.removeprefix(_JPEG_PREFIX)
    if _patched(block, 1, 1):
        return block
    return rebuilt(directories(block))  # what is intact of a damaged block


def directories(block: bytes | memoryview, offset: int | None = None) -> Directories:
    """The descriptive entries of a block, or of the directory of a TIFF file; without those that are damaged.

    Args:
        block: An EXIF block from its byte order mark on, or a file.
        offset: Of its first directory; where the header says, if it is not given.
    """
    view = memoryview(block)
    try:
        first = tiff_directory.read(view, tiff_directory.first_offset(view) if offset is None else offset)
    except (ValueError, struct.error):
        first = {}
    found = []
    for pointer in POINTERS:
        try:
            [place] = first[pointer].numbers()
            found.append(tiff_directory.read(view, int(place)))
        except (KeyError, ValueError, struct.error):
            found.append({})
    exposure, gps = found
    exposure.pop(ExifTags.Base.ExifInteroperabilityOffset, None)
    return Directories({tag: first[tag] for tag in DESCRIPTIVE_TAGS if tag in first}, exposure, gps)


def rebuilt(parts: Directories) -> bytes | None:
    """A new block of these parts, without maker notes; ``None`` if nothing is left."""
    exposure = {tag: entry for tag, entry in parts.exposure.items() if tag != ExifTags.Base.MakerNote}
    subdirectories = {ExifTags.IFD.Exif: exposure, ExifTags.IFD.GPSInfo: parts.gps}
    subdirectories = {pointer: entries for pointer, entries in subdirectories.items() if entries}
    first = list(parts.first.values())
    if not first and not subdirectories:
        return None
    placeholders = [tiff_directory.long(pointer, 0) for pointer in subdirectories]
    offset = _HEADER_BYTES + len(tiff_directory.packed([*first, *placeholders], _HEADER_BYTES))
    pointers, behind = [], b""
    for pointer, entries in subdirectories.items():
        pointers.append(tiff_directory.long(pointer, offset + len(behind)))
        behind += tiff_directory.packed(entries.values(), offset + len(behind))
    header = b"II*\0" + struct.pack("<I", _HEADER_BYTES)
    return header + tiff_directory.packed([*first, *pointers], _HEADER_BYTES) + behind


def updated(block: bytes, format_name: str, height: int, width: int) -> bytes | None:
    """The EXIF block for the upscaled, upright image.

    The orientation is removed, width and height are set, and the thumbnail is unlinked. If the block is too
    long for JPEG, maker notes are dropped.

    Args:
        block: As from ``read``.
        format_name: Pillow's name of the format to write.
        height: Of the image to write.
        width: Likewise.

    Returns:
        The block as Pillow's ``save`` takes it, or ``None`` if nothing is left.
    """
    kept: bytes | None = block
    if format_name == "JPEG" and len(block) > _MAX_BYTES_IN_JPEG:
        kept = rebuilt(directories(block))
        if kept and len(kept) > _MAX_BYTES_IN_JPEG:
            kept = None
    patched = _patched(kept, height, width) if kept else None
    return _JPEG_PREFIX + patched if patched else None


def loses_maker_notes(block: bytes, format_name: str) -> bool:
    """Whether maker notes of a block are not written: their offsets hold only in their own block."""
    is_rebuilt = format_name == "TIFF" or (format_name == "JPEG" and len(block) > _MAX_BYTES_IN_JPEG)
    return is_rebuilt and directories(block).has_maker_notes


def _patched(block: bytes, height: int, width: int) -> bytes | None:
    """The block with size, orientation and thumbnail corrected in place; ``None`` if it is damaged."""
    patched = bytearray(block)
    sides = {
        ExifTags.Base.ImageWidth: width,
        ExifTags.Base.ImageLength: height,
        ExifTags.Base.ExifImageWidth: width,
        ExifTags.Base.ExifImageHeight: height,
    }
    try:
        order = {b"II": "<", b"MM": ">"}[block[:2]]
        (first,) = struct.unpack_from(f"{order}I", patched, 4)
        entries = _entries(patched, order, first)
        # The offset of the second directory, which is the thumbnail's.
        struct.pack_into(f"{order}I", patched, _entries_end(entries, first), 0)
        sized = list(entries.items())
        if exif_pointer := entries.get(ExifTags.IFD.Exif):
            (exif_directory,) = struct.unpack_from(f"{order}I", patched, exif_pointer + 8)
            sized += _entries(patched, order, exif_directory).items()
        for tag, offset in sized:
            if tag in sides:
                struct.pack_into(f"{order}HHII", patched, offset, tag, _LONG, 1, sides[ExifTags.Base(tag)])
        if orientation := entries.get(ExifTags.Base.Orientation):
            _remove_entry(patched, order, first, orientation, _entries_end(entries, first))
    except (KeyError, struct.error):
        return None
    return bytes(patched)


def _entries(block: bytearray, order: str, directory: int) -> dict[int, int]:
    """The offsets of a directory's entries by tag, in file order."""
    (count,) = struct.unpack_from(f"{order}H", block, directory)
    offsets = range(directory + 2, directory + 2 + 12 * count, 12)
    return {struct.unpack_from(f"{order}H", block, offset)[0]: offset for offset in offsets}


def _entries_end(entries: dict[int, int], directory: int) -> int:
    """Where a directory's entries end; the offset of the next directory is stored there."""
    return max(entries.values(), default=directory - 10) + 12


def _remove_entry(block: bytearray, order: str, directory: int, entry: int, end: int) -> None:
    """Remove an entry of a directory; later entries move up, all other offsets stay."""
    (count,) = struct.unpack_from(f"{order}H", block, directory)
    struct.pack_into(f"{order}H", block, directory, count - 1)
    block[entry : end + 4] = block[entry + 12 : end + 4] + bytes(12)
