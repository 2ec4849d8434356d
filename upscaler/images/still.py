"""A decoded still image, with what the file says about it."""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from upscaler.images.metadata import Metadata
from upscaler.pixels import Pixels, to_8_bits


@dataclass(frozen=True)
class Still:
    """One image, upright (its orientation tag is applied).

    Attributes:
        pixels: ``(H, W, 3)`` RGB, uint8 or uint16 over the full range, in the colours of the profile in
            ``metadata``.
        alpha: ``(H, W)`` of the same dtype, 0 is transparent; ``None`` for an opaque image.
        gray: Whether the source is grayscale. A network makes its three equal channels slightly unequal, so
            their mean is written.
        equal_channels: Whether the channels of an RGB source are equal everywhere, as in a black-and-white
            photograph stored as RGB. Their mean is written to each of them.
        damage: What is missing because the source is damaged, as a line for the user, or empty.
        metadata: Profile, EXIF and the like.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    gray: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    equal_channels: bool = False
    damage: str = ""

    def in_8_bits(self) -> Self:
        """The image as uint8, rounded."""
        if self.pixels.dtype == np.uint8:
            return self
        alpha = None if self.alpha is None else to_8_bits(self.alpha)
        return replace(self, pixels=to_8_bits(self.pixels), alpha=alpha)
