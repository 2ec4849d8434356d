"""Which networks run, in which order, to reach a size."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from upscaler.planes import PlaneOutput


@dataclass(frozen=True)
class Plan:
    """How pictures of one size are upscaled.

    Attributes:
        scales: Scales of the networks, in the order in which they run; empty when no network is needed.
        height: Height of the result, after antialiased downscaling where the networks overshoot.
        width: Width of the result.
        factor: By how much the picture is upscaled, before rounding to whole pixels.
        passes: How often each network runs; 8 for self-ensemble.
        planes: What the last network gives instead of RGB; see ``Upscaler.giving_planes``.
    """

    scales: tuple[int, ...]
    height: int
    width: int
    factor: float
    passes: int = 1
    planes: PlaneOutput | None = None

    def describe(self, height: int, width: int) -> str:
        """One line for the user: ``640x480 -> 1280x960 (x4, then resized)``.

        Args:
            height: Height of the source.
            width: Width of the source.
        """
        networks = " then ".join(f"x{scale}" for scale in self.scales) or "no network"
        reached = math.prod(self.scales)
        exact = (height * reached, width * reached) == (self.height, self.width)
        passes = f", {self.passes} passes" if self.scales and self.passes > 1 else ""
        resized = "" if exact else ", then resized"
        return f"{width}x{height} -> {self.width}x{self.height} ({networks}{passes}{resized})"


def scales_for(known: Collection[int], factor: float) -> tuple[int, ...]:
    """The networks that reach ``factor``: the smallest that does, else the largest and what is left."""
    scales: list[int] = []
    while (left := factor / math.prod(scales)) > 1 or (factor == 1 and not scales):
        reaching = [scale for scale in known if scale >= left]
        scales.append(min(reaching) if reaching else max(known))
    return tuple(scales)
