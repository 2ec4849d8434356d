"""HDR metadata: read from the first frame, and written through encoder options.

av does not pass the metadata on to the encoder, and each encoder has its own syntax for it.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

from upscaler.video.pixel_formats import UNSPECIFIED

PQ, HLG = 16, 18  # transfer functions, as H.273 codes
# Dynamic metadata that none of the encoders can write.
_DYNAMIC = {"DOVI_METADATA": "Dolby Vision", "DOVI_RPU_BUFFER": "Dolby Vision", "DYNAMIC_HDR_PLUS": "HDR10+"}


@dataclass(frozen=True)
class Hdr:
    """Static HDR10 metadata (SMPTE ST 2086, CTA-861.3), and the names of what cannot be kept.

    Attributes:
        primaries: CIE 1931 (x, y) of red, green, blue and white; empty when not declared.
        luminance: Of the mastering display, (minimum, maximum), cd/m².
        light_level: (MaxCLL, MaxFALL), cd/m²; ``None`` when not declared.
        lost: Names of dynamic metadata that none of the encoders can write.
    """

    primaries: tuple[tuple[Fraction, Fraction], ...] = ()
    luminance: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))
    light_level: tuple[int, int] | None = None
    lost: tuple[str, ...] = ()

    @property
    def is_static(self) -> bool:
        """Whether there is static metadata to write."""
        return bool(self.primaries) or self.light_level is not None


@dataclass(frozen=True)
class _Syntax:
    """How an encoder takes the metadata: the option, the names in it, and the units of its numbers."""

    option: str
    display: str
    light_level: str
    per_unit: int = 1
    per_candela: int = 1
    required: tuple[str, ...] = ()


_SYNTAX = {
    "libx265": _Syntax(
        "x265-params", "master-display", "max-cll", 50_000, 10_000, ("hdr10=1", "repeat-headers=1")
    ),
    "libx264": _Syntax("x264-params", "mastering-display", "cll", 50_000, 10_000),
    "libsvtav1": _Syntax("svtav1-params", "mastering-display", "content-light"),
}


def read(frame: VideoFrame, *, may_be_untagged: bool = False) -> Hdr | None:
    """The metadata of a frame; ``None`` when its transfer function is not an HDR one.

    Args:
        frame: The first of a video.
        may_be_untagged: Also read frames without a transfer function, as in some Dolby Vision files.
    """
    transfer = int(frame.color_trc)
    untagged = may_be_untagged and transfer == UNSPECIFIED
    if transfer not in (PQ, HLG) and not untagged:
        return None
    data: dict[str, bytes] = {}
    try:
        for item in cast(
            "Iterable[SideData]", frame.side_data
        ):  # av's stub declares a mapping, which it also is
            data[item.type.name] = bytes(memoryview(item))
    except ValueError:  # av 18.1: side data of a type unknown to it
        pass
    dynamic = tuple(sorted({_DYNAMIC[name] for name in data if name in _DYNAMIC}))
    if untagged:
        return Hdr(lost=dynamic) if dynamic else None
    level = data.get("CONTENT_LIGHT_LEVEL")
    light_level = struct.unpack("2I", level[:8]) if level else None
    display = data.get("MASTERING_DISPLAY_METADATA")
    if not display or len(display) < 88:
        return Hdr(light_level=light_level, lost=dynamic)
    numbers = struct.unpack("22i", display[:88])
    values = [
        Fraction(numerator, denominator or 1)
        for numerator, denominator in zip(numbers[0:20:2], numbers[1:20:2], strict=True)
    ]
    points = tuple((values[index], values[index + 1]) for index in range(0, 8, 2))
    return Hdr(points, (values[8], values[9]), light_level, dynamic)


def encoder_options(hdr: Hdr, encoder: str) -> dict[str, str]:
    """Options that make an encoder write the metadata; empty for encoders that cannot."""
    if encoder not in _SYNTAX or not hdr.is_static:
        return {}
    syntax = _SYNTAX[encoder]
    parts = list(syntax.required)
    display = _display(hdr, syntax.per_unit, syntax.per_candela)
    if display:
        parts.append(f"{syntax.display}={display}")
    if hdr.light_level:
        parts.append(f"{syntax.light_level}={hdr.light_level[0]},{hdr.light_level[1]}")
    return {syntax.option: ":".join(parts)}


def lost_metadata(hdr: Hdr, encoder: str) -> list[str]:
    """Names of the metadata that an encoder does not write."""
    static = ["HDR10"] if hdr.is_static and encoder not in _SYNTAX else []
    return [*static, *hdr.lost]


def _display(hdr: Hdr, per_unit: int, per_candela: int) -> str:
    """``G(x,y)B(x,y)R(x,y)WP(x,y)L(maximum,minimum)`` in the encoder's units."""
    if not hdr.primaries:
        return ""

    def number(value: Fraction, units: int) -> str:
        return str(round(value * units)) if units > 1 else f"{float(value):g}"

    red, green, blue, white = (f"({number(x, per_unit)},{number(y, per_unit)})" for x, y in hdr.primaries)
    minimum, maximum = (number(value, per_candela) for value in hdr.luminance)
    return f"G{green}B{blue}R{red}WP{white}L({maximum},{minimum})"
