"""Luma weights of the matrices between RGB and YUV: the one place for networks, training and video."""

from typing import Literal

Matrix = Literal["bt601", "bt709", "bt2020", "fcc", "smpte240m"]

# Kr and Kb of each matrix (ITU-T H.273, table 4).
_RED_AND_BLUE: dict[str, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}


def luma_weights(matrix: Matrix) -> tuple[float, float, float]:
    """Weights of R, G and B in luma; they add up to 1."""
    red, blue = _RED_AND_BLUE[matrix]
    return red, round(1 - red - blue, 4), blue  # rounded: exactly the decimals that standards print
