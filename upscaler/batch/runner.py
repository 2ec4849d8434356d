"""Runs the jobs of a batch in order, and tells an observer about one after the other.

Videos, animations and TIFFs of several pages run alone. Other images overlap (``overlapped_stills.py``), but
each gets its name, and the observer hears of it, in its turn.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from upscaler import large_stills, still_pipeline
from upscaler.batch.observer import Observer
from upscaler.batch.overlapped_stills import OverlappedStills, helpers_for
from upscaler.batch.turns import Turns
from upscaler.batch.work import Work
from upscaler.errors import DiskFullError, UpscalerError
from upscaler.images.encoding import encoding_of
from upscaler.images.still import Still
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job, Kind
from upscaler.options import ImageOptions
from upscaler.pixels import Pixels
from upscaler.remote.files import Files
from upscaler.results import Done, Message, OnMessage, OnProgress, Progress
from upscaler.system import disk


@dataclass(frozen=True)
class _Ready:
    """An image to go through the network; ``report`` takes its finished tiles and all of them."""

    work: Work
    still: Still
    report: Callable[[int, int], None]


class Runner:
    """One run of the jobs of a batch; a context manager.

    Args:
        jobs: In order.
        engines: For each kind of job.
        image_options: How images are written.
        upscale: Runs one job alone.
        observer: Hears of them.
        files: Where the files of the jobs are.
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
        files: Files,
        *,
        keep_dates: bool,
        overlap: bool,
    ) -> None:
        self._pending = deque(jobs)
        self._engines, self._upscale, self._observer = engines, upscale, observer
        self._image_options, self._keep_dates, self._files = image_options, keep_dates, files
        self._error: Exception | None = None  # of the observer, which is none of the job that it came in
        self._full_disks: set[int] = set()
        self._works: deque[Work] = deque()  # in order; the first one has its turn
        self._turns = Turns(jobs, partial(self._tell, observer.begin))
        images = [job for job in jobs if job.kind == "still"]
        helpers = helpers_for(images) if overlap else 0
        is_too_large = partial(large_stills.is_too_large, engine=engines["still"]) if helpers else None
        self._overlapped = OverlappedStills(images, helpers, files, is_too_large) if is_too_large else None

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

    def _begin(self, job: Job) -> Work:
        def on_progress(progress: Progress) -> None:
            self._turns.say(job, lambda: self._tell(self._observer.progress, job, progress))

        def on_message(message: Message) -> None:
            self._turns.say(job, lambda: self._tell(self._observer.message, job, message))

        watched = self._observer.watch(job, on_progress, on_message)

        def watch(progress: Progress) -> None:
            watched(progress)
            self._end_finished()  # the observer hears of those that were written meanwhile

        work = Work(job, watch, on_message, keep_date=self._keep_dates)
        self._works.append(work)
        try:
            if self._is_full(job):
                work.not_tried()
            elif job.is_skippable and not job.replaces and self._files.has_result(job):
                work.skipped()
        except UpscalerError as error:
            work.failed(error)
        return work

    def _is_full(self, job: Job) -> bool:
        """Whether a job has found the disk full that this one's target goes to, and it still is."""
        return _device_of(job) in self._full_disks and not disk.has_room(job.target.parent)

    def _run_alone(self, work: Work) -> None:
        try:
            done = self._upscale(work.job, work.on_progress, work.message)
        except Exception as error:  # a bug that one file brings to light must not end the batch
            work.failed(error)
        else:
            work.done(done, self._engines[work.job.kind].loaded_weights())

    def _more_like(self, job: Job, still: Still) -> list[tuple[Work, Still]]:
        """The next images that wait already, as far as they go through the network together with this one."""
        assert self._overlapped
        engine, size = self._engines[job.kind], still.pixels.shape[:2]
        most = 1
        if still.alpha is None:
            with suppress(UpscalerError):  # which the image itself will meet
                most = engine.batch_for(engine.plan(*size), *size)
        more: list[tuple[Work, Still]] = []
        while 1 + len(more) < most and self._pending:
            other = self._overlapped.waiting(self._pending[0])
            if other is None or other.alpha is not None or not _are_alike(other.pixels, still.pixels):
                break
            work = self._begin(self._pending.popleft())
            self._overlapped.drop(work.job)
            if not work.ended:
                more.append((work, other))
        return more

    def _upscale_together(self, group: Sequence[tuple[Work, Still]]) -> None:
        """Upscale images of one size, and begin to write them."""
        ready: list[_Ready] = []
        for work, still in group:
            try:
                still, plan = still_pipeline.begin_still(
                    work.job, still, self._engines[work.job.kind], self._image_options, work.message
                )
            except Exception as error:  # as above
                work.failed(error)
            else:
                ready.append(
                    _Ready(work, still, still_pipeline.still_reporter(still, plan, work.on_progress))
                )
        if ready:
            self._through_network(ready)

    def _through_network(self, ready: Sequence[_Ready]) -> None:
        assert self._overlapped
        first = ready[0].work
        engine = self._engines[first.job.kind]
        try:
            with engine.messages_to(first.message):
                results = still_pipeline.upscale_together(
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
                how = encoding_of(self._image_options)
                each.work.write = self._overlapped.write(each.work.job, result, how)
            except Exception as error:  # as above
                each.work.failed(error)

    def _end_finished(self) -> None:
        """End the turns of jobs that are finished, as far as nothing before them is not."""
        while self._works and self._works[0].is_finished():
            self._end_first()

    def _end_until(self, last: Work | None) -> None:
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
                self._files.deliver(work.job)
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

    def _tell_end(self, work: Work) -> None:
        assert work.ended, "it has ended"
        self._files.release(work.job)
        self._tell(self._observer.end, work.ended)

    def _tell(self, tell: Callable[..., None], *about: object) -> None:
        try:
            tell(*about)
        except Exception as error:
            self._error = error
            raise


def _device_of(job: Job) -> int:
    """The number of the disk that the target of a job goes to."""
    return disk.existing_folder(job.target.parent).stat().st_dev


def _are_alike(first: Pixels, second: Pixels) -> bool:
    return (first.shape, first.dtype) == (second.shape, second.dtype)
