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

PQ, HLG = 16, 18  # transfer functions, as H.273 codes


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


def read(frame: VideoFrame) -> Hdr | None:
    """The metadata of a frame, or None where its transfer function is not an HDR one."""
    if int(frame.color_trc) not in (PQ, HLG):
        return None
    data: dict[str, bytes] = {}
    try:
        for item in cast("Iterable[SideData]", frame.side_data):  # av's stub says a mapping, which it is too
            data[item.type.name] = bytes(memoryview(item))
    except ValueError:  # av 18.1, at a type that it does not know
        pass
    lost = {"DOVI_METADATA": "Dolby Vision", "DOVI_RPU_BUFFER": "Dolby Vision", "DYNAMIC_HDR_PLUS": "HDR10+"}
    named = tuple(sorted({lost[name] for name in data if name in lost}))
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
    if encoder in ("libx265", "libx264"):
        display = _display(hdr, 50_000, 10_000)
    elif encoder == "libsvtav1":
        display = _display(hdr, 1, 1)
    else:
        return {}
    parts = {
        "libx265": ["hdr10=1", "repeat-headers=1", "log-level=error"],
        "libx264": [],
        "libsvtav1": [],
    }[encoder]
    names = {
        "libx265": ("master-display", "max-cll"),
        "libx264": ("mastering-display", "cll"),
        "libsvtav1": ("mastering-display", "content-light"),
    }[encoder]
    if display:
        parts.append(f"{names[0]}={display}")
    if hdr.light_level:
        parts.append(f"{names[1]}={hdr.light_level[0]},{hdr.light_level[1]}")
    option = {"libx265": "x265-params", "libx264": "x264-params", "libsvtav1": "svtav1-params"}[encoder]
    return {option: ":".join(parts)} if parts else {}


def _display(hdr: Hdr, per_unit: int, per_candela: int) -> str:
    """``G(x,y)B(x,y)R(x,y)WP(x,y)L(greatest,least)`` in the encoder's units."""
    if not hdr.primaries:
        return ""

    def number(value: Fraction, units: int) -> str:
        return str(round(value * units)) if units > 1 else f"{float(value):g}"

    red, green, blue, white = (f"({number(x, per_unit)},{number(y, per_unit)})" for x, y in hdr.primaries)
    least, greatest = (number(value, per_candela) for value in hdr.luminance)
    return f"G{green}B{blue}R{red}WP{white}L({greatest},{least})"
