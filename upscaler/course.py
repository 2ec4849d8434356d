"""The course of a batch: its jobs run in order, and an observer hears about one after the other.

Videos, animations and TIFFs of several pages run alone. Other images overlap (``overlapped_stills.py``), but
each gets its name, and the observer hears of it, in its turn.
"""

import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from upscaler import pipeline
from upscaler.error_text import error_line
from upscaler.errors import DiskFullError, MediaError, TargetTakenError, UpscalerError
from upscaler.images.still import Still
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job, Kind
from upscaler.options import ImageOptions
from upscaler.overlapped_stills import OverlappedStills, Write, helpers_for
from upscaler.pixels import Pixels
from upscaler.results import Done, Message, OnMessage, OnProgress, Outcome, Progress, VideoFacts, WeightFacts
from upscaler.system import disk
from upscaler.system.console import printable
from upscaler.turns import Turns


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


class Observer:
    """Hears about one job after the other, in the thread that runs them. What it raises ends the course.

    This one ignores everything.
    """

    def watch(self, job: Job, on_progress: OnProgress, on_message: OnMessage) -> OnProgress:
        """The work on a job begins, which may be before its turn.

        Args:
            job: The job.
            on_progress: Passes a progress on to ``progress`` in the job's turn.
            on_message: Likewise to ``message``; such a message is not part of the result.

        Returns:
            What is called with every progress as it arises: ``on_progress``, or what calls it.
        """
        return on_progress

    def begin(self, job: Job) -> None:
        """The job's turn begins."""

    def progress(self, job: Job, progress: Progress) -> None:
        """A frame or a batch of tiles is done."""

    def message(self, job: Job, message: Message) -> None:
        """There is a message about the job."""

    def end(self, result: Result) -> None:
        """The job whose turn it is has ended."""


class _Work:
    """A job on its way.

    Attributes:
        job: The job.
        on_progress: Takes its progress.
        write: Of an image, once it has been through the network.
        ended: How it ended, if it has.
    """

    def __init__(self, job: Job, on_progress: OnProgress, on_message: OnMessage, *, keep_date: bool) -> None:
        self.job = job
        self._source = _status(job.source) if keep_date and job.has_date else None
        self.on_progress = on_progress
        self.write: Write | None = None
        self.ended: Result | None = None
        self._on_message = on_message
        self._messages: list[Message] = []
        self._start = time.monotonic()

    def message(self, message: Message) -> None:
        """Take a message about the job."""
        self._messages.append(message)
        self._on_message(message)

    def is_finished(self) -> bool:
        """Whether nothing of it is left to wait for."""
        return self.ended is not None or (self.write is not None and self.write.is_done())

    def done(self, done: Done, weights: Sequence[WeightFacts]) -> None:
        """It ended well."""
        if self._source:
            _set_date(self.job, self._source, self.message)
        warned = any(message.severity == "warning" for message in self._messages)
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
            self._messages,
            weights,
            error,
            is_tried,
        )


@dataclass(frozen=True)
class _Ready:
    """An image to go through the network; ``report`` takes its finished tiles and all of them."""

    work: _Work
    still: Still
    report: Callable[[int, int], None]


