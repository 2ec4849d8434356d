"""How good the network is by now, on held-out photographs: numbers, and a picture for the eye."""

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from upscaler.errors import MediaError
from upscaler.images import stills
from upscaler.models.contract import Network
from upscaler.models.perceptual import VGGFeatures
from upscaler.trainer.data.photos import PhotoPair
from upscaler.trainer.degrade import degradations
from upscaler.trainer.degrade.degradations import reduce
from upscaler.trainer.evaluation import metrics
from upscaler.trainer.stages.forward import autocast

# A single blank photograph among them would make the mean infinite for the whole run.
_PSNR_LIMIT_DB = 100.0

# Side of the middle of each photograph that VGG looks at: whole ones would take longer than the training.
_VGG_SIDE_PX = 256


@torch.inference_mode()
def run_network(network: Network, lr: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One LR picture ``(h, w, 3)`` uint8 through the network -> ``(h*scale, w*scale, 3)`` uint8."""
    batch = lr.permute(2, 0, 1).unsqueeze(0).to(next(network.parameters()).device)
    sr = network(batch.float().div_(255)).squeeze(0)
    levels = sr.mul(255).round_().clamp_(0, 255).to(torch.uint8)
    pixels: np.ndarray[Any, np.dtype[np.uint8]] = levels.permute(1, 2, 0).cpu().numpy()
    return pixels


@dataclass(frozen=True)
class Scores:
    """What a validation found, on average over the held-out photographs.

    Attributes:
        psnr_db: Y-PSNR, each photograph's at most ``_PSNR_LIMIT_DB``.
        vgg_distance: Distance of VGG features (see ``_vgg_distance``); ``None`` without a VGG.
        color_drift: Largest difference of a channel's mean from the LR picture's, in 8-bit levels.
    """

    psnr_db: float
    vgg_distance: float | None = None
    color_drift: float = 0.0

    def columns(self) -> dict[str, float]:
        """For the table of the run."""
        found = {"psnr_db": self.psnr_db, "color_drift": self.color_drift}
        return found if self.vgg_distance is None else found | {"vgg_distance": self.vgg_distance}

    def rounded(self) -> dict[str, float]:
        """For a weight file's metadata."""
        found = {"psnr_db": round(self.psnr_db, 3)}
        return found if self.vgg_distance is None else found | {"vgg_distance": round(self.vgg_distance, 5)}


def validate(network: Network, pairs: list[PhotoPair], vgg: VGGFeatures | None = None) -> Scores:
    """Score a network on held-out photographs.

    Args:
        network: In evaluation mode.
        pairs: The photographs; their LR versions are what the network gets.
        vgg: For the distance of features.
    """
    border_px = network.contract.scale
    psnrs_db, distances, drifts = [], [], []
    for pair in pairs:
        sr = run_network(network, pair.lr)
        psnrs_db.append(metrics.psnr_db(metrics.luma(sr), metrics.luma(pair.hr.numpy()), border_px))
        drifts.append(np.abs(sr.mean((0, 1)) - pair.lr.numpy().mean((0, 1))).max())
        if vgg is not None:
            distances.append(_vgg_distance(vgg, torch.from_numpy(sr), pair.hr))
    return Scores(
        psnr_db=float(np.mean(np.minimum(psnrs_db, _PSNR_LIMIT_DB))),
        vgg_distance=float(np.mean(distances)) if distances else None,
        color_drift=float(np.mean(drifts)),
    )


@torch.inference_mode()
def _vgg_distance(vgg: VGGFeatures, sr: Tensor, hr: Tensor) -> float:
    """Distance of features in the form of LPIPS (arXiv 1801.03924), with equal weights for all channels.

    Features of a position are scaled to length 1; squared differences are summed over channels, averaged
    over positions and over layers. 0 for equal pictures; not comparable with LPIPS.

    Args:
        vgg: The features, those of the training.
        sr: ``(H, W, 3)`` uint8.
        hr: Same shape.
    """
    place = vgg.mean.device
    top, left = (max(0, side - _VGG_SIDE_PX) // 2 for side in hr.shape[:2])
    middle = (slice(top, top + _VGG_SIDE_PX), slice(left, left + _VGG_SIDE_PX))
    pictures = torch.stack([sr[middle], hr[middle]]).permute(0, 3, 1, 2).to(place).float().div_(255)
    with autocast(place):
        layers = vgg(pictures)
    found = []
    for features in layers.values():
        unit = F.normalize(features.float(), dim=1)
        found.append(float((unit[0] - unit[1]).square().sum(0).mean()))
    return math.fsum(found) / len(found)


def write_degraded(path: Path, pairs: list[PhotoPair], scale: int, degradation: str) -> None:
    """A PNG that shows a degradation: a row per photograph, its middle, then up to seven LR versions of that.

    LR pixels are shown as squares, as large as they are in the original.

    Raises:
        MediaError: It cannot be written.
    """
    side_px = min(160, *(side for pair in pairs[:4] for side in pair.hr.shape[:2])) // scale * scale
    rows = []
    for row, pair in enumerate(pairs[:4]):
        top, left = ((side - side_px) // 2 // scale for side in pair.hr.shape[:2])
        hr = pair.hr[top * scale :, left * scale :][:side_px, :side_px]
        known = (pair.lr,) if degradation == degradations.GIVEN else pair.lr_variants
        lrs = [lr[top:, left:][: side_px // scale, : side_px // scale] for lr in known]
        lrs = lrs or _versions(hr, scale, degradation, seed=row)
        shown = [lr.repeat_interleave(scale, 0).repeat_interleave(scale, 1) for lr in lrs]
        rows.append(torch.cat([hr, *shown], dim=1))
    stills.write_rgb8(path, torch.cat(rows).numpy())


def _versions(hr: Tensor, scale: int, degradation: str, seed: int, count: int = 7) -> list[Tensor]:
    """So many LR versions of ``(H, W, 3)`` uint8, one if they would all be alike."""
    batch = hr.permute(2, 0, 1).expand(count, -1, -1, -1)
    degrade = degradations.parse(degradation).degrade
    lr = reduce(batch[:1], scale)
    if degrade:
        lr, _ = degrade(lr.expand(count, -1, -1, -1), batch, scale, torch.Generator().manual_seed(seed))
    return list(lr.permute(0, 2, 3, 1))


def write_samples(paths: list[Path], network: Network, pairs: list[PhotoPair], side_px: int = 192) -> None:
    """A PNG with a row per held-out photograph: LR, bicubic, network, original; up to four rows.

    Args:
        paths: Where to write it.
        network: In evaluation mode.
        pairs: The photographs; the middle of each is shown.
        side_px: Of a crop, HR pixels.
    """
    scale = network.contract.scale
    rows = []
    for pair in pairs[:4]:
        size = min(side_px, *pair.hr.shape[:2])
        size -= size % scale
        top, left = (((side - size) // 2) // scale * scale for side in pair.hr.shape[:2])
        lr = pair.lr[top // scale : (top + size) // scale, left // scale : (left + size) // scale]
        hr = pair.hr[top : top + size, left : left + size].numpy()
        squares = lr.numpy().repeat(scale, 0).repeat(scale, 1)
        bicubic = np.asarray(Image.fromarray(lr.numpy()).resize((size, size), Image.Resampling.BICUBIC))
        row = np.concatenate([squares, bicubic, run_network(network, lr), hr], axis=1)
        rows.append(np.pad(row, ((0, side_px - size), (0, 4 * (side_px - size)), (0, 0))))
    for path in paths:
        with contextlib.suppress(MediaError, OSError):  # a picture for the eye must not end a run
            path.parent.mkdir(exist_ok=True)
            stills.write_rgb8(path, np.concatenate(rows))
