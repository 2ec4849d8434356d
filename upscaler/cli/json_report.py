"""The JSON report: one line for every job, and the file or standard output that it goes to."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from upscaler.errors import MediaError, UsageError
from upscaler.jobs import Job, Unreadable, kind_of
from upscaler.results import Done, Outcome, VideoFacts

if TYPE_CHECKING:
    from io import RawIOBase


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
