"""Reading PNG with 16 bits per sample, which Pillow would silently reduce to 8; OpenCV decodes it."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from upscaler.errors import MediaError
from upscaler.images import metadata, native_stderr
from upscaler.images.pillow_corrections import raw_mode
from upscaler.images.still import Still

Samples = NDArray[np.uint16]

_OPAQUE = 65_535
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
    return of_bytes(path, np.fromfile(path, dtype=np.uint8), image)  # cv2.imread cannot open every path


def of_bytes(path: Path, encoded: NDArray[np.uint8], image: Image.Image) -> Still:
    """As ``read``, with the file in memory, ``(N,)`` uint8; its path is for errors."""
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
