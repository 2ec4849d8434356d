"""How LR images are made from HR images: by downscaling alone, or with the degradation of real images.

This file maps names to degradations; their building blocks are in ``artifacts``, ``jpeg`` and ``h264``.
Everything runs in batches on the device of the images. Random numbers come from one generator on the CPU, so
that a run can be repeated and resumed; only noise is drawn on the device, by a generator seeded from it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from upscaler.errors import UsageError
from upscaler.trainer.degrade import artifacts, jpeg
from upscaler.trainer.degrade.drawn import drawn
from upscaler.trainer.degrade.real import real

_KNOWN = (
    "clean, bilinear, photo, mild, mild-combined, real, drawn, strong, video, videoN (N: CRF, 1 to 51), "
    "film, jpegN or jpegN-M (N and M from 1 to 100)"
)

# The name for LR images that come from files.
GIVEN = "given"

_MAX_CRF = 51  # of H.264

Degrade = Callable[[Tensor, Tensor, int, Generator], tuple[Tensor, Tensor]]

# Above this JPEG quality an image looks as it left the camera: a restoring network should not change it.
_MAX_DEGRADED_QUALITY = 90


@dataclass(frozen=True)
class Degradation:
    """How LR images are made.

    Attributes:
        name: As the user wrote it.
        degrade: ``(lr, hr, scale, generator)`` -> degraded LR images and the targets for a network, all
            ``(B, 3, ., .)`` uint8; called for every batch. ``lr`` is ``hr`` downscaled. ``None`` if LR images
            are made once per photograph (``clean``, and the clips of ``video``) or come from files
            (``given``).
        jpeg_quality: Lowest and highest quality of ``jpegN`` and ``jpegN-M``.
        encoded: Whether clips are encoded: ``video``, ``videoN`` and ``film``.
        partly_clean: Whether half of the clips are clean instead: ``film``.
        crf: Lowest and highest CRF of ``videoN``.
        restorable: Whether it does more than downscale, so that a network can learn to undo it at scale 1.
    """

    name: str
    degrade: Degrade | None
    jpeg_quality: tuple[int, int] | None = None
    encoded: bool = False
    partly_clean: bool = False
    crf: tuple[int, int] | None = None
    restorable: bool = True


def parse(name: str) -> Degradation:
    """The degradation with this name.

    Raises:
        UsageError: The name is unknown.
    """
    if name == "clean":
        return Degradation(name, None, restorable=False)
    if name == GIVEN:
        return Degradation(name, None)
    if name == "film":
        return Degradation(name, None, encoded=True, partly_clean=True)
    if match := re.fullmatch(r"video(\d+)?", name):
        crf = int(match[1]) if match[1] else None
        if crf is None or 1 <= crf <= _MAX_CRF:
            return Degradation(name, None, encoded=True, crf=None if crf is None else (crf, crf))
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


def downscale(hr: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic downscaling (a = -0.5), rounded to 8 bits.

    The kernel is that of Matlab's ``imresize``, which produced the published tables; only the outermost rows
    differ (torch renormalises the kernel at the border).

    Args:
        hr: RGB ``(B, 3, H, W)`` uint8; H and W multiples of ``scale``.
        scale: Factor; 1 returns the input.

    Returns:
        ``(B, 3, H/scale, W/scale)`` uint8.
    """
    return hr if scale == 1 else _as_codes(artifacts.downscale_bicubic(hr.float(), scale))


def _as_codes(levels: Tensor) -> Tensor:
    return levels.round().clamp_(0, 255).to(torch.uint8)


def _bilinear(_lr: Tensor, hr: Tensor, scale: int, _generator: Generator) -> tuple[Tensor, Tensor]:
    """Antialiased bilinear downscaling, as by Pillow's BILINEAR."""
    return _as_codes(artifacts.downscale_bilinear(hr.float(), scale)), hr


def _saved_as_jpeg(lowest: int, highest: int, *, mixed: bool) -> Degrade:
    """JPEG with a fixed quality and 4:2:0 chroma, as Pillow saves it; if ``mixed``, a quarter have 4:4:4.

    If ``mixed``, the target of high-quality images at scale 1 is the input: the network should keep them.
    """

    def degrade(lr: Tensor, hr: Tensor, scale: int, generator: Generator) -> tuple[Tensor, Tensor]:
        quality = torch.randint(lowest, highest + 1, (len(lr),), generator=generator)
        full_chroma = torch.rand(len(lr), generator=generator) < (0.25 if mixed else 0)
        saved = jpeg.round_trip(lr, quality, ~full_chroma).to(torch.uint8)
        if not mixed or scale > 1:
            return saved, hr
        good = (quality > _MAX_DEGRADED_QUALITY).view(-1, 1, 1, 1).to(hr.device)
        return saved, torch.where(good, saved, hr)

    return degrade


