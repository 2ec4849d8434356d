"""What degradations are put together from: other kernels of reduction, resizing, blur, noise.

Pictures are ``(B, 3, H, W)`` fp32 RGB in levels of 0 to 255, on any device; results may overshoot them. What
is drawn comes from the caller's generator on the processor; only noise is drawn on the device, from a seed
of it.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

# Drawing


def uniform(low: float, high: float, count: int, generator: Generator) -> Tensor:
    """Numbers between two bounds, ``(count,)`` fp32."""
    return low + (high - low) * torch.rand(count, generator=generator)


def chance(share: float, count: int, generator: Generator) -> Tensor:
    """Whether each is among this share, ``(count,)`` bool."""
    return torch.rand(count, generator=generator) < share


def _on_device(generator: Generator, device: torch.device) -> Generator:
    """A generator there, seeded from ours."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return Generator(device).manual_seed(seed)


def change(levels: Tensor, chosen: Tensor, how: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Replace the chosen pictures by ``how(pictures, their numbers)``, in place."""
    which = chosen.nonzero().flatten()
    if len(which):
        place = which.to(levels.device)
        levels[place] = how(levels[place], which)


# Reduction


def by_bicubic(hr: Tensor, scale: int) -> Tensor:
    """Reduce by cubic interpolation (a = -0.5), antialiased."""
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    return F.interpolate(hr, size=size, mode="bicubic", antialias=True)


def by_triangle(hr: Tensor, scale: int) -> Tensor:
    """Reduce by linear interpolation, antialiased."""
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    return F.interpolate(hr, size=size, mode="bilinear", antialias=True)


def by_box(hr: Tensor, scale: int) -> Tensor:
    """Reduce to the means of squares."""
    return F.avg_pool2d(hr, scale)


def by_lanczos(hr: Tensor, scale: int) -> Tensor:
    """Reduce with three lobes of Lanczos; torch has none."""
    down, across = (_lanczos_matrix(side, scale, hr.device) for side in hr.shape[-2:])
    return down @ hr.contiguous() @ across.T


def _lanczos_matrix(length: int, scale: int, device: torch.device) -> Tensor:
    """Reduction of a row of pixels, ``(length/scale, length)``; rows add up to 1."""
    target = (torch.arange(length // scale, dtype=torch.float64) + 0.5) * scale - 0.5
    distance = (torch.arange(length, dtype=torch.float64)[None] - target[:, None]) / scale
    weights = torch.where(distance.abs() < 3, torch.sinc(distance) * torch.sinc(distance / 3), 0.0)
    return (weights / weights.sum(1, keepdim=True)).float().to(device)


OTHER_KERNELS = (by_triangle, by_box, by_lanczos)  # besides that of `degrade.reduce`


def reduced_at_random(levels: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """Resize as software does: bicubic or bilinear antialiased, by area, or (0.1) bilinear with aliasing."""
    kind = float(torch.rand(1, generator=generator))
    if kind < 0.4:
        return F.interpolate(levels, size=size, mode="bicubic", antialias=True)
    if kind < 0.65:
        return F.interpolate(levels, size=size, mode="bilinear", antialias=True)
    return F.interpolate(levels, size=size, mode="area" if kind < 0.9 else "bilinear")


def resizing_mode(generator: Generator) -> str:
    """One of the ways of ``F.interpolate``."""
    return ("area", "bilinear", "bicubic")[int(torch.randint(3, (1,), generator=generator))]


def resized_at_random(
    levels: Tensor,
    size: tuple[int, ...],
    chances: tuple[float, float],
    factors: tuple[float, float],
    generator: Generator,
) -> Tensor:
    """Enlarge or reduce, not antialiased, by a factor on ``size``; ``chances`` of enlarging and reducing."""
    kind = float(torch.rand(1, generator=generator))
    enlarged, reduced = chances
    factor = 1.0
    if kind < enlarged:
        factor = float(uniform(1, factors[1], 1, generator))
    elif kind < enlarged + reduced:
        factor = float(uniform(factors[0], 1, 1, generator))
    target = [max(8, round(side * factor)) for side in size]
    return F.interpolate(levels, size=target, mode=resizing_mode(generator))


# Blur


def filtered(levels: Tensor, kernels: Tensor) -> Tensor:
    """Each picture by its own kernel ``(B, k, k)``, k odd, by Fourier transform; edges repeat."""
    height, width = levels.shape[-2:]
    reach = kernels.shape[-1] // 2
    edged = F.pad(levels, (reach, reach, reach, reach), mode="replicate")
    size = (edged.shape[-2], edged.shape[-1])
    spectrum = torch.fft.rfft2(edged) * torch.fft.rfft2(kernels.to(levels.device), s=size).unsqueeze(1)
    made: Tensor = torch.fft.irfft2(spectrum, s=size)[..., 2 * reach :, 2 * reach :]
    return made[..., :height, :width]


def _grid(size_px: int) -> tuple[Tensor, Tensor]:
    along = torch.arange(size_px, dtype=torch.float32) - size_px // 2
    rows, columns = torch.meshgrid(along, along, indexing="ij")
    return rows, columns


def _normalised(kernels: Tensor) -> Tensor:
    return kernels / kernels.sum((-2, -1), keepdim=True)


def gaussians(sigma_px: Tensor, size_px: int) -> Tensor:
    """Round Gaussian kernels, ``(B,)`` -> ``(B, size_px, size_px)``; the size is odd."""
    rows, columns = _grid(size_px)
    return _normalised(torch.exp(-(rows**2 + columns**2) / (2 * sigma_px.view(-1, 1, 1) ** 2)))


def sharpened(levels: Tensor, sigma_px: Tensor, amount: Tensor) -> Tensor:
    """Unsharp masking: a picture plus so much of what a Gaussian blur takes away; both ``(B,)``."""
    missing = levels - filtered(levels, gaussians(sigma_px, 9))
    return levels + amount.to(levels.device).view(-1, 1, 1, 1) * missing


_KERNEL_PX = 21


def blur_kernels(count: int, sigma_px: tuple[float, float], generator: Generator) -> Tensor:
    """Blurs as Real-ESRGAN draws them, ``(count, 21, 21)``.

    Gaussian, generalised Gaussian and plateau, each round or oblong; a tenth are sinc instead.
    """
    kinds = torch.tensor([0.45, 0.25, 0.12, 0.03, 0.12, 0.03])
    kind = torch.multinomial(kinds, count, replacement=True, generator=generator).view(-1, 1, 1)
    first = uniform(*sigma_px, count, generator).view(-1, 1, 1)
    second = torch.where(kind % 2 == 1, uniform(*sigma_px, count, generator).view(-1, 1, 1), first)
    angle = uniform(-math.pi, math.pi, count, generator).view(-1, 1, 1)
    shape = uniform(0.5, 4, count, generator).view(-1, 1, 1)
    plateau = uniform(1, 2, count, generator).view(-1, 1, 1)
    rows, columns = _grid(_KERNEL_PX)
    along = (columns * angle.cos() + rows * angle.sin()) / first
    beside = (rows * angle.cos() - columns * angle.sin()) / second
    square = along**2 + beside**2
    kernels = torch.exp(-0.5 * torch.where(kind >= 2, square**shape, square))
    kernels = torch.where(kind >= 4, 1 / (square**plateau + 1), kernels)
    kernels = _normalised(kernels * _within(_sizes_px(count, generator)))
    return torch.where(chance(0.1, count, generator).view(-1, 1, 1), sinc_kernels(count, generator), kernels)


def sinc_kernels(count: int, generator: Generator) -> Tensor:
    """Round low-pass filters with a hard limit, which ring at edges, ``(count, 21, 21)``."""
    limit = uniform(math.pi / 3, math.pi, count, generator).view(-1, 1, 1)
    rows, columns = _grid(_KERNEL_PX)
    radius = (rows**2 + columns**2).sqrt()
    kernels = limit * torch.special.bessel_j1(limit * radius) / (2 * math.pi * radius)
    middle = _KERNEL_PX // 2
    kernels[:, middle, middle] = limit.flatten() ** 2 / (4 * math.pi)
    return _normalised(kernels * _within(_sizes_px(count, generator)))


def _sizes_px(count: int, generator: Generator) -> Tensor:
    """Odd sizes from 7 to 21."""
    return torch.randint(3, 11, (count, 1, 1), generator=generator) * 2 + 1


def _within(size_px: Tensor) -> Tensor:
    """1 inside a square of each size, 0 outside."""
    rows, columns = _grid(_KERNEL_PX)
    return (torch.maximum(rows.abs(), columns.abs()) <= size_px // 2).float()


# Noise


def noise(levels: Tensor, sigma_levels: Tensor, generator: Generator) -> Tensor:
    """Gaussian noise to add, of its own strength ``(B,)`` for each picture; of the shape of ``levels``."""
    own = _on_device(generator, levels.device)
    grain = torch.randn(levels.shape, generator=own, device=levels.device)
    return grain * sigma_levels.to(levels.device).view(-1, 1, 1, 1)


def shot_or_grain(
    levels: Tensor, sigma_levels: tuple[float, float], strength: tuple[float, float], generator: Generator
) -> Tensor:
    """Gaussian noise, or that of counting one photon a level, times a strength; 0.4 of it without colour.

    It is added; the result is clamped.
    """
    count = len(levels)
    colorless = chance(0.4, count, generator).to(levels.device).view(-1, 1, 1, 1)
    gaussian = noise(levels, uniform(*sigma_levels, count, generator), generator)
    gaussian = torch.where(colorless, gaussian[:, :1], gaussian)
    factor = uniform(*strength, count, generator).to(levels.device).view(-1, 1, 1, 1)
    photons = levels.clamp(0, 255)
    photons = torch.where(colorless, photons.mean(1, keepdim=True), photons)
    own = _on_device(generator, levels.device)
    shot = (torch.poisson(photons, generator=own) - photons) * factor
    shot = torch.where(colorless, shot[:, :1], shot)
    grainy = chance(0.5, count, generator).to(levels.device).view(-1, 1, 1, 1)
    return (levels + torch.where(grainy, gaussian, shot)).clamp_(0, 255)
