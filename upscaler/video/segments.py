"""Segments: self-contained encoded files of a fixed number of frames, which survive an interruption.

Every segment has an encoder of its own, so a video encoded in one run and one encoded in several have the
same bytes. A JSON file beside each segment records the exact PTS of its frames. It is written last: a segment
that has one is complete.
"""

import hashlib
import json
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, count, islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from torch import Tensor

from upscaler.atomic import write_json
from upscaler.errors import MediaError
from upscaler.system import own_files
from upscaler.video.encoders import EncodeSettings
from upscaler.video.segment_writer import SegmentWriter

T = TypeVar("T")

# A segment is about a minute of work, the most that a power cut costs, at this speed of the network in
# multiply-adds per second. A measured speed would differ between runs, and with it the bytes.
_MACS_PER_S = {"cpu": 0.1e12, "cuda": 30e12, "mps": 3e12, "xpu": 10e12}
_SECONDS = 60
# Fewer frames cost size, because each segment starts with a key frame (docs/video.md); with more, too much is
# lost where the decoder or the encoder limits the speed.
_FRAMES_MIN, _FRAMES_MAX = 120, 1200


@dataclass(frozen=True)
class Segment:
    """A complete segment.

    Attributes:
        path: A file whose PTS start at 0.
        frames: Number of frames.
        first_pts: PTS of its first frame in the whole video, in units of ``time_base``.
        last_pts: PTS of its last frame in the whole video.
        time_base: Of the whole video, seconds.
        before: Hash of the source's frame before the first one, by ``cuts.digest``; empty if it has none.
        last: Of the source's frame that became the last one; empty if the segment is shorter than others.
        is_intact: Whether nothing of the source was damaged or unusual up to its end, as far as it was read.
    """

    path: Path
    frames: int
    first_pts: int
    last_pts: int
    time_base: Fraction
    before: str = ""
    last: str = ""
    is_intact: bool = True

    def pts(self) -> list[int]:
        """PTS of all its frames in the whole video, read from the JSON file beside it."""
        pts: list[int] = _record(self.path)["pts"]
        return pts


def frames_per_segment(macs_per_frame: float, device: str) -> int:
    """The number of frames in a segment.

    Args:
        macs_per_frame: Multiply-adds of the network per frame.
        device: ``cpu``, ``cuda``, ``mps`` or ``xpu``.
    """
    frames = _SECONDS * _MACS_PER_S[device] / max(1.0, macs_per_frame)
    return int(min(_FRAMES_MAX, max(_FRAMES_MIN, frames)))


def is_one_segment(frames: int) -> bool:
    """Whether so many frames are one segment at most, whatever the network."""
    return frames <= _FRAMES_MIN


def chunks(items: Iterator[T], length: int) -> Iterator[Iterator[T]]:
    """Split an iterator into chunks of ``length`` items; exhaust each chunk before taking the next."""
    for first in items:
        yield chain([first], islice(items, length - 1))


@dataclass
class SourceNotes:
    """What is noted of the source while it is decoded, for segments that are written later.

    Attributes:
        is_intact: Whether nothing was damaged or unusual so far.
        captions: Closed captions by PTS in the whole video.
        before: By the PTS of a segment's first frame, see ``Segment.before``.
        last: By the PTS of a segment's last frame, see ``Segment.last``.
    """

    is_intact: Callable[[], bool] = lambda: True
    captions: dict[int, bytes] = field(default_factory=dict)
    before: dict[int, str] = field(default_factory=dict)
    last: dict[int, str] = field(default_factory=dict)


class SegmentedVideoWriter:
    """Encodes frames into segments; a context manager.

    Leaving the context without ``finish`` keeps the complete segments and removes the open one.

    Args:
        folder: Where segments are written.
        settings: See ``EncodeSettings``.
        length: Frames in every segment but the last.
        numbers: Of the segments, in the order in which their frames come.
        notes: Of the source.

    Attributes:
        made: The complete segments so far, by number.
    """

    def __init__(
        self,
        folder: Path,
        settings: EncodeSettings,
        length: int,
        numbers: Iterable[int],
        notes: SourceNotes | None = None,
    ) -> None:
        self.settings = settings
        self.length = length
        self.made: dict[int, Segment] = {}
        self._folder = folder
        self._numbers = iter(numbers)
        self._number = 0
        self._notes = notes or SourceNotes()
        self._writer: SegmentWriter | None = None
        self._pts: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)

    def write(self, planes: list[Tensor], pts: int) -> None:
        """Encode one frame; see ``SegmentWriter.write``.

        Raises:
            MediaError: The encoder or the disk failed.
        """
        if self._writer is None:
            self._number = next(self._numbers)
            path = _record_path(self._folder, self._number).with_suffix(self.settings.segment_suffix)
            self._writer = SegmentWriter(path, self.settings, self._notes.captions)
        self._writer.write(planes, pts)
        self._pts.append(pts)
        if len(self._pts) == self.length:
            self.finish()

    def finish(self) -> None:
        """Close the open segment, if there is one.

        Raises:
            MediaError: The encoder or the disk failed.
        """
        if self._writer is None:
            return
        self._writer.finish()
        path = self._writer.path
        segment = Segment(
            path,
            len(self._pts),
            self._pts[0],
            self._pts[-1],
            self.settings.time_base,
            self._notes.before.pop(self._pts[0], ""),
            self._notes.last.pop(self._pts[-1], ""),
            self._notes.is_intact(),
        )
        record: dict[str, Any] = {
            "file": path.name,
            "frames": segment.frames,
            "time_base": str(segment.time_base),
            "before": segment.before,
            "last": segment.last,
            "is_intact": segment.is_intact,
            "pts": self._pts,
        }
        try:
            record["sha256"] = _hash(path)
            write_json(path.with_suffix(".json"), record)
        except OSError as error:
            raise MediaError(f"'{path.with_suffix('.json')}' cannot be written: {error}") from error
        self.made[self._number] = segment
        self._writer, self._pts = None, []


def closed_segments(folder: Path, among: Container[int] | None = None) -> dict[int, Segment]:
    """The complete segments in a folder by number, except those that are damaged.

    Args:
        folder: The folder.
        among: Which ones to look at, as each is read completely; ``None``: all.
    """
    numbers = sorted(
        int(path.stem.rpartition("-")[2]) for path in folder.glob("segment-" + "[0-9]" * 6 + ".json")
    )
    found = {
        number: _closed(_record_path(folder, number))
        for number in numbers
        if among is None or number in among
    }
    return {number: segment for number, segment in found.items() if segment}


def first_missing(segments: Container[int]) -> int:
    """The lowest number that no segment has."""
    return next(number for number in count() if number not in segments)


def _closed(record_path: Path) -> Segment | None:
    """The segment of a record, if both are ours and whole."""
    with suppress(OSError, ValueError, KeyError, IndexError, TypeError, ZeroDivisionError, RecursionError):
        record = _record(record_path)
        path, pts = record_path.with_name(record["file"]), record["pts"]
        is_named = path.stem == record_path.stem
        is_ordered = all(isinstance(each, int) for each in pts) and all(a < b for a, b in pairwise(pts))
        if is_named and is_ordered and len(pts) == record["frames"] and record["sha256"] == _hash(path):
            marks = str(record["before"]), str(record["last"]), bool(record["is_intact"])
            return Segment(path, len(pts), pts[0], pts[-1], Fraction(record["time_base"]), *marks)
    return None


def _hash(path: Path) -> str:
    """SHA-256 of a file of ours, hexadecimal: a gigabyte takes about a second (docs/video.md)."""
    with own_files.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record_path(folder: Path, number: int) -> Path:
    return folder / f"segment-{number:06}.json"


def _record(path: Path) -> dict[str, Any]:
    """The content of the JSON file beside a segment; also accepts the path of that file."""
    record: dict[str, Any] = json.loads(own_files.read(path.with_suffix(".json")))
    return record
