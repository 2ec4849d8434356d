"""Colours where a picture is transparent."""

from typing import Any

import cv2
import numpy as np

from upscaler.arrays import Pixels


def revealed(pixels: Pixels, alpha: Pixels) -> Pixels:
    """The picture with the colours that nobody sees taken from the nearest that are seen.

    Programs leave black or white where nothing is to be seen. Enlarged as it is, that would come through as a
    fringe around everything that was cut out.

    Args:
        pixels: ``(H, W, 3)``.
        alpha: ``(H, W)``; 0 is where nothing is seen.

    Returns:
        ``(H, W, 3)`` of the same dtype.
    """
    hidden = (alpha == 0).astype(np.uint8)
    if not hidden.any() or hidden.all():
        return pixels
    _, nearest = cv2.distanceTransformWithLabels(
        hidden, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colors: Any = np.zeros((int(nearest.max()) + 1, 3), pixels.dtype)
    seen = hidden == 0
    colors[nearest[seen]] = pixels[seen]
    filled: Pixels = colors[nearest]
    return filled


def flattened(pixels: Pixels, alpha: Pixels) -> Pixels:
    """The picture over black, for formats without transparency."""
    peak = np.iinfo(pixels.dtype).max
    weighted = pixels.astype(np.float32) * (alpha[:, :, None].astype(np.float32) / peak)
    flat: Pixels = np.rint(weighted).astype(pixels.dtype)  # type: ignore[assignment]  # one of the two
    return flat
