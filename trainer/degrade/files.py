"""What saving an image in a lossy format does to it: JPEG, WebP, a GIF's palette, a frame of a video.

Images are ``(B, 3, H, W)`` fp32 RGB with whole numbers from 0 to 255, on any device. All but JPEG run on
the CPU.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from upscaler.trainer.degrade import artifacts, h264, jpeg


def as_jpeg(
    levels: Tensor, qualities: tuple[int, int], generator: Generator, subsampled_share: float = 0.7
) -> Tensor:
    """Save as JPEG of random quality, a share of the images with 4:2:0 chroma and the others with 4:4:4."""
    count = len(levels)
    quality = torch.randint(qualities[0], qualities[1] + 1, (count,), generator=generator)
    subsampled = artifacts.bernoulli(subsampled_share, count, generator)
    return jpeg.round_trip(levels, quality, subsampled)


def as_webp(levels: Tensor, qualities: tuple[int, int], generator: Generator) -> Tensor:
    """Save as WebP of random quality with libwebp."""
    drawn = torch.randint(qualities[0], qualities[1] + 1, (len(levels),), generator=generator).tolist()
    decoded = []
    for image, quality in zip(levels.to("cpu", torch.uint8), drawn, strict=True):
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "WEBP", quality=quality, method=2)
        with Image.open(file, formats=["WEBP"]) as saved:
            decoded.append(torch.from_numpy(np.array(saved)).permute(2, 0, 1))
    return torch.stack(decoded).to(levels)


def as_gif(levels: Tensor, generator: Generator) -> Tensor:
    """Reduce to a palette of 16 to 256 colours, half of the images with Floyd-Steinberg dithering."""
    count = len(levels)
    colors = (2 ** artifacts.uniform(4, 8, count, generator)).round().int().tolist()
    dithered = artifacts.bernoulli(0.5, count, generator).tolist()
    reduced = []
    for image, color_count, is_dithered in zip(levels.to("cpu", torch.uint8), colors, dithered, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        palette = picture.quantize(color_count)
        dither = Image.Dither.FLOYDSTEINBERG if is_dithered else Image.Dither.NONE
        result = picture.quantize(palette=palette, dither=dither).convert("RGB")
        reduced.append(torch.from_numpy(np.array(result)).permute(2, 0, 1))
    return torch.stack(reduced).to(levels)


def as_h264(levels: Tensor, factors: tuple[int, int], generator: Generator) -> Tensor:
    """Encode as frames of H.264 videos with a random CRF."""
    return _as_frames(h264.frame, levels, factors, generator)


def as_mpeg2(levels: Tensor, quantisers: tuple[int, int], generator: Generator) -> Tensor:
    """Encode as frames of DVDs (MPEG-2) with a random quantiser."""
    return _as_frames(h264.dvd_frame, levels, quantisers, generator)


def _as_frames(
    encode: Callable[[Tensor, int], Tensor], levels: Tensor, range_: tuple[int, int], generator: Generator
) -> Tensor:
    drawn = torch.randint(range_[0], range_[1] + 1, (len(levels),), generator=generator).tolist()
    frames = [encode(image, value) for image, value in zip(levels.to("cpu", torch.uint8), drawn, strict=True)]
    return torch.stack(frames).mul_(255).round_().clamp_(0, 255).to(levels)
