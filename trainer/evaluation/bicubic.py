"""The bicubic resizing of the published tables: Matlab's ``imresize``.

Keys' kernel with a = -0.5 ("Cubic Convolution Interpolation for Digital Image Processing", 1981), widened by
the scale when downscaling (antialiasing). The border repeats. Columns are resized first, then rows; 8-bit
images are rounded to 8 bits after each, halves up, and floats are not.

8-bit images are computed in integers, so that the order of additions does not matter: the result equals the
LR files of Set5, Set14 and B100 bit for bit. Training downscales in ``degradations.downscale``, in batches on
the device.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# (H, W) or (H, W, C); 8-bit levels, or floats of any range.
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float64])
Taps = list[tuple[int, int]]  # offset of an input pixel from an anchor, and its weight


def downscale(pixels: Pixels, scale: int) -> Pixels:
    """Downscale an image.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``, uint8 or float64; H and W multiples of ``scale``.
        scale: Factor; 1 returns the input.

    Returns:
        ``(H/scale, W/scale)`` or ``(H/scale, W/scale, C)`` of the same type.
    """
    if scale == 1:
        return pixels
    # Distances in half input pixels. The centre lies (scale - 1) halves right of the first of `scale` pixels.
    taps = [
        (offset, weight)
        for offset in range(-2 * scale, 3 * scale)
        if (weight := _weight(2 * offset - (scale - 1), unit=2 * scale))
    ]
    columns = _filtered(pixels, taps, axis=0, step=scale)
    return _filtered(columns, taps, axis=1, step=scale)


def upsample(pixels: Pixels, scale: int) -> Pixels:
    """Upsample an image.

    Args:
        pixels: ``(h, w)`` or ``(h, w, C)``, uint8 or float64.
        scale: Factor; 1 returns the input.

    Returns:
        ``(h*scale, w*scale)`` or ``(h*scale, w*scale, C)`` of the same type.
    """
    if scale == 1:
        return pixels
    for axis in (0, 1):
        phases = [_filtered(pixels, _phase(number, scale), axis, step=1) for number in range(scale)]
        shape = list(pixels.shape)
        shape[axis] *= scale
        pixels = np.stack(phases, axis + 1).reshape(shape)
    return pixels


def _phase(number: int, scale: int) -> Taps:
    """The taps of output pixel ``number`` of the ``scale`` that an input pixel becomes."""
    # Distances in half output pixels: an input pixel is 2*scale of them wide.
    centre = 2 * number - (scale - 1)
    return [
        (offset, weight)
        for offset in range(-2, 3)
        if (weight := _weight(2 * scale * offset - centre, unit=2 * scale))
    ]


def _weight(distance: int, unit: int) -> int:
    """Keys' kernel at ``distance / unit``, times ``2 * unit**3``."""
    d = abs(distance)
    if d <= unit:
        return 3 * d**3 - 5 * d**2 * unit + 2 * unit**3
    if d < 2 * unit:
        return -(d**3) + 5 * d**2 * unit - 8 * d * unit**2 + 4 * unit**3
    return 0


def _filtered(pixels: Pixels, taps: Taps, axis: int, step: int) -> Pixels:
    """Weighted means around every ``step``-th pixel along an axis."""
    before, after = max(0, -taps[0][0]), max(0, taps[-1][0])
    padding = [(before, after) if number == axis else (0, 0) for number in range(pixels.ndim)]
    whole = pixels.dtype == np.uint8
    padded = np.pad(pixels, padding, mode="edge").astype(np.int32 if whole else np.float64)
    along = np.moveaxis(padded, axis, 0)
    span = pixels.shape[axis] - step + 1  # from the first anchor to the last
    total = sum(weight for _, weight in taps)
    sums = np.zeros_like(along[:span:step])
    for offset, weight in taps:
        sums += weight * along[before + offset :][:span:step]
    result = ((2 * sums + total) // (2 * total)).clip(0, 255) if whole else sums / total
    return np.moveaxis(result, 0, axis).astype(pixels.dtype)
