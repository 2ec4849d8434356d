"""Images with 16 bits per sample, which Pillow would silently reduce to 8.

OpenCV decodes their pixels but ignores some tags of a TIFF: inverted samples, and what the fourth sample is.
They are read here; files that cannot be decoded correctly are rejected.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from upscaler.errors import MediaError
from upscaler.images import exif, icc, metadata, png_chunks
from upscaler.images.formats import ImageFormat
from upscaler.images.metadata import Metadata
from upscaler.images.pillow_corrections import raw_mode
from upscaler.images.png_encoder import encode_gray_alpha
from upscaler.images.still import Still

Samples = NDArray[np.uint16]

# TIFF 6.0: PhotometricInterpretation (section 8) and ExtraSamples (section 18).
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_UNSPECIFIED, _ASSOCIATED, _UNASSOCIATED = 0, 1, 2
_TIFF_BYTE = 1  # the type BYTE of a value (section 2)
_OPAQUE = 65_535
_PNG_COLOR_TYPE_OFFSET, _PNG_GRAY_ALPHA = 25, 4  # PNG, third edition: 11.2.1


def is_sixteen_bit(image: Image.Image) -> bool:
    """Whether samples of an image that is not loaded yet have more than 8 bits, by its header alone."""
    if image.mode.startswith("I;16"):
        return True
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(_tag_values(image, ExifTags.Base.BitsPerSample, 1)) > 8
    stored = raw_mode(image)
    return "16" in stored and "BGR" not in stored  # `BGR;16` has 16 bits per pixel


def read(path: Path, image: Image.Image) -> Still:
    """Decode an image.

    Args:
        path: Its file.
        image: The same file, opened by Pillow.

    Returns:
        The image with uint16 samples. A PNG is as stored: its orientation is still to be applied. A TIFF is
        upright, and Pillow reports it as that.

    Raises:
        MediaError: The file is damaged, or of a kind that OpenCV decodes wrongly.
    """
    _check_supported(path, image)
    encoded = np.fromfile(path, dtype=np.uint8)  # cv2.imread cannot open every path
    try:
        decoded: Any = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise MediaError(f"'{path}' is damaged or truncated") from error
    if decoded is None or decoded.dtype != np.uint16:
        raise MediaError(f"'{path}' has an unsupported sample format", "convert it to 16-bit integers")
    if decoded.ndim == 2:
        gray, alpha = _gray_and_alpha(image, decoded)
        return Still(np.repeat(gray[:, :, None], 3, axis=2), alpha, gray=True, metadata=metadata.read(image))
    rgb, alpha = np.ascontiguousarray(decoded[:, :, 2::-1]), None
    if decoded.shape[2] == 4:
        rgb, alpha = _rgb_and_alpha(image, rgb, decoded[:, :, 3])
    # OpenCV decodes grayscale with alpha to equal channels; Pillow, too, calls it RGBA.
    is_gray = image.format == "PNG" and encoded[_PNG_COLOR_TYPE_OFFSET] == _PNG_GRAY_ALPHA
    return Still(rgb, alpha, bool(is_gray), metadata.read(image))


def _tag_values(image: TiffImagePlugin.TiffImageFile, tag: int, default: int) -> tuple[int, ...]:
    value: Any = image.tag_v2.get(tag, default)
    return tuple(value) if isinstance(value, tuple) else (value,)


def _check_supported(path: Path, image: Image.Image) -> None:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    if _tag_values(image, ExifTags.Base.PlanarConfiguration, 1) != (1,):
        raise MediaError(f"'{path}' has planar 16-bit samples", "save it with interleaved samples")
    known = ((_WHITE_IS_ZERO,), (_BLACK_IS_ZERO,), (_RGB,))
    if _tag_values(image, ExifTags.Base.PhotometricInterpretation, _RGB) not in known:
        raise MediaError(f"'{path}' has 16 bits but is neither RGB nor grayscale", "convert it to RGB")


def _gray_and_alpha(image: Image.Image, stored: Samples) -> tuple[Samples, Samples | None]:
    """Grayscale ``(H, W)`` with black as 0, and alpha ``(H, W)`` or ``None``."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        inverted = _tag_values(image, ExifTags.Base.PhotometricInterpretation, _RGB) == (_WHITE_IS_ZERO,)
        return (65_535 - stored if inverted else stored), None
    transparent = image.info.get("transparency")  # the tRNS chunk of PNG: the one transparent value
    if not isinstance(transparent, int):
        return stored, None
    return stored, np.where(stored == transparent, 0, _OPAQUE).astype(np.uint16)


