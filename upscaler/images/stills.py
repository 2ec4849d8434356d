"""Read and write pictures: Pillow for those of 8 bits, ``deep`` for those of 16."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from upscaler import atomic
from upscaler.errors import MediaError, UsageError
from upscaler.images import exif, formats, metadata, palette, sixteen_bit, transparency
from upscaler.images.metadata import Metadata
from upscaler.pixels import Pixels, to_8_bits

_BY_SUFFIX = {suffix: row for row in formats.FORMATS for suffix in row.suffixes}
# Suffix -> Pillow's name of the format and the arguments to save with.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    suffix: (row.name, dict(row.save_arguments)) for suffix, row in _BY_SUFFIX.items()
}
# Pillow's own limit, a third of this, is below what phones make (200 megapixels). It refuses twice as much.
Image.MAX_IMAGE_PIXELS = 1 << 28
_LONGEST_SIDE_PX = {row.name: row.max_side_px for row in formats.FORMATS}
_DEEP_SUFFIXES = {suffix for suffix, row in _BY_SUFFIX.items() if row.sixteen_bit}
_ALPHA_SUFFIXES = {suffix for suffix, row in _BY_SUFFIX.items() if row.alpha}
_GRAY_FORMATS = {row.name for row in formats.FORMATS if row.gray}


@dataclass(frozen=True)
class Still:
    """A picture as the engine takes it.

    Attributes:
        pixels: ``(H, W, 3)`` RGB, uint8 or uint16, upright (orientation tags applied).
        alpha: ``(H, W)`` of the same dtype, or ``None``.
        gray: Whether the source had no colour; it is written as the mean of its channels.
        metadata: What else belongs to it; the pixels are in the colours of its profile.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    gray: bool = False
    metadata: Metadata = field(default_factory=Metadata)


def read(path: Path) -> Still:
    """Read a picture.

    Raises:
        MediaError: Not a picture, damaged, truncated, too large, or not to be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about size, and about damage that is found below
            with Image.open(path) as picture:
                _refuse_unsupported(path, picture)
                sixteen_bits = sixteen_bit.is_deep(picture)
                picture.load()  # finds truncation, which OpenCV does not tell
                still = _from_deep(path, picture) if sixteen_bits else _from_pillow(picture)
                orientation = exif.orientation(picture)
                alpha = None if still.alpha is None else upright(still.alpha, orientation)
                return replace(still, pixels=upright(still.pixels, orientation), alpha=alpha)
    except (MediaError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise MediaError(f"'{path}' is not there (any more)") from error
    except UnidentifiedImageError as error:
        size = path.stat().st_size
        reason = "is empty (0 bytes)" if size == 0 else "is not a picture that can be read"
        raise MediaError(f"'{path}' {reason}") from error
    except Image.DecompressionBombError as error:
        raise MediaError(f"'{path}' is larger than 536 megapixels", "cut it into parts") from error
    except PermissionError as error:
        raise MediaError(f"'{path}' cannot be read: permission denied") from error
    except Exception as error:  # OSError mostly; but decoders raise whatever damage leads them to
        raise MediaError(f"'{path}' is damaged or truncated: {error}") from error


def size(path: Path) -> tuple[int, int]:
    """Height and width of a picture as stored, from its head alone.

    Raises:
        MediaError: Not a picture, or not to be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                return picture.height, picture.width
    except Exception as error:  # as above
        raise MediaError(f"'{path}' is not a picture that can be read") from error


def _refuse_unsupported(path: Path, picture: Image.Image) -> None:
    """Refuse what would be read as something else than it is."""
    several = getattr(picture, "n_frames", 1) > 1
    if several and picture.format == "TIFF":
        raise MediaError(f"'{path}' has several pages", "save them as files of their own")
    if several and picture.format != "MPO":  # MPO is a JPEG with a preview or a second view behind it
        raise MediaError(f"'{path}' is animated: it has no single picture")
    if picture.mode in ("I", "F"):
        raise MediaError(f"'{path}' has 32-bit samples", "convert it to 16 bits")


# EXIF orientation -> (quarter turns counter-clockwise, then mirrored left to right).
_UPRIGHT = {
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}


def upright(plane: Pixels, orientation: int) -> Pixels:
    """A picture or one plane of it, turned and mirrored as EXIF's orientation (1 to 8) says."""
    turns, mirrored = _UPRIGHT.get(orientation, (0, False))
    turned: Any = np.rot90(plane, turns)
    made: Pixels = np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)
    return made


def _from_deep(path: Path, picture: Image.Image) -> Still:
    pixels, alpha = sixteen_bit.read(path, picture)
    gray = pixels.ndim == 2
    rgb = np.repeat(pixels[:, :, None], 3, axis=2) if gray else pixels
    return Still(rgb, alpha, gray, metadata.read(picture))


def _from_pillow(picture: Image.Image) -> Still:
    brought = metadata.read(picture)
    if picture.mode == "La":  # gray that was multiplied by transparency
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        gray = picture.mode in ("1", "L", "LA")
        rgba = np.asarray(picture.convert("RGBA"))
        return Still(rgba[:, :, :3], rgba[:, :, 3], gray, brought)
    if picture.mode in ("CMYK", "LAB"):
        rgb = metadata.in_srgb(picture, brought.profile)
        return Still(np.asarray(rgb), metadata=replace(brought, profile=None))
    gray = picture.mode in ("1", "L")
    return Still(np.asarray(picture.convert("RGB")), None, gray, brought)


