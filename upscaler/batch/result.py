"""How one input of a batch ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from upscaler.error_text import error_line
from upscaler.jobs import Kind
from upscaler.results import Done, Message, Outcome, VideoFacts, WeightFacts
from upscaler.system.console import printable


@dataclass(frozen=True)
class Result:
    """How one input ended.

    Attributes:
        source: The file, or a folder that could not be read.
        target: The file written; ``None`` for a folder.
        kind: ``still``, ``video``, ``preview``, or ``folder`` for one that could not be read.
        outcome: ``done``, ``done with warnings`` (the source is damaged), ``failed``, ``interrupted``, or
            ``skipped`` because the target exists.
        seconds: How long the job took. Images of a batch overlap: each has all the seconds from when it was
            needed until it was written.
        done: What the job wrote, unless it failed.
        messages: Every message about the job, in order.
        weights: The weight files that the batch has used for jobs of this kind, up to this one.
        error: Why it failed; not an ``UpscalerError`` if it is a bug of this program.
        is_tried: Whether the job was begun; not if an earlier one has found the disk full.
    """

    source: Path
    target: Path | None
    kind: Kind | Literal["folder"]
    outcome: Outcome
    seconds: float = 0.0
    done: Done | None = None
    messages: Sequence[Message] = ()
    weights: Sequence[WeightFacts] = ()
    error: Exception | None = None
    is_tried: bool = True

    @property
    def frames(self) -> int:
        """Frames written."""
        return self.done.frames if self.done else 0

    @property
    def video(self) -> VideoFacts | None:
        """Frame counts, durations, streams, settings and times of a finished video."""
        return self.done.video if self.done else None

    @property
    def error_line(self) -> str:
        """The error in one line that names the source; empty if there is none."""
        if self.error is None:
            return ""
        text = error_line(self.error)
        source = printable(str(self.source))
        return text if source in text else f"'{source}': {text}"