def _photo(lr: Tensor, hr: Tensor, scale: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Photographs from cameras, phones and the web: a third clean, the others mildly degraded."""
    return _mild(lr, hr, scale, generator, share=2 / 3)


def _mild(
    lr: Tensor, hr: Tensor, scale: int, generator: Generator, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Degrade a share of the images mildly.

    One of four downscaling kernels; blur (sigma up to 0.8 LR pixels) and noise (sigma up to 4 levels) with a
    probability of 0.3 each; JPEG of quality 60 to 98 with a probability of 0.7.
    """
    count = len(hr)
    degraded = artifacts.bernoulli(share, count, generator)
    kernel = torch.randint(1 + len(artifacts.OTHER_DOWNSCALERS), (count,), generator=generator) * degraded
    blurred = degraded & artifacts.bernoulli(0.3, count, generator)
    sigma_px = artifacts.uniform(0.1, 0.8, count, generator)
    noisy = degraded & artifacts.bernoulli(0.3, count, generator)
    noise_levels = artifacts.uniform(0, 4, count, generator)
    saved = degraded & artifacts.bernoulli(0.7, count, generator)
    quality = torch.randint(60, 99, (count,), generator=generator)
    subsampled = artifacts.bernoulli(0.5, count, generator)

    levels = lr.float()
    if scale > 1:
        for number, downscale_by_kernel in enumerate(artifacts.OTHER_DOWNSCALERS, start=1):
            which = (kernel == number).nonzero().flatten().to(hr.device)
            if len(which):
                levels[which] = downscale_by_kernel(hr[which].float(), scale)
    artifacts.apply_where(
        levels,
        blurred,
        lambda part, which: artifacts.convolve(part, artifacts.gaussian_kernels(sigma_px[which], 7)),
    )
    artifacts.apply_where(
        levels,
        noisy,
        lambda part, which: part + artifacts.gaussian_noise(part, noise_levels[which], generator),
    )
    levels.round_().clamp_(0, 255)
    artifacts.apply_where(
        levels, saved, lambda part, which: jpeg.round_trip(part, quality[which], subsampled[which])
    )
    return levels.to(torch.uint8), hr


def _mild_combined(lr: Tensor, hr: Tensor, _scale: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """All degradations of ``mild`` combined: blur, then noise, then JPEG of quality 60 to 95 (4:2:0)."""
    count = len(lr)
    sigma_px = artifacts.uniform(0.1, 0.8, count, generator)
    levels = artifacts.convolve(lr.float(), artifacts.gaussian_kernels(sigma_px, 7))
    levels += artifacts.gaussian_noise(levels, artifacts.uniform(0, 4, count, generator), generator)
    quality = torch.randint(60, 96, (count,), generator=generator)
    saved = jpeg.round_trip(levels.round_().clamp_(0, 255), quality, torch.ones(count, dtype=torch.bool))
    return saved.to(torch.uint8), hr


def _strong(_lr: Tensor, hr: Tensor, scale: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Second-order degradation with the ranges of Real-ESRGAN (Wang et al., arXiv 2107.10833).

    For badly degraded images; a network trained on it mistakes fine texture for artifacts.
    """
    parts = torch.split(hr, artifacts.CROPS_PER_SIZE)
    return torch.cat([_degraded_twice(part, scale, generator) for part in parts]), hr


_DEGRADATIONS = {
    "bilinear": _bilinear,
    "photo": _photo,
    "mild": _mild,
    "mild-combined": _mild_combined,
    "real": real,
    "drawn": drawn,
    "strong": _strong,
}


def _degraded_twice(hr: Tensor, scale: int, generator: Generator) -> Tensor:
    count = len(hr)
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    levels = artifacts.convolve(hr.float(), artifacts.blur_kernels(count, (0.2, 3.0), generator))
    levels = artifacts.resize_randomly(levels, hr.shape[-2:], (0.2, 0.7), (0.15, 1.5), generator)
    levels = artifacts.add_shot_or_gaussian_noise(levels, (1, 30), (0.05, 3), generator)
    levels = _saved(levels, generator)

    again = artifacts.bernoulli(0.8, count, generator)
    kernels = artifacts.blur_kernels(count, (0.2, 1.5), generator)
    artifacts.apply_where(levels, again, lambda part, which: artifacts.convolve(part, kernels[which]))
    levels = artifacts.resize_randomly(levels, size, (0.3, 0.4), (0.3, 1.2), generator)
    levels = artifacts.add_shot_or_gaussian_noise(levels, (1, 25), (0.05, 2.5), generator)

    ringing = artifacts.bernoulli(0.8, count, generator)
    kernels = artifacts.sinc_kernels(count, generator)
    saved_last = bool(artifacts.bernoulli(0.5, 1, generator))
    if not saved_last:
        levels = _saved(levels, generator)
    levels = F.interpolate(levels, size=size, mode=artifacts.random_interpolation(generator))
    artifacts.apply_where(levels, ringing, lambda part, which: artifacts.convolve(part, kernels[which]))
    if saved_last:
        levels = _saved(levels, generator)
    return _as_codes(levels)


def _saved(levels: Tensor, generator: Generator) -> Tensor:
    """JPEG of quality 30 to 95, half of them with 4:4:4 chroma."""
    count = len(levels)
    quality = torch.randint(30, 96, (count,), generator=generator)
    subsampled = artifacts.bernoulli(0.5, count, generator)
    return jpeg.round_trip(levels.round().clamp_(0, 255), quality, subsampled)
