"""Pictures made larger at the bottom and at the right, to a size that a network takes."""

import torch
from torch import Tensor


def pad_reflected(frames: Tensor, height: int, width: int) -> Tensor:
    """Continue pictures by their reflection; where that is too short, by the last pixel of it.

    Args:
        frames: ``(..., H, W)`` of any dtype and range.
        height: Of the result, at least H.
        width: Of the result, at least W.

    Returns:
        ``(..., height, width)``, same dtype and device; ``frames`` itself where nothing is missing.
    """
    if frames.shape[-2:] == (height, width):
        return frames
    # Torch indexes no uint16: its bits are copied as int16.
    bits = frames.view(torch.int16) if frames.dtype == torch.uint16 else frames
    rows, columns = (
        _reflected(length, wanted, frames.device)
        for length, wanted in zip(frames.shape[-2:], (height, width), strict=True)
    )
    padded = bits.index_select(-2, rows).index_select(-1, columns)
    return padded.view(frames.dtype)


def _reflected(length: int, wanted: int, device: torch.device) -> Tensor:
    """Positions in an axis of this length that continue it to ``wanted``."""
    positions = torch.arange(wanted, device=device)
    return torch.where(positions < length, positions, (2 * (length - 1) - positions).clamp(min=0))
