"""Images of linear light as stills, and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upscaler.images import light
from upscaler.images.metadata import Metadata
from upscaler.images.still import SampleRange, Still

_LARGEST = 1e9  # of light; what is above, and what is infinite, becomes that


def still_of_light(
    colors: NDArray[Any], alpha: NDArray[Any] | None, metadata: Metadata, *, dtype: str, gray: bool
) -> Still:
    """An image whose codes are display values.

    Args:
        colors: ``(H, W, 3)`` RGB, or ``(H, W)``, linear light, floats of any range, 1 is white; not
            multiplied by alpha. What is not a number is taken for 0.
        alpha: ``(H, W)`` floats in [0, 1], or ``None``.
        metadata: Of the file.
        dtype: The samples' type in the file, as numpy names it.
        gray: Whether the source is grayscale.
    """
    values = light.to_display(np.nan_to_num(colors, posinf=_LARGEST).clip(-_LARGEST, _LARGEST))
    low, high = min(0.0, float(values.min())), max(1.0, float(values.max()))
    codes: Any = np.rint((values - low) * (65_535 / (high - low))).astype(np.uint16)
    if codes.ndim == 2:
        codes = np.repeat(codes[:, :, None], 3, axis=2)
    opacity: Any = None
    if alpha is not None:
        # In fp32, because 65535 is infinite in fp16.
        opacity = np.rint(np.nan_to_num(alpha.astype(np.float32)).clip(0, 1) * 65_535).astype(np.uint16)
    sample_range = SampleRange(dtype, low, high, is_light=True)
    return Still(np.ascontiguousarray(codes), opacity, gray, metadata, sample_range=sample_range)
