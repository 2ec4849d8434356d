"""PNG files to look at: validation samples, and examples of LR images."""

import contextlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from upscaler.errors import MediaError
from upscaler.images import stills
from upscaler.models.contract import Network
from upscaler.trainer.data.photo_pairs import PhotoPair
from upscaler.trainer.degrade import degradations
from upscaler.trainer.run.validation import run_network

_MOST_SAMPLES = 16
_DEGRADED_ROWS = 4
_SAMPLE_SIDE_PX = 192
_DEGRADED_SIDE_PX = 160
_DEGRADED_COLUMNS = 7


def write_samples(paths: list[Path], network: Network, pairs: list[PhotoPair]) -> NDArray[np.uint8]:
    """Write a row per validation image, up to 16: LR, bicubic, network, HR; the centre of each.

    Of clips, the last frame.

    Args:
        paths: Files to write; a failure to write one does not end a run.
        network: In evaluation mode.
        pairs: Validation images.

    Returns:
        The page, RGB ``(H, W, 3)``.
    """
    scale = network.contract.scale
    rows = []
    for pair in pairs[:_MOST_SAMPLES]:
        side_px = min(_SAMPLE_SIDE_PX, *pair.hr.shape[:2]) // scale * scale
        top, left = ((side - side_px) // 2 // scale * scale for side in pair.hr.shape[:2])
        seen = pair.lr[top // scale : (top + side_px) // scale, left // scale : (left + side_px) // scale]
        sr, lr = run_network(network, seen)[..., -3:], seen[..., -3:].contiguous()
        hr = pair.hr[top : top + side_px, left : left + side_px, -3:].numpy()
        squares = lr.numpy().repeat(scale, 0).repeat(scale, 1)
        bicubic = Image.fromarray(lr.numpy()).resize((side_px, side_px), Image.Resampling.BICUBIC)
        row = np.concatenate([squares, np.asarray(bicubic), sr, hr], axis=1)
        missing_px = _SAMPLE_SIDE_PX - side_px
        rows.append(np.pad(row, ((0, missing_px), (0, 4 * missing_px), (0, 0))))
    page: NDArray[np.uint8] = np.concatenate(rows)
    for path in paths:
        with contextlib.suppress(MediaError, OSError):
            path.parent.mkdir(exist_ok=True)
            stills.write_rgb8(path, page)
    return page


def write_degraded(path: Path, pairs: list[PhotoPair], scale: int, degradation: str) -> None:
    """Write a row per photograph, up to four: the centre of HR, then up to seven LR versions of it.

    LR pixels are shown as squares, as large as they are in the original.

    Raises:
        MediaError: The file cannot be written.
    """
    pairs = [pair.frame(-1) for pair in pairs[:_DEGRADED_ROWS]]
    side_px = min(_DEGRADED_SIDE_PX, *(side for pair in pairs for side in pair.hr.shape[:2]))
    side_px = side_px // scale * scale
    rows = []
    for row, pair in enumerate(pairs):
        top, left = ((side - side_px) // 2 // scale for side in pair.hr.shape[:2])
        hr = pair.hr[top * scale :, left * scale :][:side_px, :side_px]
        known = (pair.lr,) if degradation == degradations.GIVEN else pair.lr_variants
        variants = [lr[top:, left:][: side_px // scale, : side_px // scale] for lr in known]
        variants = variants or _degraded(hr, scale, degradation, seed=row)
        squares = [lr.repeat_interleave(scale, 0).repeat_interleave(scale, 1) for lr in variants]
        rows.append(torch.cat([hr, *squares], dim=1))
    stills.write_rgb8(path, torch.cat(rows).numpy())


def _degraded(hr: Tensor, scale: int, degradation: str, seed: int) -> list[Tensor]:
    """LR versions ``(h, w, 3)`` of ``(H, W, 3)`` uint8: seven, or one if all would be alike."""
    hr_batch = hr.permute(2, 0, 1).expand(_DEGRADED_COLUMNS, -1, -1, -1)
    degrade = degradations.parse(degradation).degrade
    lr = degradations.downscale(hr_batch[:1], scale)
    if degrade:
        lr = lr.expand(_DEGRADED_COLUMNS, -1, -1, -1)
        lr, _ = degrade(lr, hr_batch, scale, torch.Generator().manual_seed(seed))
    return list(lr.permute(0, 2, 3, 1))
