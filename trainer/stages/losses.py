"""What the network is pulled towards. Pictures are RGB ``(B, 3, H, W)`` fp32 in [0, 1]."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.models.luma import luma


def mse_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean squared difference (MSE), of which PSNR is the logarithm; for the last stretch of a training."""
    return (sr - hr).square().mean()


def l1_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute difference (L1); EDSR (arXiv 1707.02921) found it to converge better than MSE."""
    return (sr - hr).abs().mean()


def charbonnier_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean of sqrt(difference^2 + 0.001^2) (LapSRN, arXiv 1710.01992): L1 with a round bottom."""
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

    A loss over R, G and B spends a third of a network on each, though blue is 11 % of what the eye takes for
    sharpness and of what PSNR on luma counts. The colour differences are smoother and need less.

    Returns:
        ``(B, 1, H, W)`` and ``(B, 2, H, W)``, fp32.
    """
    rgb = rgb.float()
    y = luma(rgb)
    differences = torch.cat([(rgb[:, 2:] - y) / 1.772, (rgb[:, :1] - y) / 1.402], 1)
    return y, differences / 2


def total_variation(sr: Tensor) -> Tensor:
    """Mean absolute step between neighbouring pixels, down plus right (SRGAN's regulariser)."""
    return sr.diff(dim=-2).abs().mean() + sr.diff(dim=-1).abs().mean()


def grid_loss(sr: Tensor, hr: Tensor, scale: int, cells: int = 4) -> Tensor:
    """L1 of the error that repeats from LR pixel to LR pixel: the grid with which features are fooled.

    A pixel shuffle makes each of the ``scale * scale`` places inside an LR pixel by weights of its own. A
    pattern with that period costs little elsewhere: it looks like texture to VGG, and pixel losses hardly see
    it among the texture that is missed anyhow. Texture has no such period, so its error disappears in a mean.

    Args:
        sr: From the network.
        hr: The original.
        scale: The period.
        cells: Side of the square of LR pixels over which each place is averaged, clipped to the picture.
    """
    places = F.pixel_unshuffle(sr - hr, scale)  # (B, 3 * scale * scale, H / scale, W / scale)
    sides = [min(cells, side) for side in places.shape[-2:]]
    return F.avg_pool2d(places, sides, 1).abs().mean()


# Half a level of white noise, as `_power` gives it: below that, an 8-bit picture says nothing of a wave.
_LEAST_POWER = (0.375 * 0.5 / 255) ** 2


def power_loss(sr: Tensor, hr: Tensor, side_px: int = 32) -> Tensor:
    """L1 of the logarithms of the power spectra of luma: how much there is of every wave, not where it lies.

    Texture cannot be guessed pixel by pixel, but how strong it is at each frequency can. Too little is blur,
    too much a regular pattern: a network that prints one over every LR pixel puts all its texture into a few
    frequencies, and that costs most here. As a regulariser of spectra this goes back to Durall et al.
    (arXiv 2003.01826); theirs is over rings of the whole spectrum.

    Args:
        sr: From the network.
        hr: The original.
        side_px: Side of the windows (Hann, overlapping by half), clipped to the crop. Spectra are averaged
            over squares of 2x2 windows: a pattern in one corner is not to make up for a lack in another.
    """
    side_px = min(side_px, *sr.shape[-2:])
    powers = [_power(luma_and_chroma(pictures)[0].squeeze(1), side_px) for pictures in (sr, hr)]
    return (powers[0] / powers[1]).log().abs().mean()


def _power(luma: Tensor, side_px: int) -> Tensor:
    """Power of each wave in the windows of ``(B, H, W)``, last ``(..., side, side // 2 + 1)``."""
    bell = torch.hann_window(side_px, device=luma.device)
    windows = luma.unfold(1, side_px, max(1, side_px // 2)).unfold(2, side_px, max(1, side_px // 2))
    windows = (windows - windows.mean((-1, -2), keepdim=True)) * bell * bell.unsqueeze(1)
    waves = torch.view_as_real(torch.fft.rfft2(windows, norm="ortho"))
    return _mean_of_neighbours(_mean_of_neighbours(waves.square().sum(-1), 1), 2) + _LEAST_POWER


def _mean_of_neighbours(values: Tensor, dimension: int) -> Tensor:
    count = values.shape[dimension] - 1
    if not count:
        return values
    return (values.narrow(dimension, 0, count) + values.narrow(dimension, 1, count)) / 2


def ldl_loss(sr: Tensor, averaged: Tensor, hr: Tensor) -> Tensor:
    """L1 where artefacts are likely (LDL, Liang et al., CVPR 2022).

    A pixel weighs as much as the error varies around it (7x7) and in the whole crop (power 1/5), and nothing
    where the averaged network is further from the original: there the newest weights are an improvement.

    Args:
        sr: From the network in training.
        averaged: The same from the averaged weights, without gradient.
        hr: The original.
    """
    with torch.no_grad():
        error = (hr - sr).abs().sum(1, keepdim=True)
        error_of_average = (hr - averaged).abs().sum(1, keepdim=True)
        crop_wide = error.var((-1, -2, -3), keepdim=True).pow(0.2)
        weight = crop_wide * _local_variance(error, 7)
        weight[error < error_of_average] = 0
    return (weight * (sr - hr)).abs().mean()


def _local_variance(values: Tensor, side_px: int) -> Tensor:
    reach = side_px // 2
    padded = F.pad(values, (reach, reach, reach, reach), mode="reflect")
    mean = F.avg_pool2d(padded, side_px, 1)
    count = side_px * side_px
    square = F.avg_pool2d(padded.square(), side_px, 1)
    return (square - mean.square()).clamp(min=0) * (count / (count - 1))


def perceptual_loss(
    sr: dict[str, Tensor], hr: dict[str, Tensor], weights: dict[str, float], criterion: str
) -> Tensor:
    """Weighted sum over layers of the difference of their features, ``l1`` or ``mse``."""
    difference = PIXEL_LOSSES[criterion]
    parts = [weight * difference(sr[name].float(), hr[name]) for name, weight in weights.items()]
    return torch.stack(parts).sum()


def feature_loss(sr: list[Tensor], hr: list[Tensor]) -> Tensor:
    """Mean over the discriminator's levels of the L1 difference of its features (arXiv 2005.07502)."""
    return torch.stack(
        [l1_loss(one.float(), other.detach().float()) for one, other in zip(sr, hr, strict=True)]
    ).mean()


# Adversarial losses: logits, and what they are to be taken for. `Labels` gives targets for cross-entropy.

Labels = Callable[[Tensor, float], Tensor]


def exact_labels(logits: Tensor, value: float) -> Tensor:
    """The same target for all."""
    return torch.full_like(logits, value)


def generator_loss(kind: str, fake: Tensor, real: Tensor) -> Tensor:
    """What the generator minimises: enlargements taken for originals.

    Args:
        kind: ``vanilla``: -log D(fake), SRGAN's; ``relativistic``: fakes more real than the average original
            and originals less so than the average fake (RaGAN, arXiv 1807.00734, ESRGAN's); ``hinge``:
            minus the logit.
        fake: Logits of enlargements, any shape, fp32.
        real: Logits of originals; used by ``relativistic`` only.
    """
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
    """What the discriminator minimises: the mean over originals and enlargements of being wrong.

    Args:
        kind: As in ``generator_loss``.
        fake: Logits of enlargements, fp32.
        real: Logits of originals, fp32.
        fake_label: Target of cross-entropy for enlargements (not for ``hinge``).
        real_label: The same for originals.
        labels: Maker of the targets, which may add noise.
    """
    if kind == "hinge":
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
    if kind == "relativistic":
        real, fake = real - fake.mean(), fake - real.mean()
    return (_entropy(real, labels(real, real_label)) + _entropy(fake, labels(fake, fake_label))) / 2


def _entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy; targets beyond 0 and 1, as noise makes them, are legal: it is linear in them."""
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
