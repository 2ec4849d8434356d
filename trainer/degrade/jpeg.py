"""JPEG (ITU-T T.81) there and back in torch, in batches and on any device: the pixels of a file read again.

What loses something is done as libjpeg does it by default: 8-bit YCbCr of JFIF, box-filtered chroma, the
tables of Annex K scaled by quality, triangle-filtered chroma on the way back. The entropy coding, which loses
nothing, is left out. Differs from Pillow only where libjpeg's integer arithmetic rounds otherwise.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.models.luma import luma

# Annex K.1 and K.2, row by row: quantisation of luma and of chroma at quality 50.
_LUMA_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)


def round_trip(rgb: Tensor, quality: Tensor, subsampled: Tensor) -> Tensor:
    """Save and read again.

    Args:
        rgb: ``(B, 3, H, W)``, any dtype, whole levels 0..255. The grid of blocks begins at the top left.
        quality: ``(B,)`` whole numbers 1..100, on the processor.
        subsampled: ``(B,)`` bool, on the processor: whether chroma has half the size (4:2:0) or not (4:4:4).

    Returns:
        ``(B, 3, H, W)`` fp32, whole levels 0..255.
    """
    result = torch.empty(rgb.shape, device=rgb.device)
    for halved in (False, True):
        which = (subsampled == halved).nonzero().flatten()
        if len(which):
            part = which.to(rgb.device)
            result[part] = _round_trip(rgb[part].float(), quality[which].to(rgb.device), halved)
    return result


def _round_trip(rgb: Tensor, quality: Tensor, halved: bool) -> Tensor:
    height, width = rgb.shape[-2:]
    block_px = 16 if halved else 8
    padded = F.pad(rgb, (0, -width % block_px, 0, -height % block_px), mode="replicate")
    y, cb, cr = _to_ycbcr(padded)
    chroma = torch.cat([cb, cr])
    if halved:
        chroma = _halved(chroma)
    y = _coarsened(y, _steps(_LUMA_STEPS, quality))
    chroma = _coarsened(chroma, _steps(_CHROMA_STEPS, quality).repeat(2, 1, 1))
    if halved:
        chroma = _doubled(chroma[..., : -(-height // 2), : -(-width // 2)])
    return _to_rgb(y[..., :height, :width], *chroma[..., :height, :width].chunk(2))


def _steps(table: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """Quantisation steps of each picture, ``(B, 1, 64)``, by libjpeg's rule for quality."""
    factor = torch.where(quality < 50, 5000 // quality, 200 - 2 * quality).view(-1, 1)
    base = torch.tensor(table, device=quality.device).flatten()
    return ((base * factor + 50) // 100).clamp(1, 255).float().unsqueeze(1)


def _coarsened(plane: Tensor, steps: Tensor) -> Tensor:
    """Cosine transform of 8x8 blocks, quantisation, and back; ``(B, h, w)``, sides multiples of 8."""
    count, height, width = plane.shape
    blocks = (plane - 128).view(count, height // 8, 8, width // 8, 8).transpose(2, 3).reshape(count, -1, 64)
    transform = _transform(str(plane.device))
    coefficients = blocks @ transform.T / steps
    # Halves away from zero, as in libjpeg; torch rounds them to even.
    kept = (coefficients.abs() + 0.5).floor() * coefficients.sign() * steps
    made = (kept @ transform).view(count, height // 8, width // 8, 8, 8).transpose(2, 3)
    return (made.reshape(count, height, width) + 128).round_().clamp_(0, 255)


@functools.cache
def _transform(device: str) -> Tensor:
    """The orthonormal 8x8 cosine transform as a matrix on flattened blocks, ``(64, 64)``."""
    index = torch.arange(8, dtype=torch.float64)
    rows = torch.cos((2 * index[None] + 1) * index[:, None] * math.pi / 16) / 2
    rows[0] /= math.sqrt(2)
    return torch.kron(rows, rows).float().to(device)


def _to_ycbcr(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Full-range BT.601, as JFIF has it; whole levels."""
    y = luma(rgb)[:, 0]
    r, _, b = rgb.unbind(1)
    cb = (b - y) / 1.772 + 128
    cr = (r - y) / 1.402 + 128
    return y.round(), cb.round_().clamp_(0, 255), cr.round_().clamp_(0, 255)


def _to_rgb(y: Tensor, cb: Tensor, cr: Tensor) -> Tensor:
    cb, cr = cb - 128, cr - 128
    r = y + 1.402 * cr
    g = y - 0.344136 * cb - 0.714136 * cr
    b = y + 1.772 * cb
    return torch.stack([r, g, b], 1).round_().clamp_(0, 255)


def _halved(chroma: Tensor) -> Tensor:
    """Mean of 2x2 levels; what lies half-way goes down and up in turn, as in libjpeg."""
    total = chroma[:, 0::2, 0::2] + chroma[:, 0::2, 1::2] + chroma[:, 1::2, 0::2] + chroma[:, 1::2, 1::2]
    bias = 1 + torch.arange(total.shape[-1], device=chroma.device) % 2
    return ((total + bias) / 4).floor()


def _doubled(chroma: Tensor) -> Tensor:
    """Twice the rows and columns by a triangle filter, libjpeg's "fancy upsampling"; edges repeat."""
    edged = F.pad(chroma.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    middle = 3 * edged[:, 1:-1]
    rows = torch.stack([middle + edged[:, :-2], middle + edged[:, 2:]], 2).flatten(1, 2)  # (B, 2h, w + 2)
    middle = 3 * rows[..., 1:-1]
    left = (middle + rows[..., :-2] + 8) / 16
    right = (middle + rows[..., 2:] + 7) / 16
    return torch.stack([left, right], -1).flatten(-2).floor()
