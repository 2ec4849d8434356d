"""Reading and writing still images.

``tiff`` and ``tiff_writer`` do it for TIFF; ``png_file`` writes PNG, ``sixteen_bit_png`` reads it if it has
16 bits; ``eight_bit`` does the rest.
"""

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from upscaler import atomic, transparency
from upscaler.errors import (
    TAKEN_HINT,
    DiskFullError,
    MediaError,
    TargetTakenError,
    UpscalerError,
    UsageError,
    first_line,
)
from upscaler.images import (
    avif,
    cicp,
    eight_bit,
    encoding,
    exr,
    gif,
    jpeg_damage,
    library_settings,
    packages,
    pillow_corrections,
    png_file,
    sixteen_bit_png,
    tiff,
    tiff_writer,
)
from upscaler.images.cicp import CodePoints
from upscaler.images.encoding import Encoding
from upscaler.images.formats import READ_FORMATS, WRITABLE_SUFFIXES, ImageFormat, format_of, pillow_formats
from upscaler.images.orientation import apply_orientation, read_orientation, swaps_sides
from upscaler.images.readers import reader_of
from upscaler.images.repair import DAMAGED_METADATA, has_damaged_metadata, opened, repaired
from upscaler.images.still import Still, has_equal_channels
from upscaler.pixels import Pixels, mean_of_channels, to_8_bits
from upscaler.system import disk, memory


def read(path: Path, *, tolerant: bool = False, page: int | None = None) -> Still:
    """Read an image, upright.

    Args:
        path: Its file.
        page: Of a TIFF with ``page_count(path)`` pages, from 0; ``None`` if it must have one only.
        tolerant: Return what can be decoded of a damaged file, and say so in ``Still.damage``.

    Raises:
        MediaError: The file is missing, not an image, damaged, too large, animated or unsupported.
    """
    try:
        with library_settings.applied():
            if reader := reader_of(path):
                return _completed(reader.read(path))
            if tiff.is_tiff(path):
                return _completed(tiff.read(path, page))
            with Image.open(path, formats=pillow_formats(path)) as image:
                still = _decode(path, image)
    except UpscalerError:
        raise
    except Exception as error:  # OSError mostly, but decoders raise whatever damage leads them to
        if tolerant and not memory.is_exhausted(error):
            return _read_repaired(path, error)
        raise _read_error(path, error) from error
    if gif.is_truncated(path):
        return replace(still, damage=gif.TRUNCATED)
    return replace(still, damage=_unreported_damage(path, image.format)) if tolerant else still


def _unreported_damage(path: Path, format_name: str | None) -> str:
    """What is damaged in a file that Pillow reads without an error, as a line; empty if nothing is."""
    if format_name in ("JPEG", "MPO") and jpeg_damage.is_damaged(path):
        return jpeg_damage.DAMAGED_PIXELS
    return DAMAGED_METADATA if format_name == "PNG" and has_damaged_metadata(path) else ""


def _read_repaired(path: Path, error: Exception) -> Still:
    """What a damaged file still holds; raises for its original error if that is nothing."""
    repair = repaired(path)
    if repair is None:
        raise _read_error(path, error) from error
    content, damage = repair
    try:
        with library_settings.applied(), Image.open(io.BytesIO(content), formats=READ_FORMATS) as image:
            image.filename = os.fspath(path)  # from which metadata are read
            return replace(_decode(path, image), damage=damage)
    except UpscalerError:
        raise
    except Exception:  # as above
        raise _read_error(path, error) from error


def _decode(path: Path, image: Image.Image) -> Still:
    _check_supported(path, image)
    is_deep = sixteen_bit_png.describes(image)
    _check_room(path, image.height * image.width * (6 if is_deep else 3))
    pillow_corrections.apply(image)
    image.load()  # finds truncation, which OpenCV does not report
    still = sixteen_bit_png.read(path, image) if is_deep else eight_bit.read(image)
    if image.format == "AVIF":
        still = _corrected_avif(path, still)
    orientation = read_orientation(image)
    alpha = None if still.alpha is None else apply_orientation(still.alpha, orientation)
    return _completed(replace(still, pixels=apply_orientation(still.pixels, orientation), alpha=alpha))


