"""The body of a network in 8-bit integers, for processors that multiply them several times as fast.

Not exact, but close: weights have a scale for each output channel, activations one for each layer, from the
range that they take on made-up pictures of every sharpness. Between the convolutions, a table of 256 entries
does what the activation does. Head, tail and the long skip stay in fp32. See docs/experiments.md.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from upscaler.models.compact import Compact
from upscaler.models.contract import Network

# Activations beyond this share of them, at each end, are clipped: on photographs that is better than none.
_CLIPPED_SHARE = 1e-4
# Values of an activation that are looked at for its range.
_SAMPLES = 200_000


def is_possible(network: Network, device: torch.device) -> bool:
    """Whether a network, with exact rewrites, has such a body, and this processor is made for it."""
    return (
        device.type == "cpu"
        and bool(torch.cpu._is_vnni_supported())
        and hasattr(torch.ops.onednn, "qconv2d_pointwise")
        and isinstance(network, Compact)
        and len(network.body) > 0
        and all(isinstance(layer, nn.Conv2d) for layer in network.body[::2])
        and all(isinstance(layer, nn.LeakyReLU) for layer in network.body[1::2])
    )


@torch.no_grad()
def with_int8_body(network: Network) -> Network:
    """The network, fp32, with its body in integers; see ``is_possible``. The network is changed."""
    assert isinstance(network, Compact), "only its body is known"
    features = network.head_activation(network.head(_pictures()))
    network.body = Int8Body(network.body, features)  # type: ignore[assignment]  # called like the layers
    return network


class Int8Body(nn.Module):
    """Convolutions of 3x3 with leaky ReLUs between them, in integers.

    Args:
        layers: Convolutions and activations in turn.
        features: ``(B, C, H, W)``, fp32: what the body sees for pictures like those to come.
    """

    def __init__(self, layers: nn.Sequential, features: Tensor) -> None:
        super().__init__()
        inputs, outputs = [_Codes.covering(features)], []
        pairs = list(zip(layers[::2], layers[1::2], strict=True))
        for conv, activation in pairs:
            features = conv(features)
            outputs.append(_Codes.covering(features))
            features = activation(features)
            inputs.append(_Codes.covering(features))
        self._first = inputs[0]
        self._layers = [
            _Layer(conv, seen, made) for (conv, _), seen, made in zip(pairs, inputs, outputs, strict=False)
        ]
        self._tables = [
            made.table(activation, after)
            for (_, activation), made, after in zip(pairs, outputs, [*inputs[1:-1], None], strict=True)
        ]
        # Not as a decorator: that would load torch's compiler, 150 MB, into every process.
        self.forward = torch.compiler.disable(self.forward)  # type: ignore[method-assign, no-untyped-call]

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, C, H, W)``, fp32 -> the same shape and dtype; any range, but values are clipped."""
        frames, channels, height, width = features.shape
        rows = features.permute(0, 2, 3, 1).reshape(frames * height, width * channels).numpy()
        first = self._first
        # One pass that scales, rounds and clips; torch takes four.
        codes = cv2.addWeighted(rows, 1 / first.scale, rows, 0.0, first.zero, dtype=cv2.CV_8U)
        for layer, table in zip(self._layers, self._tables, strict=True):
            pixels = torch.from_numpy(codes).view(frames, height, width, channels).permute(0, 3, 1, 2)
            made = layer(pixels).permute(0, 2, 3, 1)
            codes = cv2.LUT(made.reshape(frames * height, width * channels).numpy(), table)
        return torch.from_numpy(codes).view(frames, height, width, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Codes:
    """How 8-bit codes stand for numbers: ``scale * (code - zero)``."""

    scale: float
    zero: int

    @classmethod
    def covering(cls, values: Tensor) -> "_Codes":
        """Codes for values like these, and for 0, with which convolutions pad."""
        chosen = torch.randint(values.numel(), (_SAMPLES,), generator=torch.Generator().manual_seed(0))
        sample = values.flatten()[chosen]
        ends = torch.tensor([_CLIPPED_SHARE, 1 - _CLIPPED_SHARE])
        low, high = (float(end) for end in sample.quantile(ends))
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max(high - low, 1e-6) / 255
        return cls(scale, round(-low / scale))

    def table(self, activation: nn.Module, after: "_Codes | None") -> NDArray[np.uint8] | NDArray[np.float32]:
        """What an activation makes of every code, in other codes or, without, in numbers."""
        values = activation((torch.arange(256) - self.zero) * self.scale)
        if after is None:
            numbers: NDArray[np.float32] = values.numpy()
            return numbers
        codes: NDArray[np.uint8]
        codes = (values / after.scale + after.zero).round().clamp(0, 255).to(torch.uint8).numpy()
        return codes


class _Layer:
    """A convolution of codes, by torch's kernels for quantised networks."""

    def __init__(self, conv: nn.Module, seen: _Codes, made: _Codes) -> None:
        assert isinstance(conv, nn.Conv2d), "every second layer is one"
        self._seen, self._made, self._bias, self._padding = seen, made, conv.bias, list(conv.padding)
        weight = conv.weight.detach()
        self._scales = (weight.abs().amax((1, 2, 3)).clamp(min=1e-6) / 127).contiguous()
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        codes = (weight / self._scales.view(-1, 1, 1, 1)).round().to(torch.int8)
        self._packed = torch.ops.onednn.qconv_prepack(
            codes, self._scales, seen.scale, seen.zero, [1, 1], self._padding, [1, 1], 1
        )

    def __call__(self, codes: Tensor) -> Tensor:
        """``(B, C, H, W)`` uint8 -> the same shape and dtype."""
        result: Tensor = torch.ops.onednn.qconv2d_pointwise(
            codes,
            self._seen.scale,
            self._seen.zero,
            self._packed,
            self._scales,
            self._zeros,
            self._bias,
            [1, 1],
            self._padding,
            [1, 1],
            1,
            self._made.scale,
            self._made.zero,
            torch.uint8,
            "none",
            [],
            "",
        )
        return result


def _pictures() -> Tensor:
    """Noise in squares of 1 to 16 pixels, with hard edges and smooth: ``(10, 3, 128, 128)`` in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    pictures = []
    for square_px in (1, 2, 4, 8, 16):
        noise = torch.rand(1, 3, 128 // square_px, 128 // square_px, generator=generator)
        pictures.append(F.interpolate(noise, size=(128, 128), mode="nearest"))
        pictures.append(F.interpolate(noise, size=(128, 128), mode="bicubic").clamp(0, 1))
    return torch.cat(pictures).contiguous(memory_format=torch.channels_last)
