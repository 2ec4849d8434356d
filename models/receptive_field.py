"""How far a network looks, and what it costs, found by running it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# The largest receptive radius that is used as it is: beyond, tiles would be overlap and little else.
RADIUS_MAX_PX = 64
# Height of the strips on which reach is measured: enough for any network, and 8 times cheaper than a square.
_STRIP_PX = 16
# Tiled and whole agree to this share of the largest value: rounding differs with the size of the picture.
_TOLERANCE = 1e-4

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Measured:
    """What running a network on strips showed.

    Attributes:
        radius_px: Receptive radius in LR pixels, a multiple of the network's size multiple; ``None`` if it is
            above ``RADIUS_MAX_PX``, or if the result depends on where the picture is cut.
        macs_per_pixel: Multiply-accumulates per LR pixel.
    """

    radius_px: int | None
    macs_per_pixel: int


@torch.no_grad()
def measure(run: Run, channels: int, scale: int, min_side_px: int, multiple_of: int) -> Measured:
    """Measure the receptive radius and the work of a network.

    A column of NaN is put into a strip; every output that depends on it becomes NaN, whatever the weights
    are. (A gradient would miss what a dead ReLU hides.) Then strips are cut and the results compared, which
    finds dependence on the place: windows, dynamic sampling.

    Args:
        run: ``(1, channels, H, W)`` fp32 in [0, 1] -> ``(1, *, H*scale, W*scale)``.
        channels: Of the input.
        scale: Output size over input size.
        min_side_px: Smallest side that it takes.
        multiple_of: Sides must be multiples of this.
    """
    height = _rounded_up(max(_STRIP_PX, min_side_px), multiple_of)
    width = _rounded_up(2 * RADIUS_MAX_PX + 2 + 3 * multiple_of, multiple_of)
    strip = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    from torch.utils.flop_counter import FlopCounterMode  # loads triton where it is installed, 75 MB

    counter = FlopCounterMode(display=False)
    with counter:
        across = _reach_px(run, strip, scale, multiple_of)
    macs_per_pixel = counter.get_total_flops() // 2 // (height * width)
    if across is None:
        return Measured(None, macs_per_pixel)
    turned: Run = lambda lr: run(lr.mT.contiguous()).mT  # noqa: E731 - an adapter
    down = _reach_px(turned, strip, scale, multiple_of)
    if down is None:
        return Measured(None, macs_per_pixel)
    radius = _rounded_up(max(across, down), multiple_of)
    exact = all(_cuts_agree(each, strip, scale, radius, multiple_of) for each in (run, turned))
    return Measured(radius if exact else None, macs_per_pixel)


def _reach_px(run: Run, strip: Tensor, scale: int, multiple_of: int) -> int | None:
    """How many LR pixels to the side an output depends on; ``None`` if more than ``RADIUS_MAX_PX``."""
    width = strip.shape[-1]
    first = width // 2 // multiple_of * multiple_of
    marked = strip.clone()
    marked[..., first : first + multiple_of] = torch.nan  # every phase of a network that works on blocks
    columns = run(marked).isnan().any(dim=-2).flatten(0, 1).any(dim=0).nonzero().flatten() // scale
    if not len(columns):  # some operation hides NaN: not measurable
        return None
    least, most = int(columns.min()), int(columns.max())
    reach = max(first + multiple_of - 1 - least, most - first, 0)
    return None if reach > RADIUS_MAX_PX or least == 0 or most == width - 1 else reach


def _cuts_agree(run: Run, strip: Tensor, scale: int, radius: int, multiple_of: int) -> bool:
    """Whether the result of a part of a strip is that part of the result."""
    cut = 3 * multiple_of
    width = strip.shape[-1]
    whole, right, left = run(strip), run(strip[..., cut:].contiguous()), run(strip[..., :-cut].contiguous())
    pairs = (
        (whole[..., (cut + radius) * scale :], right[..., radius * scale :]),
        (whole[..., : (width - cut - radius) * scale], left[..., : (width - cut - radius) * scale]),
    )
    bound = _TOLERANCE * max(1.0, float(whole.abs().max()))
    return all(float((one - other).abs().max()) <= bound for one, other in pairs)


def _rounded_up(number: int, multiple_of: int) -> int:
    return -(-number // multiple_of) * multiple_of
