"""What belongs to a picture besides its pixels: colour profile, EXIF, resolution.

Pixels stay in the colours of their profile all the way, and the profile goes with them into the target. Where
it cannot (CMYK and Lab, which no network takes; formats without profiles), they are converted to sRGB.
"""

import io
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image, ImageCms

# The colours that a profile is for, as its bytes 16 to 19 say (ICC.1:2022, 7.2.6), by Pillow's mode.
_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}
_WITH_PROFILE = {"JPEG", "PNG", "WEBP", "TIFF", "AVIF"}
_WITH_RESOLUTION = {"JPEG", "PNG", "TIFF", "BMP"}
_LONGEST_IN_PNG = 1 << 20  # bytes of a profile that Pillow reads again
_LONGEST_EXIF = 65_533  # bytes that a segment of JPEG holds

# What cameras and people write; everything else in the first directory says how a file is built.
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


@dataclass(frozen=True)
class Metadata:
    """What a picture brings along, as bytes of its own file.

    Attributes:
        profile: ICC profile of the pixels; ``None`` for sRGB or unknown.
        exif: An EXIF block without orientation and thumbnail, or ``None``.
        dpi: Pixels per inch along rows and columns, or ``None``.
    """

    profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None


def read(picture: Image.Image) -> Metadata:
    """What an opened picture brings along; what is damaged in it is left out, for the pixels may be whole."""
    profile, dpi = picture.info.get("icc_profile"), picture.info.get("dpi")
    return Metadata(profile or None, _exif(picture), _resolution(dpi))


def _resolution(dpi: Any) -> tuple[float, float] | None:  # noqa: ANN401 - whatever stood in the file
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 65536 and 0 < down < 65536 else None


def orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none, or none that can be read."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's parser raises whatever its input leads to
        return 1
    return value if value in range(2, 9) else 1


def _exif(picture: Image.Image) -> bytes | None:
    try:
        found = picture.getexif()
        kept = Image.Exif()
        _copy({tag: found[tag] for tag in _DESCRIBING if tag in found}, kept)
        for name in _DIRECTORIES:
            directory = Image.Exif()
            _copy(found.get_ifd(name), directory)
            directory.pop(ExifTags.Base.ExifInteroperabilityOffset, None)
            if len(directory):
                kept.get_ifd(name).update(directory)
        return kept.tobytes() if len(kept) or any(kept.get_ifd(name) for name in _DIRECTORIES) else None
    except Exception:  # as above
        return None


def _copy(tags: dict[int, Any], target: Image.Exif) -> None:
    """The tags that can be written again: cameras write values that Pillow reads and then cannot write."""
    for tag, found in tags.items():
        value = _with_its_bytes(found)
        trial = Image.Exif()
        trial[tag] = value
        try:
            trial.tobytes()
        except Exception:  # struct.error, TypeError, ValueError, OverflowError, ...
            continue
        target[tag] = value


def _with_its_bytes(value: Any) -> Any:  # noqa: ANN401 - whatever stood in the file
    """Text as its bytes: Pillow reads it as Latin-1, whatever it is (mostly UTF-8), and would write ASCII."""
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def exif_for(metadata: Metadata, form: str, height: int, width: int) -> bytes | None:
    """The EXIF block for a picture of this format and size; without the maker's notes if it is too long."""
    if metadata.exif is None:
        return None
    exif = Image.Exif()
    exif.load(metadata.exif)
    if form == "TIFF":  # libtiff writes compressed files without further directories
        for name in _DIRECTORIES:
            exif.pop(name, None)
    for tags in (exif, *(exif.get_ifd(name) for name in _DIRECTORIES if name in exif)):
        for tag in list(tags):
            tags[tag] = _with_its_bytes(tags[tag])
    if ExifTags.IFD.Exif in exif:
        directory = exif.get_ifd(ExifTags.IFD.Exif)
        for tag, side in ((ExifTags.Base.ExifImageWidth, width), (ExifTags.Base.ExifImageHeight, height)):
            if tag in directory:
                directory[tag] = side
        if len(exif.tobytes()) > _LONGEST_EXIF:
            directory.pop(ExifTags.Base.MakerNote, None)
    made = exif.tobytes()
    return made if len(made) <= _LONGEST_EXIF else None


def fits(profile: bytes | None, mode: str) -> bool:
    """Whether a profile is one for pixels of this mode of Pillow's."""
    return profile is not None and profile[16:20] == _SPACES.get(mode)


def save_arguments(metadata: Metadata, form: str, size: tuple[int, int]) -> dict[str, Any]:
    """What to tell Pillow's ``save``, for a format (``JPEG``, ``PNG``, ...) and a size (width, height)."""
    arguments: dict[str, Any] = {}
    if form in _WITH_PROFILE:
        exif = exif_for(metadata, form, size[1], size[0])
        arguments = {"icc_profile": metadata.profile} | ({"exif": exif} if exif else {})
    if form in _WITH_RESOLUTION and metadata.dpi:
        arguments["dpi"] = metadata.dpi
    return arguments


def goes_along(profile: bytes | None, form: str, mode: str) -> bool:
    """Whether a file of this format, with pixels of this mode, can hold the profile."""
    too_long = form == "PNG" and len(profile or b"") > _LONGEST_IN_PNG
    return fits(profile, mode) and form in _WITH_PROFILE and not too_long


def in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture as sRGB, mode ``RGB``, by its profile if that can be used; no transparency.

    Lab needs no profile. Without one, CMYK is taken as the complement of RGB, as Pillow does.
    """
    srgb = ImageCms.createProfile("sRGB")
    source: Any = None
    if fits(profile, picture.mode):
        source = io.BytesIO(profile or b"")
    elif picture.mode == "LAB":
        source = ImageCms.createProfile("LAB")
    if source is not None:
        try:
            converted = ImageCms.profileToProfile(
                picture,
                source,
                srgb,
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                "RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):  # a damaged profile
            pass
    return picture.convert("RGB")
