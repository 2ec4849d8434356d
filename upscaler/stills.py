"""Read and write pictures. The one room that knows which library reads what.

Pillow for what belongs to a picture (orientation, palette, transparency, AVIF and WebP); OpenCV for pixels of
16 bits, which Pillow would silently reduce to 8.
"""

import os
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from upscaler.arrays import Pixels
from upscaler.errors import MediaError, UsageError

# It would print its own lines beside our errors.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# Suffix -> Pillow's name of the format and the arguments to save with.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jfif": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".avif": ("AVIF", {"quality": 90, "subsampling": "4:4:4"}),
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"quality": 95, "method": 4}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
    ".bmp": ("BMP", {}),
}
_LONGEST_SIDE_PX = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536}
_LONGEST_SIDE_PX = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536}
_DEEP_SUFFIXES = {".png", ".tif", ".tiff"}
_ALPHA_SUFFIXES = {".avif", ".png", ".webp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Still:
    """A picture as the engine takes it.

    Attributes:
        pixels: ``(H, W, 3)`` RGB, uint8 or uint16, upright (orientation tags applied).
        alpha: ``(H, W)`` of the same dtype, or ``None``.
        gray: Whether the source had no colour; its three channels are equal.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    gray: bool = False


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
                deep = _is_deep(picture)
                picture.load()  # finds truncation, which OpenCV does not tell
                if deep:
                    return _read_deep(path, picture.getexif().get(ExifTags.Base.Orientation, 1))
                return _from_pillow(ImageOps.exif_transpose(picture))
    except FileNotFoundError as error:
        raise MediaError(f"'{path}' is not there (any more)") from error
    except UnidentifiedImageError as error:
        size = path.stat().st_size
        reason = "is empty (0 bytes)" if size == 0 else "is not a picture that can be read"
        raise MediaError(f"'{path}' {reason}") from error
    except Image.DecompressionBombError as error:
        raise MediaError(f"'{path}' is larger than 179 megapixels") from error
    except PermissionError as error:
        raise MediaError(f"'{path}' cannot be read: permission denied") from error
    except (OSError, SyntaxError, ValueError) as error:  # AVIF reports damage as SyntaxError
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
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"'{path}' is not a picture that can be read") from error


def _is_deep(picture: Image.Image) -> bool:
    """Whether a sample has 16 bits, told from the decoder's raw mode, never from the values."""
    if picture.mode.startswith("I;16"):
        return True
    raw_modes = (str(tile[3]) for tile in getattr(picture, "tile", ()))
    return any("16" in mode and "BGR" not in mode for mode in raw_modes)


def _refuse_unsupported(path: Path, picture: Image.Image) -> None:
    """Refuse what would be read as something else than it is."""
    several = getattr(picture, "n_frames", 1) > 1
    if several and picture.format == "TIFF":
        raise MediaError(f"'{path}' has several pages", "save them as files of their own")
    if several and picture.format != "MPO":  # MPO is a JPEG with a preview or a second view behind it
        raise MediaError(f"'{path}' is animated, which is not supported yet")
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


def _read_deep(path: Path, orientation: int) -> Still:
    encoded = np.fromfile(path, dtype=np.uint8)  # cv2.imread cannot open every path
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(encoded, flags)
    except cv2.error as error:
        raise MediaError(f"'{path}' is damaged or truncated") from error
    if pixels is None or pixels.dtype != np.uint16:
        raise MediaError(f"'{path}' has 16-bit samples of a kind that cannot be read")
    turns, mirrored = _UPRIGHT.get(orientation, (0, False))
    pixels = np.rot90(pixels, turns)
    samples = np.ascontiguousarray(pixels[:, ::-1] if mirrored else pixels).view(np.uint16)
    if samples.ndim == 2:
        return Still(np.repeat(samples[:, :, None], 3, axis=2), gray=True)
    rgb = np.ascontiguousarray(samples[:, :, 2::-1])
    return Still(rgb, np.ascontiguousarray(samples[:, :, 3]) if samples.shape[2] == 4 else None)


def _from_pillow(picture: Image.Image) -> Still:
    if picture.has_transparency_data:
        rgba = np.asarray(picture.convert("RGBA"))
        gray = picture.mode in ("LA", "La")
        return Still(np.ascontiguousarray(rgba[:, :, :3]), np.ascontiguousarray(rgba[:, :, 3]), gray)
    gray = picture.mode in ("1", "L")
    return Still(np.asarray(picture.convert("RGB")), gray=gray)


def write(path: Path, still: Still) -> None:
    """Write a picture atomically, in the format of the suffix; JPEG at quality 95, 4:4:4.

    Samples of 16 bits are kept by PNG and TIFF and rounded to 8 for the others; transparency is kept by
    PNG, WebP and TIFF and laid over black for the others.

    Raises:
        UsageError: The suffix is of no known format.
        MediaError: The file cannot be written.
    """
    suffix = path.suffix.lower()
    check_target(path)
    if suffix not in _ALPHA_SUFFIXES and still.alpha is not None:
        still = _flattened(still)
    try:
        prefix = f".{path.stem[:40]}."  # a name of its own: nothing that is there is written over
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=f".part{suffix}", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise MediaError(f"'{path}' cannot be written: {error.strerror}") from error
    partial = Path(name)
    try:
        partial.chmod(0o666 & ~_umask())
        if still.pixels.dtype == np.uint16 and suffix in _DEEP_SUFFIXES:
            _write_deep(partial, still)
        else:
            _write_pillow(partial, _shallow(still), suffix)
        os.replace(partial, path)
    except (OSError, cv2.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"'{path}' cannot be written: {reason}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


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


def _umask() -> int:
    """The process's mask; temporary files ignore it, and there is no way to ask but to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_deep(partial: Path, still: Still) -> None:
    if still.gray and still.alpha is None:
        pixels: NDArray[Any] = still.pixels[:, :, 0]
    else:
        pixels = still.pixels[:, :, ::-1]
        if still.alpha is not None:
            pixels = np.dstack([pixels, still.alpha])
    done, encoded = cv2.imencode(partial.suffix, np.ascontiguousarray(pixels))
    if not done:
        raise OSError("the encoder failed")
    encoded.tofile(partial)


def _write_pillow(partial: Path, still: Still, suffix: str) -> None:
    if still.alpha is not None:
        picture = Image.fromarray(np.dstack([still.pixels, still.alpha]))
        picture = picture.convert("LA") if still.gray and suffix == ".png" else picture
    elif still.gray:
        picture = Image.fromarray(np.ascontiguousarray(still.pixels[:, :, 0]))
    else:
        picture = Image.fromarray(still.pixels)
    name, arguments = FORMATS[suffix]
    try:
        picture.save(partial, name, **arguments)
    except ValueError as error:  # for example a side above 65535 in JPEG
        raise OSError(str(error)) from error


def _shallow(still: Still) -> Still:
    """The picture with 8 bits, rounded."""
    if still.pixels.dtype == np.uint8:
        return still
    alpha = None if still.alpha is None else _round_to_8_bits(still.alpha)
    return Still(_round_to_8_bits(still.pixels), alpha, still.gray)


def _round_to_8_bits(samples: Pixels) -> NDArray[np.uint8]:
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _flattened(still: Still) -> Still:
    """The picture over black, for formats without transparency."""
    assert still.alpha is not None, "only pictures with transparency are flattened"
    peak = np.iinfo(still.pixels.dtype).max
    weighted = still.pixels.astype(np.float32) * (still.alpha[:, :, None].astype(np.float32) / peak)
    flat: Pixels = np.rint(weighted).astype(still.pixels.dtype)  # type: ignore[assignment]  # one of the two
    return Still(flat, None, still.gray)


def read_rgb8(path: Path) -> NDArray[np.uint8]:
    """The colours of a picture alone: ``(H, W, 3)`` RGB uint8. Raises as ``read`` does."""
    return _shallow(read(path)).pixels.astype(np.uint8, copy=False)


def write_rgb8(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write ``(H, W, 3)`` RGB uint8. Raises as ``write`` does."""
    write(path, Still(pixels))


def resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bicubic (a = -0.5, antialiased when reducing) with Pillow; ``(H, W, 3)`` or ``(H, W)`` uint8."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
