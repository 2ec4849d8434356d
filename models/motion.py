"""Where things were in the frame before: optical flow, and what networks for films see along it.

Flow comes from OpenCV's dense inverse search (Kroeger et al., arXiv 1603.03590), not from a network: a small
one would take most of the training to learn as much. It runs on the processor, also where the network runs on
a GPU: nothing in torch finds motion as well in as little time (docs/experiments.md).
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Frames of at most as many pixels are enlarged twofold first, which finds motion of tenths of a pixel; for
# larger ones that takes too long.
_ENLARGED_PX_MAX = 640 * 480
# OpenCV refuses smaller pictures; nothing is taken to move there.
_SIDE_MIN_PX = 8
# Mean difference of what is taken to be the same place, as a share of white, at which it counts e times less.
_DIFFERENCE = 0.03
_LUMA = (0.299, 0.587, 0.114)


def luma_of(rgb: Tensor) -> Tensor:
    """``(B, 3*n, H, W)``, all n channels of red, then of green, then of blue -> ``(B, n, H, W)``; BT.601."""
    red, green, blue = rgb.chunk(3, 1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


@torch.no_grad()
def flow_between(frame: Tensor, before: Tensor) -> Tensor:
    """Where what a frame shows was in the one before.

    Args:
        frame: Luma ``(B, 1, H, W)``, nominally in [0, 1].
        before: Of the frames before, as ``frame``.

    Returns:
        ``(B, 2, H, W)`` fp32 on the same device: how many pixels further right, and further down.
    """
    height, width = frame.shape[-2:]
    if min(height, width) < _SIDE_MIN_PX:
        return frame.new_zeros(len(frame), 2, height, width, dtype=torch.float32)
    factor = 2 if height * width <= _ENLARGED_PX_MAX else 1
    codes = [_codes(luma, factor) for luma in (before, frame)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setPatchStride(5)
    search.setGradientDescentIterations(12)
    search.setVariationalRefinementIterations(3)
    flows = [search.calc(new, old, None) for old, new in zip(*codes, strict=True)]  # type: ignore[call-overload]
    flow = torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).contiguous().to(frame.device)
    return F.avg_pool2d(flow, factor) / factor if factor > 1 else flow


def _codes(luma: Tensor, factor: int) -> np.ndarray:
    """``(B, 1, H, W)`` -> ``(B, H, W)`` uint8, enlarged."""
    luma = luma.float()
    if factor > 1:
        luma = F.interpolate(luma, scale_factor=float(factor), mode="bicubic")
    return luma[:, 0].clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()


def moved(pictures: Tensor, flow: Tensor) -> Tensor:
    """Pictures as seen along a flow; bicubic. Beyond the border the outermost pixels repeat.

    Args:
        pictures: ``(B, C, H, W)``, any range.
        flow: ``(B, 2, h, w)`` in its own pixels, each of which is a square of one or more of the
            pictures' pixels.

    Returns:
        As ``pictures``, fp32.
    """
    height, width = pictures.shape[-2:]
    size = flow.new_tensor([width, height]).view(2, 1, 1)
    grid = _upsampled(2 * flow / size * (width / flow.shape[-1]), width // flow.shape[-1])
    grid[:, 0] += (2 * torch.arange(width, device=flow.device) + 1) / width - 1
    grid[:, 1] += ((2 * torch.arange(height, device=flow.device) + 1) / height - 1).unsqueeze(1)
    return F.grid_sample(
        pictures.float(),
        grid.permute(0, 2, 3, 1),
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )


def what_a_step_sees(frame: Tensor, before: Tensor | None, detail: Tensor | None, scale: int) -> Tensor:
    """A frame, and what is known from the one before, moved to where it is now.

    Args:
        frame: RGB ``(B, 3, H, W)``, fp32, nominally in [0, 1].
        before: The frame before; ``None`` where there is none.
        detail: What was added to its luma, ``(B, scale*scale, H, W)``, the channels of a pixel shuffle.
        scale: Factor.

    Returns:
        ``(B, 7 + scale*scale, H, W)``, fp32: the frame; what the frame before, moved, has more than it; how
        far both can be the same, 0 to 1; and what the result before, moved, has more luma than this frame
        upsampled, times that.
    """
    if before is None or detail is None:
        return F.pad(frame.float(), (0, 0, 0, 0, 0, seen_channels(scale) - 3))
    luma, luma_before = luma_of(frame.float()), luma_of(before.float())
    flow = flow_between(luma, luma_before)
    change = moved(before, flow) - frame
    sureness = torch.exp(-(_blurred(luma_of(change).abs()) / _DIFFERENCE).square())
    result_before = F.pixel_shuffle(detail.float(), scale) + _upsampled(luma_before, scale)
    known = moved(result_before, flow) - _upsampled(luma, scale)
    return torch.cat([frame, change, sureness, sureness * F.pixel_unshuffle(known, scale)], 1)


def seen_channels(scale: int) -> int:
    """Of ``what_a_step_sees``."""
    return 7 + scale * scale


def _upsampled(pictures: Tensor, scale: int) -> Tensor:
    if scale == 1:
        return pictures
    return F.interpolate(pictures, scale_factor=float(scale), mode="bilinear", align_corners=False)


def _blurred(picture: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
