"""How LR pictures are made from HR ones: by reduction alone, or with the damage that real pictures have.

Names and recipes are here; what they are put together from is in ``artifacts``, ``jpeg`` and ``h264``.
Everything runs in batches on the device of the pictures. What is drawn comes from one generator on the
processor, so that a run can be repeated and continued; only noise is drawn on the device, from a seed of it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from upscaler.errors import UsageError
from upscaler.trainer.degrade import artifacts, jpeg
from upscaler.trainer.degrade.real import real

_KNOWN = (
    "clean, bilinear, photo, mild, mild-combined, real, strong, video, "
    "jpegN or jpegN-M (N and M from 1 to 100)"
)

# What it is called when LR pictures come from files.
GIVEN = "given"

# Crops of one batch that share the sizes of `strong`'s resizing: sizes of their own would undo batching.
_SHARING_SIZES = 4


Degrade = Callable[[Tensor, Tensor, int, Generator], tuple[Tensor, Tensor]]

# Saved at more than this, a picture is as cameras give it: a network that restores is to leave it alone.
_BEST_DAMAGED_QUALITY = 90


@dataclass(frozen=True)
class Degradation:
    """How LR pictures are made.

    Attributes:
        name: As the user wrote it.
        degrade: ``(lr, hr, scale, generator)`` -> LR pictures and what a network is to make of them, all
            ``(B, 3, ., .)`` uint8, for every batch anew; ``lr`` is ``hr`` reduced. ``None`` where LR
            pictures are made once per photograph (``clean`` and the films of ``video``) or not at all
            (``given``).
        jpeg_quality: Least and largest quality of ``jpegN`` and ``jpegN-M``.
        restorable: Whether there is damage besides the reduction, for a network of scale 1 to undo.
    """

    name: str
    degrade: Degrade | None
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
    if name in _DEGRADATIONS:
        return Degradation(name, _DEGRADATIONS[name], restorable=name != "bilinear")
    match = re.fullmatch(r"jpeg(\d+)(?:-(\d+))?", name)
    if match:
        lowest = int(match[1])
        highest = int(match[2] or lowest)
        if 1 <= lowest <= highest <= 100:
            degrade = _saved_as_jpeg(lowest, highest, mixed=match[2] is not None)
            return Degradation(name, degrade, (lowest, highest))
    raise UsageError(f"unknown degradation '{name}'", f"known are {_KNOWN}")


def reduce(hr: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic reduction (a = -0.5), rounded to 8-bit levels.

    The kernel is Matlab's ``imresize``, by which the published tables were made; only the outermost rows
    differ (torch renormalises the kernel at the border).

    Args:
        hr: RGB ``(B, 3, H, W)`` uint8; H and W multiples of ``scale``.
        scale: Factor; 1 returns the input.

    Returns:
        ``(B, 3, H/scale, W/scale)`` uint8.
    """
    return hr if scale == 1 else _as_codes(artifacts.by_bicubic(hr.float(), scale))


def _as_codes(levels: Tensor) -> Tensor:
    return levels.round().clamp_(0, 255).to(torch.uint8)


def _bilinear(_lr: Tensor, hr: Tensor, scale: int, _generator: Generator) -> tuple[Tensor, Tensor]:
    """Antialiased bilinear reduction, what Pillow's BILINEAR does."""
    return _as_codes(artifacts.by_triangle(hr.float(), scale)), hr


def _saved_as_jpeg(lowest: int, highest: int, *, mixed: bool) -> Degrade:
    """JPEG of one quality as Pillow saves it, or of many: then a quarter with full chroma.

    At scale 1 the best of many are to be left as they are.
    """

    def degrade(lr: Tensor, hr: Tensor, scale: int, generator: Generator) -> tuple[Tensor, Tensor]:
        quality = torch.randint(lowest, highest + 1, (len(lr),), generator=generator)
        full_chroma = torch.rand(len(lr), generator=generator) < (0.25 if mixed else 0)
        saved = jpeg.round_trip(lr, quality, ~full_chroma).to(torch.uint8)
        if not mixed or scale > 1:
            return saved, hr
        good = (quality > _BEST_DAMAGED_QUALITY).view(-1, 1, 1, 1).to(hr.device)
        return saved, torch.where(good, saved, hr)

    return degrade


