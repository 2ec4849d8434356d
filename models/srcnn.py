"""SRCNN (Dong et al., arXiv 1501.00092): three convolutions on the luma of the upsampled image.

At scale 1 it removes JPEG artifacts. Two things differ from the paper: the layers compute the change of luma
instead of luma itself, so that training starts at plain upsampling and half precision costs nothing visible;
and borders are padded, so that the image keeps its size.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from upscaler.models.contract import Contract, Network, conv_macs
from upscaler.models.luma import luma


class SRCNN(Network):
    """9x9, 1x1 and 5x5 convolutions on luma; chroma is only upsampled.

    Args:
        scale: 1, 2, 3, 4 or 8. 1 restores without upscaling.
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

    def forward(self, lr: Tensor) -> Tensor:
        """See ``Network``."""
        upsampled = _upsample(lr.float(), self.contract.scale)  # (B, 3, H*scale, W*scale)
        change = self.tail(self.body(luma(upsampled).to(self.dtype)))
        # Added to R, G and B alike it changes luma and leaves both colour differences as they are.
        sr: Tensor = upsampled + change.float()
        return sr

    def training_target(self, lr: Tensor, hr: Tensor) -> Tensor:
        """The luma of ``hr`` with the chroma that this network passes through; see ``Network``."""
        upsampled = _upsample(lr.float(), self.contract.scale)
        return upsampled + (luma(hr) - luma(upsampled))


def _upsample(lr: Tensor, scale: int) -> Tensor:
    """Bicubic with a = -0.5, which torch uses only with ``antialias``."""
    if scale == 1:
        return lr
    size = (lr.shape[-2] * scale, lr.shape[-1] * scale)
    upsampled: Tensor = F.interpolate(lr, size=size, mode="bicubic", antialias=True)
    return upsampled


def _receptive_radius_px(scale: int) -> int:
    """LR pixels to each side: six upsampled ones through the layers, then two through the bicubic kernel."""
    layers_px = 6
    if scale == 1:
        return layers_px
    # The centre of the farthest upsampled pixel, in LR pixels from the middle of the first.
    farthest = (scale - 0.5 + layers_px) / scale - 0.5
    return math.ceil(farthest + 2) - 1
