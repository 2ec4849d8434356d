"""Linear light, as EXR, HDR and PFM store it, and display values, as networks know them.

Up to white, 1.0, display values are those of sRGB (IEC 61966-2-1). Brighter light continues with the
logarithm of equal slope, as in HLG (ITU-R BT.2100), so that a lamp of 100 times white has the display
value 3.
Negative light, which some programs write, mirrors positive light.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LINEAR_TO, _SLOPE_AT_WHITE = 0.0031308, 1.055 / 2.4


def to_display(light: NDArray[Any]) -> NDArray[np.float64]:
    """Linear light of any shape, floats in any range -> display values, fp64; white is 1 in both.

    Any colour order.
    """
    size = np.abs(light.astype(np.float64))
    inside = np.clip(size, _LINEAR_TO, 1)
    display = np.where(size <= _LINEAR_TO, 12.92 * size, 1.055 * inside ** (1 / 2.4) - 0.055)
    display = np.where(size > 1, 1 + _SLOPE_AT_WHITE * np.log(np.maximum(size, 1)), display)
    signed: NDArray[np.float64] = np.copysign(display, light)
    return signed


def to_light(display: NDArray[Any]) -> NDArray[np.float64]:
    """The inverse of ``to_display``: display values of any shape, floats in any range -> linear light, fp64.

    Any colour order.
    """
    size = np.abs(display.astype(np.float64))
    inside = np.clip(size, 12.92 * _LINEAR_TO, 1)
    light = np.where(size <= 12.92 * _LINEAR_TO, size / 12.92, ((inside + 0.055) / 1.055) ** 2.4)
    light = np.where(size > 1, np.exp((np.maximum(size, 1) - 1) / _SLOPE_AT_WHITE), light)
    signed: NDArray[np.float64] = np.copysign(light, display)
    return signed
