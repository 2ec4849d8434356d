"""CIE L*a*b* of TIFF -> sRGB in 16 bits, which no colour management here does (Pillow's has 8 bits)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CIELAB, ICCLAB = 8, 9  # PhotometricInterpretation
_D50 = (0.96422, 1.0, 0.82521)  # the white of both encodings (ICC.1:2022, 7.2.16)
# XYZ relative to D50 -> linear RGB of sRGB, with the adaptation to D65 by Bradford's matrix.
_TO_RGB = (
    (3.1338561, -1.6168667, -0.4906146),
    (-0.9787684, 1.9161415, 0.0334540),
    (0.0719453, -0.2289914, 1.4052427),
)
_ROWS_AT_A_TIME = 256


def to_srgb(samples: NDArray[Any], encoding: int) -> NDArray[np.uint16]:
    """Convert an image; colours outside sRGB are clipped.

    Args:
        samples: ``(H, W, 3)`` uint8 or uint16, as stored.
        encoding: ``CIELAB`` (TIFF 6.0, section 23: a* and b* are signed) or ``ICCLAB`` (Adobe's technical
            notes on TIFF: a* and b* have an offset).

    Returns:
        ``(H, W, 3)`` RGB uint16.
    """
    srgb = np.empty(samples.shape, np.uint16)
    for top in range(0, len(samples), _ROWS_AT_A_TIME):
        rows = slice(top, top + _ROWS_AT_A_TIME)
        srgb[rows] = _convert(_lab(samples[rows], encoding))
    return srgb


def _lab(stored: NDArray[Any], encoding: int) -> NDArray[np.float64]:
    """L* in 0..100, a* and b* around 0."""
    is_deep = stored.dtype == np.uint16
    unit = 256.0 if is_deep else 1.0
    chroma: NDArray[np.float64] = stored[:, :, 1:].astype(np.float64) / unit
    if encoding == CIELAB:
        full = 65_535 if is_deep else 255
        chroma = np.where(chroma >= 128, chroma - 256, chroma)
    else:
        full = 65_280 if is_deep else 255
        chroma = chroma - 128
    return np.concatenate([stored[:, :, :1] * (100 / full), chroma], axis=2)


def _convert(lab: NDArray[np.float64]) -> NDArray[np.uint16]:
    y = (lab[:, :, 0] + 16) / 116
    roots = np.stack([y + lab[:, :, 1] / 500, y, y - lab[:, :, 2] / 200], axis=2)
    xyz = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29)) * _D50
    light = (xyz @ np.array(_TO_RGB).T).clip(0, 1)
    encoded: NDArray[np.float64] = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
    return np.rint(encoded * 65_535).astype(np.uint16)
