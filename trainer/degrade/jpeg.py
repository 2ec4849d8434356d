"""JPEG (ITU-T T.81) round trip in torch, in batches and on any device: the pixels after saving and reading.

Every lossy step follows libjpeg's defaults: 8-bit JFIF YCbCr, box-filtered chroma, the tables of Annex K
scaled by quality, triangle-filtered chroma when decoding. Entropy coding, which is lossless, is omitted.
Results differ from Pillow's only where libjpeg's integer arithmetic rounds differently.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.models.luma import luma

# Tables K.1 and K.2, row by row: quantisation steps of luma and chroma at quality 50.
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
    """The images after saving them as JPEG and reading them back.

    Args:
        rgb: ``(B, 3, H, W)``, any dtype, whole numbers 0..255. The block grid starts at the top left.
        quality: ``(B,)`` whole numbers 1..100, on the CPU.
        subsampled: ``(B,)`` bool, on the CPU: 4:2:0 chroma where true, otherwise 4:4:4.

    Returns:
        ``(B, 3, H, W)`` fp32, whole numbers 0..255.
    """
    result = torch.empty(rgb.shape, device=rgb.device)
    for is_subsampled in (False, True):
        which = (subsampled == is_subsampled).nonzero().flatten()
        if len(which):
            part = which.to(rgb.device)
            result[part] = _round_trip(rgb[part].float(), quality[which].to(rgb.device), is_subsampled)
    return result


def _round_trip(rgb: Tensor, quality: Tensor, is_subsampled: bool) -> Tensor:
    height, width = rgb.shape[-2:]
    block_px = 16 if is_subsampled else 8
    padded = F.pad(rgb, (0, -width % block_px, 0, -height % block_px), mode="replicate")
    y, cb, cr = _to_ycbcr(padded)
    chroma = torch.cat([cb, cr])
    if is_subsampled:
        chroma = _subsample(chroma)
    y = _quantised(y, _steps(_LUMA_STEPS, quality))
    chroma = _quantised(chroma, _steps(_CHROMA_STEPS, quality).repeat(2, 1, 1))
    if is_subsampled:
        chroma = _upsample(chroma[..., : -(-height // 2), : -(-width // 2)])
    return _to_rgb(y[..., :height, :width], *chroma[..., :height, :width].chunk(2))


def _steps(table: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """Quantisation steps of each image, ``(B, 1, 64)``, by libjpeg's quality formula."""
    factor = torch.where(quality < 50, 5000 // quality, 200 - 2 * quality).view(-1, 1)
    base = torch.tensor(table, device=quality.device).flatten()
    return ((base * factor + 50) // 100).clamp(1, 255).float().unsqueeze(1)


def _quantised(plane: Tensor, steps: Tensor) -> Tensor:
    """Quantise the DCT coefficients of 8x8 blocks; ``(B, h, w)``, h and w multiples of 8."""
    count, height, width = plane.shape
    blocks = (plane - 128).view(count, height // 8, 8, width // 8, 8).transpose(2, 3).reshape(count, -1, 64)
    transform = _transform(str(plane.device))
    coefficients = blocks @ transform.T / steps
    # Round halves away from zero, as libjpeg does; torch rounds them to even.
    kept = (coefficients.abs() + 0.5).floor() * coefficients.sign() * steps
    decoded = (kept @ transform).view(count, height // 8, width // 8, 8, 8).transpose(2, 3)
    return (decoded.reshape(count, height, width) + 128).round_().clamp_(0, 255)


@functools.cache
def _transform(device: str) -> Tensor:
    """The orthonormal 8x8 DCT as a matrix on flattened blocks, ``(64, 64)``."""
    index = torch.arange(8, dtype=torch.float64)
    rows = torch.cos((2 * index[None] + 1) * index[:, None] * math.pi / 16) / 2
    rows[0] /= math.sqrt(2)
    return torch.kron(rows, rows).float().to(device)


def _to_ycbcr(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Full-range BT.601, as in JFIF; whole numbers."""
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


def _subsample(chroma: Tensor) -> Tensor:
    """Means of 2x2 samples; halves are rounded down and up alternately, as in libjpeg."""
    total = chroma[:, 0::2, 0::2] + chroma[:, 0::2, 1::2] + chroma[:, 1::2, 0::2] + chroma[:, 1::2, 1::2]
    bias = 1 + torch.arange(total.shape[-1], device=chroma.device) % 2
    return ((total + bias) / 4).floor()


def _upsample(chroma: Tensor) -> Tensor:
    """Upsample by 2 with a triangle filter, libjpeg's "fancy upsampling"; edges are replicated."""
    padded = F.pad(chroma.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    middle = 3 * padded[:, 1:-1]
    rows = torch.stack([middle + padded[:, :-2], middle + padded[:, 2:]], 2).flatten(1, 2)  # (B, 2h, w + 2)
    middle = 3 * rows[..., 1:-1]
    left = (middle + rows[..., :-2] + 8) / 16
    right = (middle + rows[..., 2:] + 7) / 16
    return torch.stack([left, right], -1).flatten(-2).floor()
