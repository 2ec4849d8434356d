"""The plain network: 3x3 convolutions, one activation slope per layer, everything at LR size.

The topology of ECBSR (Zhang et al., 2021) and of Real-ESRGAN's compact network, with one long feature
skip: plain 3x3 networks with one pixel shuffle give the most quality per millisecond on GPU and CPU alike.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscaler.models.contract import (
    Contract,
    Network,
    add_upsampled,
    conv_macs,
    plain_body,
    zero_initialized_tail,
)


class Compact(Network):
    """``depth`` convolutions of ``channels`` features between a head and a pixel-shuffle tail.

    Args:
        scale: 1, 2, 3, 4 or 8. 1 restores without upscaling.
        channels: Features per layer.
        depth: Convolutions between head and tail.
        gate_px: Odd side of the square of LR pixels over which a gate decides how much of the detail to add;
            0: all of it. The gate lets a network that restores leave an undamaged image unchanged.
    """

    def __init__(self, *, scale: int, channels: int = 48, depth: int = 8, gate_px: int = 0) -> None:
        super().__init__()
        if gate_px and gate_px % 2 == 0:
            raise ValueError(f"gate_px is {gate_px}, an even number")
        self.arguments = {"scale": scale, "channels": channels, "depth": depth}
        if gate_px:  # files of networks without a gate do not name it
            self.arguments["gate_px"] = gate_px
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.head_activation = nn.PReLU(1)
        self.body = plain_body(channels, depth)
        self.tail = zero_initialized_tail(channels, scale)
        self.gate = _open_gate(channels) if gate_px else None
        self.contract = Contract(
            scale=scale,
            receptive_radius_px=depth + 2 + gate_px // 2,
            multiple_of=1,
            macs_per_pixel=conv_macs(self),
        )

    def forward(self, lr: Tensor) -> Tensor:
        """See ``Network``."""
        return add_upsampled(self.detail(lr), lr, self.contract.scale)

    def detail(self, lr: Tensor) -> Tensor:
        """RGB ``(B, 3, H, W)`` in [0, 1] -> what is added, ``(B, 3*scale*scale, H, W)``, any float dtype."""
        first = self.head_activation(self.head(lr.to(self.dtype)))  # (B, C, H, W)
        features = self.run_body(self.body, first) + first  # the long skip is worth 0.04 dB
        detail: Tensor = self.tail(features)
        if self.gate is not None:
            detail = detail.float() * self._gate_weight(self.gate(features).float())
        return detail

    def _gate_weight(self, logits: Tensor) -> Tensor:
        """Share of the detail to add, ``(B, 1, H, W)`` in 0..1, from the logit of every pixel.

        Logits are averaged over a square: damage is uniform in a neighbourhood, its visible traces are not.
        """
        side = self.arguments["gate_px"]
        for shape in ((side, 1), (1, side)):  # 2 * side additions instead of side squared
            margins = (shape[0] // 2, shape[1] // 2)
            logits = F.avg_pool2d(logits, shape, 1, margins, count_include_pad=False)
        return torch.sigmoid(logits)


def _open_gate(channels: int) -> nn.Conv2d:
    """A convolution to one logit per pixel; training starts with the gate almost open everywhere."""
    conv = nn.Conv2d(channels, 1, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.constant_(conv.bias, 3.0)  # type: ignore[arg-type]
    return conv
