"""The JSON report: one line per result, and the file or standard output that it goes to."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from upscaler.batch.result import Result
from upscaler.content import kind_of
from upscaler.errors import MediaError, UsageError
from upscaler.results import Done, VideoFacts
from upscaler.resume.fingerprint import versions

if TYPE_CHECKING:
    from io import RawIOBase


def line(result: Result) -> str:
    """One result as a JSON object without line breaks."""
    content: dict[str, object] = {
        "source": str(result.source),
        "target": None if result.target is None else str(result.target),
        "kind": result.kind,
        "outcome": result.outcome,
        "error": result.error_line or None,
        "seconds": round(result.seconds, 3),
        "messages": [asdict(message) for message in result.messages],
    }
    if done := result.done:
        content["frames_out"] = done.frames
        content["made_by"] = done.made_by or {"this process": _made(done)}
        content["weights"] = [asdict(file) for file in result.weights]
        content |= _video(done.video, done.frames) if done.video else {}
    return _encode(content | {"versions": versions()})


def _made(done: Done) -> int:
    """Frames that were made now."""
    return done.frames - (done.video.frames_resumed if done.video else 0)


def _encode(content: Mapping[str, object]) -> str:
    text = json.dumps(content, ensure_ascii=False)
    # File names that are not UTF-8 contain lone surrogates; JSON has a backslash form for these.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _video(facts: VideoFacts, frames: int) -> dict[str, object]:
    return {
        "frames_in": facts.frames_in,
        "frames_resumed": facts.frames_resumed,
        "frames_decoded": facts.frames_decoded,
        "reused_share": round(facts.reused_share, 4),
        "seconds_in": round(facts.seconds_in, 6),
        "seconds_out": round(facts.seconds_out, 6),
        "streams": [asdict(stream) for stream in facts.streams],
        "settings": facts.settings,
        "stages": {
            name: {
                "seconds": round(busy_s, 3),
                "frames_per_second": _frames_per_second(name, busy_s, frames, facts),
            }
            for name, busy_s in facts.stages_s.items()
        },
    }


def _frames_per_second(stage: str, busy_s: float, frames: int, facts: VideoFacts) -> float | None:
    """Resumed frames are neither upscaled nor encoded, and not all of them are decoded again."""
    made = frames - facts.frames_resumed
    count = {"decode": facts.frames_decoded, "network": made, "encode": made}.get(stage, frames)
    return round(count / busy_s, 3) if busy_s > 0 else None


class Report:
    """Writes the lines. After the first that cannot be written, it does not try again.

    Args:
        name: Name for messages.
        stream: Unbuffered, so that closing it has nothing left to write.

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
            MediaError: The disk is full, or the reader of standard output is gone.
        """
        if self.failed:
            return
        rest = f"{text}\n".encode()
        try:
            while rest:
                rest = rest[self._stream.write(rest) or 0 :]
        except OSError as error:
            self.failed = True
            raise MediaError(f"cannot write {self._name}: {error.strerror}", "it ends here") from error


@contextmanager
def opened(path: Path | None, *, append: bool = False) -> Iterator[Report | None]:
    """Open the report: standard output for ``-``, no report for ``None``.

    Args:
        path: Of the report.
        append: Go on after the lines that it has.

    Raises:
        UsageError: The file has the suffix of an image or a video, or cannot be written.
    """
    if path is None:
        yield None
        return
    if str(path) == "-":
        text = cast("TextIO | None", sys.stdout)
        if text is None:  # closed before the start
            raise UsageError("--json - needs a standard output, but it is closed", "name a file")
        text.flush()
        stream = cast("RawIOBase", getattr(text.buffer, "raw", text.buffer))
        yield Report("the report on standard output", stream)
        return
    if kind_of(path):
        raise UsageError(
            f"--json '{path}' has the suffix of an image or a video", "name a file like report.jsonl"
        )
    try:
        file = path.open("ab" if append else "wb", buffering=0)
    except OSError as error:
        raise UsageError(f"cannot write the report '{path}': {error.strerror}") from error
    with file:
        yield Report(f"the report '{path}'", file)
