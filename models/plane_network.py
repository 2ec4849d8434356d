"""A network that gives the planes of video instead of RGB: an exact rewrite, beside those of ``fold.py``.

RGB to YUV is linear, and nothing is clamped before it. So the tail's weights are mixed: its channels become
samples of Y, U and V, and where chroma lies on every second pixel, the others are not computed. The
upsampled input that is added is mixed likewise. Chroma that lies between pixels is a weighted sum of up to
four; over an axis that needs it, a small convolution follows. It could go into the tail as well, whose kernel
would then be 5 high; that would cost more multiplications than it saves, and could not repeat edges.

All of this is at LR size, and only codes of 8 or 16 bits are enlarged: see ``PlaneOutput.unpack``.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscaler.models.compact import Compact
from upscaler.models.contract import BICUBIC_RADIUS_PX, Network, bicubic_kernel, bilinear_kernel
from upscaler.models.film import Film
from upscaler.models.srresnet import SRResNet
from upscaler.planes import ChromaAxis, PlaneOutput


def can_give(network: Network, output: PlaneOutput) -> bool:
    """Whether a network can be rewritten to give these planes."""
    simple = isinstance(network, Compact | SRResNet | Film) and isinstance(network.tail, nn.Conv2d)
    return simple and output.fits(network.contract.scale)


class PlaneNetwork(Network):
    """Gives packed planes, ``(B, K, H, W)`` at LR size, fp32, not clamped, and 0.5 above their codes.

    So that codes need no rounding: see ``PlaneOutput.as_codes``. Its contract has scale 1 therefore.

    Args:
        network: See ``can_give``; fp32. It is changed.
        output: The planes.
        strength: Share of the network in the result; the rest is bicubic upsampling.
    """

    def __init__(self, network: Network, output: PlaneOutput, strength: float = 1.0) -> None:
        super().__init__()
        assert isinstance(network, Compact | SRResNet | Film) and isinstance(network.tail, nn.Conv2d)
        scale, tail = network.contract.scale, network.tail
        self.arguments = {}
        self.network = network
        self._margins = int(output.rows.sees_neighbours), int(output.columns.sees_neighbours)
        self._shapes = [(scale, scale), *(_computed(output, scale) for _ in output.colors[1:])]
        self._radius_px = BICUBIC_RADIUS_PX if strength < 1 else 1  # of the upsampling
        self.contract = replace(
            network.contract,
            scale=1,
            receptive_radius_px=max(network.contract.receptive_radius_px, self._radius_px)
            + max(self._margins),
        )
        mix, offsets = self._mixing(output, scale)
        with torch.no_grad():
            tail.weight = nn.Parameter(strength * torch.einsum("ko,oihw->kihw", mix, tail.weight))
            assert tail.bias is not None, "tails have a bias"
            tail.bias = nn.Parameter(strength * (mix @ tail.bias))
        tail.out_channels = len(mix)
        # In fp32 whatever the dtype of the weights, so they are not buffers.
        upsampling = torch.einsum("ko,oihw->kihw", mix, _upsampling_kernel(scale, strength, mix.device))
        self._kept = [upsampling, offsets, self._reduction(output, scale)]
        self._kernels = self._kept

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._kernels = [kernel.to(self.device) for kernel in self._kept]
        return self

    def forward(self, lr: Tensor) -> Tensor:
        """RGB ``(B, 3, H, W)``, any float dtype, nominally in [0, 1] -> packed planes; see the class."""
        return self.completed(lr, self.network.detail(lr))

    def completed(self, lr: Tensor, detail: Tensor) -> Tensor:
        """The planes of a picture, from what the network's tail gives for it; see ``forward``."""
        upsampling, offsets, reduction = self._kernels
        rows, columns = self._margins
        down, across = self._radius_px + rows, self._radius_px + columns
        edged = F.pad(lr.float(), (across, across, down, down), mode="replicate")
        packed = convolved(edged, upsampling, offsets)
        height, width = lr.shape[-2:]
        packed[..., rows : rows + height, columns : columns + width] += detail
        if not (rows or columns):
            return packed
        self._repeat_edges(packed)
        return convolved(packed, reduction)

    def _repeat_edges(self, packed: Tensor) -> None:
        """Fill the margins of chroma with the outermost samples."""
        (frames, _, height, width), (_, *shapes) = packed.shape, self._shapes
        luma = self._shapes[0][0] * self._shapes[0][1]
        # (B, plane, row, column, H, W)
        chroma = packed[:, luma:].view(frames, len(shapes), *shapes[0], height, width)
        rows, columns = self._margins
        if rows:
            chroma[..., 0, :] = chroma[:, :, :1, :, 1]
            chroma[..., -1, :] = chroma[:, :, -1:, :, -2]
        if columns:
            chroma[..., 0] = chroma[:, :, :, :1, :, 1]
            chroma[..., -1] = chroma[:, :, :, -1:, :, -2]

    def _mixing(self, output: PlaneOutput, scale: int) -> tuple[Tensor, Tensor]:
        """From the channels of a pixel shuffle of RGB to packed planes, ``(K, 3*s*s)``; offsets, ``(K,)``."""
        mixed, offsets = [], []
        for (*weights, offset), (rows, columns) in zip(output.colors, self._shapes, strict=True):
            for row in range(0, scale, scale // rows):
                for column in range(0, scale, scale // columns):
                    pixel = torch.zeros(3, scale, scale)
                    pixel[:, row, column] = torch.tensor(weights)
                    mixed.append(pixel.flatten())
                    offsets.append(offset + 0.5)
        return torch.stack(mixed), torch.tensor(offsets)

    def _reduction(self, output: PlaneOutput, scale: int) -> Tensor:
        """The convolution that reduces chroma over the axes that see neighbours, and keeps luma."""
        down, across = self._margins
        inputs = sum(rows * columns for rows, columns in self._shapes)
        results = output.shapes(scale)
        kernel = torch.zeros(
            sum(rows * columns for rows, columns in results), inputs, 1 + 2 * down, 1 + 2 * across
        )
        luma = scale * scale
        kernel[:luma, :luma, down, across] = torch.eye(luma)
        target = source = luma
        for (rows, columns), (rows_in, columns_in) in zip(results[1:], self._shapes[1:], strict=True):
            for row in range(rows):
                for y, from_row, row_weight in _taps(output.rows, row, rows_in):
                    for column in range(columns):
                        for x, from_column, column_weight in _taps(output.columns, column, columns_in):
                            place = source + from_row * columns_in + from_column
                            kernel[target + row * columns + column, place, y + down, x + across] = (
                                row_weight * column_weight
                            )
            target, source = target + rows * columns, source + rows_in * columns_in
        return kernel


def _upsampling_kernel(scale: int, strength: float, device: torch.device) -> Tensor:
    """As ``bilinear_kernel``: what is added to the detail, bilinear, and bicubic for what strength leaves."""
    bilinear = bilinear_kernel(scale, device)
    if strength == 1:
        return bilinear
    margin = BICUBIC_RADIUS_PX - 1
    bicubic = torch.zeros(3, scale * scale, 3, *bicubic_kernel(scale, device).shape[2:], device=device)
    for color in range(3):
        bicubic[color, :, color] = bicubic_kernel(scale, device)[:, 0]
    bilinear = F.pad(bilinear, (margin, margin, margin, margin))
    return strength * bilinear + (1 - strength) * bicubic.view_as(bilinear)


def _computed(output: PlaneOutput, scale: int) -> tuple[int, int]:
    """Rows and columns of the chroma samples that the tail computes for an LR pixel."""
    rows, columns = (
        scale if axis.sees_neighbours else scale // axis.step for axis in (output.rows, output.columns)
    )
    return rows, columns


def _taps(axis: ChromaAxis, sample: int, computed: int) -> list[tuple[int, int, float]]:
    """What a chroma sample sees: LR pixels further, sample of those computed there, weight."""
    if not axis.sees_neighbours:
        return [(0, sample, 1.0)]
    return [
        (*divmod(axis.step * sample + offset, computed), weight)
        for offset, weight in enumerate(axis.taps, start=-1)
    ]


def convolved(pixels: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution without padding in true fp32: on a GPU, cuDNN would round to TF32.

    Args:
        pixels: ``(B, C, H, W)``, fp32, any range.
        kernel: ``(K, C, h, w)``, fp32.
        bias: ``(K,)``, fp32.

    Returns:
        ``(B, K, H - h + 1, W - w + 1)``, fp32.
    """
    if pixels.device.type == "cpu":
        return F.conv2d(pixels, kernel, bias)
    return products(pixels, kernel, bias)


def products(pixels: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """A convolution without padding as one matrix product, which torch computes in true fp32.

    Args:
        pixels: ``(B, C, H, W)``, fp32, any range.
        kernel: ``(K, C, h, w)``, fp32.
        bias: ``(K,)``, fp32.

    Returns:
        ``(B, K, H - h + 1, W - w + 1)``, fp32.
    """
    down, across = kernel.shape[-2:]
    height, width = pixels.shape[-2] - down + 1, pixels.shape[-1] - across + 1
    last = pixels.permute(0, 2, 3, 1)
    seen = [
        last[:, row : row + height, column : column + width]
        for row in range(down)
        for column in range(across)
    ]
    result = F.linear(torch.cat(seen, -1), kernel.permute(0, 2, 3, 1).flatten(1), bias)
    return result.permute(0, 3, 1, 2)
