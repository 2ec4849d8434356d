"""``--strength``: a result, blended with the plain enlargement of its source."""

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.inference.wrapping import resized_plane, wrapped
from upscaler.models.contract import BICUBIC_RADIUS_PX, bicubic_kernel
from upscaler.models.plane_network import products
from upscaler.pixels import as_codes, as_floats


def blended(result: Tensor, source: Tensor, strength: float, *, wraps: bool = False) -> Tensor:
    """The weighted mean of a result and of its source, enlarged by bicubic interpolation.

    One channel at a time to bound memory.

    Args:
        result: RGB ``(B, 3, H, W)``, codes or floats.
        source: RGB ``(B, 3, h, w)`` on the same device, codes or floats; decides about the dtype.
        strength: Share of the result, 0 to 1.
        wraps: Whether opposite borders of the source meet.

    Returns:
        As ``result``, in the dtype of ``source``; codes are rounded and clamped.
    """
    height, width = result.shape[-2:]
    output = torch.empty_like(result, dtype=source.dtype)
    for frame in range(len(source)):
        for channel in range(source.shape[1]):
            plain = enlarged(as_floats(source[frame, channel]), height, width, wraps=wraps)
            mean = plain.lerp_(as_floats(result[frame, channel]), strength)
            output[frame, channel].copy_(as_codes(mean, source.dtype))
    return output


def enlarged(plane: Tensor, height: int, width: int, *, wraps: bool = False) -> Tensor:
    """A plane ``(h, w)``, fp32 in any range, enlarged by bicubic interpolation; edges repeat, or wrap.

    By a whole factor it is the convolution that a network which gives planes has inside, so that both give
    the same result.

    Returns:
        ``(height, width)``, fp32, the same range; it may be overwritten.
    """
    rows, columns = plane.shape
    factor = height // rows
    if (rows * factor, columns * factor) != (height, width) or factor == 0:
        if wraps:
            return resized_plane(plane, height, width)
        resized = F.interpolate(plane[None, None], size=(height, width), mode="bicubic", antialias=True)
        return resized[0, 0]
    margin = BICUBIC_RADIUS_PX
    if wraps:
        edged = wrapped(plane[None, None], margin)
    else:
        edged = F.pad(plane[None, None], (margin, margin, margin, margin), mode="replicate")
    kernel = bicubic_kernel(factor, plane.device)
    packed = F.conv2d(edged, kernel) if plane.device.type == "cpu" else products(edged, kernel)
    return F.pixel_shuffle(packed, factor)[0, 0].contiguous()
