"""Luma of full-range RGB by ITU-R BT.601: the one place of its weights for networks and training.

Conversion of video, which knows more matrices than this, has its table in ``video/yuv.py``.
"""

from torch import Tensor

# Of R, G and B.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)


def luma(rgb: Tensor) -> Tensor:
    """Float RGB ``(B, 3, H, W)`` of any range -> luma ``(B, 1, H, W)`` in the same range and dtype."""
    red, green, blue = LUMA_WEIGHTS
    return red * rgb[:, :1] + green * rgb[:, 1:2] + blue * rgb[:, 2:]
