"""What was measured about models of other projects, kept in the cache: it takes up to half a minute."""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from upscaler import atomic
from upscaler.cache_folder import cache_folder
from upscaler.errors import CacheError

_VERSION = 1  # to be raised when something else or something more is measured


@dataclass(frozen=True)
class Measurements:
    """What running a network showed.

    Attributes:
        radius_px: See ``receptive_field.Measured``.
        macs_per_pixel: Multiply-accumulates per LR pixel.
        channels_last: Whether it works in that memory format.
        bf16: Whether it works in bf16, where spandrel says so.
    """

    radius_px: int | None
    macs_per_pixel: int
    channels_last: bool
    bf16: bool


def load(path: Path) -> Measurements | None:
    """What is known about a model file of this content; ``None`` if that is nothing, or is damaged."""
    with suppress(OSError, CacheError, ValueError, TypeError, KeyError):
        content = json.loads(_file_for(path).read_text(encoding="utf-8"))
        if content.pop("made by") != _made_by():
            return None
        found = Measurements(**content)
        numbers = (found.radius_px or 0, found.macs_per_pixel)
        flags = (found.channels_last, found.bf16)
        if all(type(each) is int and each >= 0 for each in numbers) and all(type(x) is bool for x in flags):
            return found
    return None


def save(path: Path, measurements: Measurements) -> None:
    """Keep what was measured; where there is no cache folder or no space, nothing is kept."""
    with suppress(OSError, CacheError), atomic.replacing(_file_for(path)) as partial:
        partial.write_text(json.dumps({"made by": _made_by(), **asdict(measurements)}), encoding="utf-8")


def _file_for(path: Path) -> Path:
    with path.open("rb") as file:
        return cache_folder("models") / f"{hashlib.file_digest(file, 'sha256').hexdigest()}.json"


def _made_by() -> str:
    """Of the architectures' code and of what runs it."""
    return f"{_VERSION}, spandrel {version('spandrel')}, torch {version('torch')}"
