"""PSNR and SSIM as in the published tables."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from upscaler.models.luma import LUMA_WEIGHTS

# Side of the window of SSIM.
SSIM_WINDOW_PX = 11


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """BT.601 studio-swing luma, rounded to 8-bit levels, as Matlab's ``rgb2ycbcr`` of uint8 gives.

    Args:
        rgb: ``(H, W, 3)`` RGB uint8.

    Returns:
        ``(H, W)``, fp64 in 16..235.
    """
    # Matlab's constants: 219 times LUMA_WEIGHTS; the last bit of the product would decide how halves round.
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return _rounded(rgb.astype(np.float64) @ weights + 16)


def gray(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Full-range BT.601 gray rounded to 8-bit levels, RGB ``(H, W, 3)`` uint8 -> ``(H, W)`` fp64 in 0..255.

    For images published as a single channel, which tables compare as they are instead of as luma.
    """
    return _rounded(rgb.astype(np.float64) @ np.array(LUMA_WEIGHTS))


def _rounded(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.floor(levels + 0.5)  # halves go up, as in Matlab
    return rounded


def psnr_db(sr: NDArray[np.float64], hr: NDArray[np.float64], border_px: int = 0) -> float:
    """Peak signal-to-noise ratio with peak 255, in dB; infinite for equal input.

    Args:
        sr: ``(H, W)`` or ``(H, W, C)``, float64 in 0..255.
        hr: Same shape.
        border_px: Pixels to ignore on every side; tables ignore ``scale``.
    """
    difference = _inner(sr, border_px) - _inner(hr, border_px)
    mean_square = float(np.mean(np.square(difference)))
    return math.inf if mean_square == 0 else 10 * math.log10(255**2 / mean_square)


def ssim(sr: NDArray[np.float64], hr: NDArray[np.float64], border_px: int = 0) -> float:
    """Structural similarity (Wang et al., 2004): 11x11 Gaussian, sigma 1.5, valid positions only.

    Args:
        sr: ``(H, W)``, float64 in 0..255, at least 11 pixels each way inside the border.
        hr: Same shape.
        border_px: Pixels to ignore on every side.
    """
    x, y = _inner(sr, border_px), _inner(hr, border_px)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x = _blurred(x * x) - mean_x**2
    variance_y = _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float((top / bottom).mean())


def _blurred(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """At valid positions only. By OpenCV: torch takes four times as long in fp64."""
    radius = SSIM_WINDOW_PX // 2
    taps = np.exp(-(np.arange(-radius, radius + 1.0) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    blurred = np.asarray(cv2.sepFilter2D(x, cv2.CV_64F, taps, taps), np.float64)
    return blurred[radius:-radius, radius:-radius]


def _inner(values: NDArray[np.float64], border_px: int) -> NDArray[np.float64]:
    height, width = values.shape[:2]
    return values[border_px : height - border_px, border_px : width - border_px]
