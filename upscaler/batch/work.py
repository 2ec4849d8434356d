"""A job on its way, from its start to the result that it ends with."""

import os
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from upscaler.batch.overlapped_stills import Write
from upscaler.batch.result import Result
from upscaler.errors import DiskFullError, MediaError, TargetTakenError, UpscalerError
from upscaler.inference import devices
from upscaler.jobs import Job
from upscaler.results import Done, Message, OnMessage, OnProgress, Outcome, WeightFacts


class Work:
    """A job on its way.

    Attributes:
        job: The job.
        on_progress: Takes its progress.
        write: Of an image, once it has been through the network.
        ended: How it ended, if it has.
        messages: Those that have come.
    """

    def __init__(self, job: Job, on_progress: OnProgress, on_message: OnMessage, *, keep_date: bool) -> None:
        self.job = job
        self._source = _status(job.source) if keep_date and job.has_date else None
        self.on_progress = on_progress
        self.write: Write | None = None
        self.ended: Result | None = None
        self._on_message = on_message
        self.messages: list[Message] = []
        self._start = time.monotonic()

    def message(self, message: Message) -> None:
        """Take a message about the job."""
        self.messages.append(message)
        self._on_message(message)

    def is_finished(self) -> bool:
        """Whether nothing of it is left to wait for."""
        return self.ended is not None or (self.write is not None and self.write.is_done())

    def done(self, done: Done, weights: Sequence[WeightFacts]) -> None:
        """It ended well."""
        if self._source:
            _set_date(self.job, self._source, self.message)
        warned = any(message.severity == "warning" for message in self.messages)
        self._end("done with warnings" if warned else "done", done=done, weights=weights)

    def failed(self, error: Exception) -> None:
        """It ended with an error."""
        if isinstance(error, TargetTakenError) and self.job.is_skippable:
            self.skipped()
            return
        if not isinstance(error, DiskFullError | TargetTakenError):
            _release(error)
            error = _without_memory(self.job, error) or error
        self._end("failed", error=error)

    def skipped(self) -> None:
        """Somebody else has made its target, or is making it."""
        self._end("skipped")

    def not_tried(self) -> None:
        """There is no room for it."""
        job = self.job
        error = DiskFullError(f"'{job.source}' is not tried: no space left on the disk of '{job.target}'")
        self._end("failed", error=error, is_tried=False)

    def interrupted(self) -> None:
        """It was ended."""
        self._end("interrupted")

    def _end(
        self,
        outcome: Outcome,
        *,
        done: Done | None = None,
        weights: Sequence[WeightFacts] = (),
        error: Exception | None = None,
        is_tried: bool = True,
    ) -> None:
        job, seconds = self.job, time.monotonic() - self._start
        self.ended = Result(
            job.source,
            job.target,
            job.kind,
            outcome,
            seconds,
            done,
            self.messages,
            weights,
            error,
            is_tried,
        )


def _set_date(job: Job, source: os.stat_result, on_message: OnMessage) -> None:
    try:
        os.utime(job.target, ns=(source.st_atime_ns, source.st_mtime_ns))
    except OSError as error:  # as on some network drives
        on_message(Message("info", f"the modification time cannot be set: {error.strerror}"))


def _status(path: Path) -> os.stat_result | None:
    """Of a file; ``None`` if it is gone, which reading it will report."""
    try:
        return path.stat()
    except OSError:
        return None


def _release(error: BaseException | None) -> None:
    """Free what the functions held through which an error came: as much memory as its file needed."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _without_memory(job: Job, error: Exception) -> MediaError | None:
    """The error of a job that found too little memory anywhere; ``None`` if that is not what happened."""
    if isinstance(error, UpscalerError) or not devices.is_out_of_memory(error):
        return None
    hint = "close other programs, or use a smaller --scale or --size"
    failure = MediaError(f"there is too little memory for '{job.source}'", hint)
    failure.__cause__ = error
    return failure
