"""A decoded still image, with what the file says about it."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from upscaler.images import light
from upscaler.images.metadata import Metadata
from upscaler.pixels import Pixels, to_8_bits


@dataclass(frozen=True)
class SampleRange:
    """How codes of 16 bits stand for samples that are not codes, such as heights or light: linearly.

    Attributes:
        dtype: The samples' type, as numpy names it: ``int16``, ``float32``, ...
        low: The sample of code 0.
        high: The sample of code 65535.
        nodata: What a missing sample is; its pixel has alpha 0. ``None`` if none can be missing.
        is_light: Whether samples are linear light, of which ``low`` and ``high``, and so the codes between
            them, are display values.
    """

    dtype: str
    low: float
    high: float
    nodata: float | None = None
    is_light: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether every sample has a code of its own."""
        return np.issubdtype(np.dtype(self.dtype), np.integer) and self.high - self.low <= 65_535

    def values(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Codes of any shape as samples that are not rounded to their type yet."""
        values = self.low + codes * ((self.high - self.low) / 65_535)
        return light.to_light(values) if self.is_light else values

    @property
    def ends(self) -> tuple[float, float]:
        """The samples of the lowest and the highest code."""
        low, high = self.values(np.array([0, 65_535]))
        return float(low), float(high)

    def samples(self, codes: NDArray[np.uint16]) -> NDArray[Any]:
        """Codes of any shape as samples."""
        values = self.values(codes)
        is_integer = np.issubdtype(np.dtype(self.dtype), np.integer)
        return (np.rint(values) if is_integer else values).astype(self.dtype)


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
        sample_range: How 16-bit codes stand for the samples of a TIFF that are not codes, which a TIFF gets
            again; ``None`` for codes.
        damage: What is missing because the source is damaged, as a line for the user, or empty.
        metadata: Profile, EXIF and the like.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    gray: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    equal_channels: bool = False
    sample_range: SampleRange | None = None
    damage: str = ""

    def for_display(self) -> Self:
        """The image with display values of light up to white, brighter light as white; others unchanged."""
        sample_range = self.sample_range
        if sample_range is None or not sample_range.is_light:
            return self
        span = sample_range.high - sample_range.low
        display = sample_range.low + self.pixels.astype(np.float32) * np.float32(span / 65_535)
        pixels: Any = np.rint(display.clip(0, 1) * 65_535).astype(np.uint16)
        return replace(self, pixels=pixels, sample_range=None)

    def in_8_bits(self) -> Self:
        """The image as uint8, rounded."""
        if self.pixels.dtype == np.uint8:
            return self
        alpha = None if self.alpha is None else to_8_bits(self.alpha)
        return replace(self, pixels=to_8_bits(self.pixels), alpha=alpha, sample_range=None)


def has_equal_channels(pixels: Pixels) -> bool:
    """Whether R = G = B in all of ``(H, W, 3)``, RGB, uint8 or uint16 in full range."""
    red, green, blue = (pixels[:, :, channel] for channel in range(3))
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))
