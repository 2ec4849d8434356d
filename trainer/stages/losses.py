"""The losses. ``sr`` and ``hr`` are RGB ``(N, 3, H, W)`` fp32 in [0, 1]; results are scalars."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.models.luma import luma


def mse_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean squared error, of which PSNR is the logarithm; for the end of a training."""
    return (sr - hr).square().mean()


def l1_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute error; EDSR (arXiv 1707.02921) found that it converges better than MSE."""
    return (sr - hr).abs().mean()


def charbonnier_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean of sqrt(difference^2 + 0.001^2) (LapSRN, arXiv 1710.01992): L1 that is smooth at 0."""
    return ((sr - hr).square() + 1e-6).sqrt().mean()


def spectrum_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute difference of the spectra, real and imaginary parts (as in SAFMN, arXiv 2302.13800).

    The transform is orthonormal, so that the weight does not depend on the size of the crops: SAFMN's
    0.05 on unnormalised spectra of 192-pixel crops is a weight of about 10 here.
    """
    spectrum = torch.fft.rfft2(sr.float() - hr.float(), norm="ortho")
    return torch.view_as_real(spectrum).abs().mean()


def luma_and_chroma(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """BT.601 luma, and half of the two colour differences.

    A loss over R, G and B spends a third of the network on each, although blue is only 11 % of luma, which
    dominates perceived sharpness and is what Y-PSNR measures. The colour differences are smoother and need
    less.

    Args:
        rgb: ``(N, 3, H, W)`` in [0, 1].

    Returns:
        ``(N, 1, H, W)`` in [0, 1] and ``(N, 2, H, W)`` in [-0.25, 0.25], fp32.
    """
    rgb = rgb.float()
    y = luma(rgb)
    differences = torch.cat([(rgb[:, 2:] - y) / 1.772, (rgb[:, :1] - y) / 1.402], 1)
    return y, differences / 2


def luma_of_clips(rgb: Tensor) -> Tensor:
    """BT.601 luma of ``(N, T, 3, H, W)`` in [0, 1]: ``(N, T, 1, H, W)``."""
    clips, frames, _, height, width = rgb.shape
    return luma(rgb.flatten(0, 1)).view(clips, frames, 1, height, width)


def calm_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """L1 of the change of the error from frame to frame: what flickers in SR and not in HR.

    Args:
        sr: Output for clips, ``(N, T, C, H, W)``.
        hr: The originals.
    """
    return (sr - hr).diff(dim=1).abs().mean()


def total_variation(sr: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, vertical plus horizontal (SRGAN's regulariser)."""
    return sr.diff(dim=-2).abs().mean() + sr.diff(dim=-1).abs().mean()


def grid_loss(sr: Tensor, hr: Tensor, scale: int, cells: int = 4) -> Tensor:
    """L1 of the error that repeats with every LR pixel: a grid artifact that looks like texture to VGG.

    A pixel shuffle computes each of the ``scale * scale`` positions inside an LR pixel with its own weights.
    A pattern of that period costs little in other losses: VGG takes it for texture, and pixel losses hardly
    see it beside the texture that is missing anyway. Real texture has no such period, so its error averages
    out.

    Args:
        sr: Output of the network.
        hr: The original.
        scale: The period, HR pixels.
        cells: Side of the square of LR pixels over which each position is averaged, clipped to the image.
    """
    positions = F.pixel_unshuffle(sr - hr, scale)  # (N, 3 * scale * scale, H / scale, W / scale)
    sides = [min(cells, side) for side in positions.shape[-2:]]
    return F.avg_pool2d(positions, sides, 1).abs().mean()


# Power of white noise of half a level: below it, an 8-bit image carries no information about a frequency.
_MIN_POWER = (0.375 * 0.5 / 255) ** 2


def power_loss(sr: Tensor, hr: Tensor, side_px: int = 32) -> Tensor:
    """L1 of the log power spectra of luma: how strong each frequency is, regardless of phase.

    Texture cannot be predicted pixel by pixel, but its strength at each frequency can. Too little is blur,
    too much a regular pattern: a network that repeats one in every LR pixel puts all its texture into a few
    frequencies, which costs most here. Spectral regularisation goes back to Durall et al. (arXiv 2003.01826),
    who use rings of the whole spectrum.

    Args:
        sr: Output of the network.
        hr: The original.
        side_px: Side of the windows (Hann, overlapping by half), clipped to the crop. Spectra are averaged
            over 2x2 windows only, so that a pattern in one corner cannot compensate for blur in another.
    """
    side_px = min(side_px, *sr.shape[-2:])
    powers = [_power(luma_and_chroma(images)[0].squeeze(1), side_px) for images in (sr, hr)]
    return (powers[0] / powers[1]).log().abs().mean()


