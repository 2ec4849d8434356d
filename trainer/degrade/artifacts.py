"""The building blocks of degradations: downscaling kernels, random resizing, blur, noise.

Images are ``(B, 3, H, W)`` fp32 RGB with values from 0 to 255, on any device; results may exceed this range.
Random numbers come from the caller's generator on the CPU; only noise is drawn on the images' device, by a
generator seeded from the caller's.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

# Random numbers


def uniform(low: float, high: float, count: int, generator: Generator) -> Tensor:
    """``count`` numbers between two bounds, ``(count,)`` fp32."""
    return low + (high - low) * torch.rand(count, generator=generator)


def bernoulli(probability: float, count: int, generator: Generator) -> Tensor:
    """``count`` booleans, each true with this probability, ``(count,)``."""
    return torch.rand(count, generator=generator) < probability


def _on_device(generator: Generator, device: torch.device) -> Generator:
    """A generator on ``device``, seeded from the caller's."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return Generator(device).manual_seed(seed)


# Crops of a batch that are resized to one random size: a size for each crop would prevent batching.
CROPS_PER_SIZE = 4


def apply_where(levels: Tensor, chosen: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Replace the chosen images by ``function(images, their indices)``, in place; returns ``levels``.

    Args:
        levels: Images ``(B, 3, H, W)``.
        chosen: Which of them, ``(B,)`` bool on the CPU.
        function: Gets the chosen images and their indices ``(n,)`` on the CPU.
    """
    which = chosen.nonzero().flatten()
    if len(which):
        index = which.to(levels.device)
        levels[index] = function(levels[index], which)
    return levels


# Downscaling


def downscale_bicubic(hr: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic downscaling (a = -0.5)."""
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    return F.interpolate(hr, size=size, mode="bicubic", antialias=True)


def downscale_bilinear(hr: Tensor, scale: int) -> Tensor:
    """Antialiased bilinear downscaling."""
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    return F.interpolate(hr, size=size, mode="bilinear", antialias=True)


def downscale_box(hr: Tensor, scale: int) -> Tensor:
    """Downscale to the means of ``scale`` x ``scale`` pixels."""
    return F.avg_pool2d(hr, scale)


def downscale_lanczos(hr: Tensor, scale: int) -> Tensor:
    """Downscale with a three-lobed Lanczos kernel, which torch lacks."""
    down, across = (_lanczos_matrix(side, scale, hr.device) for side in hr.shape[-2:])
    return down @ hr.contiguous() @ across.T


def _lanczos_matrix(length: int, scale: int, device: torch.device) -> Tensor:
    """The matrix that downscales a row of pixels, ``(length/scale, length)``; its rows add up to 1."""
    target = (torch.arange(length // scale, dtype=torch.float64) + 0.5) * scale - 0.5
    distance = (torch.arange(length, dtype=torch.float64)[None] - target[:, None]) / scale
    weights = torch.where(distance.abs() < 3, torch.sinc(distance) * torch.sinc(distance / 3), 0.0)
    return (weights / weights.sum(1, keepdim=True)).float().to(device)


OTHER_DOWNSCALERS = (downscale_bilinear, downscale_box, downscale_lanczos)  # besides bicubic


def downscale_randomly(levels: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """Resize by antialiased bicubic (40 %) or bilinear (25 %), area (25 %) or aliased bilinear (10 %)."""
    kind = float(torch.rand(1, generator=generator))
    if kind < 0.4:
        return F.interpolate(levels, size=size, mode="bicubic", antialias=True)
    if kind < 0.65:
        return F.interpolate(levels, size=size, mode="bilinear", antialias=True)
    return F.interpolate(levels, size=size, mode="area" if kind < 0.9 else "bilinear")


def random_interpolation(generator: Generator) -> str:
    """A mode of ``F.interpolate``."""
    return ("area", "bilinear", "bicubic")[int(torch.randint(3, (1,), generator=generator))]


def resize_randomly(
    levels: Tensor,
    size: tuple[int, ...],
    probabilities: tuple[float, float],
    factors: tuple[float, float],
    generator: Generator,
) -> Tensor:
    """Resize to ``size`` times a random factor, without antialiasing.

    Args:
        levels: Images ``(B, 3, H, W)``.
        size: (height, width) for factor 1.
        probabilities: Of enlarging, and of downscaling; otherwise the factor is 1.
        factors: The smallest and the largest factor.
        generator: Source of all random numbers.
    """
    kind = float(torch.rand(1, generator=generator))
    enlarge, downscale = probabilities
    factor = 1.0
    if kind < enlarge:
        factor = float(uniform(1, factors[1], 1, generator))
    elif kind < enlarge + downscale:
        factor = float(uniform(factors[0], 1, 1, generator))
    target = [max(8, round(side * factor)) for side in size]
    return F.interpolate(levels, size=target, mode=random_interpolation(generator))


# Blur


def convolve(levels: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each image with its kernel ``(B, k, k)``, k odd, by FFT; edges are replicated.

    Circular convolution of the padded image, whose wrapped border is cut off.
    """
    height, width = levels.shape[-2:]
    radius = kernels.shape[-1] // 2
    padded = F.pad(levels, (radius, radius, radius, radius), mode="replicate")
    size = (padded.shape[-2], padded.shape[-1])
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernels.to(levels.device), s=size).unsqueeze(1)
    result: Tensor = torch.fft.irfft2(spectrum, s=size)[..., 2 * radius :, 2 * radius :]
    return result[..., :height, :width]


def _grid(size_px: int) -> tuple[Tensor, Tensor]:
    along = torch.arange(size_px, dtype=torch.float32) - size_px // 2
    rows, columns = torch.meshgrid(along, along, indexing="ij")
    return rows, columns


def _normalised(kernels: Tensor) -> Tensor:
    return kernels / kernels.sum((-2, -1), keepdim=True)


def gaussian_kernels(sigma_px: Tensor, size_px: int) -> Tensor:
    """Isotropic Gaussian kernels, ``(B,)`` -> ``(B, size_px, size_px)``; ``size_px`` is odd."""
    rows, columns = _grid(size_px)
    return _normalised(torch.exp(-(rows**2 + columns**2) / (2 * sigma_px.view(-1, 1, 1) ** 2)))


def sharpen(levels: Tensor, sigma_px: Tensor, amount: Tensor) -> Tensor:
    """Unsharp masking: add ``amount`` times the detail that a Gaussian blur removes; both ``(B,)``."""
    detail = levels - convolve(levels, gaussian_kernels(sigma_px, 9))
    return levels + amount.to(levels.device).view(-1, 1, 1, 1) * detail


_KERNEL_PX = 21


def blur_kernels(count: int, sigma_px: tuple[float, float], generator: Generator) -> Tensor:
    """Random blur kernels of Real-ESRGAN (arXiv 2107.10833), ``(count, 21, 21)``.

    Gaussian, generalised Gaussian and plateau-shaped, isotropic or anisotropic; a tenth are sinc filters.
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
    across = (rows * angle.cos() - columns * angle.sin()) / second
    square = along**2 + across**2
    kernels = torch.exp(-0.5 * torch.where(kind >= 2, square**shape, square))
    kernels = torch.where(kind >= 4, 1 / (square**plateau + 1), kernels)
    kernels = _normalised(kernels * _square_mask(_sizes_px(count, generator)))
    return torch.where(
        bernoulli(0.1, count, generator).view(-1, 1, 1), sinc_kernels(count, generator), kernels
    )


def sinc_kernels(count: int, generator: Generator) -> Tensor:
    """Isotropic ideal low-pass filters, which ring at edges, ``(count, 21, 21)``."""
    cutoff = uniform(math.pi / 3, math.pi, count, generator).view(-1, 1, 1)
    rows, columns = _grid(_KERNEL_PX)
    radius = (rows**2 + columns**2).sqrt()
    kernels = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    middle = _KERNEL_PX // 2
    kernels[:, middle, middle] = cutoff.flatten() ** 2 / (4 * math.pi)
    return _normalised(kernels * _square_mask(_sizes_px(count, generator)))


def _sizes_px(count: int, generator: Generator) -> Tensor:
    """Random odd kernel sizes from 7 to 21, ``(count, 1, 1)``."""
    return torch.randint(3, 11, (count, 1, 1), generator=generator) * 2 + 1


def _square_mask(size_px: Tensor) -> Tensor:
    """1 inside a centred square of each size, 0 outside."""
    rows, columns = _grid(_KERNEL_PX)
    return (torch.maximum(rows.abs(), columns.abs()) <= size_px // 2).float()


# Noise


def gaussian_noise(levels: Tensor, sigma_levels: Tensor, generator: Generator) -> Tensor:
    """Gaussian noise in the shape of ``levels``, with a standard deviation ``(B,)`` for each image."""
    device_generator = _on_device(generator, levels.device)
    grain = torch.randn(levels.shape, generator=device_generator, device=levels.device)
    return grain * sigma_levels.to(levels.device).view(-1, 1, 1, 1)


def add_shot_or_gaussian_noise(
    levels: Tensor, sigma_levels: tuple[float, float], strength: tuple[float, float], generator: Generator
) -> Tensor:
    """Add Gaussian or shot noise to each image and clamp it to [0, 255]; 40 % of the images get gray noise.

    Args:
        levels: Images ``(B, 3, H, W)``.
        sigma_levels: Range of the standard deviation of Gaussian noise.
        strength: Range of the factor on shot noise, which is that of counting one photon per level.
        generator: Source of all random numbers.
    """
    count = len(levels)
    gray = bernoulli(0.4, count, generator).to(levels.device).view(-1, 1, 1, 1)
    gaussian = gaussian_noise(levels, uniform(*sigma_levels, count, generator), generator)
    gaussian = torch.where(gray, gaussian[:, :1], gaussian)
    factor = uniform(*strength, count, generator).to(levels.device).view(-1, 1, 1, 1)
    photons = levels.clamp(0, 255)
    photons = torch.where(gray, photons.mean(1, keepdim=True), photons)
    device_generator = _on_device(generator, levels.device)
    shot = (torch.poisson(photons, generator=device_generator) - photons) * factor
    shot = torch.where(gray, shot[:, :1], shot)
    is_gaussian = bernoulli(0.5, count, generator).to(levels.device).view(-1, 1, 1, 1)
    return (levels + torch.where(is_gaussian, gaussian, shot)).clamp_(0, 255)
