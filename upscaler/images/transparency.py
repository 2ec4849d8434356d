"""Transparency, and the colours that it hides."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from upscaler.pixels import Pixels


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


def as_picture(alpha: Pixels) -> Pixels:
    """Transparency ``(H, W)`` as a gray picture ``(H, W, 3)`` for a network: its edges are edges too."""
    gray: Any = np.repeat(alpha[:, :, None], 3, axis=2)
    return gray  # type: ignore[no-any-return]  # of the same dtype


def enlarged(alpha: Pixels, height: int, width: int, enlarge: Callable[[Pixels], Pixels]) -> Pixels:
    """The transparency of a picture at another size; without the network where it is the same everywhere.

    Args:
        alpha: ``(h, w)``.
        height: Of the result.
        width: Of the result.
        enlarge: ``Upscaler.image``.

    Returns:
        ``(height, width)``, same dtype.
    """
    first = alpha[0, 0]
    if (alpha == first).all():  # as in most screenshots
        constant: Pixels = np.full((height, width), first, alpha.dtype)
        return constant
    return settled(enlarge(as_picture(alpha)), alpha)


def settled(gray: Pixels, alpha: Pixels) -> Pixels:
    """What a network made of ``as_picture``, exact where all around is equally transparent.

    Args:
        gray: ``(H, W, 3)``.
        alpha: ``(h, w)`` of before, same dtype.

    Returns:
        ``(H, W)``, same dtype.
    """
    made = gray[:, :, 1]
    around = np.ones((3, 3), np.uint8)
    flat = (cv2.erode(alpha, around) == cv2.dilate(alpha, around)).astype(np.uint8)
    is_flat, exact = (
        cv2.resize(plane, made.shape[::-1], interpolation=cv2.INTER_NEAREST) for plane in (flat, alpha)
    )
    settled: Pixels = np.where(is_flat > 0, exact, made)
    return settled


def flattened(pixels: Pixels, alpha: Pixels) -> Pixels:
    """The picture over black, for formats without transparency."""
    peak = np.iinfo(pixels.dtype).max
    weighted = pixels.astype(np.float32) * (alpha[:, :, None].astype(np.float32) / peak)
    flat: Pixels = np.rint(weighted).astype(pixels.dtype)  # type: ignore[assignment]  # one of the two
    return flat