def _rgb_and_alpha(image: Image.Image, rgb: Samples, fourth: Samples) -> tuple[Samples, Samples | None]:
    """RGB ``(H, W, 3)`` and straight alpha; an undeclared fourth sample ``(H, W)`` is taken for alpha."""
    alpha = np.ascontiguousarray(fourth)
    extra: tuple[int, ...] = ()
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        extra = _tag_values(image, ExifTags.Base.ExtraSamples, _UNASSOCIATED)[:1]
    if extra == (_UNSPECIFIED,):
        return rgb, None
    if extra == (_ASSOCIATED,):  # premultiplied
        straight = rgb.astype(np.float32) * _OPAQUE / np.maximum(alpha, 1)[:, :, None]
        return np.rint(np.minimum(straight, 65_535)).astype(np.uint16), alpha
    return rgb, alpha


def write(
    path: Path, pixels: Samples, alpha: Samples | None, source: Metadata, image_format: ImageFormat
) -> None:
    """Encode as PNG or TIFF.

    Args:
        path: The file to write.
        pixels: ``(H, W)`` grayscale, or ``(H, W, 3)`` RGB.
        alpha: ``(H, W)`` or ``None``; with grayscale in PNG only.
        source: Metadata to write, except for EXIF in a TIFF.
        image_format: PNG or TIFF.

    Raises:
        OSError: The file cannot be written.
    """
    mode = "L" if pixels.ndim == 2 else "RGB"
    profile = source.profile if icc.can_embed(source.profile, image_format, mode) else None
    if image_format.name == "PNG":
        _write_png(path, _encode_png(pixels, alpha), pixels.shape[:2], profile, source)
    else:
        samples = pixels if alpha is None else np.dstack([pixels, alpha])
        _write_tiff(path, samples, profile, source)


def _encode_png(pixels: Samples, alpha: Samples | None) -> NDArray[np.uint8]:
    if pixels.ndim == 2 and alpha is not None:
        return encode_gray_alpha(pixels, alpha)
    bgr = pixels if pixels.ndim == 2 else pixels[:, :, ::-1]
    samples = bgr if alpha is None else np.dstack([bgr, alpha])
    succeeded, encoded = cv2.imencode(".png", np.ascontiguousarray(samples))
    if not succeeded:
        raise OSError("the PNG encoder failed")
    return encoded.reshape(-1)


def _write_png(
    path: Path,
    encoded: NDArray[np.uint8],
    size: tuple[int, int],
    profile: bytes | None,
    source: Metadata,
) -> None:
    height, width = size
    chunks = metadata.png_chunks_to_write(source, height, width)
    if profile:
        chunks.append(png_chunks.profile_chunk(profile))
    if source.exif and (block := exif.updated(source.exif, "PNG", height, width)):
        chunks.append(png_chunks.exif_chunk(block.removeprefix(b"Exif\0\0")))  # the prefix is JPEG's alone
    if source.dpi:
        chunks.append(png_chunks.resolution_chunk(source.dpi))
    png_chunks.write_with_chunks(path, encoded, chunks)


def _write_tiff(path: Path, pixels: Samples, profile: bytes | None, source: Metadata) -> None:
    height, width = pixels.shape[:2]
    packet = metadata.updated_xmp(source, "TIFF", height, width)
    tifffile.imwrite(
        path,
        pixels,
        photometric="minisblack" if pixels.ndim == 2 else "rgb",
        extrasamples=["unassalpha"] if pixels.ndim == 3 and pixels.shape[2] == 4 else None,
        compression="zlib",
        predictor=True,
        iccprofile=profile,
        extratags=[(ExifTags.Base.XMLPacket, _TIFF_BYTE, len(packet), packet, True)] if packet else (),
        resolution=source.dpi,
        resolutionunit="INCH" if source.dpi else None,
        metadata=None,  # no description of tifffile's own
        software=False,
    )
