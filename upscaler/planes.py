"""The planes of a video frame as weighted sums of RGB: what a network can give directly.

A network that enlarges by ``s`` computes at each LR pixel the ``s * s`` pixels that lie there. Packed planes
stay in that form: ``(B, K, H, W)`` at LR size, where the K values of an LR pixel are its luma samples row by
row, then its samples of the second plane, then those of the third.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

# Integers as wide as several samples, by their bytes: the samples of a row are moved together.
_WIDE = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class ChromaAxis:
    """How one axis of the second and the third plane is reduced.

    Attributes:
        step: Pixels per sample, 1 or 2.
        taps: Weights of the pixels at -1, 0, 1 and 2 from the first pixel of a sample; edges repeat.
    """

    step: int = 1
    taps: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 0.0)

    @property
    def sees_neighbours(self) -> bool:
        """Whether a sample depends on more than one pixel."""
        return self.taps != (0.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True)
class PlaneOutput:
    """Planes of integer codes that derive linearly from RGB.

    Attributes:
        colors: For each plane the weights of R, G and B, which are in [0, 1], and the code of black.
        columns: How planes after the first are reduced horizontally.
        rows: How they are reduced vertically.
        peak: The largest code.
        dtype: Of the codes.
    """

    colors: tuple[tuple[float, float, float, float], ...]
    columns: ChromaAxis
    rows: ChromaAxis
    peak: int
    dtype: torch.dtype

    def fits(self, scale: int) -> bool:
        """Whether each LR pixel has as many chroma samples as any other."""
        return scale % self.columns.step == 0 and scale % self.rows.step == 0

    def shapes(self, scale: int) -> list[tuple[int, int]]:
        """Rows and columns of the samples of each plane in one LR pixel."""
        chroma = (scale // self.rows.step, scale // self.columns.step)
        return [(scale, scale), *(chroma for _ in self.colors[1:])]

    def channels(self, scale: int) -> int:
        """Samples of all planes in one LR pixel."""
        return sum(rows * columns for rows, columns in self.shapes(scale))

    def as_codes(self, values: Tensor) -> Tensor:
        """Values that are 0.5 above their codes, of any shape -> codes; overwrites ``values``."""
        return values.clamp_(0, self.peak).to(self.dtype)

    def unpack(self, packed: Tensor, scale: int) -> list[Tensor]:
        """Packed planes ``(B, K, H, W)`` -> ``(B, rows, columns)`` of each plane, same dtype."""
        pixels = packed.permute(0, 2, 3, 1).contiguous()
        shapes = self.shapes(scale)
        sizes = [rows * columns for rows, columns in shapes]
        starts = [sum(sizes[:index]) for index in range(len(sizes) + 1)]
        return [
            _spread(pixels[..., start:stop].view(*pixels.shape[:3], *shape))
            for shape, (start, stop) in zip(shapes, pairwise(starts), strict=True)
        ]


def _spread(samples: Tensor) -> Tensor:
    """Samples of LR pixels ``(B, H, W, rows, columns)`` -> ``(B, H * rows, W * columns)``."""
    frames, height, width, rows, columns = samples.shape
    wide = _WIDE.get(columns * samples.element_size(), samples.dtype)
    moved = samples.view(wide).permute(0, 1, 3, 2, 4).contiguous().view(samples.dtype)
    return moved.view(frames, height * rows, width * columns)
