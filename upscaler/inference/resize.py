"""Antialiased bicubic resizing."""

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.pixels import as_codes, as_floats


def memory_format_of(channels: int, dtype: torch.dtype) -> torch.memory_format:
    """How pictures lie in memory: pixel by pixel; RGB in floats, which becomes planes, colour by colour."""
    is_for_planes = channels == 3 and dtype.is_floating_point
    return torch.contiguous_format if is_for_planes else torch.channels_last


def resize_bicubic(source: Tensor, height: int, width: int) -> Tensor:
    """Resize by antialiased bicubic interpolation, one channel at a time to bound memory.

    Args:
        source: ``(B, C, H, W)``, uint8 or uint16 codes, or floats in any range; any colour order.
        height: Of the result.
        width: Of the result.

    Returns:
        ``(B, C, height, width)`` on the same device, same dtype and range; codes are rounded and clamped.
    """
    frames, channels = source.shape[:2]
    result = torch.empty(
        (frames, channels, height, width),
        dtype=source.dtype,
        device=source.device,
        memory_format=memory_format_of(channels, source.dtype),
    )
    for frame in range(frames):
        for channel in range(channels):
            plane = as_floats(source[frame, channel][None, None])
            plane = F.interpolate(plane, size=(height, width), mode="bicubic", antialias=True)
            result[frame, channel].copy_(as_codes(plane[0, 0], source.dtype))
    return result
