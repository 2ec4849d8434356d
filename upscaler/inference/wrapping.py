"""``--tileable``: pictures whose opposite borders meet, such as textures, enlarged so that they still do."""

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.pixels import as_codes, as_floats


def wrapped(source: Tensor, margin_px: int) -> Tensor:
    """Pictures ``(..., H, W)``, any dtype, range and colour order, with the opposite side beyond each border.

    Returns:
        ``(..., H + 2 * margin_px, W + 2 * margin_px)``; the margin may be larger than the picture.
    """
    for axis in (-2, -1):
        side = source.shape[axis]
        places = torch.arange(-margin_px, side + margin_px, device=source.device) % side
        source = source.index_select(axis, places)
    return source


def cropped(result: Tensor, margin_px: int) -> Tensor:
    """Pictures ``(..., H, W)``, any dtype, range and colour order, without a margin; a view."""
    height, width = result.shape[-2:]
    return result[..., margin_px : height - margin_px, margin_px : width - margin_px]


def resize_wrapped(source: Tensor, height: int, width: int) -> Tensor:
    """As ``resize_bicubic``, but what is beyond a border is the opposite side.

    Each axis is resized as three periods, of which the middle one is kept, one channel at a time.
    """
    frames, channels = source.shape[:2]
    result = source.new_empty(frames, channels, height, width)
    for frame in range(frames):
        for channel in range(channels):
            plane = resized_plane(as_floats(source[frame, channel]), height, width)
            result[frame, channel].copy_(as_codes(plane, source.dtype))
    return result


def resized_plane(plane: Tensor, height: int, width: int) -> Tensor:
    """``(h, w)`` -> ``(height, width)``, fp32 in any range; see ``resize_wrapped``."""
    columns = plane.shape[1]
    tall = F.interpolate(
        plane.repeat(3, 1)[None, None], size=(3 * height, columns), mode="bicubic", antialias=True
    )[..., height : 2 * height, :]
    wide = F.interpolate(tall.repeat(1, 1, 1, 3), size=(height, 3 * width), mode="bicubic", antialias=True)
    return wide[0, 0, :, width : 2 * width]
