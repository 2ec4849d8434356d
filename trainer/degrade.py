"""How LR pictures are made from HR ones."""

import torch
import torch.nn.functional as F
from torch import Tensor


def reduce(high: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic reduction (a = -0.5), rounded to 8-bit levels.

    The kernel is Matlab's ``imresize``, by which the published tables were made; only the outermost rows
    differ (torch renormalises the kernel at the border).

    Args:
        high: RGB ``(B, 3, H, W)`` uint8; H and W multiples of ``scale``.
        scale: Factor; 1 returns the input.

    Returns:
        ``(B, 3, H/scale, W/scale)`` uint8.
    """
    if scale == 1:
        return high
    size = (high.shape[-2] // scale, high.shape[-1] // scale)
    low = F.interpolate(high.float(), size=size, mode="bicubic", antialias=True)
    return low.round_().clamp_(0, 255).to(torch.uint8)
