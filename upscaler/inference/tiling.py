"""Geometry of tiles: which pieces of a picture go through the network, and which part of each is kept.

All tiles have one size; at the border they are shifted inward, so that they see real neighbours instead of
padding. Neighbours overlap by twice the network's reach, so that every kept pixel saw all that it depends on:
the result equals the whole picture's, and there is no seam to blend.
"""

from dataclasses import dataclass

from upscaler.errors import UsageError


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


@dataclass(frozen=True)
class Tile:
    """One tile: a span down and a span across."""

    rows: Span
    columns: Span


def plan(height: int, width: int, tile_px: int, radius_px: int) -> list[Tile]:
    """Cut a picture into tiles of one size, row by row.

    Args:
        height: Of the picture, LR pixels.
        width: Of the picture, LR pixels.
        tile_px: Largest side of a tile; a picture that is smaller is not cut along that axis.
        radius_px: How far the network looks to each side.

    Raises:
        UsageError: The picture must be cut, but a tile is not larger than twice the reach.
    """
    return [
        Tile(rows, columns)
        for rows in spans(height, tile_px, radius_px)
        for columns in spans(width, tile_px, radius_px)
    ]


def spans(length: int, tile_px: int, radius_px: int) -> list[Span]:
    """Cut one axis; see ``plan``. The kept parts follow each other without gap or overlap."""
    if tile_px >= length:
        return [Span(0, length, 0, length)]
    step = tile_px - 2 * radius_px
    if step < 1:
        raise UsageError(
            f"a tile of {tile_px} pixels is too small for this network",
            f"it overlaps its neighbours by {2 * radius_px}; use --tile {2 * radius_px + 64} or more",
        )
    cut: list[Span] = []
    kept = 0
    while kept < length:
        start = min(len(cut) * step, length - tile_px)
        stop = start + tile_px
        keep_stop = length if stop == length else stop - radius_px
        cut.append(Span(start, stop, kept, keep_stop))
        kept = keep_stop
    return cut
