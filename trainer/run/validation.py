"""Scores the network in training, and bicubic, on the validation images."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from upscaler import metrics
from upscaler.models.contract import Network
from upscaler.models.encoder import SmallEncoder
from upscaler.models.perceptual import VGGFeatures
from upscaler.trainer.data.photo_pairs import PhotoPair
from upscaler.trainer.evaluation.lpips import SMALLEST_SIDE_PX, Lpips
from upscaler.trainer.run.scores import Scores
from upscaler.trainer.stages.forward import autocast

# A single blank photograph would otherwise make the mean of the whole run infinite.
_PSNR_LIMIT_DB = 100.0

_PERCEPTUAL_SIDE_PX = 256


@torch.inference_mode()
def run_network(network: Network, lr: Tensor) -> NDArray[np.uint8]:
    """Upscale one image, RGB uint8: ``(h, w, 3)`` -> ``(h*scale, w*scale, 3)``.

    Or a clip of T frames, for a network that sees them: ``(h, w, 3*T)`` -> ``(h*scale, w*scale, 3*T)``.
    """
    batch = lr.permute(2, 0, 1).unsqueeze(0).to(network.device).float().div_(255)
    if network.contract.sees_other_frames:
        clip = batch.view(1, -1, 3, *batch.shape[-2:])
        sr = network(clip).flatten(1, 2).squeeze(0)
    else:
        sr = network(batch).squeeze(0)
    levels = sr.mul(255).round_().clamp_(0, 255).to(torch.uint8)
    pixels: NDArray[np.uint8] = levels.permute(1, 2, 0).cpu().numpy()
    return pixels


class Judges:
    """What scores images besides PSNR and SSIM: LPIPS, or where its weights are missing, VGG features.

    Args:
        lpips: Measures LPIPS.
        vgg: The perceptual network of the training.
    """

    def __init__(self, lpips: Lpips | None = None, vgg: VGGFeatures | SmallEncoder | None = None) -> None:
        self._lpips, self._vgg = lpips, vgg if lpips is None else None

    @property
    def measure_lpips(self) -> bool:
        """Whether LPIPS is measured."""
        return self._lpips is not None

    def distances(self, sr: NDArray[np.uint8], hr: Tensor) -> dict[str, float]:
        """Scores by name, lower is better; without those that the image is too small for.

        Args:
            sr: ``(H, W, 3)`` RGB uint8.
            hr: The same.
        """
        if self._lpips is not None and min(hr.shape[:2]) >= SMALLEST_SIDE_PX:
            centre = _centre(hr.shape)
            return {"lpips": self._lpips.distance(sr[centre], hr[centre].numpy())}
        if self._vgg is not None:
            return {"vgg_distance": _vgg_distance(self._vgg, torch.from_numpy(sr), hr)}
        return {}


@torch.inference_mode()
def validate(network: Network, pairs: list[PhotoPair], judges: Judges | None = None) -> Scores:
    """Score a network.

    Args:
        network: In evaluation mode.
        pairs: Validation images; the network gets their LR versions.
        judges: For the perceptual scores.
    """
    scale = network.contract.scale
    scored = []
    for pair in pairs:
        sr = run_network(network, pair.lr)
        frames = np.split(sr, pair.frame_count, axis=2)
        scored += [_scored(frame, pair.frame(time), scale, judges) for time, frame in enumerate(frames)]
    return _mean(scored)


def bicubic_scores(pairs: list[PhotoPair], scale: int, judges: Judges | None = None) -> Scores:
    """The scores of bicubic upsampling; at scale 1, of the LR images themselves."""
    scored = []
    for pair in (clip.frame(time) for clip in pairs for time in range(clip.frame_count)):
        height, width = pair.hr.shape[:2]
        lr = Image.fromarray(np.ascontiguousarray(pair.lr))
        sr = np.array(lr.resize((width, height), Image.Resampling.BICUBIC))
        scored.append(_scored(sr, pair, scale, judges))
    return _mean(scored)


def _scored(sr: NDArray[np.uint8], pair: PhotoPair, scale: int, judges: Judges | None) -> dict[str, float]:
    """The scores of one image by the names of the fields of ``Scores``."""
    sr_luma, hr_luma = metrics.luma(sr), metrics.luma(pair.hr.numpy())
    scores = {
        "psnr_db": min(metrics.psnr_db(sr_luma, hr_luma, scale), _PSNR_LIMIT_DB),
        "color_drift": float(np.abs(sr.mean((0, 1)) - pair.lr.numpy().mean((0, 1))).max()),
    }
    if min(hr_luma.shape) >= metrics.SSIM_WINDOW_PX + 2 * scale:
        scores["ssim"] = metrics.ssim(sr_luma, hr_luma, scale)
    return scores | (judges.distances(sr, pair.hr) if judges else {})


def _mean(scored: list[dict[str, float]]) -> Scores:
    """The mean of each score over the images that have it."""
    names = {name for scores in scored for name in scores}
    columns = {name: [scores[name] for scores in scored if name in scores] for name in names}
    return Scores(**{name: math.fsum(values) / len(values) for name, values in columns.items()})


def _centre(shape: torch.Size) -> tuple[slice, slice]:
    """What perceptual scores see of an image ``(H, W, ...)``: more would take longer than the training."""
    top, left = (max(0, side - _PERCEPTUAL_SIDE_PX) // 2 for side in shape[:2])
    return slice(top, top + _PERCEPTUAL_SIDE_PX), slice(left, left + _PERCEPTUAL_SIDE_PX)


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
    centre = _centre(hr.shape)
    images = torch.stack([sr[centre], hr[centre]]).permute(0, 3, 1, 2).to(device).float().div_(255)
    with autocast(device):
        layers = vgg(images)
    distances = []
    for features in layers.values():
        unit = F.normalize(features.float(), dim=1)
        distances.append(float((unit[0] - unit[1]).square().sum(0).mean()))
    return math.fsum(distances) / len(distances)
