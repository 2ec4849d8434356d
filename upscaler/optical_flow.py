"""Optical flow: where what a frame shows was in the frame before.

By OpenCV's dense inverse search (Kroeger et al., arXiv 1603.03590), not by a network: a small one would take
most of the training to learn as much. It runs on the processor, also where networks run on a GPU; what we
tried in torch took longer and found less (docs/experiments.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# Frames of at most as many pixels are enlarged twofold first, which finds motion of tenths of a pixel; for
# larger ones that takes too long.
_ENLARGED_PX_MAX = 640 * 480
# OpenCV's search reads beyond smaller pictures, and the process may crash; nothing is taken to move there.
_SIDE_MIN_PX = 16


@torch.no_grad()
def flow_between(frame: Tensor, before: Tensor) -> Tensor:
    """Where what a frame shows was in the one before.

    Args:
        frame: Luma ``(B, 1, H, W)``, nominally in [0, 1].
        before: Of the frames before, as ``frame``.

    Returns:
        ``(B, 2, H, W)`` fp32 on the same device: how many pixels further right, and further down.
    """
    height, width = frame.shape[-2:]
    factor = 2 if height * width <= _ENLARGED_PX_MAX else 1
    if factor * min(height, width) < _SIDE_MIN_PX:
        return frame.new_zeros(len(frame), 2, height, width, dtype=torch.float32)
    codes = [_codes(luma, factor) for luma in (before, frame)]
    with _one_thread():
        flows = [_search(new, old) for old, new in zip(*codes, strict=True)]
    flow = torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).contiguous().to(frame.device)
    return F.avg_pool2d(flow, factor) / factor if factor > 1 else flow


def _codes(luma: Tensor, factor: int) -> NDArray[np.uint8]:
    """``(B, 1, H, W)`` -> ``(B, H, W)`` uint8, enlarged."""
    luma = luma.float()
    if factor > 1:
        luma = F.interpolate(luma, scale_factor=float(factor), mode="bicubic")
    codes: NDArray[np.uint8] = luma[:, 0].clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    return codes


def _search(frame: NDArray[np.uint8], before: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``(H, W)`` -> ``(H, W, 2)``; half the time of OpenCV's preset, and hardly less precise."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setPatchStride(5)
    search.setGradientDescentIterations(12)
    search.setVariationalRefinementIterations(3)
    flow: NDArray[np.float32] = search.calc(frame, before, None)  # type: ignore[call-overload]
    return flow


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV with one thread: flow depends on their number, and a resumed video must have the same bytes."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
