"""EXIF goes along byte for byte, as a camera and a person wrote it, but for what would no longer be true.

Written anew it would suffer: Pillow changes the types of values and leaves out what it cannot write, and the
maker's notes hold offsets that are right only where they stand. (CIPA DC-008; its structure is TIFF 6.0's.)
"""

import struct
from typing import Any

from PIL import ExifTags, Image

_PREFIX = b"Exif\0\0"  # of JPEG; Pillow takes it for every format
_LONGEST_IN_JPEG = 65_533  # bytes that a segment holds
_LONG = 4  # type of a value

# What cameras and people write; everything else in the first directory of a TIFF says how it is built.
_DESCRIBING = {
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
_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


def orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none, or none that can be read."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's parser raises whatever its input leads to
        return 1
    return value if value in range(2, 9) else 1


def block_of(picture: Image.Image) -> bytes | None:
    """The EXIF of an opened picture, from its byte order mark on; ``None`` where there is none to be used."""
    found = picture.info.get("exif")
    if isinstance(found, bytes):
        found = found.removeprefix(_PREFIX)
        if _changed(found, 1, 1):
            return found
    try:  # a TIFF, whose own structure it is, or what Pillow can make of a damaged block
        return _written_anew(picture.getexif(), _DIRECTORIES)
    except Exception:  # as above
        return None


def for_picture(block: bytes, form: str, height: int, width: int) -> bytes | None:
    """The EXIF for an upright picture of this size, in this format (Pillow's name of it).

    The thumbnail is no longer found. In JPEG a block that is too long loses the maker's notes; TIFF gets what
    stands in the first directory, for libtiff writes no further ones into compressed files.
    """
    longest = _LONGEST_IN_JPEG - len(_PREFIX)
    if form == "TIFF":
        kept = _kept(block, ())
    elif form == "JPEG" and len(block) > longest:
        kept = _kept(block, _DIRECTORIES)
        kept = kept if kept and len(kept) <= longest else None
    else:
        kept = block
    made = _changed(kept, height, width) if kept else None
    return _PREFIX + made if made else None


def _kept(block: bytes, directories: tuple[ExifTags.IFD, ...]) -> bytes | None:
    """The block written anew with these directories, without the maker's notes."""
    exif = Image.Exif()
    try:
        exif.load(_PREFIX + block)
        exif.get_ifd(ExifTags.IFD.Exif).pop(ExifTags.Base.MakerNote, None)
        return _written_anew(exif, directories)
    except Exception:  # Pillow's parser, as above
        return None


def _changed(block: bytes, height: int, width: int) -> bytes | None:
    """The block for an upright picture of this size, without a thumbnail; ``None`` if it is broken."""
    made = bytearray(block)
    sides = {
        ExifTags.Base.ImageWidth: width,
        ExifTags.Base.ImageLength: height,
        ExifTags.Base.ExifImageWidth: width,
        ExifTags.Base.ExifImageHeight: height,
    }
    try:
        order = {b"II": "<", b"MM": ">"}[block[:2]]
        (first,) = struct.unpack_from(f"{order}I", made, 4)
        entries = _entries(made, order, first)
        struct.pack_into(
            f"{order}I", made, _end(entries, first), 0
        )  # where the directory of the thumbnail is
        described = list(entries.items())
        if details := entries.get(ExifTags.IFD.Exif):
            (at,) = struct.unpack_from(f"{order}I", made, details + 8)
            described += _entries(made, order, at).items()
        for tag, entry in described:
            if tag in sides:
                struct.pack_into(f"{order}HHII", made, entry, tag, _LONG, 1, sides[ExifTags.Base(tag)])
        if turned := entries.get(ExifTags.Base.Orientation):
            _remove(made, order, first, turned, _end(entries, first))
    except (KeyError, struct.error):
        return None
    return bytes(made)


def _entries(block: bytearray, order: str, at: int) -> dict[int, int]:
    """Where the entries of a directory are, by tag, in their order."""
    (count,) = struct.unpack_from(f"{order}H", block, at)
    places = range(at + 2, at + 2 + 12 * count, 12)
    return {struct.unpack_from(f"{order}H", block, place)[0]: place for place in places}


def _end(entries: dict[int, int], at: int) -> int:
    """Where a directory's entries end: there the place of the next directory stands."""
    return max(entries.values(), default=at - 10) + 12


def _remove(block: bytearray, order: str, at: int, entry: int, end: int) -> None:
    """Take an entry out of a directory; the ones behind it move up, nothing else does."""
    (count,) = struct.unpack_from(f"{order}H", block, at)
    struct.pack_into(f"{order}H", block, at, count - 1)
    block[entry : end + 4] = block[entry + 12 : end + 4] + bytes(12)


def _written_anew(found: Image.Exif, directories: tuple[ExifTags.IFD, ...]) -> bytes | None:
    """A block of what cameras and people write, without what cannot be written."""
    kept = Image.Exif()
    _copy({tag: found[tag] for tag in _DESCRIBING if tag in found}, kept)
    for name in directories:
        directory = Image.Exif()
        _copy(found.get_ifd(name), directory)
        directory.pop(ExifTags.Base.ExifInteroperabilityOffset, None)
        if len(directory):
            kept.get_ifd(name).update(directory)
    is_empty = not len(kept) and not any(kept.get_ifd(name) for name in directories)
    return None if is_empty else kept.tobytes().removeprefix(_PREFIX)


def _copy(tags: dict[int, Any], target: Image.Exif) -> None:
    for tag, found in tags.items():
        # Pillow reads text as Latin-1, whatever it is (mostly UTF-8), and would write ASCII.
        value = found.encode("latin-1") if isinstance(found, str) and not found.isascii() else found
        trial = Image.Exif()
        trial[tag] = value
        try:
            trial.tobytes()
        except Exception:  # struct.error, TypeError, ValueError, OverflowError, ...
            continue
        target[tag] = value
