"""Discriminators: used in training only, never shipped."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscaler.errors import WeightsError

Kind = Literal["patch", "patch-input", "srgan", "unet"]
KINDS: tuple[Kind, ...] = ("patch", "patch-input", "srgan", "unet")


class Discriminator(nn.Module):
    """Tells HR from SR.

    ``forward`` takes RGB ``(B, 3, H, W)``, fp32 in [0, 1], and the LR version that the generator saw, which
    some kinds look at. It returns logits (above 0: HR) and the features after each level, for feature
    matching.
    """

    def forward(self, picture: Tensor, lr: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See the class."""
        raise NotImplementedError


def build(kind: Kind, *, channels: int, side_px: int) -> Discriminator:
    """Build a discriminator with fresh random weights.

    Args:
        kind: ``patch``, ``patch-input``, ``srgan`` or ``unet``.
        channels: Features of the first layer; the papers take 64.
        side_px: Side of the HR crops it will see; the dense head of ``srgan`` is built for it.

    Raises:
        WeightsError: No such kind.
    """
    if kind == "srgan":
        return SRGANDiscriminator(channels=channels, side_px=side_px)
    if kind == "patch":
        return PatchDiscriminator(channels=channels)
    if kind == "patch-input":
        return PatchInputDiscriminator(channels=channels)
    if kind == "unet":
        return UNetDiscriminator(channels=channels)
    raise WeightsError(f"no discriminator '{kind}'", f"there is {', '.join(KINDS)}")


