"""Where a frame differs from the one before: the parts of it that have to be computed."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.scenes import is_cut
from upscaler.video.info import Frame
from upscaler.video.yuv import Layout

# Changes are found in squares of this many luma pixels.
CELL_PX = 16
# Parts whose computation together would cost this share of the whole frame are not worth their copies.
_WHOLE_SHARE = 0.8
# Preparing and copying a part takes as long as the network for this many pixels.
_PART_COST_PX = 32 * 32
# More parts than this are joined first; comparing them all with one another would take long.
_PARTS_MAX = 24


@dataclass(frozen=True)
class Part:
    """A rectangle of a frame, in luma pixels; its sides lie on cells, or on the border of the frame."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area_px(self) -> int:
        """Luma pixels."""
        return (self.bottom - self.top) * (self.right - self.left)

    def joined(self, other: "Part") -> "Part":
        """The smallest rectangle around both."""
        return Part(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def widened(self, margin_px: int, height: int, width: int) -> "Part":
        """With a margin, as far as the frame of this size goes."""
        return Part(
            max(0, self.top - margin_px),
            max(0, self.left - margin_px),
            min(height, self.bottom + margin_px),
            min(width, self.right + margin_px),
        )


def scene_ends(frame: Frame, following: Frame) -> bool:
    """Whether a frame and the one after it belong to different scenes, or differ in shape or layout."""
    if (frame.shape, frame.layout) != (following.shape, following.layout):
        return True
    white = (1 << frame.layout.bits) - 1
    return is_cut(following.planes[0], frame.planes[0], white)


def changed_parts(
    planes: Sequence[Tensor], before: Sequence[Tensor], layout: Layout, reach_px: int | None
) -> list[Part]:
    """Rectangles outside which the result is that of the frame before: all that it depends on is identical.

    Args:
        planes: Of the frame, ``(h, w)`` each, ``layout.dtype``.
        before: Of the frame before it, of the same sizes.
        layout: Of both.
        reach_px: How many luma pixels to each side a result depends on; ``None``: on the whole frame.

    Returns:
        No parts if nothing changed; the whole frame if little would be gained.
    """
    height, width = planes[0].shape
    whole = Part(0, 0, height, width)
    if reach_px is None:
        same = all(torch.equal(plane, other) for plane, other in zip(planes, before, strict=True))
        return [] if same else [whole]
    changed = _changed_cells(planes, before, layout)
    if not changed.any():
        return []
    reach = -(-reach_px // CELL_PX)
    while True:
        cells = _spread(changed, reach)
        if float(cells.mean()) > _WHOLE_SHARE:
            return [whole]
        count, _, stats, _ = cv2.connectedComponentsWithStats(cells, connectivity=8)
        if count <= _PARTS_MAX + 1:  # the first is what did not change
            break
        reach += 1
    boxes = [
        Part(top * CELL_PX, left * CELL_PX, (top + rows) * CELL_PX, (left + columns) * CELL_PX)
        for left, top, columns, rows, _ in stats[1:].tolist()
    ]
    parts = _joined([box.widened(0, height, width) for box in boxes], reach_px)
    return parts if sum(_cost(part, reach_px) for part in parts) < _WHOLE_SHARE * whole.area_px else [whole]


def _changed_cells(planes: Sequence[Tensor], before: Sequence[Tensor], layout: Layout) -> Tensor:
    """Whether any sample in a cell changed, ``(rows, columns)``."""
    height, width = planes[0].shape
    changed = torch.zeros(-(-height // CELL_PX), -(-width // CELL_PX), dtype=torch.bool)
    for plane, other in zip(planes, before, strict=True):
        is_chroma = plane.shape != planes[0].shape
        rows = CELL_PX // (layout.vertical if is_chroma else 1)
        columns = CELL_PX // (layout.horizontal if is_chroma else 1)
        differs = plane.ne(other)
        down, across = -differs.shape[0] % rows, -differs.shape[1] % columns
        if down or across:
            differs = F.pad(differs, (0, across, 0, down))
        # Eight samples at a time: the bytes of a sum of at most 16 ones do not run over.
        eights = differs.contiguous().view(torch.int64)
        sums = eights.view(len(changed), rows, -1).sum(1)
        changed |= sums.ne(0).view(len(changed), -1, columns // 8).any(-1)
    return changed


def _spread(changed: Tensor, reach: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Cells, 1 or 0, within ``reach`` cells of a changed one."""
    near = F.max_pool2d(changed[None, None].float(), 2 * reach + 1, 1, reach)
    return near[0, 0].to(torch.uint8).numpy()


def _cost(part: Part, reach_px: int) -> int:
    """What computing a part takes, in pixels of the network; margins reach beyond the frame here."""
    rows, columns = part.bottom - part.top + 2 * reach_px, part.right - part.left + 2 * reach_px
    return rows * columns + _PART_COST_PX


def _joined(parts: list[Part], reach_px: int) -> list[Part]:
    """Fewer parts, where one around two costs no more than both."""
    waiting, done = list(parts), []
    while waiting:
        part = waiting.pop()
        for other in waiting:
            both = part.joined(other)
            if _cost(both, reach_px) <= _cost(part, reach_px) + _cost(other, reach_px):
                waiting.remove(other)
                waiting.append(both)
                break
        else:
            done.append(part)
    return done
