"""Alpha: how it is upscaled, and what becomes of the colours that it hides."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from upscaler.pixels import Pixels


def bleed_colors(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Give fully transparent pixels the colour of the nearest visible pixel.

    Programs leave black or white in transparent pixels. Upscaled as it is, that would show as a fringe around
    everything visible.

    Args:
        pixels: ``(H, W, 3)`` RGB, uint8 or uint16.
        alpha: ``(H, W)``, same dtype; 0 is transparent.

    Returns:
        ``(H, W, 3)`` RGB of the same dtype; ``pixels`` itself if all or none of them are transparent.
    """
    hidden = (alpha == 0).astype(np.uint8)
    if not hidden.any() or hidden.all():
        return pixels
    _, nearest = cv2.distanceTransformWithLabels(
        hidden, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colors: Any = np.zeros((int(nearest.max()) + 1, 3), pixels.dtype)
    visible = hidden == 0
    colors[nearest[visible]] = pixels[visible]
    bled: Pixels = colors[nearest]
    return bled


def as_gray_rgb(gray: Pixels) -> Pixels:
    """Gray or alpha ``(H, W)`` as an RGB image ``(H, W, 3)`` of the same dtype, as a network takes it."""
    rgb: Any = np.repeat(gray[:, :, None], 3, axis=2)
    return rgb  # type: ignore[no-any-return]  # of the same dtype


def upscale_alpha(
    alpha: Pixels, height: int, width: int, upscale: Callable[[Pixels], Pixels], *, wraps: bool = False
) -> Pixels:
    """Upscale alpha with the network, because its edges are edges too; uniform alpha needs no network.

    Args:
        alpha: ``(h, w)``, uint8 or uint16.
        height: Of the result.
        width: Of the result.
        upscale: ``Upscaler.image``.
        wraps: Whether opposite borders meet.

    Returns:
        ``(height, width)``, same dtype.
    """
    first = alpha[0, 0]
    if (alpha == first).all():  # as in most screenshots
        uniform: Pixels = np.full((height, width), first, alpha.dtype)
        return uniform
    return snap_flat_alpha(upscale(as_gray_rgb(alpha)), alpha, wraps=wraps)


def snap_flat_alpha(upscaled: Pixels, alpha: Pixels, *, wraps: bool = False) -> Pixels:
    """Make upscaled alpha exact wherever the source's alpha is uniform in its 3x3 neighbourhood.

    Args:
        upscaled: ``(H, W, 3)``, the result of a network for ``as_gray_rgb(alpha)``.
        alpha: ``(h, w)`` of the source, same dtype.
        wraps: Whether opposite borders meet.

    Returns:
        ``(H, W)``, same dtype.
    """
    plane = upscaled[:, :, 1]
    flat = _flat(alpha, "wrap" if wraps else "edge")
    is_flat, exact = (
        cv2.resize(small, plane.shape[::-1], interpolation=cv2.INTER_NEAREST) for small in (flat, alpha)
    )
    snapped: Pixels = np.where(is_flat > 0, exact, plane)
    return snapped


def snap_flat_rows(
    upscaled: Iterator[Pixels], alpha: Iterator[Pixels], source_height: int, height: int
) -> Iterator[Pixels]:
    """As ``snap_flat_alpha``, in bands of some rows each.

    Args:
        upscaled: ``(rows, W, 3)`` each, the result of a network for ``as_gray_rgb(alpha)``.
        alpha: ``(rows, w)`` each, of the source, same dtype.
        source_height: Of the source.
        height: Of the result.

    Yields:
        ``(rows, W)`` for every band of ``upscaled``, same dtype.
    """
    held: Any = next(alpha)
    held_from, start = 0, 0
    for band in upscaled:
        plane = band[:, :, 1]
        # As of OpenCV's nearest neighbour.
        places = np.floor(np.arange(start, start + len(plane)) * (1 / (height / source_height))).astype(int)
        places = np.minimum(places, source_height - 1)
        first, last = int(places[0]), int(places[-1]) + 1
        while held_from + len(held) < min(last + 1, source_height):
            held = np.concatenate([held, next(alpha)])
        above = min(1, first)  # rows around, as far as there are some
        held, held_from = held[first - above - held_from :], first - above
        seen = held[: last + 1 - held_from]
        is_flat, exact = (
            cv2.resize(rows, (plane.shape[1], len(rows)), interpolation=cv2.INTER_NEAREST)[above:]
            for rows in (_flat(seen, "edge"), seen)
        )
        snapped: Any = np.where(is_flat[places - first] > 0, exact[places - first], plane)
        yield snapped
        start += len(plane)


def _flat(alpha: Pixels, beyond: Literal["edge", "wrap"]) -> NDArray[np.uint8]:
    """Where alpha ``(h, w)`` is uniform in its 3x3 neighbourhood: 1, else 0."""
    neighbourhood = np.ones((3, 3), np.uint8)
    seen: Any = np.pad(alpha, 1, mode=beyond)
    is_flat: Any = cv2.erode(seen, neighbourhood) == cv2.dilate(seen, neighbourhood)
    flat: NDArray[np.uint8] = is_flat.astype(np.uint8)[1:-1, 1:-1]
    return flat


def composite_over_black(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Flatten an image onto black, for formats without alpha.

    Args:
        pixels: ``(H, W, 3)`` RGB, uint8 or uint16.
        alpha: ``(H, W)``, same dtype, straight (not premultiplied).

    Returns:
        ``(H, W, 3)`` RGB, same dtype.
    """
    opaque = np.iinfo(pixels.dtype).max
    weighted = pixels.astype(np.float32) * (alpha[:, :, None].astype(np.float32) / opaque)
    flat: Pixels = np.rint(weighted).astype(pixels.dtype)  # type: ignore[assignment]  # one of the two
    return flat