def _photo(lr: Tensor, hr: Tensor, scale: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """What photographs from cameras, phones and the web have: a third clean, the others mildly degraded."""
    return _mild(lr, hr, scale, generator, share=2 / 3)


def _mild(
    lr: Tensor, hr: Tensor, scale: int, generator: Generator, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Mild damage to a share of the pictures.

    Any of four reduction kernels; blur of up to 0.8 LR pixels and noise of up to 4 levels, a chance of 0.3
    each; JPEG of quality 60 to 98, a chance of 0.7.
    """
    count = len(hr)
    damaged = artifacts.chance(share, count, generator)
    kernel = torch.randint(1 + len(artifacts.OTHER_KERNELS), (count,), generator=generator) * damaged
    blurred = damaged & artifacts.chance(0.3, count, generator)
    sigma_px = artifacts.uniform(0.1, 0.8, count, generator)
    noisy = damaged & artifacts.chance(0.3, count, generator)
    noise_levels = artifacts.uniform(0, 4, count, generator)
    saved = damaged & artifacts.chance(0.7, count, generator)
    quality = torch.randint(60, 99, (count,), generator=generator)
    subsampled = artifacts.chance(0.5, count, generator)

    levels = lr.float()
    if scale > 1:
        for number, by_kernel in enumerate(artifacts.OTHER_KERNELS, start=1):
            which = (kernel == number).nonzero().flatten().to(hr.device)
            if len(which):
                levels[which] = by_kernel(hr[which].float(), scale)
    artifacts.change(
        levels, blurred, lambda part, which: artifacts.filtered(part, artifacts.gaussians(sigma_px[which], 7))
    )
    artifacts.change(
        levels, noisy, lambda part, which: part + artifacts.noise(part, noise_levels[which], generator)
    )
    levels.round_().clamp_(0, 255)
    artifacts.change(
        levels, saved, lambda part, which: jpeg.round_trip(part, quality[which], subsampled[which])
    )
    return levels.to(torch.uint8), hr


def _mild_combined(lr: Tensor, hr: Tensor, _scale: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """The mild damages of ``mild`` all at once: blur, then noise, then JPEG of quality 60 to 95 (4:2:0)."""
    count = len(lr)
    sigma_px = artifacts.uniform(0.1, 0.8, count, generator)
    levels = artifacts.filtered(lr.float(), artifacts.gaussians(sigma_px, 7))
    levels += artifacts.noise(levels, artifacts.uniform(0, 4, count, generator), generator)
    quality = torch.randint(60, 96, (count,), generator=generator)
    saved = jpeg.round_trip(levels.round_().clamp_(0, 255), quality, torch.ones(count, dtype=torch.bool))
    return saved.to(torch.uint8), hr


def _strong(_lr: Tensor, hr: Tensor, scale: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Second-order degradation with the ranges of Real-ESRGAN (Wang et al., arXiv 2107.10833).

    For what is badly damaged, at the price of texture that is taken for damage.
    """
    parts = torch.split(hr, _SHARING_SIZES)
    return torch.cat([_twice_damaged(part, scale, generator) for part in parts]), hr


_DEGRADATIONS = {
    "bilinear": _bilinear,
    "photo": _photo,
    "mild": _mild,
    "mild-combined": _mild_combined,
    "real": real,
    "strong": _strong,
}


def _twice_damaged(hr: Tensor, scale: int, generator: Generator) -> Tensor:
    count = len(hr)
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    levels = artifacts.filtered(hr.float(), artifacts.blur_kernels(count, (0.2, 3.0), generator))
    levels = artifacts.resized_at_random(levels, hr.shape[-2:], (0.2, 0.7), (0.15, 1.5), generator)
    levels = artifacts.shot_or_grain(levels, (1, 30), (0.05, 3), generator)
    levels = _saved(levels, generator)

    again = artifacts.chance(0.8, count, generator)
    kernels = artifacts.blur_kernels(count, (0.2, 1.5), generator)
    artifacts.change(levels, again, lambda part, which: artifacts.filtered(part, kernels[which]))
    levels = artifacts.resized_at_random(levels, size, (0.3, 0.4), (0.3, 1.2), generator)
    levels = artifacts.shot_or_grain(levels, (1, 25), (0.05, 2.5), generator)

    ringing = artifacts.chance(0.8, count, generator)
    kernels = artifacts.sinc_kernels(count, generator)
    saved_last = bool(artifacts.chance(0.5, 1, generator))
    if not saved_last:
        levels = _saved(levels, generator)
    levels = F.interpolate(levels, size=size, mode=artifacts.resizing_mode(generator))
    artifacts.change(levels, ringing, lambda part, which: artifacts.filtered(part, kernels[which]))
    if saved_last:
        levels = _saved(levels, generator)
    return _as_codes(levels)


def _saved(levels: Tensor, generator: Generator) -> Tensor:
    """JPEG of quality 30 to 95, half with full chroma."""
    count = len(levels)
    quality = torch.randint(30, 96, (count,), generator=generator)
    subsampled = artifacts.chance(0.5, count, generator)
    return jpeg.round_trip(levels.round().clamp_(0, 255), quality, subsampled)
