"""Black bars at the edges of a video, for ``--crop auto``: rows and columns that are always black."""

import torch
from av.video.frame import VideoFrame
from torch import Tensor

from upscaler.video.cropping import Cropping
from upscaler.video.pixel_formats import as_planes, layout_of, planar

_BRIGHTEST_BLACK = 8 / 255  # above black, as a share of the full code range: noise in bars stays below
_LIMITED_BLACK = 16 / 256
_PICTURE_SHARE = 0.01  # of the pixels of a row or column: fewer bright ones are noise
_NARROWEST_PX = 2
_BLURRED_PX, _BLURRED = 2, 0.4  # rows, and their brightness relative to the picture's

Edges = tuple[int, int, int, int]


class BlackBars:
    """Collects where the pictures of a video have something to show.

    Pictures are coded ones, before any rotation. What any of them shows is kept, such as scenes in a taller
    format, or a logo inside a bar. Black pictures do not count.

    Attributes:
        seen: By (width, height) of the picture: the first column that shows something, the first one after
            the last that does, and the same of the rows.
    """

    def __init__(self, seen: dict[tuple[int, int], Edges] | None = None) -> None:
        self.seen = seen or {}

    def record(self, frame: VideoFrame) -> None:
        """Take a decoded frame into account."""
        brightness = _brightness(frame)
        rows, columns = _extent(brightness), _extent(brightness.T)
        if rows and columns:
            edges = (*columns, *rows)
            size_px = (frame.width, frame.height)
            before = self.seen.get(size_px, edges)
            self.seen[size_px] = (
                min(before[0], edges[0]),
                max(before[1], edges[1]),
                min(before[2], edges[2]),
                max(before[3], edges[3]),
            )

    def cropping(self, width: int, height: int) -> Cropping:
        """What has to be cropped of pictures of this size: even numbers that leave no black line."""
        left, right, top, bottom = self.seen.get((width, height), (0, width, 0, height))
        before, after = _even(left, width - right, width)
        above, below = _even(top, height - bottom, height)
        return Cropping(left=before, right=after, top=above, bottom=below)


def _even(before: int, after: int, length: int) -> tuple[int, int]:
    """Two bars such that what lies before and between them is even; widened by at most a pixel each."""
    before = 0 if before < _NARROWEST_PX else before + before % 2
    after = 0 if after < _NARROWEST_PX else after
    if before or after:
        after += (length - before - after) % 2
    return before, after


def _extent(brightness: Tensor) -> tuple[int, int] | None:
    """The first row that shows something, and the first one after the last; ``None`` if all are black.

    Encoders blur the picture by a row or two into the bar; these rows are much darker than those beside them.
    """
    lines = torch.nonzero((brightness > _BRIGHTEST_BLACK).float().mean(1) > _PICTURE_SHARE)
    if not len(lines):
        return None
    levels = brightness.mean(1).tolist()
    first, after = int(lines[0]), int(lines[-1]) + 1
    for _ in range(_BLURRED_PX):
        if 0 < first < after - _BLURRED_PX and levels[first] < _BLURRED * levels[first + _BLURRED_PX]:
            first += 1
        if first + _BLURRED_PX < after < len(levels):
            after -= levels[after - 1] < _BLURRED * levels[after - 1 - _BLURRED_PX]
    return first, after


def _brightness(frame: VideoFrame) -> Tensor:
    """How much brighter than black the pixels are, ``(h, w)`` fp32, as a share of the code range."""
    layout = layout_of(frame, "left")
    planes = as_planes(planar(frame), layout)
    luma = planes[0].int() & 0xFFFF  # 16-bit codes come as signed numbers
    for other in planes[1:3] if layout.kind == "gbr" else ():
        luma = torch.maximum(luma, other.int() & 0xFFFF)
    black = 0 if layout.full_range else _LIMITED_BLACK
    return torch.clamp(luma / 2**layout.bits - black, min=0)
