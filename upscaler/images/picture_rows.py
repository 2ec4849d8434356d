"""Pictures that are read in bands: some rows each, from top to bottom, so that none is held as a whole.

``tiff_rows`` and ``png_rows`` read files so; ``StillRows`` has a picture that fits into memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from upscaler.errors import UpscalerError
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still, has_equal_channels

# Rows of a band: enough that the work for each does not count.
BAND_BYTES = 8 << 20


class NotInRowsError(UpscalerError):
    """A file cannot be read in bands; the text says why."""


@dataclass(frozen=True)
class PictureRows:
    """A picture in bands.

    Attributes:
        height: Of the picture.
        width: Of the picture.
        head: What holds for all of it, with one pixel, whose alpha is the smallest there is.
        alpha_is_uniform: Whether alpha is the same everywhere; true without alpha.
        bands: Gives the picture, with its metadata, from its first row on each time that it is called.
    """

    height: int
    width: int
    head: Still
    alpha_is_uniform: bool
    bands: Callable[[], Iterator[Still]]

    @property
    def hides_colors(self) -> bool:
        """Whether some pixels, but not all, are fully transparent."""
        alpha = self.head.alpha
        return alpha is not None and not alpha.any() and not self.alpha_is_uniform


def of_bands(
    height: int, width: int, bands: Callable[[], Iterator[Still]], metadata: Metadata | None = None
) -> PictureRows:
    """A picture whose bands are gone through once to find what holds for all of them.

    Args:
        height: Of the picture.
        width: Of the picture.
        bands: As in ``PictureRows``.
        metadata: Of the picture; ``None``: those of the first band.
    """
    facts = _facts(bands())
    metadata = replace(metadata or facts.head.metadata, size=(height, width))

    def described() -> Iterator[Still]:
        for band in bands():
            yield replace(band, metadata=metadata, equal_channels=facts.head.equal_channels)

    head = replace(facts.head, metadata=metadata)
    return PictureRows(height, width, head, facts.alpha_is_uniform, described)


def of_still(still: Still) -> PictureRows:
    """A picture in memory."""
    height, width = still.pixels.shape[:2]
    each = max(1, BAND_BYTES // still.pixels[0].nbytes)

    def bands() -> Iterator[Still]:
        for start in range(0, height, each):
            rows = slice(start, start + each)
            alpha = None if still.alpha is None else still.alpha[rows]
            yield replace(still, pixels=still.pixels[rows], alpha=alpha)

    facts = _facts(bands())
    head = replace(facts.head, equal_channels=still.equal_channels)
    return PictureRows(height, width, head, facts.alpha_is_uniform, bands)


@dataclass(frozen=True)
class _Facts:
    head: Still
    alpha_is_uniform: bool


def _facts(bands: Iterator[Still]) -> _Facts:
    """Look through the bands, as far as that is needed."""
    first: Still | None = None
    equal, low, high = True, 1 << 16, 0
    for band in bands:
        first = first or band
        equal = equal and not band.gray and has_equal_channels(band.pixels)
        if band.alpha is not None:
            low, high = min(low, int(band.alpha.min())), max(high, int(band.alpha.max()))
        elif not equal:
            break
    assert first is not None, "a picture has rows"
    alpha: Any = None if first.alpha is None else np.full((1, 1), low, first.alpha.dtype)
    pixels: Any = first.pixels[:1, :1].copy()
    head = replace(first, pixels=pixels, alpha=alpha, equal_channels=equal)
    return _Facts(head, alpha_is_uniform=first.alpha is None or low == high)
