"""Optical flow between neighbouring frames: how much an upscaled clip moves otherwise than the original."""

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]  # (H, W, 3)

# Farneback's algorithm with the constants of TecoGAN's published code: pyramid scale, levels, window,
# iterations, neighbourhood, sigma of the polynomial, flags.
_FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)


def flow(frame: Rgb, following: Rgb) -> NDArray[np.float32]:
    """Displacement of every pixel from one frame to the next (Farneback, 2003).

    Args:
        frame: ``(H, W, 3)`` RGB uint8.
        following: The frame after it, of the same size.

    Returns:
        ``(H, W, 2)`` fp32: columns and rows, pixels.
    """
    first, second = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (frame, following))
    none = np.zeros((*first.shape, 2), np.float32)
    return cv2.calcOpticalFlowFarneback(first, second, none, *_FARNEBACK).astype(np.float32, copy=False)


def flow_distance(sr: tuple[Rgb, Rgb], hr: tuple[Rgb, Rgb]) -> float:
    """Mean length of the difference of two flows, pixels: tOF (TecoGAN, Chu et al., arXiv 1811.09393).

    Args:
        sr: Two neighbouring frames of the upscaled clip.
        hr: The same two of the original.
    """
    return float(np.linalg.norm(flow(*sr) - flow(*hr), axis=-1).mean())
