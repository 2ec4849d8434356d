"""Pictures that are too large for memory, as streams of bands: some rows each, from top to bottom.

Every step takes bands and gives bands, and holds the rows that it needs at once, so memory grows with the
width of a picture and not with its height.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.inference.strength import enlarged
from upscaler.models.contract import BICUBIC_RADIUS_PX
from upscaler.pixels import as_codes, as_floats

# Rows of a result that are resized at once.
_RESIZED_ROWS = 64


@dataclass(frozen=True)
class Rows:
    """A picture, which can be gone through once.

    Attributes:
        height: Of the picture.
        width: Of the picture.
        bands: RGB ``(rows, width, 3)`` each, codes or floats in [0, 1], together ``height`` rows.
    """

    height: int
    width: int
    bands: Iterator[Tensor]


class Window:
    """Any rows of a picture, as long as they are asked for from top to bottom."""

    def __init__(self, rows: Rows) -> None:
        self._bands = rows.bands
        self._parts: deque[Tensor] = deque()
        self._start = self._stop = 0  # rows of the picture that the parts cover

    def take(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``, RGB ``(rows, width, 3)`` in the dtype and range of the bands.

        Those before ``start`` are forgotten.
        """
        while self._stop < stop:
            part = next(self._bands)
            self._parts.append(part)
            self._stop += len(part)
            self._forget(start)
        self._forget(start)
        held = torch.cat(list(self._parts)) if len(self._parts) > 1 else self._parts[0]
        return held[start - self._start : stop - self._start]

    def _forget(self, start: int) -> None:
        while self._parts and self._start + len(self._parts[0]) <= start:
            self._start += len(self._parts.popleft())


def resized(rows: Rows, height: int, width: int) -> Rows:
    """A picture resized by antialiased bicubic interpolation, as ``resize_bicubic`` does it.

    Sums are taken in another order than torch's: one code in a million differs by 1.
    """
    return Rows(height, width, _resized_bands(rows, height, width))


def _resized_bands(rows: Rows, height: int, width: int) -> Iterator[Tensor]:
    window, resizer = Window(rows), _Resizer(rows.height, height, width)
    for start in range(0, height, _RESIZED_ROWS):
        stop = min(start + _RESIZED_ROWS, height)
        first, last = resizer.needed(start, stop)
        source = window.take(first, last)
        result = source.new_empty(stop - start, width, 3)
        for channel in range(3):
            plane = resizer.plane(as_floats(source[:, :, channel]), first, start, stop)
            result[:, :, channel].copy_(as_codes(plane, source.dtype))
        yield result


class _Resizer:
    """Gives any rows of a resized picture from the rows around them.

    Args:
        source_height: Of the picture.
        height: Of the result.
        width: Of the result.
    """

    def __init__(self, source_height: int, height: int, width: int) -> None:
        self._source_height, self._width = source_height, width
        reach = 2 * max(1.0, source_height / height)  # of a cubic kernel, in rows of the source
        taps = 2 * math.ceil(reach) + 2
        # What torch gives for combs are its weights: only one tooth of each is seen by a row of the result.
        comb = torch.zeros(source_height, taps)
        every = torch.arange(source_height)
        comb[every, every % taps] = 1
        weights = F.interpolate(comb[None, None], size=(height, taps), mode="bicubic", antialias=True)[0, 0]
        centres = (torch.arange(height, dtype=torch.float64) + 0.5) * (source_height / height)
        self._first = centres.floor().long() - taps // 2 + 1
        seen = self._first[:, None] + torch.arange(taps)
        self._weights = weights.gather(1, seen % taps)

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """The rows of the source that decide about some rows of the result."""
        taps = self._weights.shape[1]
        last = int(self._first[stop - 1]) + taps
        return max(0, int(self._first[start])), min(self._source_height, last)

    def plane(self, source: Tensor, first: int, start: int, stop: int) -> Tensor:
        """Rows of one channel of the result.

        Args:
            source: ``(rows, width)``, fp32 in any range: what ``needed`` says.
            first: Row of the picture that it starts with.
            start: First row of the result.
            stop: One past the last one.

        Returns:
            ``(stop - start, width)``, fp32, the same range.
        """
        size = (len(source), self._width)
        wide = F.interpolate(source[None, None], size=size, mode="bicubic", antialias=True)[0, 0]
        result = torch.zeros(stop - start, self._width)
        for tap in range(self._weights.shape[1]):
            places = (self._first[start:stop] + tap - first).clamp(0, len(source) - 1)
            result.addcmul_(wide[places], self._weights[start:stop, tap, None])
        return result


def blended(result: Rows, source: Rows, strength: float) -> Rows:
    """The weighted mean of a result and of its source, enlarged; see ``strength.blended``.

    Args:
        result: Codes or floats.
        source: Likewise; decides about the dtype.
        strength: Share of the result, 0 to 1.
    """
    return Rows(result.height, result.width, _blended_bands(result, source, strength))


def _blended_bands(result: Rows, source: Rows, strength: float) -> Iterator[Tensor]:
    window, plain = Window(source), _Enlarger(source, result)
    start = 0
    for band in result.bands:
        stop = start + len(band)
        first, last = plain.needed(start, stop)
        around = window.take(first, last)
        output = torch.empty_like(band, dtype=around.dtype)
        for channel in range(3):
            plane = plain.plane(as_floats(around[:, :, channel]), first, start, stop)
            mean = plane.lerp_(as_floats(band[:, :, channel]), strength)
            output[:, :, channel].copy_(as_codes(mean, around.dtype))
        yield output
        start = stop


class _Enlarger:
    """Gives any rows of ``strength.enlarged``, which convolves where the factor is whole."""

    def __init__(self, source: Rows, result: Rows) -> None:
        self._height, self._width = source.height, result.width
        factor = result.height // source.height
        is_whole = factor > 0 and (source.height * factor, source.width * factor) == (
            result.height,
            result.width,
        )
        self._factor = factor if is_whole else 0
        self._resizer = None if is_whole else _Resizer(source.height, result.height, result.width)

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """As of ``_Resizer``."""
        if self._resizer:
            return self._resizer.needed(start, stop)
        first = start // self._factor - BICUBIC_RADIUS_PX
        last = -(-stop // self._factor) + BICUBIC_RADIUS_PX
        return max(0, first), min(self._height, last)

    def plane(self, source: Tensor, first: int, start: int, stop: int) -> Tensor:
        """As of ``_Resizer``."""
        if self._resizer:
            return self._resizer.plane(source, first, start, stop)
        whole = enlarged(source, len(source) * self._factor, self._width)
        return whole[start - first * self._factor : stop - first * self._factor]
