"""What a job tells: how far it is, what it made, and the same as one line of JSON, and where that goes."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO, cast

from upscaler.errors import MediaError, UsageError
from upscaler.jobs import Job, Unreadable, kind_of

if TYPE_CHECKING:
    from io import RawIOBase

    from upscaler.video.streams import StreamPlan

Outcome = Literal["done", "done with warnings", "failed", "interrupted", "skipped"]


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        done: Frames of a video, or tiles of a picture, that are done.
        total: How many there are in all, an estimate for most videos; 0 when unknown.
        unit: What is counted.
        resumed: How many of those that are done an earlier run did.
    """

    done: int
    total: int
    unit: str
    resumed: int = 0


@dataclass(frozen=True)
class VideoFacts:
    """What a report says of a video.

    Attributes:
        frames_in: Frames decoded, of those that were wanted.
        frames_resumed: How many of them an earlier run had encoded.
        seconds_in: From the first frame wanted to the end of the last one.
        seconds_out: Of the video in the finished file, read again.
        streams: What became of every other stream.
        settings: Of the engine and of the encoder, by name.
        stages_s: Seconds that each stage worked; decode, network and encode work side by side.
    """

    frames_in: int
    frames_resumed: int
    seconds_in: float
    seconds_out: float
    streams: "list[StreamPlan]"
    settings: dict[str, str | int]
    stages_s: dict[str, float]


@dataclass(frozen=True)
class Done:
    """What a job made.

    Attributes:
        frames: Frames that stand in the target.
        notes: Lines worth telling the user.
        warnings: Lines that say what of the source is not in the target because it is damaged.
        video: More about it, for a video.
    """

    frames: int
    notes: list[str]
    warnings: list[str] = field(default_factory=list)
    video: VideoFacts | None = None


def line(
    job: Job,
    outcome: Outcome,
    versions: Mapping[str, str],
    *,
    seconds: float = 0.0,
    done: Done | None = None,
    error: str = "",
) -> str:
    """The report of one job, a JSON object without line breaks.

    Args:
        job: What was to be done.
        outcome: How it ended.
        versions: Of what did the work, by name.
        seconds: How long it took.
        done: What it made, unless it failed.
        error: Why it failed.
    """
    content: dict[str, object] = {
        "source": str(job.source),
        "target": str(job.target),
        "kind": job.kind,
        "outcome": outcome,
        "error": error or None,
        "seconds": round(seconds, 3),
    }
    if done:
        content |= {"frames_out": done.frames, "warnings": done.warnings, "notes": done.notes}
        content |= _video(done.video, done.frames) if done.video else {}
    return _line(content, versions)


def folder_line(folder: Unreadable, versions: Mapping[str, str]) -> str:
    """The report of a folder that could not be searched, likewise; what is in it is not known."""
    content = {"source": str(folder.folder), "target": None, "kind": "folder", "outcome": "failed"}
    return _line(content | {"error": str(folder), "seconds": 0.0}, versions)


def _line(content: Mapping[str, object], versions: Mapping[str, str]) -> str:
    text = json.dumps({**content, "versions": dict(versions)}, ensure_ascii=False)
    # Names of files that are no UTF-8 have lone surrogates, whose backslash form is JSON's own.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _video(facts: VideoFacts, frames: int) -> dict[str, object]:
    made = frames - facts.frames_resumed
    return {
        "frames_in": facts.frames_in,
        "frames_resumed": facts.frames_resumed,
        "seconds_in": round(facts.seconds_in, 6),
        "seconds_out": round(facts.seconds_out, 6),
        "streams": [asdict(stream) for stream in facts.streams],
        "settings": facts.settings,
        "stages": {
            name: {"seconds": round(busy_s, 3), "frames_per_second": _rate(made, frames, name, busy_s)}
            for name, busy_s in facts.stages_s.items()
        },
    }


def _rate(made: int, frames: int, stage: str, busy_s: float) -> float | None:
    """Frames a second; frames of an earlier run were decoded again, but neither enlarged nor encoded."""
    count = made if stage in ("network", "encode") else frames
    return round(count / busy_s, 3) if busy_s > 0 else None


class Report:
    """Where the lines go. After the first that cannot be written, no other is tried.

    Args:
        name: For messages.
        stream: Unbuffered, so that nothing is left to fail when it is closed.

    Attributes:
        failed: Whether a line could not be written.
    """

    def __init__(self, name: str, stream: "RawIOBase") -> None:
        self.failed = False
        self._name = name
        self._stream = stream

    def add(self, text: str) -> None:
        """Write one line.

        Raises:
            MediaError: The disk is full, or nobody reads standard output any more.
        """
        if self.failed:
            return
        rest = f"{text}\n".encode()
        try:
            while rest:
                rest = rest[self._stream.write(rest) or 0 :]
        except OSError as error:
            self.failed = True
            raise MediaError(f"{self._name} cannot be written: {error.strerror}", "it ends here") from error


@contextmanager
def opened(path: Path | None) -> Iterator[Report | None]:
    """The report: to standard output for ``-``, none for ``None``.

    Raises:
        UsageError: Its name is that of a picture or a video, or it cannot be written.
    """
    if path is None:
        yield None
        return
    if str(path) == "-":
        text = cast("TextIO | None", sys.stdout)
        if text is None:  # closed before the start
            raise UsageError("--json - needs a standard output, and there is none", "name a file")
        text.flush()
        stream = cast("RawIOBase", getattr(text.buffer, "raw", text.buffer))
        yield Report("the report on standard output", stream)
        return
    if kind_of(path):
        raise UsageError(f"--json '{path}' would be a picture or a video", "name a file like report.jsonl")
    try:
        file = path.open("wb", buffering=0)
    except OSError as error:
        raise UsageError(f"the report '{path}' cannot be written: {error.strerror}") from error
    with file:
        yield Report(f"the report '{path}'", file)