def write(path: Path, still: Still) -> None:
    """Write a picture atomically, in the format of the suffix; JPEG at quality 95, 4:4:4.

    Samples of 16 bits are kept by PNG and TIFF and rounded to 8 for the others; transparency is kept by
    AVIF, GIF (seen or not seen), PNG, WebP and TIFF and laid over black for the others. Where the profile
    cannot be kept, 8-bit pixels become sRGB.

    Raises:
        UsageError: The suffix is of no known format.
        MediaError: The file cannot be written.
    """
    suffix = path.suffix.lower()
    check_target(path)
    if suffix not in _ALPHA_SUFFIXES and still.alpha is not None:
        still = replace(still, pixels=transparency.flattened(still.pixels, still.alpha), alpha=None)
    with replacing(path) as partial:
        if still.pixels.dtype == np.uint16 and suffix in _DEEP_SUFFIXES:
            _write_deep(partial, still)
        else:
            _write_pillow(partial, _shallow(still), suffix)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """``atomic.replacing``, with errors of the file and of the encoders as one kind.

    Raises:
        MediaError: It cannot be written; what was there is as it was.
    """
    try:
        with atomic.replacing(path) as partial:
            yield partial
    except (OSError, cv2.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"'{path}' cannot be written: {reason}") from error


def check_target(path: Path, height: int = 0, width: int = 0) -> None:
    """Make sure that a picture of this size can be written in the format of the suffix.

    Raises:
        UsageError: No known suffix, or a side is longer than the format allows.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise UsageError(f"'{path}' has no suffix of a picture that can be written", f"use one of {known}")
    longest = _LONGEST_SIDE_PX.get(FORMATS[suffix][0])
    if longest and max(height, width) > longest:
        raise UsageError(
            f"'{path}' would be {width}x{height}, but {suffix} holds at most {longest} pixels a side",
            "write .png or .tif",
        )


def _write_deep(partial: Path, still: Still) -> None:
    pixels: Any = _gray(still.pixels) if still.gray and still.alpha is None else still.pixels
    sixteen_bit.write(partial, np.ascontiguousarray(pixels), still.alpha, still.metadata)  # type: ignore[arg-type]


def _write_pillow(partial: Path, still: Still, suffix: str) -> None:
    name, arguments = FORMATS[suffix]
    picture, brought = _pillow_picture(still, name)
    arguments = arguments | metadata.save_arguments(brought, name, picture.size)
    try:
        picture.save(partial, name, **arguments)
    except ValueError as error:  # for example a side above 65535 in JPEG
        raise OSError(str(error)) from error


def _pillow_picture(still: Still, name: str) -> tuple[Image.Image, Metadata]:
    """The picture as the format stores it, and what goes along."""
    stores_gray = still.gray and name in (_GRAY_FORMATS if still.alpha is None else {"PNG"})
    picture, profile = colored(still, name, "L" if stores_gray else "RGB")
    if still.alpha is not None:
        picture.putalpha(Image.fromarray(still.alpha))
    if name == "GIF" and not stores_gray:
        picture = palette.with_palette(picture, transparent=still.alpha is not None)
    return picture, replace(still.metadata, profile=profile)


def colored(still: Still, name: str, mode: str) -> tuple[Image.Image, bytes | None]:
    """The colours alone, in mode ``L`` or ``RGB``; as sRGB where the profile cannot go along.

    Returns:
        The picture, and the profile to be written with it.
    """
    picture = Image.fromarray(_gray(still.pixels) if still.gray else still.pixels)
    profile = still.metadata.profile
    if metadata.goes_along(profile, name, mode):
        return picture.convert(mode), profile
    if metadata.fits(profile, picture.mode):
        picture = metadata.in_srgb(picture, profile)
    return picture.convert(mode), None


def _gray(pixels: Pixels) -> Pixels:
    """The mean of the channels ``(H, W)``, same dtype: a network makes those of a gray picture unequal."""
    mean: Any = cv2.transform(pixels, np.full((1, 3), 1 / 3))
    return mean  # type: ignore[no-any-return]  # of the same dtype


def _shallow(still: Still) -> Still:
    """The picture with 8 bits, rounded."""
    if still.pixels.dtype == np.uint8:
        return still
    alpha = None if still.alpha is None else to_8_bits(still.alpha)
    return replace(still, pixels=to_8_bits(still.pixels), alpha=alpha)


def read_rgb8(path: Path) -> NDArray[np.uint8]:
    """The colours of a picture alone: ``(H, W, 3)`` RGB uint8. Raises as ``read`` does."""
    return _shallow(read(path)).pixels.astype(np.uint8, copy=False)


def write_rgb8(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write ``(H, W, 3)`` RGB uint8. Raises as ``write`` does."""
    write(path, Still(pixels))


def resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bicubic (a = -0.5, antialiased when reducing) with Pillow; ``(H, W, 3)`` or ``(H, W)`` uint8."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
