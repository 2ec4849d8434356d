"""SRCNN (Dong et al., arXiv 1501.00092): three convolutions on the luminance of the enlarged picture.

At scale 1 it restores what JPEG has taken. Two things differ from the paper: the layers compute the change of
luminance instead of luminance itself, so that training starts at the plain enlargement and half precision
costs nothing that can be seen; and borders are padded, so that the picture keeps its size.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from upscaler.models.contract import Contract, Network, conv_macs
from upscaler.models.luma import luma


class SRCNN(Network):
    """9x9, 1x1 and 5x5 convolutions on luminance; chroma is only enlarged.

    Args:
        scale: 1, 2, 3, 4 or 8. 1 restores without enlarging.
        channels: Features of the first layer; the second has half as many.
    """

    def __init__(self, *, scale: int, channels: int = 64) -> None:
        super().__init__()
        self.arguments = {"scale": scale, "channels": channels}
        self.body = nn.Sequential(
            nn.Conv2d(1, channels, 9, padding=4),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels // 2, 1),
            nn.ReLU(inplace=True),
        )
        self.tail = nn.Conv2d(channels // 2, 1, 5, padding=2)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]  # it has one
        self.contract = Contract(
            scale=scale,
            receptive_radius_px=_receptive_radius_px(scale),
            multiple_of=1,
            macs_per_pixel=conv_macs(self) * scale * scale,
        )

    def forward(self, low: Tensor) -> Tensor:
        """See ``Network``."""
        enlarged = _enlarged(low.float(), self.contract.scale)  # (B, 3, H*scale, W*scale)
        change = self.tail(self.body(luma(enlarged).to(self.dtype)))
        high: Tensor = enlarged + change.float()
        return high

    def training_target(self, low: Tensor, high: Tensor) -> Tensor:
        """The luminance of ``high`` with the chroma that this network passes through."""
        enlarged = _enlarged(low.float(), self.contract.scale)
        return enlarged + (luma(high) - luma(enlarged))


def _enlarged(low: Tensor, scale: int) -> Tensor:
    """Bicubic (a = -0.5, which torch has with ``antialias`` alone)."""
    if scale == 1:
        return low
    size = (low.shape[-2] * scale, low.shape[-1] * scale)
    high: Tensor = F.interpolate(low, size=size, mode="bicubic", antialias=True)
    return high


def _receptive_radius_px(scale: int) -> int:
    """LR pixels to each side: six enlarged ones through the layers, then two through the bicubic kernel."""
    layers_px = 6
    if scale == 1:
        return layers_px
    # The centre of the farthest enlarged pixel, in LR pixels from the middle of the first.
    farthest = (scale - 0.5 + layers_px) / scale - 0.5
    return math.ceil(farthest + 2) - 1
