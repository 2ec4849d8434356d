"""The degradation ``real``: what a phone and then a website do to a picture, in that order.

The phone: blur of the lens, reduction, noise of the sensor (often smoothed by its software), sharpening,
JPEG. The website: reduction to its own size by any kernel, sometimes sharpening, then JPEG, WebP or a film.
Second order like ``strong`` (Real-ESRGAN, arXiv 2107.10833), with the milder ranges of everyday pictures: a
network trained on Real-ESRGAN's ranges takes fine texture for damage.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from upscaler.trainer.degrade import artifacts, h264, jpeg

# Crops of one batch that share the size between phone and website: sizes of their own would undo batching.
_SHARING_SIZES = 4


def real(lr: Tensor, hr: Tensor, scale: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """A tenth reduced only, the others as a phone and a website leave them.

    Args:
        lr: ``hr`` reduced, uint8.
        hr: RGB ``(B, 3, H, W)`` uint8; H and W multiples of ``scale``.
        scale: HR size over LR size.
        generator: Decides everything.

    Returns:
        LR ``(B, 3, H/scale, W/scale)`` uint8, and ``hr``.
    """
    parts = [_degraded(part, scale, generator) for part in torch.split(hr, _SHARING_SIZES)]
    clean = artifacts.chance(0.1, len(hr), generator).to(hr.device).view(-1, 1, 1, 1)
    return torch.where(clean, lr, torch.cat(parts)), hr


def _degraded(hr: Tensor, scale: int, generator: Generator) -> Tensor:
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    return _by_website(_by_phone(hr.float(), scale, generator), size, generator).to(torch.uint8)


def _by_phone(levels: Tensor, scale: int, generator: Generator) -> Tensor:
    """Whole levels, at a size between HR and LR: half of the time LR's, else up to twice that."""
    count, (height, width) = len(levels), levels.shape[-2:]
    kernels = artifacts.blur_kernels(count, (0.1 * scale, 0.45 * scale), generator)
    levels = _changed(
        levels,
        artifacts.chance(0.7, count, generator),
        lambda x, which: artifacts.filtered(x, kernels[which]),
    )
    larger = 1.0
    if bool(artifacts.chance(0.5, 1, generator)):
        larger = float(artifacts.uniform(1, min(2.0, scale), 1, generator))
    levels = artifacts.reduced_at_random(
        levels, (round(height / scale * larger), round(width / scale * larger)), generator
    )
    levels = _changed(
        levels, artifacts.chance(0.6, count, generator), lambda x, _: _sensor_noise(x, generator)
    )
    levels = _sharpened(levels, 0.3, (0.3, 1.2), generator)
    return _saved_as_jpeg(levels, 0.6, (60, 98), generator)


def _by_website(levels: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """Whole levels of the size asked for."""
    if levels.shape[-2:] != size:
        levels = artifacts.reduced_at_random(levels, size, generator)
    levels = _sharpened(levels, 0.2, (0.2, 0.8), generator)
    coding = torch.rand(len(levels), generator=generator)  # 0.1 stay as they are
    levels = _saved_as_jpeg(levels, coding < 0.7, (40, 95), generator)
    levels = _changed(levels, (coding >= 0.7) & (coding < 0.8), lambda x, _: _saved_as_webp(x, generator))
    return _changed(levels, (coding >= 0.8) & (coding < 0.9), lambda x, _: _filmed(x, generator))


def _sensor_noise(levels: Tensor, generator: Generator) -> Tensor:
    """Grain or shot noise; in half of the pictures the phone smoothed it, which leaves blotches."""
    noisy = artifacts.shot_or_grain(levels, (1, 10), (0.05, 0.8), generator)
    kernels = artifacts.gaussians(artifacts.uniform(0.4, 0.8, len(levels), generator), 5)
    smoothed = levels + artifacts.filtered(noisy - levels, kernels)
    chosen = artifacts.chance(0.5, len(levels), generator).to(levels.device).view(-1, 1, 1, 1)
    return torch.where(chosen, smoothed, noisy)


def _sharpened(levels: Tensor, share: float, amounts: tuple[float, float], generator: Generator) -> Tensor:
    """A share of the pictures by unsharp masking, which leaves halos."""
    count = len(levels)
    sigma_px = artifacts.uniform(0.6, 1.6, count, generator)
    amount = artifacts.uniform(*amounts, count, generator)
    return _changed(
        levels,
        artifacts.chance(share, count, generator),
        lambda x, which: artifacts.sharpened(x, sigma_px[which], amount[which]),
    )


def _saved_as_jpeg(
    levels: Tensor, which: float | Tensor, qualities: tuple[int, int], generator: Generator
) -> Tensor:
    """The chosen pictures, or a share of them, as JPEG, 0.7 with half the chroma; all rounded."""
    count = len(levels)
    chosen = which if isinstance(which, Tensor) else artifacts.chance(which, count, generator)
    quality = torch.randint(qualities[0], qualities[1] + 1, (count,), generator=generator)
    subsampled = artifacts.chance(0.7, count, generator)
    levels = levels.round().clamp_(0, 255)
    return _changed(levels, chosen, lambda x, which: jpeg.round_trip(x, quality[which], subsampled[which]))


def _saved_as_webp(levels: Tensor, generator: Generator) -> Tensor:
    """WebP of quality 40 to 90 by its own encoder, on the processor."""
    qualities = torch.randint(40, 91, (len(levels),), generator=generator).tolist()
    made = []
    for picture, quality in zip(levels.to("cpu", torch.uint8), qualities, strict=True):
        file = io.BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "WEBP", quality=quality, method=2)
        with Image.open(file) as saved:
            made.append(torch.from_numpy(np.array(saved)).permute(2, 0, 1))
    return torch.stack(made).to(levels)


def _filmed(levels: Tensor, generator: Generator) -> Tensor:
    """A frame of an H.264 film of constant rate factor 18 to 32, on the processor."""
    factors = torch.randint(18, 33, (len(levels),), generator=generator).tolist()
    frames = [
        h264.frame(picture, crf) for picture, crf in zip(levels.to("cpu", torch.uint8), factors, strict=True)
    ]
    return torch.stack(frames).mul_(255).round_().clamp_(0, 255).to(levels)


def _changed(levels: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """With the chosen pictures replaced by ``change(pictures, their numbers)``."""
    levels = levels.clone()
    artifacts.change(levels, chosen, change)
    return levels
