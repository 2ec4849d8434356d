"""Tags and chapters of the source, as they are written into the output."""

from fractions import Fraction
from typing import TYPE_CHECKING

from upscaler.video.formats import Container

if TYPE_CHECKING:
    from av.container.core import Chapter  # exists only in av's stub file

# Tags that describe the source file, in lower case; the muxer writes its own.
_STALE = {"encoder", "duration", "major_brand", "minor_version", "compatible_brands", "vendor_id"}
_STALE |= {"alpha_mode", "bps", "number_of_frames", "number_of_bytes"}
_STALE_PREFIXES = ("_statistics_", "duration-", "bps-", "number_of_frames-", "number_of_bytes-")


def kept_tags(metadata: dict[str, str], container: Container) -> dict[str, str]:
    """The tags of a file or stream, without those that describe the source container.

    Args:
        metadata: Of the source.
        container: Of the output.
    """
    stale = _STALE if container.is_mp4 else _STALE | {"handler_name", "name"}
    kept = {
        key: value
        for key, value in metadata.items()
        if key.lower() not in stale and not key.lower().startswith(_STALE_PREFIXES)
    }
    if "name" in metadata:  # the title of a track, as mp4 is read
        kept.setdefault("title", metadata["name"])
    return kept


def kept_chapters(chapters: list["Chapter"], start_s: Fraction, stop_s: Fraction | None) -> list["Chapter"]:
    """The chapters that overlap the part of the source from ``start_s`` to ``stop_s``, which begins at 0."""
    moved = (_moved(chapter, start_s, stop_s) for chapter in chapters)
    return [chapter for chapter in moved if chapter["end"] > chapter["start"]]


def _moved(chapter: "Chapter", start_s: Fraction, stop_s: Fraction | None) -> "Chapter":
    if not chapter["time_base"]:
        return chapter
    start = round(start_s / chapter["time_base"])
    end = chapter["end"] if stop_s is None else min(chapter["end"], round(stop_s / chapter["time_base"]))
    moved = chapter.copy()
    moved["start"] = max(0, chapter["start"] - start)
    moved["end"] = max(0, end - start)
    return moved
