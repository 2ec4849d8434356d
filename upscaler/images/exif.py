"""EXIF, kept byte for byte except for what the upscaled image makes wrong: size, orientation, thumbnail.

Rewriting the block would lose data: Pillow changes the types of values and drops what it cannot write, and
maker notes hold offsets that are only right in their original place. (CIPA DC-008; its structure is that of
TIFF 6.0.)
"""

import struct
from typing import Any

from PIL import ExifTags, Image

_JPEG_PREFIX = b"Exif\0\0"  # of JPEG; Pillow takes it for every format
_MAX_BYTES_IN_JPEG = 65_533 - len(_JPEG_PREFIX)  # what a segment holds
_LONG = 4  # TIFF's type of a 32-bit value

# Tags that cameras and people write; the others in the first directory of a TIFF describe the file itself.
_DESCRIPTIVE_TAGS = {
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
_RESOLUTION_UNITS = (1, 2, 3)  # none, inch, centimetre; libtiff writes no others
_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


def read(image: Image.Image) -> bytes | None:
    """The EXIF block of an opened image, from its byte order mark on; ``None`` if it has no usable one."""
    block = image.info.get("exif")
    if isinstance(block, bytes):
        block = block.removeprefix(_JPEG_PREFIX)
        if _patched(block, 1, 1):
            return block
    try:  # a TIFF, whose own structure it is, or what Pillow makes of a damaged block
        return _rewritten(image.getexif(), _DIRECTORIES)
    except Exception:  # Pillow's parser raises whatever damaged input leads to
        return None


def updated(block: bytes, format_name: str, height: int, width: int) -> bytes | None:
    """The EXIF block for the upscaled, upright image.

    The orientation is removed, width and height are set, and the thumbnail is unlinked. If the block is too
    long for JPEG, maker notes are dropped. TIFF gets the first directory only: libtiff does not write the
    others into compressed files.

    Args:
        block: As from ``read``.
        format_name: Pillow's name of the format to write.
        height: Of the image to write.
        width: Likewise.

    Returns:
        The block as Pillow's ``save`` takes it, or ``None`` if nothing is left.
    """
    kept: bytes | None = block
    if format_name == "TIFF":
        kept = _without_maker_notes(block, ())
    elif format_name == "JPEG" and len(block) > _MAX_BYTES_IN_JPEG:
        kept = _without_maker_notes(block, _DIRECTORIES)
        if kept and len(kept) > _MAX_BYTES_IN_JPEG:
            kept = None
    patched = _patched(kept, height, width) if kept else None
    return _JPEG_PREFIX + patched if patched else None


def has_subdirectories(block: bytes) -> bool:
    """Whether a block has directories besides the first: of the exposure, or of GPS."""
    exif = Image.Exif()
    try:
        exif.load(_JPEG_PREFIX + block)
        return any(exif.get_ifd(name) for name in _DIRECTORIES)
    except Exception:  # Pillow's parser, as above
        return False


def _without_maker_notes(block: bytes, directories: tuple[ExifTags.IFD, ...]) -> bytes | None:
    """The block rewritten with these directories; ``None`` if it cannot be parsed."""
    exif = Image.Exif()
    try:
        exif.load(_JPEG_PREFIX + block)
        exif.get_ifd(ExifTags.IFD.Exif).pop(ExifTags.Base.MakerNote, None)
        return _rewritten(exif, directories)
    except Exception:  # Pillow's parser, as above
        return None


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


def _rewritten(source: Image.Exif, directories: tuple[ExifTags.IFD, ...]) -> bytes | None:
    """A new block of the descriptive tags and these directories, without what Pillow cannot write."""
    exif = Image.Exif()
    _copy_writable({tag: source[tag] for tag in _DESCRIPTIVE_TAGS if tag in source}, exif)
    for name in directories:
        directory = Image.Exif()
        _copy_writable(source.get_ifd(name), directory)
        directory.pop(ExifTags.Base.ExifInteroperabilityOffset, None)
        if len(directory):
            exif.get_ifd(name).update(directory)
    is_empty = not len(exif) and not any(exif.get_ifd(name) for name in directories)
    return None if is_empty else exif.tobytes().removeprefix(_JPEG_PREFIX)


def _copy_writable(tags: dict[int, Any], target: Image.Exif) -> None:
    for tag, value in tags.items():
        if tag == ExifTags.Base.ResolutionUnit and value not in _RESOLUTION_UNITS:
            continue
        # Pillow reads any text as Latin-1 (most is UTF-8) and would write ASCII.
        is_text = isinstance(value, str) and not value.isascii()
        writable = value.encode("latin-1") if is_text else value
        trial = Image.Exif()
        trial[tag] = writable
        try:
            trial.tobytes()
        except Exception:  # struct.error, TypeError, ValueError, OverflowError, ...
            continue
        target[tag] = writable
