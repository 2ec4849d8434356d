"""Tiles blended where they meet, for networks that see further than the overlap of tiles."""

import torch
from torch import Tensor

from upscaler.inference.tiling import Span, Tile
from upscaler.pixels import as_codes, as_floats


class FeatheredMerge:
    """Puts enlarged tiles into a picture, with linear ramps around the borders at which they meet.

    The ramps of neighbours add up to 1 along each axis, so a pixel is the weighted mean of up to four tiles.
    Sums are kept in fp32 for one row of tiles only: a large picture as a whole would take gigabytes.

    Args:
        scale: Output size over input size.
        feather_px: Width of a ramp in LR pixels, even, at most the overlap of the tiles.
        height: Of the enlarged picture.
        width: Of the enlarged picture.
    """

    def __init__(self, scale: int, feather_px: int, height: int, width: int) -> None:
        self._scale, self._reach = scale, feather_px // 2
        self._height, self._width = height, width
        self._sums: Tensor | None = None  # (3, rows, W*scale) from _top on
        self._top = 0

    def add(self, piece: Tensor, tile: Tile) -> Tensor | None:
        """Add a tile; the tiles of a picture come row by row, from left to right.

        Args:
            piece: ``(3, h*scale, w*scale)``, the enlarged tile, codes or floats.
            tile: Where it was cut.

        Returns:
            ``(3, rows, W*scale)`` of the same dtype: the rows that are finished now, below those that were
            before; ``None`` in the middle of a row of tiles.
        """
        height, width = self._height, self._width
        top, bottom, down = self._ramp(tile.rows, height)
        left, right, across = self._ramp(tile.columns, width)
        if left == 0:
            self._begin_row(top, bottom, piece.device)
        assert self._sums is not None, "the first tile of a row starts it"
        y, x = top - tile.rows.start * self._scale, left - tile.columns.start * self._scale
        part = as_floats(piece[:, y : y + bottom - top, x : x + right - left])
        weights = down.to(part.device)[:, None] * across.to(part.device)
        self._sums[:, top - self._top : bottom - self._top, left:right] += part * weights
        if right == width:
            # Rows below the ramp of the next row of tiles are complete; the others as far as they are now.
            end = bottom if bottom == height else (tile.rows.keep_stop - self._reach) * self._scale
            finished = as_codes(self._sums[:, : end - self._top], piece.dtype)
            self._sums, self._top = self._sums[:, end - self._top :], end
            return finished
        return None

    def _begin_row(self, top: int, bottom: int, device: torch.device) -> None:
        rows = torch.zeros(3, bottom - top, self._width, device=device)
        if top and self._sums is not None:  # the ramp that this row shares with the one above
            rows[:, : self._sums.shape[1]] = self._sums
        self._sums, self._top = rows, top

    def _ramp(self, span: Span, length: int) -> tuple[int, int, Tensor]:
        """First row or column that a tile contributes to, one past the last, and the weight of each."""
        scale, reach = self._scale, self._reach
        first = span.keep_start and span.keep_start - reach
        last = span.keep_stop if span.keep_stop * scale == length else span.keep_stop + reach
        weights = torch.ones((last - first) * scale)
        ramp = (torch.arange(2 * reach * scale) + 0.5) / (2 * reach * scale)
        if first:
            weights[: len(ramp)] = ramp
        if last != span.keep_stop:
            # Subtracted, not multiplied: ramps of tiles so small that they overlap still add up to 1.
            weights[-len(ramp) :] -= ramp
        return first * scale, last * scale, weights
