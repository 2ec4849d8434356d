"""Colours that a file states as code points (ITU-T H.273): of AVIF, and of PNG with a cICP chunk.

PNG keeps them. For other formats, SDR with wide gamut is converted to sRGB; HDR is not, because that needs a
choice of what becomes of its highlights.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from upscaler.pixels import Pixels

_UNSPECIFIED, _BT709, _BT2020, _DISPLAY_P3 = 2, 1, 9, 12
_SRGB_TRANSFER, _PQ, _HLG = 13, 16, 18
_PRIMARIES = {_BT2020: "BT.2020", _DISPLAY_P3: "Display P3"}
_HDR = {_PQ: "PQ", _HLG: "HLG"}
# Linear RGB of these primaries -> linear RGB of BT.709, which sRGB uses; all have white D65.
_TO_BT709 = {
    _BT2020: (
        (1.660491, -0.587641, -0.072850),
        (-0.124550, 1.132900, -0.008349),
        (-0.018151, -0.100579, 1.118730),
    ),
    _DISPLAY_P3: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}
_ROWS_AT_A_TIME = 256  # converted in fp32: 12 times the memory of 8 bits


@dataclass(frozen=True)
class CodePoints:
    """Primaries and transfer characteristics, as H.273 numbers them; 2 is unspecified."""

    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED

    @property
    def hdr(self) -> str:
        """``PQ`` or ``HLG``; empty for SDR."""
        return _HDR.get(self.transfer, "")

    @property
    def wide_gamut(self) -> str:
        """The name of primaries that are converted to those of sRGB; empty for others."""
        return _PRIMARIES.get(self.primaries, "")

    def chunk_data(self) -> bytes:
        """The data of a cICP chunk for RGB over the full range (PNG, third edition: 11.3.2.6)."""
        transfer = _SRGB_TRANSFER if self.transfer == _UNSPECIFIED else self.transfer
        return bytes([self.primaries, transfer, 0, 1])


def of_chunk(data: bytes) -> CodePoints | None:
    """The code points of a cICP chunk; ``None`` if it is damaged, or not for RGB over the full range."""
    return CodePoints(data[0], data[1]) if len(data) == 4 and data[2:] == b"\0\1" else None


def to_srgb(pixels: Pixels, source: CodePoints) -> Pixels:
    """Convert an SDR image to sRGB; any SDR transfer is taken for sRGB's, colours outside sRGB are clipped.

    Args:
        pixels: ``(H, W, 3)`` RGB, uint8 or uint16 over the full range.
        source: Its code points.

    Returns:
        ``(H, W, 3)`` RGB of the same dtype; ``pixels`` itself if its primaries are not wide.
    """
    matrix = _TO_BT709.get(source.primaries)
    if matrix is None:
        return pixels
    white = np.iinfo(pixels.dtype).max
    codes = np.arange(white + 1) / white
    light_of_codes = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    converted: Any = np.empty_like(pixels)
    for top in range(0, len(pixels), _ROWS_AT_A_TIME):  # IEC 61966-2-1
        rows = slice(top, top + _ROWS_AT_A_TIME)
        light = light_of_codes.astype(np.float32)[pixels[rows]] @ np.array(matrix, np.float32).T
        light = light.clip(0, 1)
        encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        converted[rows] = np.rint(encoded * white)
    return converted  # type: ignore[no-any-return]  # of the same dtype
