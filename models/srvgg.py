"""SRVGGNetCompact, the small generator of Real-ESRGAN, which other programs call Compact.

After https://github.com/xinntao/Real-ESRGAN; most small models that people share are such. It is here so that
they can be trained further, and the result runs in other programs.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from upscaler.models.contract import Contract, Network, conv_macs, plain_body, zero_initialized_tail


class SRVGG(Network):
    """``depth`` convolutions between a head and a pixel-shuffle tail; one activation slope per channel.

    Unlike ``Compact`` it has no long skip, and what is added to its detail is the input with repeated pixels.

    Args:
        scale: 1, 2, 3, 4 or 8. 1 restores without upscaling.
        channels: Features per layer.
        depth: Convolutions between head and tail.
    """

    def __init__(self, *, scale: int, channels: int = 64, depth: int = 16) -> None:
        super().__init__()
        self.arguments = {"scale": scale, "channels": channels, "depth": depth}
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.head_activation = nn.PReLU(channels)
        self.body = plain_body(channels, depth, slopes=channels)
        self.tail = zero_initialized_tail(channels, scale)
        self.contract = Contract(
            scale=scale, receptive_radius_px=depth + 2, multiple_of=1, macs_per_pixel=conv_macs(self)
        )

    def forward(self, lr: Tensor) -> Tensor:
        """See ``Network``."""
        scale = self.contract.scale
        first = self.head_activation(self.head(lr.to(self.dtype)))  # (B, C, H, W)
        detail = self.tail(self.run_body(self.body, first))
        repeated = F.interpolate(lr.float(), scale_factor=float(scale), mode="nearest")
        sr: Tensor = F.pixel_shuffle(detail.float(), scale) + repeated  # (B, 3, H*scale, W*scale)
        return sr
