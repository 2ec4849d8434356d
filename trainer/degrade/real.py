"""The degradation ``real``: what a phone and then a website do to an image.

The phone: lens blur, downscaling, sensor noise (often denoised in software), sharpening, JPEG. The website:
downscaling with a random kernel, sometimes sharpening, then JPEG, WebP or a frame of an H.264 video. Like
``strong`` it is a second-order degradation (Real-ESRGAN, arXiv 2107.10833), but with the milder ranges of
everyday images: a network trained with Real-ESRGAN's ranges mistakes fine texture for artifacts.
"""

import torch
from torch import Generator, Tensor

from upscaler.trainer.degrade import artifacts, files


def real(lr: Tensor, hr: Tensor, scale: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Degrade nine tenths of the images as a phone and a website do; the others are only downscaled.

    Args:
        lr: ``hr`` downscaled, ``(B, 3, H/scale, W/scale)`` uint8.
        hr: RGB ``(B, 3, H, W)`` uint8; H and W multiples of ``scale``.
        scale: HR size over LR size.
        generator: Source of all random numbers.

    Returns:
        LR ``(B, 3, H/scale, W/scale)`` uint8, and ``hr``.
    """
    parts = [_degraded(part, scale, generator) for part in torch.split(hr, artifacts.CROPS_PER_SIZE)]
    clean = artifacts.bernoulli(0.1, len(hr), generator).to(hr.device).view(-1, 1, 1, 1)
    return torch.where(clean, lr, torch.cat(parts)), hr


def _degraded(hr: Tensor, scale: int, generator: Generator) -> Tensor:
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    return _website(_phone(hr.float(), scale, generator), size, generator).to(torch.uint8)


def _phone(levels: Tensor, scale: int, generator: Generator) -> Tensor:
    """Whole numbers, at the LR size (half of the time) or up to twice that."""
    count, (height, width) = len(levels), levels.shape[-2:]
    kernels = artifacts.blur_kernels(count, (0.1 * scale, 0.45 * scale), generator)
    levels = artifacts.apply_where(
        levels,
        artifacts.bernoulli(0.7, count, generator),
        lambda x, which: artifacts.convolve(x, kernels[which]),
    )
    factor = 1.0
    if bool(artifacts.bernoulli(0.5, 1, generator)):
        factor = float(artifacts.uniform(1, min(2.0, scale), 1, generator))
    levels = artifacts.downscale_randomly(
        levels, (round(height / scale * factor), round(width / scale * factor)), generator
    )
    levels = artifacts.apply_where(
        levels, artifacts.bernoulli(0.6, count, generator), lambda x, _: _sensor_noise(x, generator)
    )
    levels = _sharpened(levels, 0.3, (0.3, 1.2), generator)
    return _saved_as_jpeg(levels, 0.6, (60, 98), generator)


def _website(levels: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """Whole numbers, at ``size``."""
    if levels.shape[-2:] != size:
        levels = artifacts.downscale_randomly(levels, size, generator)
    levels = _sharpened(levels, 0.2, (0.2, 0.8), generator)
    coding = torch.rand(len(levels), generator=generator)  # a tenth are not encoded
    levels = _saved_as_jpeg(levels, coding < 0.7, (40, 95), generator)
    levels = artifacts.apply_where(
        levels, (coding >= 0.7) & (coding < 0.8), lambda x, _: files.as_webp(x, (40, 90), generator)
    )
    return artifacts.apply_where(
        levels, (coding >= 0.8) & (coding < 0.9), lambda x, _: files.as_h264(x, (18, 32), generator)
    )


def _sensor_noise(levels: Tensor, generator: Generator) -> Tensor:
    """Gaussian or shot noise; in half of the images blurred to blotches, as by a phone's denoiser."""
    noisy = artifacts.add_shot_or_gaussian_noise(levels, (1, 10), (0.05, 0.8), generator)
    kernels = artifacts.gaussian_kernels(artifacts.uniform(0.4, 0.8, len(levels), generator), 5)
    smoothed = levels + artifacts.convolve(noisy - levels, kernels)
    chosen = artifacts.bernoulli(0.5, len(levels), generator).to(levels.device).view(-1, 1, 1, 1)
    return torch.where(chosen, smoothed, noisy)


def _sharpened(levels: Tensor, share: float, amounts: tuple[float, float], generator: Generator) -> Tensor:
    """Sharpen a share of the images by unsharp masking, which leaves halos."""
    count = len(levels)
    sigma_px = artifacts.uniform(0.6, 1.6, count, generator)
    amount = artifacts.uniform(*amounts, count, generator)
    return artifacts.apply_where(
        levels,
        artifacts.bernoulli(share, count, generator),
        lambda x, which: artifacts.sharpen(x, sigma_px[which], amount[which]),
    )


def _saved_as_jpeg(
    levels: Tensor, which: float | Tensor, qualities: tuple[int, int], generator: Generator
) -> Tensor:
    """Save the chosen images, or a share of all, as JPEG; all are rounded."""
    chosen = which if isinstance(which, Tensor) else artifacts.bernoulli(which, len(levels), generator)
    levels = levels.round().clamp_(0, 255)
    return artifacts.apply_where(levels, chosen, lambda x, _: files.as_jpeg(x, qualities, generator))