def _check_room(path: Path, decoded_bytes: int) -> None:
    """Make sure that a picture fits into memory twice: the libraries hold it as well."""
    memory.check_room(2 * decoded_bytes, f"reading '{path}'", "close other programs, or split the image")


def _completed(still: Still) -> Still:
    """An upright image with what follows from its pixels."""
    return replace(
        still,
        metadata=replace(still.metadata, size=still.pixels.shape[:2]),
        equal_channels=not still.gray and has_equal_channels(still.pixels),
    )


def _corrected_avif(path: Path, still: Still) -> Still:
    """An AVIF with the colours that it states, and with more than 8 bits if it has them."""
    color = avif.read_color(path)
    decoded = avif.decode_deep(path, *still.pixels.shape[:2]) if color.bits > 8 else None
    if decoded is not None:
        still, color = replace(still, pixels=decoded[0], alpha=decoded[1]), replace(color, bits=8)
    return replace(still, metadata=color.added_to(still.metadata))


def with_equal_channels(pixels: Pixels) -> Pixels:
    """RGB ``(H, W, 3)``, uint8 or uint16 in full range, with the mean of R, G and B in each of them."""
    mean: Any = mean_of_channels(pixels)
    equal: Any = np.repeat(mean[:, :, None], 3, axis=2)
    return equal  # type: ignore[no-any-return]  # of the same dtype


def _read_error(path: Path, error: Exception) -> MediaError:
    if isinstance(error, FileNotFoundError):
        return MediaError(f"'{path}' no longer exists")
    if isinstance(error, PermissionError):
        return MediaError(f"cannot read '{path}': permission denied")
    if isinstance(error, Image.DecompressionBombError):
        return library_settings.too_large(path)
    if isinstance(error, UnidentifiedImageError):
        if path.stat().st_size == 0:
            return MediaError(f"'{path}' is empty (0 bytes)")
        return MediaError(f"'{path}' is not an image, or not in a supported format")
    return decoding_error(path, error)


def decoding_error(path: Path, error: Exception) -> MediaError:
    """What a decoder's error says about a file."""
    if memory.is_exhausted(error):
        return MediaError(f"there is too little memory to read '{path}'", "close other programs")
    return MediaError(f"'{path}' is damaged or truncated: {first_line(error)}")


def read_size(path: Path) -> tuple[int, int]:
    """Height and width of an upright image, from its header alone.

    Raises:
        MediaError: The header cannot be read.
    """
    with _header(path) as image:
        return _size(path, image)


def read_size_and_depth(path: Path) -> tuple[int, int, int]:
    """Height, width, and bytes of a pixel with its alpha when it is decoded to 8 or 16 bits.

    From the header alone; the size is that of the upright image.

    Raises:
        MediaError: The header cannot be read.
    """
    with _header(path) as image:
        return *_size(path, image), _bytes_per_pixel(path, image)


def _size(path: Path, image: Image.Image | None) -> tuple[int, int]:
    if reader := reader_of(path):
        return reader.read_size(path)
    if image is None:
        return tiff.read_size(path)
    is_turned = swaps_sides(read_orientation(image))
    return (image.width, image.height) if is_turned else (image.height, image.width)


def _bytes_per_pixel(path: Path, image: Image.Image | None) -> int:
    if reader := reader_of(path):
        return reader.bytes_per_pixel
    if image is None:
        return tiff.bytes_per_pixel(path)
    channels = (1 if image.mode in ("1", "L", "LA") else 3) + image.has_transparency_data
    return channels * (2 if sixteen_bit_png.describes(image) else 1)


