"""Timecodes, ``HH:MM:SS:FF``: that of a later frame (SMPTE ST 12-1)."""

import re
from fractions import Fraction

_PATTERN = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d{2,3})")
_KEY = "timecode"


def advanced(tags: dict[str, str], seconds: Fraction, rate: Fraction) -> dict[str, str]:
    """Tags with the timecode, if there is one, of the frame so much later.

    Args:
        tags: Of a file or stream.
        seconds: Time between both frames.
        rate: Frames per second.
    """
    return {
        key: _advanced(value, round(seconds * rate), round(rate)) if key.lower() == _KEY else value
        for key, value in tags.items()
    }


def _advanced(timecode: str, frames: int, base: int) -> str:
    """The timecode so many frames later; ``base`` frames have one second. A semicolon drops numbers."""
    found = _PATTERN.fullmatch(timecode.strip())
    if found is None or base < 1:
        return timecode
    hours, minutes, seconds, frame = (int(found.group(number)) for number in (1, 2, 3, 5))
    separator = found.group(4)
    # Numbers, not frames, are dropped: 2 of 30 at the start of every minute but each tenth.
    dropped = base // 15 if separator != ":" and base % 30 == 0 else 0
    minute = 60 * hours + minutes
    count = (60 * minute + seconds) * base + frame - dropped * (minute - minute // 10) + frames
    if dropped:
        tens, rest = divmod(count, 600 * base - 9 * dropped)
        later = max(0, rest - dropped) // (60 * base - dropped)  # minutes of ten; the first has all numbers
        count += dropped * (9 * tens + later)
    whole, frame = divmod(count, base)
    hours, minutes, seconds = whole // 3600 % 24, whole // 60 % 60, whole % 60
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator}{frame:0{len(found.group(5))}}"
