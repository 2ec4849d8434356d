"""EXIF orientation: how stored pixels are rotated and mirrored for display (CIPA DC-008, 4.6.5)."""

from typing import Any

import numpy as np
from PIL import ExifTags, Image

from upscaler.pixels import Pixels

# Orientation -> (quarter turns counter-clockwise, then mirrored left to right).
_TURNS = {
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}


def read_orientation(image: Image.Image) -> int:
    """The orientation of an opened image, 1 to 8; 1 (upright) if it has none, or none that can be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's parser raises whatever damaged input leads to
        return 1
    return value if value in _TURNS else 1


def swaps_sides(orientation: int) -> bool:
    """Whether the upright image has the stored image's height as its width."""
    return _TURNS.get(orientation, (0, False))[0] % 2 == 1


def apply_orientation(pixels: Pixels, orientation: int) -> Pixels:
    """Rotate and mirror stored pixels so that they are upright.

    Args:
        pixels: ``(H, W, channels)`` or ``(H, W)``, any dtype, range and colour order.
        orientation: As from ``read_orientation``.

    Returns:
        The upright pixels, contiguous: ``(W, H, ...)`` if ``swaps_sides``.
    """
    turns, mirrored = _TURNS.get(orientation, (0, False))
    turned: Any = np.rot90(pixels, turns)
    upright: Pixels = np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)
    return upright
