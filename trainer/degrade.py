"""How LR pictures are made from HR ones: by reduction alone, or with the damage that real pictures have.

Everything runs in batches on the device of the pictures. What is drawn comes from one generator on the
processor, so that a run can be repeated and continued; only noise is drawn on the device, from a seed of it.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from upscaler.errors import UsageError
from upscaler.trainer import jpeg

_KNOWN = "clean, bilinear, photo, worn, strong, video, jpegN or jpegN-M (N and M from 1 to 100)"

# What it is called when LR pictures come from files.
GIVEN = "given"

# Crops of one batch that share the sizes of `strong`'s resizing: sizes of their own would undo batching.
_SHARING_SIZES = 4


Damage = Callable[[Tensor, Tensor, int, Generator], Tensor]


@dataclass(frozen=True)
class Degradation:
    """How LR pictures are made.

    Attributes:
        name: As the user wrote it.
        damage: ``(low, high, scale, generator)`` -> LR pictures, all ``(B, 3, ., .)`` uint8, for every batch
            anew; ``low`` is ``high`` reduced. ``None`` where LR pictures are made once per photograph
            (``clean`` and the films of ``video``) or not at all (``given``).
        jpeg_quality: Least and largest quality of ``jpegN`` and ``jpegN-M``.
        restorable: Whether there is damage besides the reduction, for a network of scale 1 to undo.
    """

    name: str
    damage: Damage | None
    jpeg_quality: tuple[int, int] | None = None
    restorable: bool = True


def parse(name: str) -> Degradation:
    """The degradation of this name.

    Raises:
        UsageError: There is none.
    """
    if name == "clean":
        return Degradation(name, None, restorable=False)
    if name in ("video", GIVEN):
        return Degradation(name, None)
    if name in _DAMAGES:
        return Degradation(name, _DAMAGES[name], restorable=name != "bilinear")
    match = re.fullmatch(r"jpeg(\d+)(?:-(\d+))?", name)
    if match:
        lowest = int(match[1])
        highest = int(match[2] or lowest)
        if 1 <= lowest <= highest <= 100:
            damage = _saved_as_jpeg(lowest, highest, mixed=match[2] is not None)
            return Degradation(name, damage, (lowest, highest))
    raise UsageError(f"unknown degradation '{name}'", f"known are {_KNOWN}")


def reduce(high: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic reduction (a = -0.5), rounded to 8-bit levels.

    The kernel is Matlab's ``imresize``, by which the published tables were made; only the outermost rows
    differ (torch renormalises the kernel at the border).

    Args:
        high: RGB ``(B, 3, H, W)`` uint8; H and W multiples of ``scale``.
        scale: Factor; 1 returns the input.

    Returns:
        ``(B, 3, H/scale, W/scale)`` uint8.
    """
    if scale == 1:
        return high
    size = (high.shape[-2] // scale, high.shape[-1] // scale)
    return _as_codes(F.interpolate(high.float(), size=size, mode="bicubic", antialias=True))


def _as_codes(levels: Tensor) -> Tensor:
    return levels.round().clamp_(0, 255).to(torch.uint8)


def _bilinear(_low: Tensor, high: Tensor, scale: int, _generator: Generator) -> Tensor:
    """Antialiased bilinear reduction, what Pillow's BILINEAR does."""
    return _as_codes(_by_triangle(high.float(), scale))


def _saved_as_jpeg(lowest: int, highest: int, *, mixed: bool) -> Damage:
    """JPEG of one quality as Pillow saves it, or of many: then a quarter with full chroma."""

    def damage(low: Tensor, _high: Tensor, _scale: int, generator: Generator) -> Tensor:
        quality = torch.randint(lowest, highest + 1, (len(low),), generator=generator)
        full_chroma = torch.rand(len(low), generator=generator) < (0.25 if mixed else 0)
        return jpeg.round_trip(low, quality, ~full_chroma).to(torch.uint8)

    return damage


def _photo(low: Tensor, high: Tensor, scale: int, generator: Generator) -> Tensor:
    """What photographs from cameras, phones and the web have: half of them clean, the others mildly worn."""
    return _worn(low, high, scale, generator, share=0.5)


def _worn(low: Tensor, high: Tensor, scale: int, generator: Generator, share: float = 1.0) -> Tensor:
    """Mild damage to a share of the pictures.

    Any of four reduction kernels; blur of up to 0.8 LR pixels and noise of up to 4 levels, a chance of 0.3
    each; JPEG of quality 60 to 98, a chance of 0.7.
    """
    count = len(high)
    damaged = _chance(share, count, generator)
    kernel = torch.randint(1 + len(_OTHER_KERNELS), (count,), generator=generator) * damaged
    blurred = damaged & _chance(0.3, count, generator)
    sigma_px = _uniform(0.1, 0.8, count, generator)
    noisy = damaged & _chance(0.3, count, generator)
    noise_levels = _uniform(0, 4, count, generator)
    saved = damaged & _chance(0.7, count, generator)
    quality = torch.randint(60, 99, (count,), generator=generator)
    subsampled = _chance(0.5, count, generator)

    levels = low.float()
    if scale > 1:
        for number, by_kernel in enumerate(_OTHER_KERNELS, start=1):
            which = (kernel == number).nonzero().flatten().to(high.device)
            if len(which):
                levels[which] = by_kernel(high[which].float(), scale)
    _change(levels, blurred, lambda part, which: _filtered(part, _gaussians(sigma_px[which], 7)))
    _change(levels, noisy, lambda part, which: part + _noise(part, noise_levels[which], generator))
    levels.round_().clamp_(0, 255)
    _change(levels, saved, lambda part, which: jpeg.round_trip(part, quality[which], subsampled[which]))
    return levels.to(torch.uint8)


def _strong(_low: Tensor, high: Tensor, scale: int, generator: Generator) -> Tensor:
    """Second-order degradation with the ranges of Real-ESRGAN (Wang et al., arXiv 2107.10833).

    For what is badly damaged, at the price of texture that is taken for damage.
    """
    parts = torch.split(high, _SHARING_SIZES)
    return torch.cat([_twice_damaged(part, scale, generator) for part in parts])


_DAMAGES = {"bilinear": _bilinear, "photo": _photo, "worn": _worn, "strong": _strong}


def _twice_damaged(high: Tensor, scale: int, generator: Generator) -> Tensor:
    count = len(high)
    size = (high.shape[-2] // scale, high.shape[-1] // scale)
    levels = _filtered(high.float(), _blur_kernels(count, (0.2, 3.0), generator))
    levels = _resized_at_random(levels, high.shape[-2:], (0.2, 0.7), (0.15, 1.5), generator)
    levels = _shot_or_grain(levels, (1, 30), (0.05, 3), generator)
    levels = _saved(levels, generator)

    again = _chance(0.8, count, generator)
    kernels = _blur_kernels(count, (0.2, 1.5), generator)
    _change(levels, again, lambda part, which: _filtered(part, kernels[which]))
    levels = _resized_at_random(levels, size, (0.3, 0.4), (0.3, 1.2), generator)
    levels = _shot_or_grain(levels, (1, 25), (0.05, 2.5), generator)

    ringing = _chance(0.8, count, generator)
    kernels = _sinc_kernels(count, generator)
    saved_last = bool(_chance(0.5, 1, generator))
    if not saved_last:
        levels = _saved(levels, generator)
    levels = F.interpolate(levels, size=size, mode=_mode(generator))
    _change(levels, ringing, lambda part, which: _filtered(part, kernels[which]))
    if saved_last:
        levels = _saved(levels, generator)
    return _as_codes(levels)


# Drawing


def _uniform(low: float, high: float, count: int, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _chance(share: float, count: int, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) < share


def _change(levels: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Replace the chosen pictures by ``change(pictures, their numbers)``, in place."""
    which = chosen.nonzero().flatten()
    if len(which):
        place = which.to(levels.device)
        levels[place] = change(levels[place], which)


def _on_device(generator: Generator, device: torch.device) -> Generator:
    """A generator there, seeded from ours."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return Generator(device).manual_seed(seed)


# Reduction


def _by_triangle(high: Tensor, scale: int) -> Tensor:
    size = (high.shape[-2] // scale, high.shape[-1] // scale)
    return F.interpolate(high, size=size, mode="bilinear", antialias=True)


def _by_box(high: Tensor, scale: int) -> Tensor:
    return F.avg_pool2d(high, scale)


def _by_lanczos(high: Tensor, scale: int) -> Tensor:
    """Three lobes; torch has none."""
    down, across = (_lanczos_matrix(side, scale, high.device) for side in high.shape[-2:])
    return down @ high.contiguous() @ across.T


def _lanczos_matrix(length: int, scale: int, device: torch.device) -> Tensor:
    """Reduction of a row of pixels, ``(length/scale, length)``; rows add up to 1."""
    target = (torch.arange(length // scale, dtype=torch.float64) + 0.5) * scale - 0.5
    distance = (torch.arange(length, dtype=torch.float64)[None] - target[:, None]) / scale
    weights = torch.where(distance.abs() < 3, torch.sinc(distance) * torch.sinc(distance / 3), 0.0)
    return (weights / weights.sum(1, keepdim=True)).float().to(device)


_OTHER_KERNELS = (_by_triangle, _by_box, _by_lanczos)  # besides that of `reduce`


def _mode(generator: Generator) -> str:
    return ("area", "bilinear", "bicubic")[int(torch.randint(3, (1,), generator=generator))]


def _resized_at_random(
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
        factor = float(_uniform(1, factors[1], 1, generator))
    elif kind < enlarged + reduced:
        factor = float(_uniform(factors[0], 1, 1, generator))
    target = [max(8, round(side * factor)) for side in size]
    return F.interpolate(levels, size=target, mode=_mode(generator))


# Blur


def _filtered(levels: Tensor, kernels: Tensor) -> Tensor:
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


def _gaussians(sigma_px: Tensor, size_px: int) -> Tensor:
    rows, columns = _grid(size_px)
    return _normalised(torch.exp(-(rows**2 + columns**2) / (2 * sigma_px.view(-1, 1, 1) ** 2)))


_KERNEL_PX = 21


def _blur_kernels(count: int, sigma_px: tuple[float, float], generator: Generator) -> Tensor:
    """Blurs as Real-ESRGAN draws them, ``(count, 21, 21)``.

    Gaussian, generalised Gaussian and plateau, each round or oblong; a tenth are sinc instead.
    """
    kinds = torch.tensor([0.45, 0.25, 0.12, 0.03, 0.12, 0.03])
    kind = torch.multinomial(kinds, count, replacement=True, generator=generator).view(-1, 1, 1)
    first = _uniform(*sigma_px, count, generator).view(-1, 1, 1)
    second = torch.where(kind % 2 == 1, _uniform(*sigma_px, count, generator).view(-1, 1, 1), first)
    angle = _uniform(-math.pi, math.pi, count, generator).view(-1, 1, 1)
    shape = _uniform(0.5, 4, count, generator).view(-1, 1, 1)
    plateau = _uniform(1, 2, count, generator).view(-1, 1, 1)
    rows, columns = _grid(_KERNEL_PX)
    along = (columns * angle.cos() + rows * angle.sin()) / first
    beside = (rows * angle.cos() - columns * angle.sin()) / second
    square = along**2 + beside**2
    kernels = torch.exp(-0.5 * torch.where(kind >= 2, square**shape, square))
    kernels = torch.where(kind >= 4, 1 / (square**plateau + 1), kernels)
    kernels = _normalised(kernels * _within(_sizes_px(count, generator)))
    return torch.where(
        _chance(0.1, count, generator).view(-1, 1, 1), _sinc_kernels(count, generator), kernels
    )


def _sinc_kernels(count: int, generator: Generator) -> Tensor:
    """Round low-pass filters with a hard limit, which ring at edges, ``(count, 21, 21)``."""
    limit = _uniform(math.pi / 3, math.pi, count, generator).view(-1, 1, 1)
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


# Noise and compression


def _noise(levels: Tensor, sigma_levels: Tensor, generator: Generator) -> Tensor:
    """Gaussian, of its own strength ``(B,)`` for each picture."""
    own = _on_device(generator, levels.device)
    grain = torch.randn(levels.shape, generator=own, device=levels.device)
    return grain * sigma_levels.to(levels.device).view(-1, 1, 1, 1)


def _shot_or_grain(
    levels: Tensor, sigma_levels: tuple[float, float], strength: tuple[float, float], generator: Generator
) -> Tensor:
    """Gaussian noise, or that of counting one photon a level, times a strength; 0.4 of it without colour."""
    count = len(levels)
    colorless = _chance(0.4, count, generator).to(levels.device).view(-1, 1, 1, 1)
    gaussian = _noise(levels, _uniform(*sigma_levels, count, generator), generator)
    gaussian = torch.where(colorless, gaussian[:, :1], gaussian)
    factor = _uniform(*strength, count, generator).to(levels.device).view(-1, 1, 1, 1)
    photons = levels.clamp(0, 255)
    photons = torch.where(colorless, photons.mean(1, keepdim=True), photons)
    own = _on_device(generator, levels.device)
    shot = (torch.poisson(photons, generator=own) - photons) * factor
    shot = torch.where(colorless, shot[:, :1], shot)
    grainy = _chance(0.5, count, generator).to(levels.device).view(-1, 1, 1, 1)
    return (levels + torch.where(grainy, gaussian, shot)).clamp_(0, 255)


def _saved(levels: Tensor, generator: Generator) -> Tensor:
    """JPEG of quality 30 to 95, half with full chroma."""
    count = len(levels)
    quality = torch.randint(30, 96, (count,), generator=generator)
    subsampled = _chance(0.5, count, generator)
    return jpeg.round_trip(levels.round().clamp_(0, 255), quality, subsampled)
