"""Clips made from a photograph: shifted, zoomed and turned by parts of pixels, with what moves in front.

Few clips are openly licensed and sharp; photographs are many, and any part of one can stand for a scene that
a camera moves over. A second part of it, cut out along soft edges, moves in front of the first by its own
way, so that places are covered and come to light. A clip may also change its exposure and be blurred by the
motion, as films are.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

# Chances.
_STILL, _HAND_HELD, _IN_FRONT, _EXPOSED, _BLURRED = 0.1, 0.4, 0.5, 0.3, 0.3
# Speeds in HR pixels per frame are drawn evenly on a logarithmic scale up to this many LR pixels.
_SLOWEST, _FASTEST_LR_PX = 0.05, 3.0
_TURN_DEGREES, _ZOOM = 0.7, 0.012  # per frame, at most
_JITTER_PX = 0.7  # standard deviation of a camera held by hand
_SHUTTER_STEPS = 4  # places along the motion that a blurred frame is the mean of


def moving_clip(photograph: Tensor, frames: int, side_px: int, scale: int, generator: Generator) -> Tensor:
    """A clip of a part of a photograph.

    Args:
        photograph: RGB ``(3, H, W)`` uint8; H and W at least ``side_px``.
        frames: How many.
        side_px: Height and width of the clip.
        scale: HR size over LR size: motion is meant in LR pixels.
        generator: Source of all random numbers.

    Returns:
        ``(frames, 3, side_px, side_px)`` uint8.
    """
    levels = photograph.float()
    blurred = _chance(_BLURRED, generator)
    clip = _layer(levels, frames, side_px, scale, generator, blurred=blurred)
    if _chance(_IN_FRONT, generator):
        shape = _blob(side_px, generator)
        in_front = torch.cat([levels, F.interpolate(shape, levels.shape[-2:], mode="bicubic")[0]])
        front = _layer(in_front, frames, side_px, scale, generator, blurred=blurred)
        cover = front[:, 3:].clamp(0, 1)
        clip = clip + cover * (front[:, :3] - clip)
    if _chance(_EXPOSED, generator):
        gain = (
            1
            + _uniform(-0.03, 0.03, generator) * torch.arange(frames)
            + 0.02 * torch.randn(frames, generator=generator)
        )
        clip = clip * gain.view(-1, 1, 1, 1)
    return clip.round().clamp_(0, 255).to(torch.uint8)


def _layer(
    image: Tensor, frames: int, side_px: int, scale: int, generator: Generator, *, blurred: bool
) -> Tensor:
    """Views of an image along a path, ``(frames, C, side_px, side_px)``."""
    height, width = image.shape[-2:]
    speed_px = 0.0
    if not _chance(_STILL, generator):
        fastest = math.log(_FASTEST_LR_PX * scale)
        speed_px = math.exp(_uniform(math.log(_SLOWEST), fastest, generator))
    direction = _uniform(0, 2 * math.pi, generator)
    turn = math.radians(_uniform(-_TURN_DEGREES, _TURN_DEGREES, generator)) * (speed_px > 0)
    zoom = _uniform(-_ZOOM, _ZOOM, generator) * (speed_px > 0)
    jitter = torch.randn(2, frames, generator=generator) * _JITTER_PX * _chance(_HAND_HELD, generator)
    middle = torch.rand(2, generator=generator) * torch.tensor([height - side_px, width - side_px])
    middle += side_px / 2
    shutter = torch.arange(_SHUTTER_STEPS) / (2 * _SHUTTER_STEPS) if blurred else torch.zeros(1)
    views = []
    for frame in range(frames):
        steps = []
        for part in shutter.tolist():
            time = frame + part - (frames - 1) / 2
            down = float(middle[0]) + time * speed_px * math.sin(direction) + float(jitter[0, frame])
            right = float(middle[1]) + time * speed_px * math.cos(direction) + float(jitter[1, frame])
            steps.append(_view(image, down, right, time * turn, 1 + time * zoom, side_px))
        views.append(torch.stack(steps).mean(0))
    return torch.stack(views)


def _view(image: Tensor, down: float, right: float, angle: float, zoom: float, side_px: int) -> Tensor:
    """A square around a point of an image ``(C, H, W)``, bicubic; beyond its border the image is mirrored."""
    height, width = image.shape[-2:]
    offsets = (torch.arange(side_px) - (side_px - 1) / 2) * zoom
    rows, columns = offsets.view(-1, 1), offsets.view(1, -1)
    y = down + rows * math.cos(angle) + columns * math.sin(angle)
    x = right + columns * math.cos(angle) - rows * math.sin(angle)
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], -1).unsqueeze(0)
    view = F.grid_sample(
        image.unsqueeze(0), grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return view[0]


def _blob(side_px: int, generator: Generator) -> Tensor:
    """Shapes with soft edges, 0 to 1 and a little beyond, ``(1, 1, n, n)``; larger ones are fewer."""
    cells = int(torch.randint(3, 9, (1,), generator=generator))
    noise = torch.randn(1, 1, cells, cells, generator=generator)
    smooth = F.interpolate(noise, (side_px, side_px), mode="bicubic")
    edge_px = _uniform(0.5, 4, generator)
    return (smooth - 0.3) * side_px / (cells * edge_px) + 0.5


def _uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * float(torch.rand(1, generator=generator))


def _chance(probability: float, generator: Generator) -> bool:
    return _uniform(0, 1, generator) < probability
