"""Scores of the network in training on the held-out photographs."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from upscaler.models.contract import Network
from upscaler.models.encoder import SmallEncoder
from upscaler.models.perceptual import VGGFeatures
from upscaler.trainer.data.photos import PhotoPair
from upscaler.trainer.evaluation import metrics
from upscaler.trainer.stages.forward import autocast

# A single blank photograph would otherwise make the mean of the whole run infinite.
_PSNR_LIMIT_DB = 100.0

# VGG gets the centre of each photograph: whole ones would take longer than the training.
_VGG_SIDE_PX = 256


@torch.inference_mode()
def run_network(network: Network, lr: Tensor) -> NDArray[np.uint8]:
    """Upscale one image, RGB uint8: ``(h, w, 3)`` -> ``(h*scale, w*scale, 3)``."""
    batch = lr.permute(2, 0, 1).unsqueeze(0).to(network.device)
    sr = network(batch.float().div_(255)).squeeze(0)
    levels = sr.mul(255).round_().clamp_(0, 255).to(torch.uint8)
    pixels: NDArray[np.uint8] = levels.permute(1, 2, 0).cpu().numpy()
    return pixels


@dataclass(frozen=True)
class Scores:
    """Means over the validation images.

    Attributes:
        psnr_db: Y-PSNR; an image counts at most 100 dB.
        vgg_distance: Distance of VGG features, lower is better; ``None`` without a VGG.
        color_drift: Largest difference of a channel's mean from that of the LR image, in 8-bit levels.
    """

    psnr_db: float
    vgg_distance: float | None = None
    color_drift: float = 0.0

    def columns(self) -> dict[str, float]:
        """The columns of ``metrics.csv``."""
        columns = {"psnr_db": self.psnr_db, "color_drift": self.color_drift}
        return columns if self.vgg_distance is None else columns | {"vgg_distance": self.vgg_distance}

    def metadata(self) -> dict[str, Any]:
        """Rounded, for the metadata of a weight file."""
        scores = {"psnr_db": round(self.psnr_db, 3)}
        return scores if self.vgg_distance is None else scores | {"vgg_distance": round(self.vgg_distance, 5)}


def validate(
    network: Network, pairs: list[PhotoPair], vgg: VGGFeatures | SmallEncoder | None = None
) -> Scores:
    """Score a network.

    Args:
        network: In evaluation mode.
        pairs: Validation images; the network gets their LR versions.
        vgg: For the VGG distance.
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
def _vgg_distance(vgg: VGGFeatures | SmallEncoder, sr: Tensor, hr: Tensor) -> float:
    """LPIPS (arXiv 1801.03924) with the features of ``vgg`` and equal weights for all channels.

    The features of a position are scaled to length 1; squared differences are summed over channels, averaged
    over positions and over layers. 0 for equal images; not comparable with LPIPS itself.

    Args:
        vgg: The perceptual network of the training.
        sr: ``(H, W, 3)`` RGB uint8.
        hr: ``(H, W, 3)`` RGB uint8.
    """
    device = vgg.mean.device
    top, left = (max(0, side - _VGG_SIDE_PX) // 2 for side in hr.shape[:2])
    centre = (slice(top, top + _VGG_SIDE_PX), slice(left, left + _VGG_SIDE_PX))
    images = torch.stack([sr[centre], hr[centre]]).permute(0, 3, 1, 2).to(device).float().div_(255)
    with autocast(device):
        layers = vgg(images)
    distances = []
    for features in layers.values():
        unit = F.normalize(features.float(), dim=1)
        distances.append(float((unit[0] - unit[1]).square().sum(0).mean()))
    return math.fsum(distances) / len(distances)
