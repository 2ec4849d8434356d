"""What networks for films know from the frame before, moved to where things are now."""

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.color_matrices import luma_weights
from upscaler.optical_flow import flow_between

# Mean difference of what is taken to be the same place, as a share of white, at which it counts e times less.
_DIFFERENCE = 0.03
_LUMA = luma_weights("bt601")


def luma_of(rgb: Tensor) -> Tensor:
    """RGB ``(B, 3*n, H, W)``, n channels of each colour, any float dtype -> ``(B, n, H, W)``, by BT.601."""
    red, green, blue = rgb.chunk(3, 1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


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
