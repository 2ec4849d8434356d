"""Reading TIFF: which pages there are, and one page as an image.

Pillow decodes what has 8 bits or less, ``tiff_samples`` everything else.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from upscaler.errors import MediaError, UpscalerError
from upscaler.images import (
    eight_bit,
    icc,
    lab,
    library_settings,
    native_stderr,
    pillow_corrections,
    tiff_samples,
    tiff_tags,
)
from upscaler.images.formats import TIFF_SIGNATURES
from upscaler.images.metadata import Metadata
from upscaler.images.orientation import apply_orientation, swaps_sides
from upscaler.images.still import SampleRange, Still
from upscaler.images.tiff_samples import UnsupportedTiffError
from upscaler.pixels import Pixels, to_8_bits
from upscaler.system import memory

_REDUCED, _MASK = 1, 4  # bits of NewSubfileType (TIFF 6.0, section 8)
_OLD_REDUCED = 2  # SubfileType, which it replaced
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _SEPARATED, _YCBCR = 0, 1, 2, 5, 6
_CHANNELS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _SEPARATED: 4, lab.CIELAB: 3, lab.ICCLAB: 3}
_PREMULTIPLIED, _STRAIGHT = 1, 2  # ExtraSamples (section 18)
_CMYK = 1  # InkSet
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _INK_SET, _ORIENTATION = 254, 255, 332, 274
_SUBDIRECTORIES = 330  # SubIFDs (Adobe PageMaker 6.0 TIFF Technical Notes): further versions of the page
_REDUCED_COPIES = "reduced copies (thumbnail or pyramid)"


def is_tiff(path: Path) -> bool:
    """Whether a file starts as a TIFF or BigTIFF does."""
    try:
        with path.open("rb") as file:
            return file.read(4) in TIFF_SIGNATURES
    except OSError:  # the reader reports the reason
        return False


@contextmanager
def opened(path: Path) -> Iterator[list[tifffile.TiffPage]]:
    """All pages of a file.

    Raises:
        MediaError: It is damaged.
    """
    try:
        with tifffile.TiffFile(path) as file:
            pages: Any = [file.pages.get(number, aspage=True) for number in range(len(file.pages))]
            yield pages
    except (UpscalerError, MemoryError, OSError):
        raise
    except Exception as error:  # tifffile raises whatever damage leads it to
        raise MediaError(f"'{path}' is damaged or truncated: {error}") from error


def full_pages(pages: list[tifffile.TiffPage]) -> list[int]:
    """The numbers of the pages that are neither reduced copies nor masks; of the first if all are."""
    return [number for number, page in enumerate(pages) if _is_full(page)] or [0]


def _is_full(page: tifffile.TiffPage) -> bool:
    kind = int(page.tags.valueof(_NEW_SUBFILE_TYPE, 0) or 0)
    old_kind = int(page.tags.valueof(_SUBFILE_TYPE, 0) or 0)
    return not kind & (_REDUCED | _MASK) and old_kind != _OLD_REDUCED


def page_count(path: Path) -> int:
    """How many full pages a TIFF has; 1 for a file that is none, or that cannot be read."""
    try:
        if not is_tiff(path):
            return 1
        with opened(path) as pages:
            return len(full_pages(pages))
    except (MediaError, OSError):  # `read` reports the reason
        return 1


def read_size(path: Path) -> tuple[int, int]:
    """Height and width of the first full page, upright.

    Raises:
        MediaError: The file is damaged.
    """
    with opened(path) as pages:
        page = pages[full_pages(pages)[0]]
        is_turned = swaps_sides(orientation_of(page))
        return (page.imagewidth, page.imagelength) if is_turned else (page.imagelength, page.imagewidth)


def bytes_per_pixel(path: Path) -> int:
    """Bytes of a pixel of the first full page with its alpha, decoded to 8 or 16 bits or in its own type.

    Raises:
        MediaError: The file is damaged.
    """
    with opened(path) as pages:
        page = pages[full_pages(pages)[0]]
        bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
        return int(page.samplesperpixel * max(1, -(-bits // 8)))


def read(path: Path, number: int | None = None) -> Still:
    """Decode a page.

    Args:
        path: Its file.
        number: Of the page among the full ones, from 0; ``None`` if it must be the only one.

    Returns:
        The page, upright.

    Raises:
        MediaError: The file is damaged, has several pages, or is stored in a way that is not supported.
    """
    with opened(path) as pages:
        full = full_pages(pages)
        if number is None and len(full) != 1:
            raise MediaError(f"'{path}' has several pages", "save each page as a file of its own")
        chosen = full[number or 0]
        page = pages[chosen]
        _check_size(path, page)
        source = metadata_of(path, pages, page)
        try:
            if is_for_pillow(page):
                with suppress(UnidentifiedImageError):  # an unusual combination of channels
                    return _read_by_pillow(path, chosen, source)
            still = _still(page, source)
        except UnsupportedTiffError as error:
            hint = "save it as RGB or grayscale with LZW compression"
            raise MediaError(f"'{path}' has {error}, which is not supported", hint) from error
    orientation = orientation_of(page)
    return replace(
        still,
        pixels=apply_orientation(still.pixels, orientation),
        alpha=None if still.alpha is None else apply_orientation(still.alpha, orientation),
    )


def metadata_of(path: Path, pages: list[tifffile.TiffPage], page: tifffile.TiffPage) -> Metadata:
    """Metadata of one of the pages of a file."""
    source = tiff_tags.read(path, page.offset)
    if len(full_pages(pages)) < len(pages) or page.tags.valueof(_SUBDIRECTORIES):
        source = replace(source, dropped=(_REDUCED_COPIES, *source.dropped))
    return source


def orientation_of(page: tifffile.TiffPage) -> int:
    """The orientation of a page, as in EXIF."""
    return int(page.tags.valueof(_ORIENTATION, 1) or 1)


def _check_size(path: Path, page: tifffile.TiffPage) -> None:
    library_settings.check_size(path, page.imagelength, page.imagewidth)
    decoded_bytes = page.imagelength * page.imagewidth * page.samplesperpixel * page.bitspersample // 8
    memory.check_room(2 * decoded_bytes, f"reading '{path}'", "close other programs, or split the image")


def is_for_pillow(page: tifffile.TiffPage) -> bool:
    """Whether Pillow decodes a page."""
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    is_plain = bits <= 8 and int(page.sampleformat) in (1, 4) and not tiff_samples.is_image_file(page)
    channels = _CHANNELS.get(int(page.photometric), 3)
    has_extras = page.samplesperpixel > channels + (channels in (1, 3))  # more than one alpha
    is_big = page.parent.is_bigtiff and page.parent.byteorder == ">"
    is_known = int(page.compression) in _PILLOW_COMPRESSIONS
    return is_plain and is_known and not has_extras and not is_big


# CCITT, old JPEG and JPEG, besides those of `tiff_samples`.
_PILLOW_COMPRESSIONS = {2, 3, 4, 6, 7, 32771, 32809, *tiff_samples.COMPRESSIONS}


def _read_by_pillow(path: Path, number: int, source: Metadata) -> Still:
    """A page whose orientation Pillow applies."""
    with native_stderr.discarded(), Image.open(path, formats=["TIFF"]) as image:
        image.seek(number)
        return still_of_pillow(image, source)


def still_of_pillow(image: Image.Image, source: Metadata) -> Still:
    """A page that Pillow has opened, with metadata that were read before."""
    pillow_corrections.apply(image)
    image.load()
    still = eight_bit.read(image)
    converted = source.profile and still.metadata.profile is None  # CMYK and Lab become sRGB
    dropped = (*source.dropped, *still.metadata.dropped)
    return replace(
        still, metadata=replace(source, profile=None if converted else source.profile, dropped=dropped)
    )


def _still(page: tifffile.TiffPage, source: Metadata) -> Still:
    """A page as stored: its orientation is still to be applied."""
    samples = tiff_samples.read(page)
    limits = SampleLimits()
    if has_limits(page, samples):
        limits = limits.widened(samples[:, :, : channels_of(page)], tiff_tags.nodata(source))
    return still_of(page, samples, source, limits)


def channels_of(page: tifffile.TiffPage) -> int:
    """How many channels the colours of a page have.

    Raises:
        UnsupportedTiffError: Its colours are not supported.
    """
    kind = _kind(page)
    if kind not in _CHANNELS or (kind == _SEPARATED and page.tags.valueof(_INK_SET, _CMYK) != _CMYK):
        name = getattr(page.photometric, "name", kind)
        raise UnsupportedTiffError(f"colours of the kind {name}")
    return _CHANNELS[kind]


def _kind(page: tifffile.TiffPage) -> int:
    kind = int(page.photometric)
    # YCbCr in an image file is converted by its decoder.
    return _RGB if kind == _YCBCR and tiff_samples.is_image_file(page) else kind


def has_limits(page: tifffile.TiffPage, samples: NDArray[Any]) -> bool:
    """Whether the range of samples, ``(rows, W, channels)`` of any dtype, decides about their codes."""
    return not _are_codes(samples) and _kind(page) in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)


def still_of(
    page: tifffile.TiffPage, samples: NDArray[Any], source: Metadata, limits: "SampleLimits"
) -> Still:
    """Rows of a page as stored.

    Args:
        page: The page.
        samples: ``(rows, W, channels)``, in the dtype, range and colour order of ``tiff_samples.read``.
        source: Metadata of the page.
        limits: Of all samples of the page, if ``has_limits`` says so.

    Raises:
        UnsupportedTiffError: Its colours are not supported.
    """
    count, kind = channels_of(page), _kind(page)
    if samples.shape[2] < count:
        raise UnsupportedTiffError(f"{samples.shape[2]} of {count} channels")
    colors, extras = samples[:, :, :count], samples[:, :, count:]
    alpha, is_premultiplied, unused = _alpha(page, extras)
    if unused:
        channels = "channel" if unused == 1 else "channels"
        source = replace(source, dropped=(*source.dropped, f"{unused} more {channels}"))
    if kind == _SEPARATED:
        still = _from_cmyk(colors, source)
    elif kind in (lab.CIELAB, lab.ICCLAB):
        still = _from_lab(colors, kind, source)
    elif _are_codes(colors):
        still = _from_codes(page, colors, source)
    else:
        still = _from_samples(colors, source, limits)
    if kind == _WHITE_IS_ZERO:
        still = replace(still, pixels=np.iinfo(still.pixels.dtype).max - still.pixels)
    if alpha is not None and still.alpha is None:
        still = _with_alpha(still, _as_codes(page, alpha, still.pixels.dtype), is_premultiplied)
    return still


def _alpha(page: tifffile.TiffPage, extras: NDArray[Any]) -> tuple[NDArray[Any] | None, bool, int]:
    """Alpha ``(H, W)`` as stored, whether colours are multiplied by it, and how many channels are left."""
    count = extras.shape[2]
    kinds = [int(kind) for kind in page.extrasamples][:count]
    if count == 1 and not kinds:
        kinds = [_STRAIGHT]  # an undeclared one
    for position, kind in enumerate(kinds):
        if kind in (_PREMULTIPLIED, _STRAIGHT):
            return extras[:, :, position], kind == _PREMULTIPLIED, count - 1
    return None, False, count


def _are_codes(samples: NDArray[Any]) -> bool:
    return samples.dtype in (np.uint8, np.uint16)


def _as_codes(page: tifffile.TiffPage, samples: NDArray[Any], dtype: np.dtype[Any]) -> Pixels:
    """Codes over the full range of a type, from codes of any number of bits or floats in [0, 1]."""
    white = 1.0 if np.issubdtype(samples.dtype, np.floating) else float(2 ** int(page.bitspersample) - 1)
    if samples.dtype == dtype and white == np.iinfo(dtype).max:
        same: Pixels = samples
        return same
    scaled = np.nan_to_num(samples.astype(np.float64) / white).clip(0, 1) * np.iinfo(dtype).max
    codes: Any = np.rint(scaled).astype(dtype)
    return codes  # type: ignore[no-any-return]


def _with_alpha(still: Still, alpha: Pixels, is_premultiplied: bool) -> Still:
    if is_premultiplied:
        opaque = np.iinfo(alpha.dtype).max
        straight = still.pixels.astype(np.float32) * opaque / np.maximum(alpha, 1)[:, :, None]
        pixels: Any = np.rint(np.minimum(straight, opaque)).astype(alpha.dtype)
        still = replace(still, pixels=pixels)
    contiguous: Any = np.ascontiguousarray(alpha)
    return replace(still, alpha=contiguous)


def _rgb(codes: NDArray[Any]) -> Pixels:
    """Three channels from one or three."""
    rgb: Pixels = np.repeat(codes, 3, axis=2) if codes.shape[2] == 1 else np.ascontiguousarray(codes)
    return rgb


def _from_codes(page: tifffile.TiffPage, colors: NDArray[Any], source: Metadata) -> Still:
    codes = _as_codes(page, colors, colors.dtype)
    return Still(_rgb(codes), gray=colors.shape[2] == 1, metadata=source)


@dataclass(frozen=True)
class SampleLimits:
    """What decides how the samples of a page that are not codes become codes.

    Attributes:
        low: The smallest one that is not missing.
        high: The largest one.
        is_missing: Whether any is missing.
    """

    low: float = math.inf
    high: float = -math.inf
    is_missing: bool = False

    def widened(self, colors: NDArray[Any], nodata: float | None) -> "SampleLimits":
        """With more rows of the page.

        Args:
            colors: ``(rows, W, channels)``, any dtype, range and colour order.
            nodata: What a missing sample is, besides NaN.
        """
        missing = _missing(colors, nodata)
        valid = colors[~missing]
        low, high = (float(valid.min()), float(valid.max())) if valid.size else (math.inf, -math.inf)
        is_missing = self.is_missing or bool(missing.any())
        return SampleLimits(min(self.low, low), max(self.high, high), is_missing)

    def ends(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        """What becomes black, and what becomes white."""
        low, high = (self.low, self.high) if self.low <= self.high else (0.0, 1.0)
        if np.issubdtype(dtype, np.floating) and low >= 0 and high <= 1:
            low, high = 0.0, 1.0
        return low, high if high > low else low + 1


def _missing(colors: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """Of ``(rows, W, channels)``, which pixels miss a sample."""
    missing: NDArray[np.bool_] = ~np.isfinite(colors).all(axis=2)
    if nodata is not None:
        with np.errstate(over="ignore"):
            stored = float(np.float64(nodata).astype(colors.dtype))
        missing |= (colors.astype(np.float64) == stored).any(axis=2)
    return missing


def _from_samples(colors: NDArray[Any], source: Metadata, limits: SampleLimits) -> Still:
    """Heights, light and the like: signed, floating-point or more than 16 bits."""
    missing_value = tiff_tags.nodata(source)
    missing = _missing(colors, missing_value)
    if missing_value is None and limits.is_missing:
        missing_value = float("nan")
    low, high = limits.ends(colors.dtype)
    values = colors.astype(np.float64)
    values[missing] = low
    codes = np.rint((values - low) * (65_535 / (high - low))).astype(np.uint16)
    alpha: NDArray[np.uint16] | None = np.where(missing, 0, 65_535).astype(np.uint16)
    alpha = alpha if limits.is_missing else None
    sample_range = SampleRange(str(colors.dtype), low, high, missing_value)
    return Still(_rgb(codes), alpha, colors.shape[2] == 1, source, sample_range=sample_range)


def _from_cmyk(colors: NDArray[Any], source: Metadata) -> Still:
    if not _are_codes(colors):
        raise UnsupportedTiffError("CMYK colours that are not integers of 8 or 16 bits")
    names = ["CMYK colours (converted to sRGB)"]
    if colors.dtype == np.uint16:
        names.append("16 bits per sample (rounded to 8)")
    height, width = colors.shape[:2]
    image = Image.frombytes("CMYK", (width, height), np.ascontiguousarray(to_8_bits(colors)).tobytes())
    rgb = np.asarray(icc.to_srgb(image, source.profile))
    return Still(rgb, metadata=replace(source, profile=None, dropped=(*source.dropped, *names)))


def _from_lab(colors: NDArray[Any], kind: int, source: Metadata) -> Still:
    stored = colors.view(f"u{colors.dtype.itemsize}") if colors.dtype.kind == "i" else colors
    if not _are_codes(stored):
        raise UnsupportedTiffError("Lab colours that are not integers of 8 or 16 bits")
    dropped = (*source.dropped, "Lab colours (converted to sRGB)")
    return Still(lab.to_srgb(stored, kind), metadata=replace(source, profile=None, dropped=dropped))
