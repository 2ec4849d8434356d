"""HDR metadata of a video: what its first frame says, and the encoder options that write it again.

av does not hand the metadata to the encoder; each encoder takes it in a notation of its own.
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
# Dynamic metadata that no encoder here writes.
_DYNAMIC = {"DOVI_METADATA": "Dolby Vision", "DOVI_RPU_BUFFER": "Dolby Vision", "DYNAMIC_HDR_PLUS": "HDR10+"}


@dataclass(frozen=True)
class Hdr:
    """Static HDR10 metadata (SMPTE ST 2086, CTA-861.3) and what cannot be kept.

    Attributes:
        primaries: (x, y) of red, green, blue and white, or nothing.
        luminance: Of the mastering display, (least, greatest), cd/m².
        light_level: (greatest of any pixel, greatest average of a frame), cd/m², or nothing.
        lost: Names of dynamic metadata that no encoder here writes.
    """

    primaries: tuple[tuple[Fraction, Fraction], ...] = ()
    luminance: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))
    light_level: tuple[int, int] | None = None
    lost: tuple[str, ...] = ()

    @property
    def is_static(self) -> bool:
        """Whether there is anything that an encoder could write."""
        return bool(self.primaries) or self.light_level is not None


@dataclass(frozen=True)
class _Notation:
    """How an encoder takes the metadata: its option, the names in it, and the units of its numbers."""

    option: str
    display: str
    light_level: str
    per_unit: int = 1
    per_candela: int = 1
    always: tuple[str, ...] = ()


_NOTATIONS = {
    "libx265": _Notation(
        "x265-params", "master-display", "max-cll", 50_000, 10_000, ("hdr10=1", "repeat-headers=1")
    ),
    "libx264": _Notation("x264-params", "mastering-display", "cll", 50_000, 10_000),
    "libsvtav1": _Notation("svtav1-params", "mastering-display", "content-light"),
}


def read(frame: VideoFrame, *, may_be_untagged: bool = False) -> Hdr | None:
    """The metadata of a frame, or None where its transfer function is not an HDR one.

    Args:
        frame: The first of a video.
        may_be_untagged: Look at frames without a transfer function too: some of Dolby Vision have none.
    """
    transfer = int(frame.color_trc)
    untagged = may_be_untagged and transfer == UNSPECIFIED
    if transfer not in (PQ, HLG) and not untagged:
        return None
    data: dict[str, bytes] = {}
    try:
        for item in cast("Iterable[SideData]", frame.side_data):  # av's stub says a mapping, which it is too
            data[item.type.name] = bytes(memoryview(item))
    except ValueError:  # av 18.1, at a type that it does not know
        pass
    named = tuple(sorted({_DYNAMIC[name] for name in data if name in _DYNAMIC}))
    if untagged:
        return Hdr(lost=named) if named else None
    level = data.get("CONTENT_LIGHT_LEVEL")
    light_level = struct.unpack("2I", level[:8]) if level else None
    display = data.get("MASTERING_DISPLAY_METADATA")
    if not display or len(display) < 88:
        return Hdr(light_level=light_level, lost=named)
    numbers = struct.unpack("22i", display[:88])
    values = [
        Fraction(top, bottom or 1) for top, bottom in zip(numbers[0:20:2], numbers[1:20:2], strict=True)
    ]
    points = tuple((values[place], values[place + 1]) for place in range(0, 8, 2))
    return Hdr(points, (values[8], values[9]), light_level, named)


def encoder_options(hdr: Hdr, encoder: str) -> dict[str, str]:
    """The options with which an encoder writes the metadata; empty for encoders that cannot."""
    if encoder not in _NOTATIONS or not hdr.is_static:
        return {}
    notation = _NOTATIONS[encoder]
    parts = list(notation.always)
    display = _display(hdr, notation.per_unit, notation.per_candela)
    if display:
        parts.append(f"{notation.display}={display}")
    if hdr.light_level:
        parts.append(f"{notation.light_level}={hdr.light_level[0]},{hdr.light_level[1]}")
    return {notation.option: ":".join(parts)}


def lost(hdr: Hdr, encoder: str) -> list[str]:
    """Names of what an encoder does not write."""
    static = ["HDR10"] if hdr.is_static and encoder not in _NOTATIONS else []
    return [*static, *hdr.lost]


def _display(hdr: Hdr, per_unit: int, per_candela: int) -> str:
    """``G(x,y)B(x,y)R(x,y)WP(x,y)L(greatest,least)`` in the encoder's units."""
    if not hdr.primaries:
        return ""

    def number(value: Fraction, units: int) -> str:
        return str(round(value * units)) if units > 1 else f"{float(value):g}"

    red, green, blue, white = (f"({number(x, per_unit)},{number(y, per_unit)})" for x, y in hdr.primaries)
    least, greatest = (number(value, per_candela) for value in hdr.luminance)
    return f"G{green}B{blue}R{red}WP{white}L({greatest},{least})"
