"""Round trips through a video encoder: H.264 clips of a photograph, single frames of H.264 and of MPEG-2."""

import torch
from torch import Generator, Tensor

from upscaler.trainer.degrade import artifacts
from upscaler.trainer.degrade.codecs import H264, MPEG2

_FRAMES = 4


def versions(
    hr: Tensor, scale: int, count: int, generator: Generator, crf: tuple[int, int] | None = None
) -> list[Tensor]:
    """Downscaled versions of one photograph, each a frame of a short encoded clip.

    The clip pans by up to three HR pixels a frame, so that frames are predicted with motion vectors and
    residuals, as in real videos. The frame that shows the photograph unshifted is returned.

    Args:
        hr: RGB ``(3, H, W)`` uint8 on the CPU; H and W multiples of ``scale``.
        scale: HR size over LR size.
        count: Number of versions.
        generator: Source of all random numbers.
        crf: Lowest and highest CRF; ``None``: those of films.

    Returns:
        ``count`` images ``(H/scale, W/scale, 3)`` uint8.
    """
    return [_version(hr, scale, generator, crf or H264.qualities) for _ in range(count)]


def _version(hr: Tensor, scale: int, generator: Generator, qualities: tuple[int, int]) -> Tensor:
    crf = int(torch.randint(qualities[0], qualities[1] + 1, (1,), generator=generator))
    kept = int(torch.randint(_FRAMES, (1,), generator=generator))
    down, right = torch.randint(-3, 4, (2,), generator=generator).tolist()
    clip = [
        _downscaled(_panned(hr, (time - kept) * down, (time - kept) * right), scale)
        for time in range(_FRAMES)
    ]
    frame = H264.round_trip(clip, crf)[kept]
    return frame.mul_(255).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()


def _downscaled(image: Tensor, scale: int) -> Tensor:
    levels = artifacts.downscale_bicubic(image.unsqueeze(0).float(), scale)[0]
    return levels.round_().clamp_(0, 255).to(torch.uint8)


def frame(image: Tensor, crf: int) -> Tensor:
    """Encode an image as a frame that is predicted from itself shifted by a pixel, and decode it.

    Args:
        image: RGB ``(3, h, w)`` uint8 on the CPU.
        crf: Constant rate factor.

    Returns:
        ``(3, h, w)`` fp32 in about [0, 1].
    """
    return H264.round_trip([_panned(image, 0, 1), image], crf)[1]


def dvd_frame(image: Tensor, quantiser: int) -> Tensor:
    """Encode an image as a predicted frame of MPEG-2, as ``frame`` does, and decode it.

    Args:
        image: RGB ``(3, h, w)`` uint8 on the CPU.
        quantiser: Step of the quantiser, 2 to 31; DVDs have about 3 to 12.

    Returns:
        ``(3, h, w)`` fp32 in about [0, 1].
    """
    return MPEG2.round_trip([_panned(image, 0, 1), image], quantiser)[1]


def _panned(image: Tensor, down: int, right: int) -> Tensor:
    """The image shifted by whole pixels; edges are replicated."""
    height, width = image.shape[-2:]
    rows = (torch.arange(height) - down).clamp_(0, height - 1)
    columns = (torch.arange(width) - right).clamp_(0, width - 1)
    return image.index_select(1, rows).index_select(2, columns)
