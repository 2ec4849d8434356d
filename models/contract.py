"""What every network promises, as data, and the input that single-tail networks add to their output."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Contract:
    """What the engine needs to know of a network.

    Args:
        scale: Output size over input size.
        reach_px: How many LR pixels to each side an output pixel depends on. Tiles that overlap by at
            least this much give the same result as the whole picture.
        multiple_of: Height and width must be multiples of this (1: any size).
        half: Whether fp16 and bf16 are good enough for pictures.
        macs_per_pixel: Multiply-accumulates per LR pixel, for planning and benchmarks.
    """

    scale: int
    reach_px: int
    multiple_of: int
    half: bool
    macs_per_pixel: int


class Network(nn.Module):
    """A super-resolution network: a module that carries its contract and the arguments that rebuild it.

    ``forward`` takes RGB ``(B, 3, H, W)`` in [0, 1], any float dtype, and returns fp32 RGB
    ``(B, 3, H*scale, W*scale)``, not clamped. Convolutions run in the dtype of the weights.

    Attributes:
        contract: The promises.
        arguments: Keyword arguments that build the same network again; JSON-serialisable.
    """

    contract: Contract
    arguments: dict[str, Any]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype


def enlarge_input(low: Tensor, scale: int) -> Tensor:
    """The bilinear enlargement in fp32 that a single-tail network adds to its output.

    Adding it after the tail and in fp32 keeps a bf16 network within 67 dB of its fp32 self: only the
    (small) correction is computed in half precision.

    Args:
        low: ``(B, 3, H, W)``, any float dtype.
        scale: Factor.

    Returns:
        ``(B, 3, H*scale, W*scale)``, fp32. Each output pixel depends on at most 1 LR pixel to each side.
    """
    if scale == 1:
        return low.float()
    return F.interpolate(low.float(), scale_factor=scale, mode="bilinear", align_corners=False)


def conv_macs(module: nn.Module) -> int:
    """Multiply-accumulates of all convolutions in ``module`` for one position each."""
    return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Conv2d))
