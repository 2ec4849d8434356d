"""What the numbers of a pixel mean: integer codes of 8 or 16 bits, or floats in [0, 1].

Loads no torch, which helper processes that decode images do without.
"""

from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Pictures outside torch: RGB ``(H, W, 3)`` or one plane ``(H, W)``.
Pixels = NDArray[np.uint8] | NDArray[np.uint16]

_PEAKS = {"torch.uint8": 255, "torch.uint16": 65535}


def peak(dtype: "torch.dtype") -> int:
    """The value of white: the largest code of uint8 or uint16, 1 for floats."""
    return _PEAKS.get(str(dtype), 1)


def as_floats(values: "Tensor") -> "Tensor":
    """uint8 or uint16 codes of any shape -> fp32 in [0, 1]; floats -> fp32, unchanged and not clamped."""
    white = peak(values.dtype)
    return values.float() / white if white != 1 else values.float()


def as_codes(values: "Tensor", dtype: "torch.dtype") -> "Tensor":
    """Floats in [0, 1], any shape -> codes of ``dtype`` (uint8, uint16), rounded and clamped.

    With a float ``dtype`` the values are returned as they are.
    """
    white = peak(dtype)
    return values if white == 1 else values.mul(white).round_().clamp_(0, white).to(dtype)


def to_8_bits(codes: Pixels) -> NDArray[np.uint8]:
    """uint16 codes of any shape -> uint8, rounded: 65535 is 257 times 255. uint8 is returned as it is."""
    if codes.dtype == np.uint8:
        return codes.astype(np.uint8, copy=False)
    return ((codes.astype(np.uint32) + 128) // 257).astype(np.uint8)


def mean_of_channels(pixels: Pixels) -> Pixels:
    """The mean of the channels of RGB ``(H, W, 3)`` uint8 or uint16, as ``(H, W)`` of the same dtype."""
    mean: Any = cv2.transform(pixels, np.full((1, 3), 1 / 3))
    return mean  # type: ignore[no-any-return]  # of the same dtype


def upright(pixels: Pixels, rotation: int, *, mirrored: bool) -> Pixels:
    """Pixels as they are displayed.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``, uint8 or uint16, any range and colour order.
        rotation: Degrees counter-clockwise, a multiple of 90.
        mirrored: Whether they are mirrored left to right after that.
    """
    turned = np.rot90(pixels, rotation // 90)
    return cast(Pixels, np.ascontiguousarray(np.fliplr(turned) if mirrored else turned))
