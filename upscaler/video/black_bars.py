"""Black bars at the edges of a film, for ``--crop auto``: rows and columns that are always black."""

import torch
from av.video.frame import VideoFrame
from torch import Tensor

from upscaler.video.cropping import Cropping
from upscaler.video.pixel_formats import as_planes, layout_of, planar

_BRIGHTEST_BLACK = 8 / 255  # above black, as a share of the full code range: noise in bars stays below
_LIMITED_BLACK = 16 / 256
_PICTURE_SHARE = 0.01  # of the pixels of a row or column: fewer bright ones are noise
_NARROWEST_PX = 2

Edges = tuple[int, int, int, int]


class BlackBars:
    """Collects where the pictures of a film have something to show.

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
        shown = _is_shown(frame)
        rows = torch.nonzero(shown.float().mean(1) > _PICTURE_SHARE)
        columns = torch.nonzero(shown.float().mean(0) > _PICTURE_SHARE)
        if len(rows) and len(columns):
            edges = (int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1)
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


def _is_shown(frame: VideoFrame) -> Tensor:
    """Which pixels are brighter than black, ``(h, w)`` bool."""
    layout = layout_of(frame, "left")
    planes = as_planes(planar(frame), layout)
    luma = planes[0].int() & 0xFFFF  # 16-bit codes come as signed numbers
    for other in planes[1:3] if layout.kind == "gbr" else ():
        luma = torch.maximum(luma, other.int() & 0xFFFF)
    black = 0 if layout.full_range else _LIMITED_BLACK
    return torch.gt(luma, (black + _BRIGHTEST_BLACK) * 2**layout.bits)
