"""Antialiased resizing, and the step from floats to codes."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.pixels import Pixels

# The largest code of each integer dtype; floats have 1.
PEAK = {torch.uint8: 255, torch.uint16: 65535}


def as_codes(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Floats in [0, 1] -> rounded, clamped codes; floats stay as they are."""
    if dtype not in PEAK:
        return values
    peak = PEAK[dtype]
    return values.mul(peak).round_().clamp_(0, peak).to(dtype)


def resized(source: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bicubic, one channel at a time to bound the memory; same dtype out as in."""
    frames, channels = source.shape[:2]
    result = torch.empty(
        (frames, channels, height, width),
        dtype=source.dtype,
        device=source.device,
        memory_format=torch.channels_last if channels == 3 else torch.contiguous_format,
    )
    peak = PEAK.get(source.dtype, 1)
    for frame in range(frames):
        for channel in range(channels):
            plane = source[frame, channel][None, None].float() / peak
            plane = F.interpolate(plane, size=(height, width), mode="bicubic", antialias=True)
            result[frame, channel].copy_(as_codes(plane[0, 0], source.dtype))
    return result


def resize_plane(plane: Pixels, height: int, width: int) -> Pixels:
    """Enlarge or reduce one channel ``(H, W)``, uint8 or uint16, by antialiased bicubic."""
    source = torch.from_numpy(np.ascontiguousarray(plane))[None, None]
    array: Pixels = resized(source, height, width)[0, 0].numpy()
    return array