def _power(luma: Tensor, side_px: int) -> Tensor:
    """Power of each frequency in windows of ``(N, H, W)``: ``(N, rows, columns, side, side // 2 + 1)``."""
    window = torch.hann_window(side_px, device=luma.device)
    windows = luma.unfold(1, side_px, max(1, side_px // 2)).unfold(2, side_px, max(1, side_px // 2))
    windows = (windows - windows.mean((-1, -2), keepdim=True)) * window * window.unsqueeze(1)
    spectrum = torch.view_as_real(torch.fft.rfft2(windows, norm="ortho"))
    return _mean_of_neighbours(_mean_of_neighbours(spectrum.square().sum(-1), 1), 2) + _MIN_POWER


def _mean_of_neighbours(values: Tensor, dimension: int) -> Tensor:
    count = values.shape[dimension] - 1
    if not count:
        return values
    return (values.narrow(dimension, 0, count) + values.narrow(dimension, 1, count)) / 2


def ldl_loss(sr: Tensor, ema_sr: Tensor, hr: Tensor) -> Tensor:
    """L1 where artifacts are likely (LDL, Liang et al., CVPR 2022).

    A pixel is weighted by the variance of the error around it (7x7) and in the whole crop (to the power of
    1/5), and by 0 where the averaged network is further from the original: there, the latest weights are
    better.

    Args:
        sr: Output of the network in training.
        ema_sr: Output with the averaged weights, without gradient.
        hr: The original.
    """
    with torch.no_grad():
        error = (hr - sr).abs().sum(1, keepdim=True)
        ema_error = (hr - ema_sr).abs().sum(1, keepdim=True)
        crop_wide = error.var((-1, -2, -3), keepdim=True).pow(0.2)
        weight = crop_wide * _local_variance(error, 7)
        weight[error < ema_error] = 0
    return (weight * (sr - hr)).abs().mean()


def _local_variance(values: Tensor, side_px: int) -> Tensor:
    radius = side_px // 2
    padded = F.pad(values, (radius, radius, radius, radius), mode="reflect")
    mean = F.avg_pool2d(padded, side_px, 1)
    count = side_px * side_px
    square = F.avg_pool2d(padded.square(), side_px, 1)
    return (square - mean.square()).clamp(min=0) * (count / (count - 1))


def perceptual_loss(
    sr: dict[str, Tensor], hr: dict[str, Tensor], weights: dict[str, float], criterion: str
) -> Tensor:
    """Weighted sum over layers of the ``l1`` or ``mse`` between their features ``(N, C, h, w)``."""
    difference = PIXEL_LOSSES[criterion]
    parts = [weight * difference(sr[name].float(), hr[name]) for name, weight in weights.items()]
    return torch.stack(parts).sum()


def feature_loss(sr: list[Tensor], hr: list[Tensor]) -> Tensor:
    """Mean over the discriminator's layers of the L1 between their features (arXiv 2005.07502)."""
    return torch.stack(
        [l1_loss(one.float(), other.detach().float()) for one, other in zip(sr, hr, strict=True)]
    ).mean()


# Adversarial losses. `Labels` makes targets for the cross-entropy of logits.

Labels = Callable[[Tensor, float], Tensor]


def exact_labels(logits: Tensor, value: float) -> Tensor:
    """The same target for all logits."""
    return torch.full_like(logits, value)


def generator_loss(kind: str, fake: Tensor, real: Tensor) -> Tensor:
    """The adversarial loss of the generator: low if the discriminator takes SR for HR.

    Args:
        kind: ``vanilla``: -log D(fake), SRGAN's; ``relativistic``: SR more real than the average HR and HR
            less real than the average SR (RaGAN, arXiv 1807.00734, ESRGAN's); ``paired``: SR more real than
            the HR of the same place (RpGAN, same paper); ``hinge``: minus the logit.
        fake: Logits of SR, any shape, fp32.
        real: Logits of HR; used by ``relativistic`` and ``paired`` only.
    """
    if kind == "paired":
        return F.softplus(real - fake).mean()
    if kind == "hinge":
        return -fake.mean()
    if kind == "relativistic":
        above, below = fake - real.mean(), real - fake.mean()
        return (_entropy(above, torch.ones_like(above)) + _entropy(below, torch.zeros_like(below))) / 2
    return _entropy(fake, torch.ones_like(fake))


def discriminator_loss(
    kind: str,
    fake: Tensor,
    real: Tensor,
    *,
    fake_label: float = 0.0,
    real_label: float = 1.0,
    labels: Labels = exact_labels,
) -> Tensor:
    """The loss of the discriminator: the mean of its errors on HR and on SR.

    Args:
        kind: As in ``generator_loss``.
        fake: Logits of SR, fp32.
        real: Logits of HR, fp32.
        fake_label: Target of the cross-entropy for SR (not for ``hinge`` and ``paired``).
        real_label: The same for HR.
        labels: Makes the targets; may add noise.
    """
    if kind == "paired":
        return F.softplus(fake - real).mean()
    if kind == "hinge":
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
    if kind == "relativistic":
        real, fake = real - fake.mean(), fake - real.mean()
    return (_entropy(real, labels(real, real_label)) + _entropy(fake, labels(fake, fake_label))) / 2


def _entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy; it is linear in the targets, so noisy ones beyond 0 and 1 are valid."""
    return F.binary_cross_entropy_with_logits(logits, targets)


PIXEL_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": l1_loss,
    "mse": mse_loss,
    "charbonnier": charbonnier_loss,
}


def accumulate(totals: dict[str, Tensor], terms: dict[str, Tensor], weight: float) -> None:
    """Add the terms of a micro-batch, times its share of the batch, to the totals; without gradients."""
    for name, value in terms.items():
        part = weight * value.detach()
        totals[name] = totals[name] + part if name in totals else part