@contextmanager
def _header(path: Path) -> Iterator[Image.Image | None]:
    """An opened image, not decoded; ``None`` for what Pillow does not read."""
    try:
        with library_settings.applied():
            if reader_of(path) or tiff.is_tiff(path):
                yield None
                return
            with opened(path)[0] as image:
                yield image
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise library_settings.too_large(path) from error
    except Exception as error:  # as in `read`
        raise MediaError(f"'{path}' is not an image, or not in a supported format") from error


def _check_supported(path: Path, image: Image.Image) -> None:
    """Reject what is too large, and what would be decoded as something else than it is."""
    library_settings.check_size(path, image.height, image.width)
    # The others of an MPO are images behind a JPEG, those of a PSD its layers.
    if getattr(image, "n_frames", 1) > 1 and image.format not in ("MPO", "PSD"):
        raise MediaError(f"'{path}' is animated, not a single image")
    if image.mode in ("I", "F"):
        raise MediaError(f"'{path}' has 32-bit samples", "convert it to 16 bits")


def page_count(path: Path) -> int:
    """How many pages a TIFF has, without reduced copies; 1 for every other file."""
    with library_settings.applied():
        return tiff.page_count(path)


def write(path: Path, still: Still, how: Encoding = encoding.USUAL, *, replaces: bool = True) -> None:
    """Write an image atomically, in the format of the suffix; JPEG with 4:4:4.

    PNG and TIFF keep 16 bits, other formats are rounded to 8. Formats without alpha get the image over black;
    GIF keeps one bit of alpha. Where colours cannot be stated, 8-bit pixels are converted to sRGB.

    Args:
        path: The target.
        still: The image.
        how: What the user chose.
        replaces: Replace an existing file.

    Raises:
        UsageError: The suffix is not an image's.
        TargetTakenError: The file exists, and is not replaced.
        MediaError: The file cannot be written.
    """
    with writing(path, replaces=replaces) as partial:
        encode(partial, still, how)


def encode(path: Path, still: Still, how: Encoding) -> None:
    """Write an image to a file that is to be published, as ``write`` does.

    Raises:
        UsageError: The suffix is not an image's.
        OSError: The file cannot be written.
        cv2.error: Likewise.
    """
    image_format = check_target(path)
    still = _storable(still, image_format)
    with library_settings.applied():
        if image_format.name == "TIFF":
            with tiff_writer.opened(path, image_format) as file:
                file.add([still], *still.pixels.shape[:2])
        elif image_format.name == "EXR":
            exr.write(path, still, image_format)
        elif image_format.name == "PNG":
            png_file.write(path, [still], *still.pixels.shape[:2])
        else:
            eight_bit.write(path, still.in_8_bits(), image_format, how)


def write_rows(path: Path, bands: Iterable[Still], height: int, width: int, *, replaces: bool = True) -> None:
    """Write a PNG or TIFF atomically that is never held as a whole; see ``write``.

    Args:
        path: The target.
        bands: Rows of the picture each, from top to bottom, all described alike.
        height: Of the picture.
        width: Of the picture.
        replaces: Replace an existing file.

    Raises:
        TargetTakenError: The file exists, and is not replaced.
        MediaError: The file cannot be written.
    """
    image_format = check_target(path)
    assert image_format.name in ("PNG", "TIFF"), "formats that are written in rows"
    with writing(path, replaces=replaces) as partial:
        storable = (_storable(band, image_format) for band in bands)
        if image_format.name == "PNG":
            png_file.write(partial, storable, height, width)
        else:
            with tiff_writer.opened(partial, image_format) as file:
                file.add(storable, height, width)


def write_pages(path: Path, pages: Iterable[Still], count: int, *, replaces: bool = True) -> None:
    """Write a TIFF of several pages atomically.

    Args:
        path: The target, with a suffix of TIFF.
        pages: Of any sizes.
        count: How many there are, at least one.
        replaces: Replace an existing file.

    Raises:
        TargetTakenError: The file exists, and is not replaced.
        MediaError: The file cannot be written.
    """
    image_format = check_target(path)
    assert image_format.name == "TIFF", "the only format with pages"
    with (
        writing(path, replaces=replaces) as partial,
        tiff_writer.opened(partial, image_format, count) as file,
    ):
        for page in pages:
            file.add([_storable(page, image_format)], *page.pixels.shape[:2])


