"""Scenes of a video, and frames with their neighbours, for networks that see them: not beyond a cut."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

# Scenes are compared in squares of this share of the shorter side: what moves a little stays in its square.
_CELLS = 18
# Squares of one scene correlate from frame to frame, also during a pan, a fade or a flash. Those of different
# scenes do so by chance only.
_CORRELATION_MIN = 0.5
# A smaller mean difference, as a share of white, is no cut; a larger one is, however alike the scenes are.
_DIFFERENCE_MIN, _DIFFERENCE_MAX = 0.03, 0.3
# Below this deviation, as a share of white, a frame shows too little to correlate: black, or fog.
_DEVIATION_MIN = 0.01


T = TypeVar("T")


@dataclass(frozen=True)
class InContext(Generic[T]):
    """A frame with those before it in the same scene.

    Attributes:
        frame: The frame.
        before: Frames before it, in order; fewer where the scene or the video begins.
    """

    frame: T
    before: tuple[T, ...]


def in_context(frames: Iterable[T], before: int, ends: Callable[[T, T], bool]) -> Iterator[InContext[T]]:
    """Frames with up to ``before`` frames before each.

    Args:
        frames: In order.
        before: At most so many.
        ends: Whether a scene ends between two consecutive frames.
    """
    scene: deque[T] = deque(maxlen=before)
    last: T | None = None
    for frame in frames:
        if last is not None and ends(last, frame):
            scene.clear()
        yield InContext(frame, tuple(scene))
        scene.append(frame)
        last = frame


def is_cut(luma: Tensor, before: Tensor, white: int) -> bool:
    """Whether a new scene begins with a frame.

    Args:
        luma: Of the frame, or any plane that shows as much: ``(H, W)``, codes of uint8, int16 or uint16.
        before: Of the frame before, of the same size and dtype.
        white: The largest code.
    """
    first, second = (_cells(plane, white) for plane in (before, luma))
    difference = float((second - first).abs().mean())
    if not _DIFFERENCE_MIN < difference < _DIFFERENCE_MAX:
        return difference >= _DIFFERENCE_MAX
    deviations = [cells - cells.mean() for cells in (first, second)]
    sizes = [float(deviation.square().mean().sqrt()) for deviation in deviations]
    if min(sizes) < _DEVIATION_MIN:
        return True
    correlation = float((deviations[0] * deviations[1]).mean()) / (sizes[0] * sizes[1])
    return correlation < _CORRELATION_MIN


def _cells(plane: Tensor, white: int) -> Tensor:
    """Means of squares, in 0..1."""
    side = max(1, min(plane.shape) // _CELLS)
    return F.avg_pool2d(plane[None].to(torch.float32), side, ceil_mode=True)[0] / white
