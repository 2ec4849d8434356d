"""The plain network: 3x3 convolutions, one activation slope per layer, everything at LR size.

The topology of ECBSR (Zhang et al., 2021) and of Real-ESRGAN's compact network, with one long feature
skip: plain 3x3 networks with one pixel shuffle give the most quality per millisecond on GPU and CPU alike.
"""

from torch import Tensor, nn

from upscaler.models.contract import Contract, Network, conv_macs, onto_enlarged, zero_tail


class Compact(Network):
    """``depth`` convolutions of ``channels`` features between a head and a pixel-shuffle tail.

    Args:
        scale: 1, 2, 3, 4 or 8. 1 restores without enlarging.
        channels: Features per layer.
        depth: Convolutions between head and tail.
    """

    def __init__(self, *, scale: int, channels: int = 48, depth: int = 8) -> None:
        super().__init__()
        self.arguments = {"scale": scale, "channels": channels, "depth": depth}
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.head_activation = nn.PReLU(1)
        self.body = nn.Sequential()
        for _ in range(depth):
            self.body.append(nn.Conv2d(channels, channels, 3, padding=1))
            self.body.append(nn.PReLU(1))
        self.tail = zero_tail(channels, scale)
        self.contract = Contract(
            scale=scale, reach_px=depth + 2, multiple_of=1, half=True, macs_per_pixel=conv_macs(self)
        )

    def forward(self, low: Tensor) -> Tensor:
        """See ``Network``."""
        first = self.head_activation(self.head(low.to(self.dtype)))  # (B, C, H, W)
        features = self.through(self.body, first) + first  # the long skip is worth 0.04 dB
        return onto_enlarged(self.tail(features), low, self.contract.scale)