class Course:
    """One run of the jobs of a batch; a context manager.

    Args:
        jobs: In order.
        engines: For each kind of job.
        image_options: How images are written.
        upscale: Runs one job alone.
        observer: Hears of them.
        keep_dates: Whether results get the modification times of their sources.
        overlap: Whether images are read ahead and written behind.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        engines: Mapping[Kind, Upscaler],
        image_options: ImageOptions,
        upscale: Callable[[Job, OnProgress, OnMessage], Done],
        observer: Observer,
        *,
        keep_dates: bool,
        overlap: bool,
    ) -> None:
        self._pending = deque(jobs)
        self._engines, self._upscale, self._observer = engines, upscale, observer
        self._image_options, self._keep_dates = image_options, keep_dates
        self._error: Exception | None = None  # of the observer, which is none of the job that it came in
        self._full_disks: set[int] = set()
        self._works: deque[_Work] = deque()  # in order; the first one has its turn
        self._turns = Turns(jobs, partial(self._tell, observer.begin))
        images = [job for job in jobs if job.kind == "still"]
        helpers = helpers_for(images) if overlap else 0
        self._overlapped = OverlappedStills(images, helpers) if helpers else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._overlapped:
            self._overlapped.close()

    def run(self) -> None:
        """Run all jobs; an interrupted one is the last.

        Raises:
            Exception: What the observer raised.
        """
        try:
            while self._pending:
                self._run_next()
                if self._error:
                    raise self._error
                self._end_finished()
            self._end_until(None)
        except KeyboardInterrupt:
            if not self._works:
                raise
            if self._overlapped:
                self._overlapped.close()
            self._works[0].interrupted()
            self._tell_end(self._works.popleft())

    def _run_next(self) -> None:
        job = self._pending.popleft()
        overlapped = self._overlapped if job.kind == "still" else None
        if overlapped is None:
            self._end_until(None)
        else:
            while not overlapped.has_room([work.write for work in self._works if work.write]):
                self._end_first()
        work = self._begin(job)
        if work.ended:
            if overlapped:
                overlapped.drop(job)
            return
        try:
            still = overlapped.take(job) if overlapped else None
        except UpscalerError as error:
            work.failed(error)
            return
        if still is None:
            self._end_until(work)
            self._run_alone(work)
        else:
            self._upscale_together([(work, still), *self._more_like(job, still)])

    def _begin(self, job: Job) -> _Work:
        def on_progress(progress: Progress) -> None:
            self._turns.say(job, lambda: self._tell(self._observer.progress, job, progress))

        def on_message(message: Message) -> None:
            self._turns.say(job, lambda: self._tell(self._observer.message, job, message))

        watched = self._observer.watch(job, on_progress, on_message)

        def watch(progress: Progress) -> None:
            watched(progress)
            self._end_finished()  # the observer hears of those that were written meanwhile

        work = _Work(job, watch, on_message, keep_date=self._keep_dates)
        self._works.append(work)
        if self._is_full(job):
            work.not_tried()
        elif job.is_skippable and not job.replaces and job.has_result():
            work.skipped()
        return work

    def _is_full(self, job: Job) -> bool:
        """Whether a job has found the disk full that this one's target goes to, and it still is."""
        return _device_of(job) in self._full_disks and not disk.has_room(job.target.parent)

    def _run_alone(self, work: _Work) -> None:
        try:
            done = self._upscale(work.job, work.on_progress, work.message)
        except Exception as error:  # a bug that one file brings to light must not end the batch
            work.failed(error)
        else:
            work.done(done, self._engines[work.job.kind].loaded_weights())

    def _more_like(self, job: Job, still: Still) -> list[tuple[_Work, Still]]:
        """The next images that wait already, as far as they go through the network together with this one."""
        assert self._overlapped
        engine, size = self._engines[job.kind], still.pixels.shape[:2]
        most = 1
        if still.alpha is None:
            with suppress(UpscalerError):  # which the image itself will meet
                most = engine.batch_for(engine.plan(*size), *size)
        more: list[tuple[_Work, Still]] = []
        while 1 + len(more) < most and self._pending:
            other = self._overlapped.waiting(self._pending[0])
            if other is None or other.alpha is not None or not _are_alike(other.pixels, still.pixels):
                break
            work = self._begin(self._pending.popleft())
            self._overlapped.drop(work.job)
            if not work.ended:
                more.append((work, other))
        return more

    def _upscale_together(self, group: Sequence[tuple[_Work, Still]]) -> None:
        """Upscale images of one size, and begin to write them."""
        ready: list[_Ready] = []
        for work, still in group:
            try:
                still, plan = pipeline.begin_still(
                    work.job, still, self._engines[work.job.kind], self._image_options, work.message
                )
            except Exception as error:  # as above
                work.failed(error)
            else:
                ready.append(_Ready(work, still, pipeline.still_reporter(still, plan, work.on_progress)))
        if ready:
            self._through_network(ready)

    def _through_network(self, ready: Sequence[_Ready]) -> None:
        assert self._overlapped
        first = ready[0].work
        engine = self._engines[first.job.kind]
        try:
            with engine.messages_to(first.message):
                results = pipeline.upscale_together(
                    [each.still for each in ready],
                    engine,
                    self._image_options,
                    [each.report for each in ready],
                )
        except Exception as error:  # as above
            if len(ready) == 1 or self._error:
                first.failed(error)
            else:  # it may concern one of them only
                for each in ready:
                    self._through_network([each])
            return
        for each, result in zip(ready, results, strict=True):
            try:
                each.work.job.make_target_folder()
                how = pipeline.encoding_of(self._image_options)
                each.work.write = self._overlapped.write(each.work.job, result, how)
            except Exception as error:  # as above
                each.work.failed(error)

    def _end_finished(self) -> None:
        """End the turns of jobs that are finished, as far as nothing before them is not."""
        while self._works and self._works[0].is_finished():
            self._end_first()

    def _end_until(self, last: _Work | None) -> None:
        """End the turns of all jobs before this one."""
        while self._works and self._works[0] is not last:
            self._end_first()

    def _end_first(self) -> None:
        """Wait for the job whose turn it is, and end its turn."""
        work = self._works[0]
        if work.ended is None:
            assert self._overlapped and work.write, "all others have ended"
            try:
                self._overlapped.finish(work.write)
            except DiskFullError as error:
                if self._is_full(work.job):
                    work.not_tried()
                else:
                    work.failed(error)
            except Exception as error:  # as above
                work.failed(error)
            else:
                work.done(Done(1), self._engines[work.job.kind].loaded_weights())
        if isinstance(work.ended and work.ended.error, DiskFullError):
            self._full_disks.add(_device_of(work.job))
        self._works.popleft()  # before the observer hears of it: once only
        self._tell_end(work)
        self._turns.leave()

    def _tell_end(self, work: _Work) -> None:
        assert work.ended, "it has ended"
        self._tell(self._observer.end, work.ended)

    def _tell(self, tell: Callable[..., None], *about: object) -> None:
        try:
            tell(*about)
        except Exception as error:
            self._error = error
            raise


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


def _device_of(job: Job) -> int:
    """The number of the disk that the target of a job goes to."""
    folder = job.target.parent.absolute()
    return next((each.stat().st_dev for each in (folder, *folder.parents) if each.is_dir()), 0)


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


def _are_alike(first: Pixels, second: Pixels) -> bool:
    return (first.shape, first.dtype) == (second.shape, second.dtype)
