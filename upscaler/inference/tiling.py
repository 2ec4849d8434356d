"""Geometry of tiles: which pieces of a picture go through the network, and which part of each is kept.

Tiles share the work evenly: there are as many as needed, all of one size, spread evenly along each axis, so
that none repeats the work of the one before. They see real neighbours instead of padding, and overlap by at
least twice the network's receptive radius, so every kept pixel saw all that it depends on: the result equals
that of the whole picture, and there is no seam to blend. Networks of other projects may see further than
tiles can overlap; ``feathering.py`` blends theirs.
"""

import functools
import itertools
import math
from dataclasses import dataclass

from upscaler.errors import UsageError

# Overlap may cost this share of additional work before tiles become larger, and take more memory, than they
# need to be for speed.
_OVERLAP_SHARE = 0.05


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in LR pixels.

    Attributes:
        start: First pixel of the tile.
        stop: One past its last pixel.
        keep_start: First pixel whose result is kept.
        keep_stop: One past the last such pixel.
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    def moved(self, by_px: int) -> "Span":
        """The same span of an axis that starts elsewhere."""
        return Span(self.start + by_px, self.stop + by_px, self.keep_start + by_px, self.keep_stop + by_px)


@dataclass(frozen=True)
class Tile:
    """One tile: a span down and a span across."""

    rows: Span
    columns: Span

    @property
    def height(self) -> int:
        """LR pixels."""
        return self.rows.stop - self.rows.start

    @property
    def width(self) -> int:
        """LR pixels."""
        return self.columns.stop - self.columns.start

    @property
    def area_px(self) -> int:
        """LR pixels that go through the network."""
        return self.height * self.width


@dataclass(frozen=True)
class Limits:
    """What bounds the size of tiles.

    Attributes:
        radius_px: The network's receptive radius, a multiple of ``multiple_of``; tiles overlap by twice as
            much.
        multiple_of: What the network needs the sides to be multiples of. Tiles start at such multiples too,
            so that a network that works on blocks finds the same ones in a tile.
        max_area_px: Largest area that memory allows.
        fast_area_px: Area from which on larger tiles are not faster; smaller ones are not chosen unless
            another limit requires it.
        max_side_px: Largest side; ``None``: any.
    """

    radius_px: int
    multiple_of: int
    max_area_px: int
    fast_area_px: int
    max_side_px: int | None = None


@functools.lru_cache(maxsize=64)  # frames of a video, and of a few pictures, have few sizes
def plan(height: int, width: int, limits: Limits) -> tuple[Tile, ...]:
    """Cut a picture into tiles of one size, row by row.

    A picture that fits is not cut. Otherwise the tiles are the smallest for which the overlap costs little;
    if no tiles within the limits achieve that, those with the least overlap.

    Args:
        height: Of the picture, LR pixels, a multiple of ``limits.multiple_of``.
        width: Of the picture, LR pixels, a multiple of the same.
        limits: Bounds the size of tiles; where ``max_area_px`` is below the smallest sensible tile, that is
            used.
    """
    down, across = _grid(height, width, limits)
    rows, columns = split(height, down, limits), split(width, across, limits)
    return tuple(Tile(row, column) for row in rows for column in columns)


def split(length: int, count: int, limits: Limits) -> list[Span]:
    """Cut one axis into ``count`` spans of one length; fewer pixels than that many need give a single span.

    The kept parts follow one another without gap or overlap.
    """
    side = _side(length, count, limits)
    if side == length:
        return [Span(0, length, 0, length)]
    multiple = limits.multiple_of
    starts = [round(index * (length - side) / (count - 1) / multiple) * multiple for index in range(count)]
    # Neighbours meet in the middle of their overlap.
    meetings = [(start + before + side) // 2 for before, start in itertools.pairwise(starts)]
    borders = itertools.pairwise([0, *meetings, length])
    return [
        Span(start, start + side, keep_start, keep_stop)
        for start, (keep_start, keep_stop) in zip(starts, borders, strict=True)
    ]


def min_side_px(radius_px: int) -> int:
    """Side of the smallest sensible tile: smaller ones would be overlap and little else."""
    return 2 * radius_px + 32


def check_side(side_px: int, radius_px: int) -> None:
    """Refuse tiles that are overlap alone.

    Raises:
        UsageError: The side is not larger than the overlap.
    """
    overlap_px = 2 * radius_px
    if side_px <= overlap_px:
        raise UsageError(
            f"a tile of {side_px} pixels is too small for this network",
            f"it overlaps its neighbours by {overlap_px}; use --tile {overlap_px + 64} or more",
        )


def _side(length: int, count: int, limits: Limits) -> int:
    """Length of each of ``count`` overlapping spans that cover an axis."""
    covered = length + 2 * limits.radius_px * (count - 1)
    side = math.ceil(covered / count / limits.multiple_of) * limits.multiple_of
    return length if count == 1 else min(side, length)


def _grid(height: int, width: int, limits: Limits) -> tuple[int, int]:
    """Number of tiles down and across."""
    smallest = min_side_px(limits.radius_px)
    max_side = max(height, width) if limits.max_side_px is None else limits.max_side_px
    max_area = max(limits.max_area_px, min(smallest, max_side) ** 2)
    overlap = 2 * limits.radius_px
    best, least_cost = (1, 1), (math.inf, math.inf, math.inf)
    fewest_down = _fewest(height, max_side, limits)
    for down in range(fewest_down, _fewest(height, min(smallest, max_side), limits) + 1):
        rows = _side(height, down, limits)
        fewest = _fewest(width, min(max_side, max_area // rows), limits)
        if rows * _side(width, fewest, limits) > max_area:
            continue
        if down == fewest == 1:
            return 1, 1
        # Beside the fewest tiles across, the most that the share of overlap and the fast area allow.
        spare = (1 + _OVERLAP_SHARE) * height / (down * rows) - 1
        most = min(
            math.floor((width * spare + overlap) / (overlap + limits.multiple_of)),
            width // max(1, math.ceil(limits.fast_area_px / rows) - overlap),
        )
        for across in {fewest, max(fewest, most)}:
            columns = _side(width, across, limits)
            work = down * rows * across * columns
            cheap = work <= (1 + _OVERLAP_SHARE) * height * width
            fast = rows * columns >= limits.fast_area_px
            cost = (0, rows * columns, work) if cheap and fast else (1, work, down * across)
            if cost < least_cost:
                best, least_cost = (down, across), cost
    return best


def _fewest(length: int, max_side: int, limits: Limits) -> int:
    """The smallest number of spans of at most ``max_side`` that cover an axis."""
    if length <= max_side:
        return 1
    usable = max_side - max_side % limits.multiple_of - 2 * limits.radius_px
    return math.ceil((length - 2 * limits.radius_px) / max(1, usable))
