"""The network for films: a plain network that also sees what it made of the frame before.

Neighbouring frames sample the same scene at other places between pixels, so together they show more than one
of them, and a result that follows from its predecessor flickers less. The result before is moved to where
things are now (``motion.py``), as in FRVSR (Sajjadi et al., arXiv 1801.04590): its luma is all that the
network remembers. A gate decides, for every pixel, how much of it stays.
"""

import torch
from torch import Tensor, nn

from upscaler.models.contract import (
    Contract,
    Network,
    add_upsampled,
    conv_macs,
    plain_body,
    zero_initialized_tail,
)
from upscaler.models.motion import luma_of, seen_channels, what_a_step_sees

# Remembered detail is clamped to this, so that errors cannot grow from frame to frame without bound. That of
# an image in [0, 1] is no larger.
STATE_LIMIT = 1.0
_MEMORY_CHANNELS = 32


class Film(Network):
    """A plain network, to whose first features those of what is known are added, and a gate behind it.

    Args:
        scale: 1, 2, 3, 4 or 8.
        channels: Features per layer.
        depth: Convolutions between head and tail.

    Attributes:
        seen_channels: Of what ``step`` sees.
    """

    added_parts = ("memory.", "gate.")

    def __init__(self, *, scale: int, channels: int = 48, depth: int = 8) -> None:
        super().__init__()
        self.arguments = {"scale": scale, "channels": channels, "depth": depth}
        self.seen_channels = seen_channels(scale)
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.head_activation = nn.PReLU(1)
        self.memory = nn.Sequential(
            nn.Conv2d(self.seen_channels, _MEMORY_CHANNELS, 3, padding=1),
            nn.PReLU(1),
            _zero_initialized(nn.Conv2d(_MEMORY_CHANNELS, channels, 3, padding=1)),
        )
        self.body = plain_body(channels, depth)
        self.tail = zero_initialized_tail(channels, scale)
        self.gate = _gate(channels, scale)
        self.contract = Contract(
            scale=scale,
            receptive_radius_px=depth + 3,
            multiple_of=1,
            macs_per_pixel=conv_macs(self),
            state_channels=scale * scale,
        )

    def forward(self, lr: Tensor) -> Tensor:
        """A clip, or single pictures, each of which is a clip of one frame.

        Args:
            lr: RGB ``(B, T, 3, H, W)``, T frames in order, or ``(B, 3, H, W)``; any float dtype, in [0, 1].

        Returns:
            RGB ``(B, T, 3, H*scale, W*scale)`` or ``(B, 3, H*scale, W*scale)``, fp32, not clamped.
        """
        if lr.ndim == 4:
            return self.forward(lr.unsqueeze(1)).squeeze(1)
        frames: list[Tensor] = []
        before = known = None
        for frame in lr.unbind(1):
            detail, known = self.step(what_a_step_sees(frame, before, known, self.contract.scale))
            frames.append(add_upsampled(detail, frame, self.contract.scale))
            before = frame
        return torch.stack(frames, 1)

    def step(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """One frame.

        Args:
            seen: See ``motion.what_a_step_sees``.

        Returns:
            What is added to the upsampled frame, ``(B, 3*scale*scale, H, W)``, the channels of a pixel
            shuffle; and of its luma what the next step remembers, ``(B, scale*scale, H, W)``.
        """
        features = self.features(seen)
        detail = self.tail(features)
        luma = luma_of(detail)
        kept = self.kept(features, seen, luma)
        return detail + kept.repeat(1, 3, 1, 1), remembered(luma + kept)

    def features(self, seen: Tensor) -> Tensor:
        """What tail and gate see, of what ``step`` sees: ``(B, channels, H, W)``, dtype of the weights."""
        seen = seen.to(self.dtype)
        first = self.head_activation(self.head(seen[:, :3])) + self.memory(seen)
        features: Tensor = self.run_body(self.body, first) + first
        return features

    def kept(self, features: Tensor, seen: Tensor, luma: Tensor) -> Tensor:
        """What the gate takes from the result before.

        Args:
            features: See ``features``.
            seen: What ``step`` sees.
            luma: Of the detail that the tail gives, ``(B, scale*scale, H, W)``.

        Returns:
            What it adds to that luma, of the same shape.
        """
        sureness, known = seen[:, 6:7], seen[:, 7:]
        share = torch.sigmoid(self.gate(features))
        return share * (known.to(share.dtype) - sureness.to(share.dtype) * luma)

    def detail(self, lr: Tensor) -> Tensor:
        """Single pictures, RGB ``(B, 3, H, W)`` in [0, 1], any float dtype -> what is added; see ``step``."""
        return self.step(what_a_step_sees(lr, None, None, self.contract.scale))[0]


def remembered(luma: Tensor) -> Tensor:
    """Luma of the detail of a finished frame ``(B, s*s, H, W)``, any float dtype -> the same within -1..1."""
    return luma.clamp(-STATE_LIMIT, STATE_LIMIT)


def _gate(channels: int, scale: int) -> nn.Conv2d:
    """A convolution to a logit per pixel of the result; training starts with a quarter kept."""
    conv = _zero_initialized(nn.Conv2d(channels, scale * scale, 3, padding=1))
    nn.init.constant_(conv.bias, -1.0)  # type: ignore[arg-type]
    return conv


def _zero_initialized(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv
