"""The network for films: a plain network that also sees the frames around, and remembers those before.

Neighbouring frames sample the same scene at other places between pixels, so together they show more than one
of them, and a result that follows from its predecessor flickers less. There is no optical flow: the layers of
the body find by themselves where things moved, as in RLSP (Fuoli et al., arXiv 1909.08080) and RRN (Isobe et
al., arXiv 2008.05765). What the network remembers are the features from which it made the frame before; its
tail reads details out of them, so they contain the result as well.
"""

from typing import Any

import torch
from torch import Tensor, nn

from upscaler.models.contract import Contract, Network, add_upsampled, conv_macs, zero_initialized_tail

# Remembered features are clamped to this, so that errors cannot grow from frame to frame without bound. Those
# of trained networks reach about half of it.
STATE_LIMIT = 8.0


class Film(Network):
    """``depth`` convolutions between a head, which sees a few frames and the state, and a pixel-shuffle tail.

    The size of the state is that of the features: ``channels`` at LR size.

    Args:
        scale: 1, 2, 3, 4 or 8.
        channels: Features per layer.
        depth: Convolutions between head and tail.
        frames_before: Frames before the one to upscale that the head sees.
        frames_after: Frames after it.
        carries_state: Whether the head also sees the features of the frame before.

    Attributes:
        seen_channels: Of what ``step`` sees.
    """

    def __init__(
        self,
        *,
        scale: int,
        channels: int = 48,
        depth: int = 8,
        frames_before: int = 1,
        frames_after: int = 1,
        carries_state: bool = True,
    ) -> None:
        super().__init__()
        self.arguments = {
            "scale": scale,
            "channels": channels,
            "depth": depth,
            "frames_before": frames_before,
            "frames_after": frames_after,
            "carries_state": carries_state,
        }
        state_channels = channels if carries_state else 0
        frames = frames_before + 1 + frames_after
        self.seen_channels = 3 * frames + state_channels
        self.head = nn.Conv2d(self.seen_channels, channels, 3, padding=1)
        self.head_activation = nn.PReLU(1)
        self.body = nn.Sequential()
        for _ in range(depth):
            self.body.append(nn.Conv2d(channels, channels, 3, padding=1))
            self.body.append(nn.PReLU(1))
        self.tail = zero_initialized_tail(channels, scale)
        self.contract = Contract(
            scale=scale,
            receptive_radius_px=depth + 2,
            multiple_of=1,
            macs_per_pixel=conv_macs(self),
            frames_before=frames_before,
            frames_after=frames_after,
            state_channels=state_channels,
        )

    def forward(self, lr: Tensor) -> Tensor:
        """A clip, or single pictures, each of which is a clip of one frame.

        Beyond the ends of a clip its first and last frame repeat, and the state before it is zero.

        Args:
            lr: RGB ``(B, T, 3, H, W)``, T frames in order, or ``(B, 3, H, W)``; any float dtype, in [0, 1].

        Returns:
            RGB ``(B, T, 3, H*scale, W*scale)`` or ``(B, 3, H*scale, W*scale)``, fp32, not clamped.
        """
        if lr.ndim == 4:
            return self.forward(lr.unsqueeze(1)).squeeze(1)
        windows = self._windows(lr)
        if not self.contract.state_channels:
            sr = self._upscaled(self.step(windows.flatten(0, 1))[0], lr.flatten(0, 1))
            return sr.view(*lr.shape[:2], *sr.shape[1:])
        state = self._no_state(lr[:, 0])
        frames = []
        for window, middle in zip(windows.unbind(1), lr.unbind(1), strict=True):
            detail, state = self.step(torch.cat([window.to(self.dtype), state], 1))
            frames.append(self._upscaled(detail, middle))
        return torch.stack(frames, 1)

    def detail(self, lr: Tensor) -> Tensor:
        """Single pictures, RGB ``(B, 3, H, W)`` in [0, 1] -> what is added; see ``step``."""
        window = self._windows(lr.unsqueeze(1))[:, 0].to(self.dtype)
        return self.step(torch.cat([window, self._no_state(lr)], 1))[0]

    def step(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """One frame.

        Args:
            seen: ``(B, seen_channels, H, W)``: RGB of the frames in order, in [0, 1], then the state that
                the frame before left.

        Returns:
            What is added to the upsampled frame, ``(B, 3*scale*scale, H, W)``, the channels of a pixel
            shuffle; and the state, ``(B, channels, H, W)``. Both in the dtype of the weights.
        """
        first = self.head_activation(self.head(seen.to(self.dtype)))
        features = self.run_body(self.body, first) + first
        return self.tail(features), features.clamp(-STATE_LIMIT, STATE_LIMIT)

    def middle_of(self, seen: Tensor) -> Tensor:
        """The frame that is upscaled, of what ``step`` sees: RGB ``(B, 3, H, W)``, same dtype and range."""
        start = 3 * self.contract.frames_before
        return seen[:, start : start + 3]

    def _upscaled(self, detail: Tensor, lr: Tensor) -> Tensor:
        return add_upsampled(detail, lr, self.contract.scale)

    def _no_state(self, lr: Tensor) -> Tensor:
        """The state before the first frame, of the size of these pictures."""
        channels = self.contract.state_channels
        return torch.zeros(len(lr), channels, *lr.shape[-2:], dtype=self.dtype, device=lr.device)

    def _windows(self, lr: Tensor) -> Tensor:
        """The frames that the head sees for each of a clip, ``(B, T, 3, H, W)`` -> ``(B, T, 3*n, H, W)``."""
        before, after = self.contract.frames_before, self.contract.frames_after
        times = torch.arange(lr.shape[1], device=lr.device).unsqueeze(1)
        seen = times + torch.arange(-before, after + 1, device=lr.device)
        return lr[:, seen.clamp(0, lr.shape[1] - 1)].flatten(2, 3)


def from_single_frame(state: dict[str, Tensor], arguments: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a ``Compact`` as those of a ``Film`` that gives the same, ignoring all other frames.

    Where the film network has more layers, the first ones keep their input: an identity convolution and an
    identity activation (Net2DeeperNet, Chen et al., arXiv 1511.05641).

    Args:
        state: Of a compact network of the same width, without a gate, at most as deep.
        arguments: Of the film network.

    Returns:
        The weights by name; those whose shapes do not fit are missing or do not fit.
    """
    channels, before = arguments["channels"], arguments["frames_before"]
    seen = 3 * (before + 1 + arguments["frames_after"]) + channels * bool(arguments["carries_state"])
    own = {name: tensor.float() for name, tensor in state.items() if not name.startswith("body.")}
    head = own["head.weight"]
    own["head.weight"] = head.new_zeros(len(head), seen, 3, 3)
    own["head.weight"][:, 3 * before : 3 * before + 3] = head
    layers = sum(name.startswith("body.") and tensor.ndim == 4 for name, tensor in state.items())
    added = arguments["depth"] - layers
    for name, tensor in state.items():
        if name.startswith("body."):
            _, index, kind = name.split(".")
            own[f"body.{int(index) + 2 * added}.{kind}"] = tensor.float()
    for layer in range(max(0, added)):
        own[f"body.{2 * layer}.weight"] = torch.eye(channels)[..., None, None] * _centre()
        own[f"body.{2 * layer}.bias"] = torch.zeros(channels)
        own[f"body.{2 * layer + 1}.weight"] = torch.ones(1)
    return own


def _centre() -> Tensor:
    """A 3x3 kernel that sees its middle only."""
    kernel = torch.zeros(3, 3)
    kernel[1, 1] = 1
    return kernel
