"""What the engine and the trainer need to know about a network, and the tail that most networks share."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscaler.models.gradient_checkpointing import run_checkpointed

ALL_DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})


@dataclass(frozen=True)
class Contract:
    """What the engine needs to know about a network.

    Args:
        scale: Output size over input size.
        receptive_radius_px: How many LR pixels to each side an output pixel depends on. Tiles that overlap
            by at least twice this much give the same result as the whole picture. Where ``tiling`` is
            ``approximate``, the part of it that tiles see; what lies further away changes little.
        multiple_of: Height and width must be multiples of this (1: any size).
        macs_per_pixel: Multiply-accumulates per LR pixel, for planning and benchmarks.
        min_side_px: Height and width must be at least this.
        square: Whether height and width must be equal.
        tiling: ``exact``: tiles give the result of the whole picture. ``approximate``: nearly, so they are
            blended where they meet. ``whole``: the network must see the whole picture.
        feather_px: Width over which approximate tiles are blended, LR pixels, even.
        dtypes: Those in which the network gives sound results; always fp32 among them.
        state_channels: Channels, at LR size, that a network for films carries from frame to frame; 0: none.
    """

    scale: int
    receptive_radius_px: int
    multiple_of: int
    macs_per_pixel: int
    min_side_px: int = 1
    square: bool = False
    tiling: Literal["exact", "approximate", "whole"] = "exact"
    feather_px: int = 0
    dtypes: frozenset[torch.dtype] = ALL_DTYPES
    state_channels: int = 0

    @property
    def sees_other_frames(self) -> bool:
        """Whether the result for a frame depends on others; such a network takes clips."""
        return self.state_channels > 0

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """The smallest size of at least this height and width that the network takes, but for ``square``."""
        multiple = self.multiple_of
        return (
            math.ceil(max(height, self.min_side_px) / multiple) * multiple,
            math.ceil(max(width, self.min_side_px) / multiple) * multiple,
        )


class Network(nn.Module):
    """A super-resolution network: a module that carries its contract and the arguments that rebuild it.

    ``forward`` takes RGB ``(B, 3, H, W)`` in [0, 1], any float dtype, and returns fp32 RGB
    ``(B, 3, H*scale, W*scale)``, not clamped. Convolutions run in the dtype of the weights.

    Attributes:
        contract: What the engine needs to know.
        arguments: Keyword arguments that rebuild the network; JSON-serializable.
        gradient_checkpointing: Whether training recomputes the features of the body in the backward pass
            instead of keeping them.
        memory_format: Memory format of the weights in which the network runs.
        input_channels: Of what it sees at once: RGB; a network for films sees more, see ``FilmStep``.
        output_channels: Of what it gives: RGB; likewise.
        added_parts: How the names of those parameters begin that the plain network lacks from which it can
            start; all of them where it starts from its own kind.
    """

    contract: Contract
    arguments: dict[str, Any]
    gradient_checkpointing: bool = False
    memory_format: torch.memory_format = torch.channels_last
    input_channels: int = 3
    output_channels: int = 3
    added_parts: tuple[str, ...] = ("",)

    def run_body(self, body: nn.Sequential, features: Tensor) -> Tensor:
        """``body(features)``, with gradient checkpointing if it is on.

        Args:
            body: Layers that keep the shape.
            features: ``(B, C, H, W)``, any float dtype and range.
        """
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return run_checkpointed(body, features)
        output: Tensor = body(features)
        return output

    def training_target(self, lr: Tensor, hr: Tensor) -> Tensor:
        """What training compares the output for ``lr`` with: ``hr``, as far as the network can produce it.

        Args:
            lr: RGB ``(B, 3, H, W)``, fp32 in [0, 1].
            hr: RGB ``(B, 3, H*scale, W*scale)``, fp32 in [0, 1].

        Returns:
            As ``hr``.
        """
        return hr

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device


def plain_body(channels: int, depth: int, slopes: int = 1) -> nn.Sequential:
    """``depth`` 3x3 convolutions, each with an activation that has one slope, or one for each channel."""
    body = nn.Sequential()
    for _ in range(depth):
        body.append(nn.Conv2d(channels, channels, 3, padding=1))
        body.append(nn.PReLU(slopes))
    return body


def zero_initialized_tail(channels: int, scale: int) -> nn.Conv2d:
    """The last convolution before the pixel shuffle; zero, so that training starts at plain upsampling."""
    conv = nn.Conv2d(channels, 3 * scale * scale, 3, padding=1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def add_upsampled(detail: Tensor, lr: Tensor, scale: int) -> Tensor:
    """Pixel-shuffle a network's detail and add the bilinearly upsampled input.

    Adding in fp32 keeps a bf16 network within 67 dB of its fp32 self: only the (small) detail is computed in
    half precision. On a CPU the upsampling is a 3x3 convolution at LR size, added before the shuffle, which
    takes half the time. On a GPU that convolution would be rounded to TF32.

    Args:
        detail: ``(B, 3*scale*scale, H, W)``, any float dtype; RGB, the channels of a pixel shuffle.
        lr: RGB ``(B, 3, H, W)``, any float dtype, in [0, 1].
        scale: Factor; 1 adds the input itself.

    Returns:
        RGB ``(B, 3, H*scale, W*scale)``, fp32, not clamped. The upsampling depends on at most 1 LR pixel to
        each side.
    """
    if scale == 1:
        return detail.float() + lr.float()
    if lr.device.type != "cpu":
        upsampled = F.interpolate(lr.float(), scale_factor=float(scale), mode="bilinear", align_corners=False)
        return F.pixel_shuffle(detail.float(), scale) + upsampled
    edged = F.pad(lr.float(), (1, 1, 1, 1), mode="replicate")
    return F.pixel_shuffle(F.conv2d(edged, bilinear_kernel(scale, lr.device)) + detail.float(), scale)


def bilinear_kernel(scale: int, device: torch.device) -> Tensor:
    """Bilinear upsampling as a convolution to the channels of a pixel shuffle.

    A new pixel whose centre lies t LR pixels right of an old one's, -0.5 < t < 0.5, weighs the three pixels
    around with max(-t, 0), 1 - abs(t) and max(t, 0).

    Args:
        scale: Output size over input size.
        device: For the result.

    Returns:
        ``(3*s*s, 3, 3, 3)``, fp32, weights of 0 to 1 that add up to 1 for each output; RGB in, and out the
        channels of a pixel shuffle to RGB.
    """
    offset = (torch.arange(scale, device=device) + 0.5) / scale - 0.5
    taps = torch.stack([(-offset).clamp(min=0), 1 - offset.abs(), offset.clamp(min=0)], 1)  # (s, 3)
    square = torch.einsum("ya,xb->yxab", taps, taps).view(1, scale * scale, 1, 3, 3)
    colors = torch.eye(3, device=device).view(3, 1, 3, 1, 1)
    return (colors * square).view(3 * scale * scale, 3, 3, 3)


BICUBIC_RADIUS_PX = 2


def bicubic_kernel(scale: int, device: torch.device) -> Tensor:
    """Bicubic upsampling of one channel as a convolution to the channels of a pixel shuffle.

    With the kernel of Keys (1981), a = -0.5, as antialiased resizing uses it.

    Args:
        scale: Output size over input size.
        device: For the result.

    Returns:
        ``(s*s, 1, 5, 5)``, fp32, weights in -0.2..1 that add up to 1 for each output.
    """
    offset = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    places = torch.arange(-BICUBIC_RADIUS_PX, BICUBIC_RADIUS_PX + 1)
    distance = (places[None, :] - offset[:, None]).abs()  # (s, 5)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))
    square = torch.einsum("ya,xb->yxab", taps, taps)
    return square.reshape(scale * scale, 1, *square.shape[2:]).float().to(device)


def conv_macs(module: nn.Module) -> int:
    """Multiply-accumulates of all convolutions in ``module`` for one position each."""
    return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Conv2d))