def _storable(still: Still, image_format: ImageFormat) -> Still:
    """The image in colours that the format can state, with equal channels if the source has them.

    Without alpha if the format has none.
    """
    if image_format.name not in ("TIFF", "EXR"):
        still = still.for_display()
    if still.metadata.codes and image_format.name != "PNG":
        still = replace(still, pixels=cicp.to_srgb(still.pixels, still.metadata.codes))
    if still.equal_channels:
        still = replace(still, pixels=with_equal_channels(still.pixels))
    if still.alpha is not None and not image_format.alpha:
        flat = transparency.composite_over_black(still.pixels, still.alpha)
        still = replace(still, pixels=flat, alpha=None)
    return still


@contextmanager
def writing(path: Path, *, replaces: bool) -> Iterator[Path]:
    """``atomic.replacing`` for image encoders.

    Raises:
        TargetTakenError: The file exists, and is not replaced.
        MediaError: The encoder or the disk failed; an existing file stays as it is.
    """
    with (
        naming_errors(path),
        library_settings.applied(),
        atomic.replacing(path, replaces=replaces) as partial,
    ):
        yield partial


@contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Have errors of the disk and of encoders name the target.

    Raises:
        TargetTakenError: It exists, and is not replaced.
        MediaError: It cannot be written.
    """
    try:
        yield
    except FileExistsError as error:
        raise TargetTakenError(f"'{path}' exists by now, and is not replaced", TAKEN_HINT) from error
    except (OSError, cv2.error) as error:
        if disk.is_full(error):
            raise DiskFullError(f"no space left on the disk of '{path}'", "free some") from error
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"cannot write '{path}': {reason}") from error


def check_target(path: Path, height: int = 0, width: int = 0, codes: CodePoints | None = None) -> ImageFormat:
    """Make sure that an image of this size and colours can be written in the format of the suffix.

    Returns:
        The format.

    Raises:
        UsageError: The suffix is not an image's, a side is longer than the format allows, or the image is HDR
            and the format cannot say so.
    """
    image_format = format_of(path)
    if image_format is None:
        raise UsageError(f"'{path}' has no image suffix", f"use one of {', '.join(WRITABLE_SUFFIXES)}")
    limit_px = image_format.max_side_px
    if limit_px and max(height, width) > limit_px:
        raise UsageError(
            f"'{path}' would be {width}x{height}, but {path.suffix} is limited to {limit_px} pixels per side",
            "write .png or .tif",
        )
    if image_format.name == "EXR":
        packages.loaded("OpenEXR", path.suffix)
    if codes and codes.hdr and image_format.name != "PNG":
        problem = f"{path.suffix} cannot say that an image is HDR ({codes.hdr})"
        raise UsageError(f"'{path}' cannot be written: {problem}", "write .png")
    return image_format


def check_pages(path: Path, image_format: ImageFormat, count: int) -> None:
    """Make sure that a format stores several pages.

    Raises:
        UsageError: It does not.
    """
    if image_format.name != "TIFF":
        raise UsageError(f"'{path}' can store only one of {count} pages", "write .tif")


def read_rgb8(path: Path) -> NDArray[np.uint8]:
    """The colours of an image without its alpha, ``(H, W, 3)`` RGB uint8, wide gamut as sRGB.

    Raises as ``read`` does, and for HDR.
    """
    still = read(path)
    codes = still.metadata.codes
    if codes and codes.hdr:
        raise MediaError(
            f"'{path}' is an HDR image ({codes.hdr}), which is not supported here", "convert it to SDR"
        )
    pixels = cicp.to_srgb(still.pixels, codes) if codes else still.pixels
    return to_8_bits(pixels)


def write_rgb8(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write ``(H, W, 3)`` RGB uint8. Raises as ``write`` does."""
    write(path, Still(pixels))
