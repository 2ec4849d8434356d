"""The degradation ``drawn``: what websites, messengers, scanners and videos do to drawings.

Drawings are flat where photographs have grain, so compression shows most around their lines, and half of them
are never compressed badly: a network must keep clean lines and exact colours, too.
"""

import torch
from torch import Generator, Tensor

from upscaler.trainer.degrade import artifacts, files

# Crops of a batch that share a downscaling kernel: one for each would prevent batching.
_CROPS_PER_KERNEL = 2

# How often each way of saving is drawn: JPEG, JPEG several times, WebP, GIF, H.264, MPEG-2, none.
_WAYS = torch.tensor([0.4, 0.2, 0.12, 0.1, 0.06, 0.06, 0.06])


def drawn(lr: Tensor, hr: Tensor, scale: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Downscale half of the drawings alone, and degrade the others as websites, scanners and videos do.

    A random downscaling kernel with slight blur; sharpening that leaves halos (30 %) or a scanner's paper and
    grain (15 %), and slight noise in a third of the others; then JPEG of quality 25 to 95, mostly 4:2:0, once
    or up to three times, WebP, GIF, H.264 or MPEG-2.

    Args:
        lr: ``hr`` downscaled, ``(B, 3, H/scale, W/scale)`` uint8.
        hr: RGB ``(B, 3, H, W)`` uint8; H and W multiples of ``scale``.
        scale: HR size over LR size.
        generator: Source of all random numbers.

    Returns:
        LR ``(B, 3, H/scale, W/scale)`` uint8, and ``hr``.
    """
    parts = [_degraded(part.float(), scale, generator) for part in torch.split(hr, _CROPS_PER_KERNEL)]
    clean = artifacts.bernoulli(0.5, len(hr), generator).to(hr.device).view(-1, 1, 1, 1)
    return torch.where(clean, lr, torch.cat(parts).to(torch.uint8)), hr


def _degraded(levels: Tensor, scale: int, generator: Generator) -> Tensor:
    """Whole numbers at the LR size."""
    count, (height, width) = len(levels), levels.shape[-2:]
    blurred = artifacts.bernoulli(0.5, count, generator)
    sigma_px = artifacts.uniform(0.1 * scale, 0.4 * scale, count, generator)
    artifacts.apply_where(
        levels,
        blurred,
        lambda x, which: artifacts.convolve(x, artifacts.gaussian_kernels(sigma_px[which], 13)),
    )
    levels = artifacts.downscale_randomly(levels, (height // scale, width // scale), generator)
    kind = torch.rand(count, generator=generator)
    halo_px = artifacts.uniform(0.6, 1.4, count, generator)
    amount = artifacts.uniform(0.2, 1.0, count, generator)
    artifacts.apply_where(
        levels, kind < 0.3, lambda x, which: artifacts.sharpen(x, halo_px[which], amount[which])
    )
    artifacts.apply_where(levels, kind > 0.85, lambda x, _: _scanned(x, generator))
    noise_levels = artifacts.uniform(0.5, 4, count, generator)
    noisy = (kind <= 0.85) & artifacts.bernoulli(1 / 3, count, generator)
    artifacts.apply_where(
        levels, noisy, lambda x, which: x + artifacts.gaussian_noise(x, noise_levels[which], generator)
    )
    return _saved(levels.round_().clamp_(0, 255), generator)


def _scanned(levels: Tensor, generator: Generator) -> Tensor:
    """Black is not quite black, paper not quite white, and both have grain."""
    count = len(levels)
    black = artifacts.uniform(0, 25, count, generator).view(-1, 1, 1, 1).to(levels.device)
    paper = artifacts.uniform(225, 255, count, generator).view(-1, 1, 1, 1).to(levels.device)
    grain = artifacts.gaussian_noise(levels, artifacts.uniform(1, 5, count, generator), generator)
    return black + levels * (paper - black) / 255 + grain


def _saved(levels: Tensor, generator: Generator) -> Tensor:
    way = torch.multinomial(_WAYS, len(levels), replacement=True, generator=generator)
    artifacts.apply_where(
        levels, way <= 1, lambda x, _: files.as_jpeg(x, (25, 95), generator, subsampled_share=0.8)
    )
    third = artifacts.bernoulli(0.5, len(levels), generator)
    for chosen in (way == 1, (way == 1) & third):
        artifacts.apply_where(
            levels, chosen, lambda x, _: files.as_jpeg(x, (30, 90), generator, subsampled_share=0.8)
        )
    artifacts.apply_where(levels, way == 2, lambda x, _: files.as_webp(x, (25, 90), generator))
    artifacts.apply_where(levels, way == 3, lambda x, _: files.as_gif(x, generator))
    artifacts.apply_where(levels, way == 4, lambda x, _: files.as_h264(x, (18, 34), generator))
    artifacts.apply_where(levels, way == 5, lambda x, _: files.as_mpeg2(x, (2, 12), generator))
    return levels
