"""SRResNet, the generator of SRGAN (Ledig et al., arXiv 1609.04802), as published or with a smaller tail."""

import math
from typing import Literal

from torch import Tensor, nn

from upscaler.models.contract import Contract, Network, add_upsampled, conv_macs, zero_initialized_tail

Norm = Literal["none", "batch"]
Tail = Literal["single", "paper"]


class SRResNet(Network):
    """Residual blocks at LR size, one long skip, and a tail that upsamples.

    Args:
        scale: 1, 2, 3, 4 or 8.
        channels: Features per layer.
        blocks: Residual blocks.
        norm: ``batch`` as in the paper, or ``none``: batch norm causes the known blotches and costs memory
            (ESRGAN, arXiv 1809.00219, found no loss without it).
        tail: ``paper``: 9x9 convolutions at both ends and one pixel shuffle per factor 2 (or 3), 45 % of
            the work at x4; ``single``: 3x3 ends, one pixel shuffle, and the upsampled input added.
    """

    def __init__(
        self, *, scale: int, channels: int = 64, blocks: int = 16, norm: Norm = "none", tail: Tail = "single"
    ) -> None:
        super().__init__()
        if norm not in ("none", "batch") or tail not in ("single", "paper"):
            raise ValueError(f"SRResNet has no norm={norm!r}, tail={tail!r}")
        self.arguments = {"scale": scale, "channels": channels, "blocks": blocks, "norm": norm, "tail": tail}
        paper = tail == "paper"
        head_px = 9 if paper else 3
        self.head = nn.Conv2d(3, channels, head_px, padding=head_px // 2)
        self.head_activation = nn.PReLU(1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels, norm) for _ in range(blocks)))
        self.merge = _conv(channels, norm)
        self.adds_input = not paper
        self.tail: nn.Module = (
            _paper_tail(channels, scale) if paper else zero_initialized_tail(channels, scale)
        )
        self.contract = Contract(
            scale=scale,
            receptive_radius_px=head_px // 2 + 2 * blocks + 1 + _tail_radius_px(scale, paper),
            multiple_of=1,
            macs_per_pixel=conv_macs(self) - conv_macs(self.tail) + _tail_macs(self.tail),
        )

    def forward(self, lr: Tensor) -> Tensor:
        """See ``Network``."""
        if self.adds_input:
            return add_upsampled(self.detail(lr), lr, self.contract.scale)
        return self.detail(lr).float()

    def detail(self, lr: Tensor) -> Tensor:
        """RGB ``(B, 3, H, W)`` in [0, 1] -> what the tail gives, any float dtype.

        ``(B, 3*scale*scale, H, W)``, to be added to the input; with the paper's tail RGB
        ``(B, 3, H*scale, W*scale)``.
        """
        first = self.head_activation(self.head(lr.to(self.dtype)))  # (B, C, H, W)
        features = self.merge(self.run_body(self.blocks, first)) + first
        detail: Tensor = self.tail(features)
        return detail


class ResidualBlock(nn.Module):
    """Convolution, PReLU, convolution, and the input added."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.layers = nn.Sequential(_conv(channels, norm), nn.PReLU(1), _conv(channels, norm))

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, C, H, W)``, any float dtype and range -> the same shape and dtype."""
        residual: Tensor = self.layers(features)
        return features + residual


def _conv(channels: int, norm: Norm) -> nn.Sequential:
    layers = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1))
    if norm == "batch":
        layers.append(nn.BatchNorm2d(channels))
    return layers


def _paper_factors(scale: int) -> list[int]:
    """One stage per factor 2, or a single one of 3; the paper has two stages of 2."""
    if scale in (1, 3):
        return [scale] if scale > 1 else []
    return [2] * int(math.log2(scale))


def _paper_tail(channels: int, scale: int) -> nn.Sequential:
    tail = nn.Sequential()
    for factor in _paper_factors(scale):
        tail.append(nn.Conv2d(channels, channels * factor * factor, 3, padding=1))
        tail.append(nn.PixelShuffle(factor))
        tail.append(nn.PReLU(1))
    tail.append(nn.Conv2d(channels, 3, 9, padding=4))
    return tail


def _tail_radius_px(scale: int, paper: bool) -> int:
    """LR pixels to each side on which the tail depends: a layer after upsampling by k sees 1/k as far."""
    if not paper:
        return 1
    radius, upsampled = 0.0, 1
    for factor in _paper_factors(scale):
        radius += 1 / upsampled
        upsampled *= factor
    return math.ceil(radius + 4 / upsampled)


def _tail_macs(tail: nn.Module) -> int:
    macs, upsampled = 0, 1
    for layer in tail.modules():
        if isinstance(layer, nn.PixelShuffle):
            upsampled *= layer.upscale_factor
        elif isinstance(layer, nn.Conv2d):
            macs += layer.weight.numel() * upsampled * upsampled
    return macs
