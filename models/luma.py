"""Luma of full-range RGB by ITU-R BT.601."""

from torch import Tensor

from upscaler.color_matrices import luma_weights

# Of R, G and B.
LUMA_WEIGHTS = luma_weights("bt601")


def luma(rgb: Tensor) -> Tensor:
    """Float RGB ``(B, 3, H, W)`` of any range -> luma ``(B, 1, H, W)`` in the same range and dtype."""
    red, green, blue = LUMA_WEIGHTS
    return red * rgb[:, :1] + green * rgb[:, 1:2] + blue * rgb[:, 2:]
