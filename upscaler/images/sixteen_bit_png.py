"""PNG with 16 bits per sample, which Pillow would silently reduce to 8; OpenCV decodes and encodes it."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from upscaler.errors import MediaError
from upscaler.images import exif, icc, metadata, native_stderr, png_chunks
from upscaler.images.formats import FORMATS
from upscaler.images.metadata import Metadata
from upscaler.images.pillow_corrections import raw_mode
from upscaler.images.png_encoder import encode_gray_alpha
from upscaler.images.still import Still
from upscaler.pixels import Pixels, mean_of_channels

Samples = NDArray[np.uint16]

_OPAQUE = 65_535
[_PNG] = [row for row in FORMATS if row.name == "PNG"]
_COLOR_TYPE_OFFSET, _GRAY_ALPHA = 25, 4  # PNG, third edition: 11.2.1


def describes(image: Image.Image) -> bool:
    """Whether an opened image, which is not loaded yet, is a PNG with 16 bits per sample."""
    is_png = isinstance(image, PngImagePlugin.PngImageFile)
    return is_png and (image.mode.startswith("I;16") or "16" in raw_mode(image))


def read(path: Path, image: Image.Image) -> Still:
    """Decode an image.

    Args:
        path: Its file.
        image: The same file, opened by Pillow.

    Returns:
        The image with uint16 samples, as stored: its orientation is still to be applied.

    Raises:
        MediaError: The file is damaged.
    """
    encoded = np.fromfile(path, dtype=np.uint8)  # cv2.imread cannot open every path
    try:
        with native_stderr.discarded():
            decoded: Any = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise MediaError(f"'{path}' is damaged or truncated") from error
    if decoded is None or decoded.dtype != np.uint16:
        raise MediaError(f"'{path}' is damaged or truncated")
    source = metadata.read(image)
    if decoded.ndim == 2:
        alpha = _transparent_value(image, decoded)
        return Still(np.repeat(decoded[:, :, None], 3, axis=2), alpha, gray=True, metadata=source)
    rgb, alpha = np.ascontiguousarray(decoded[:, :, 2::-1]), None
    if decoded.shape[2] == 4:
        alpha = np.ascontiguousarray(decoded[:, :, 3])
    # OpenCV decodes grayscale with alpha to equal channels; Pillow, too, calls it RGBA.
    return Still(rgb, alpha, bool(encoded[_COLOR_TYPE_OFFSET] == _GRAY_ALPHA), source)


def _transparent_value(image: Image.Image, gray: Samples) -> Samples | None:
    """Alpha of ``(H, W)`` grayscale with one transparent value (tRNS), or ``None``."""
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return None
    return np.where(gray == transparent, 0, _OPAQUE).astype(np.uint16)


def write(path: Path, still: Still) -> None:
    """Encode an image.

    Args:
        path: The file to write.
        still: uint16.

    Raises:
        OSError: The file cannot be written.
    """
    pixels: Any = mean_of_channels(still.pixels) if still.gray else still.pixels
    described = chunks(still.metadata, *still.pixels.shape[:2], mode="L" if still.gray else "RGB")
    png_chunks.write_with_chunks(path, _encoded(pixels, still.alpha), described)


def _encoded(pixels: Samples, alpha: Pixels | None) -> NDArray[np.uint8]:
    if pixels.ndim == 2 and alpha is not None:
        return encode_gray_alpha(pixels, alpha.astype(np.uint16, copy=False))
    bgr = pixels if pixels.ndim == 2 else pixels[:, :, ::-1]
    samples = bgr if alpha is None else np.dstack([bgr, alpha])
    succeeded, encoded = cv2.imencode(".png", np.ascontiguousarray(samples))
    if not succeeded:
        raise OSError("the PNG encoder failed")
    return encoded.reshape(-1)


def chunks(source: Metadata, height: int, width: int, *, mode: str) -> list[png_chunks.Chunk]:
    """The chunks that describe an image.

    Args:
        source: Metadata of the source.
        height: Of the image to write.
        width: Likewise.
        mode: ``L`` for grayscale, or ``RGB``: which profiles fit.
    """
    found = metadata.png_chunks_to_write(source, height, width)
    if source.profile and icc.can_embed(source.profile, _PNG, mode):
        found.append(png_chunks.profile_chunk(source.profile))
    if source.exif and (block := exif.updated(source.exif, "PNG", height, width)):
        found.append(png_chunks.exif_chunk(block.removeprefix(b"Exif\0\0")))  # the prefix is JPEG's alone
    if source.dpi:
        found.append(png_chunks.resolution_chunk(source.dpi))
    return found