class SRGANDiscriminator(Discriminator):
    """The discriminator of SRGAN (Ledig et al., arXiv 1609.04802, figure 4): one logit ``(B, 1)`` per crop.

    Eight 3x3 convolutions from ``channels`` to eight times as many, every second one with stride 2, batch
    norm after all but the first, and a dense head that fits one size of crop only. The paper's sigmoid is
    part of the loss.

    Args:
        channels: Features of the first layer.
        side_px: Side of the crops.
    """

    def __init__(self, *, channels: int = 64, side_px: int = 96) -> None:
        super().__init__()
        self.side_px = side_px
        widths = [channels * factor for factor in (1, 1, 2, 2, 4, 4, 8, 8)]
        self.levels = nn.ModuleList()
        before = 3
        for index, width in enumerate(widths):
            level = nn.Sequential(
                nn.Conv2d(before, width, 3, stride=1 + index % 2, padding=1, bias=index == 0),
                nn.LeakyReLU(0.2),
            )
            if index:
                level.insert(1, nn.BatchNorm2d(width))
            self.levels.append(level)
            before = width
        side = side_px
        for _ in range(4):
            side = -(-side // 2)  # padding makes an odd side round up
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(before * side * side, 1024), nn.LeakyReLU(0.2), nn.Linear(1024, 1)
        )

    def forward(self, picture: Tensor, lr: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See ``Discriminator``; asserts that the crops have the side it was built for."""
        assert picture.shape[-2:] == (self.side_px, self.side_px), f"built for {self.side_px}-pixel crops"
        features = []
        for level in self.levels:
            picture = level(picture)
            features.append(picture)
        return self.head(picture), features


class UNetDiscriminator(Discriminator):
    """A U-Net with spectral norm: a logit for every pixel, ``(B, 1, H, W)``, for crops of any size.

    As in Real-ESRGAN (Wang et al., arXiv 2107.10833, section 3.2): three levels down with stride 2, three up
    with bilinear upsampling and the level of that size added, spectral norm on every inner layer.

    Args:
        channels: Features of the first layer.
    """

    def __init__(self, *, channels: int = 64) -> None:
        super().__init__()
        c = channels
        self.first = nn.Conv2d(3, c, 3, padding=1)
        self.down = nn.ModuleList(
            SpectralConv2d(before, 2 * before, 4, stride=2) for before in (c, 2 * c, 4 * c)
        )
        self.up = nn.ModuleList(SpectralConv2d(2 * after, after, 3) for after in (4 * c, 2 * c, c))
        self.last = nn.ModuleList(SpectralConv2d(c, c, 3) for _ in range(2))
        self.logits = nn.Conv2d(c, 1, 3, padding=1)

    def forward(self, picture: Tensor, lr: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See ``Discriminator``."""
        x = _leaky(self.first(picture))
        skips, features = [x], [x]
        for layer in self.down:
            x = _leaky(layer(x))
            skips.append(x)
            features.append(x)
        skips.pop()
        for layer in self.up:
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = _leaky(layer(x)) + skip
            features.append(x)
        for layer in self.last:
            x = _leaky(layer(x))
        return self.logits(x), features


# Brings detail, of a few levels, to values about as large as those of a picture.
_DETAIL_GAIN = 10.0


class PatchDiscriminator(Discriminator):
    """A logit for every patch of 60x60 pixels, 8 pixels apart, ``(B, 1, H/8, W/8)``, with spectral norm.

    A PatchGAN (Isola et al., arXiv 1611.07004) that begins with the four pixels of each 2x2 square as
    channels: no layer works at full size, where a processor spends most of a U-Net's time.

    It sees the detail alone, amplified. Beside brightness and colours, which the other losses take care of,
    detail is so weak that a discriminator of whole pictures hardly told SR from HR after 220 steps (loss 0.68
    of 0.69); one of detail did after 160 (0.31).

    Args:
        channels: Features of the first layer; the last ones have four times as many.
    """

    blur: Tensor
    inputs = 12  # channels of what the first layer sees

    def __init__(self, *, channels: int = 32) -> None:
        super().__init__()
        c = channels
        self.levels = nn.ModuleList(
            [
                nn.Conv2d(self.inputs, c, 3, padding=1),
                SpectralConv2d(c, 2 * c, 4, stride=2),
                SpectralConv2d(2 * c, 4 * c, 4, stride=2),
                SpectralConv2d(4 * c, 4 * c, 3),
            ]
        )
        self.logits = nn.Conv2d(4 * c, 1, 3, padding=1)
        row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        self.register_buffer("blur", (row[:, None] * row).expand(3, 1, 5, 5).clone(), persistent=False)

    def forward(self, picture: Tensor, lr: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See ``Discriminator``; odd sides lose their last row or column."""
        x = self.seen(picture, lr)
        features = []
        for layer in self.levels:
            x = _leaky(layer(x))
            features.append(x)
        return self.logits(x), features

    def seen(self, picture: Tensor, lr: Tensor) -> Tensor:
        """What the first layer sees: the detail of each 2x2 square.

        Args:
            picture: RGB ``(B, 3, H, W)`` fp32, nominally in [0, 1].
            lr: Its LR, RGB ``(B, 3, h, w)`` fp32 in [0, 1].

        Returns:
            ``(B, inputs, H/2, W/2)`` fp32.
        """
        smooth = F.conv2d(F.pad(picture, (2, 2, 2, 2), mode="replicate"), self.blur, groups=3)
        return _squares(_DETAIL_GAIN * (picture - smooth))


# The difference from the enlarged input is about twice as strong as detail.
_DIFFERENCE_GAIN = 5.0


class PatchInputDiscriminator(PatchDiscriminator):
    """A ``PatchDiscriminator`` that also sees the difference from the enlarged input, and the input itself.

    It judges whether detail fits the input (a conditional discriminator: Isola et al., arXiv 1611.07004), and
    tells SR from HR sooner. Learning rates and weights must be a third to a fifth of those of ``patch``: with
    the same, its loss swung between 0.01 and 7, and colours drifted by 2 levels within 400 steps.
    """

    inputs = 27

    def seen(self, picture: Tensor, lr: Tensor) -> Tensor:
        """What the first layer sees, ``(B, inputs, H/2, W/2)`` fp32; see ``PatchDiscriminator``."""
        enlarged = F.interpolate(lr, size=picture.shape[-2:], mode="bilinear")
        detail, difference = super().seen(picture, lr), _squares(_DIFFERENCE_GAIN * (picture - enlarged))
        half = F.interpolate(lr, size=detail.shape[-2:], mode="bilinear")
        return torch.cat([detail, difference, 2 * half - 1], 1)


def _squares(picture: Tensor) -> Tensor:
    """The four pixels of each 2x2 square as channels; odd sides lose their last row or column."""
    height, width = (side - side % 2 for side in picture.shape[-2:])
    return F.pixel_unshuffle(picture[..., :height, :width], 2)


class SpectralConv2d(nn.Conv2d):
    """A convolution without bias whose weight is divided by its largest singular value (arXiv 1802.05957).

    One step of the power iteration per forward pass in training mode, always in fp32: torch's own
    parametrization would run it in bf16 under autocast.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel_px: Side of the kernel.
        stride: Step between outputs.
    """

    left: Tensor

    def __init__(self, inputs: int, outputs: int, kernel_px: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel_px, stride=stride, padding=1, bias=False)
        self.register_buffer("left", F.normalize(torch.randn(outputs), dim=0))
        with torch.no_grad():  # so that the first step starts with a norm that means something
            for _ in range(15):
                self._iterate(self.weight.flatten(1))

    def forward(self, input: Tensor) -> Tensor:  # the name is torch's
        """Features ``(B, inputs, H, W)``, any float dtype and range -> ``(B, outputs, h, w)``."""
        with torch.autocast(self.weight.device.type, enabled=False):
            matrix = self.weight.flatten(1)
            if self.training:
                self._iterate(matrix.detach())
            left = self.left.clone()  # the iteration changes it in place before the backward pass
            right = F.normalize(matrix.detach().mT @ left, dim=0)
            weight = self.weight / (left @ (matrix @ right))
        return F.conv2d(input, weight, None, self.stride, self.padding)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        right = F.normalize(matrix.mT @ self.left, dim=0)
        self.left.copy_(F.normalize(matrix @ right, dim=0))


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
