"""How good the network is by now, on held-out photographs: a number, and a picture for the eye."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from upscaler import stills
from upscaler.errors import MediaError
from upscaler.models.contract import Network
from upscaler.trainer import degrade, metrics
from upscaler.trainer.data import Pair
from upscaler.trainer.degrade import reduce

# A single blank photograph among them would make the mean infinite for the whole run.
_PSNR_LIMIT_DB = 100.0


@torch.inference_mode()
def run_network(network: Network, low: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One LR picture ``(h, w, 3)`` uint8 through the network -> ``(h*scale, w*scale, 3)`` uint8."""
    batch = low.permute(2, 0, 1).unsqueeze(0).to(next(network.parameters()).device)
    high = network(batch.float().div_(255)).squeeze(0)
    levels = high.mul(255).round_().clamp_(0, 255).to(torch.uint8)
    pixels: np.ndarray[Any, np.dtype[np.uint8]] = levels.permute(1, 2, 0).cpu().numpy()
    return pixels


def validate(network: Network, pairs: list[Pair]) -> float:
    """Mean Y-PSNR in dB over held-out photographs, each at most ``_PSNR_LIMIT_DB``."""
    border_px = network.contract.scale
    values = [
        metrics.psnr_db(
            metrics.luma(run_network(network, pair.low)), metrics.luma(pair.high.numpy()), border_px
        )
        for pair in pairs
    ]
    return float(np.mean(np.minimum(values, _PSNR_LIMIT_DB)))


def write_degraded(path: Path, pairs: list[Pair], scale: int, degradation: str) -> None:
    """A PNG that shows a degradation: a row per photograph, its middle, then up to seven LR versions of that.

    LR pixels are shown as squares, as large as they are in the original.

    Raises:
        MediaError: It cannot be written.
    """
    side_px = min(160, *(side for pair in pairs[:4] for side in pair.high.shape[:2])) // scale * scale
    rows = []
    for row, pair in enumerate(pairs[:4]):
        top, left = ((side - side_px) // 2 // scale for side in pair.high.shape[:2])
        high = pair.high[top * scale :, left * scale :][:side_px, :side_px]
        lows = [low[top:, left:][: side_px // scale, : side_px // scale] for low in pair.damaged]
        lows = lows or _versions(high, scale, degradation, seed=row)
        shown = [low.repeat_interleave(scale, 0).repeat_interleave(scale, 1) for low in lows]
        rows.append(torch.cat([high, *shown], dim=1))
    stills.write_rgb8(path, torch.cat(rows).numpy())


def _versions(high: Tensor, scale: int, degradation: str, seed: int, count: int = 7) -> list[Tensor]:
    """So many LR versions of ``(H, W, 3)`` uint8, one if they would all be alike."""
    batch = high.permute(2, 0, 1).expand(count, -1, -1, -1)
    damage = degrade.parse(degradation).damage
    low = reduce(batch[:1], scale)
    if damage:
        low = damage(low.expand(count, -1, -1, -1), batch, scale, torch.Generator().manual_seed(seed))
    return list(low.permute(0, 2, 3, 1))


def write_samples(path: Path, network: Network, pairs: list[Pair], side_px: int = 192) -> None:
    """A PNG with a row per held-out photograph: bicubic, network, original; up to four rows."""
    scale = network.contract.scale
    rows = []
    for pair in pairs[:4]:
        size = min(side_px, *pair.high.shape[:2])
        size -= size % scale
        top, left = (((side - size) // 2) // scale * scale for side in pair.high.shape[:2])
        low = pair.low[top // scale : (top + size) // scale, left // scale : (left + size) // scale]
        high = pair.high[top : top + size, left : left + size].numpy()
        bicubic = stills.resize(low.numpy(), size, size)
        row = np.concatenate([bicubic, run_network(network, low), high], axis=1)
        rows.append(np.pad(row, ((0, side_px - size), (0, 3 * (side_px - size)), (0, 0))))
    with contextlib.suppress(MediaError):  # a picture for the eye must not end a run
        stills.write_rgb8(path, np.concatenate(rows))
