"""Runs the jobs of a batch on an executor: makes tasks of them, and tells the observer what comes back.

One loop: keep the workers busy, take a report, say what is due. Pictures go in groups, long videos in ranges
of segments (``shared_video.py``), everything else goes to one worker as a whole. The task of a lost worker is
given to another, a group of pictures in halves. What waits for a disk or for a server, surveying a video and
merging it, is done in threads beside the loop.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from upscaler.batch.observer import Observer
from upscaler.batch.result import Result
from upscaler.batch.retry_limit import LostWorkers, lost_too_often
from upscaler.batch.shared_video import SharedVideo
from upscaler.batch.turns import Turns
from upscaler.batch.work import Work
from upscaler.batch.worker_places import devices_differ
from upscaler.errors import UpscalerError
from upscaler.executors.executor import Executor, Finished, Joined, Lost, Report, Told
from upscaler.executors.tasks import Advanced, Event, GroupDone, JobEnded, JobGroup, Said, Task
from upscaler.images import stills
from upscaler.jobs import Job
from upscaler.options import Options
from upscaler.remote.files import Files
from upscaler.results import Done, Message, OnMessage, Progress, WeightFacts
from upscaler.system.threads import BackgroundCall, RaiseIfStopped
from upscaler.video.survey import Survey

# How long to wait for a report, and how often threads are asked whether they are done.
_POLL_S, _THREAD_POLL_S = 0.2, 0.02
# A group has at most so many pixels (of its sources) and pictures; so many groups are left for each worker.
_GROUP_PX, _GROUP_JOBS, _GROUPS_LEFT = 64_000_000, 50, 4
# A video may be begun before so many jobs in front of it.
_AHEAD_JOBS = 50

# Surveys a video, in any thread; ``None``: it has not been possible.
SurveyVideo = Callable[[Job], Survey | None]
# A video of which several workers make parts; ``None`` if one worker makes it as a whole. Takes the job, the
# options for the workers, its survey, their number, and what hears its messages.
BeginShared = Callable[[Job, Options, Survey | None, int, OnMessage], SharedVideo | None]
# What became of a shared video; ``None``: one worker has to make it.
Merged = tuple[Done, list[WeightFacts]] | None


@dataclass
class _Shared:
    """A job of the batch.

    Attributes:
        work: Its messages and its result.
        said: Messages that have come already: a job that is run again says them again.
        unsaid: Messages from a thread, or of a shared video, that the loop has to pass on.
        lost_workers: That had it alone.
        is_delivered: Whether its target is where it belongs.
    """

    work: Work
    said: set[Message] = field(default_factory=set)
    unsaid: deque[Message] = field(default_factory=deque)
    lost_workers: LostWorkers = field(default_factory=LostWorkers)
    is_delivered: bool = False

    def say(self, message: Message) -> None:
        """Take a message, unless it has come already."""
        if message not in self.said:
            self.said.add(message)
            self.work.message(message)

    def say_all(self) -> None:
        """Pass on what is unsaid."""
        while self.unsaid:
            self.say(self.unsaid.popleft())


class Driver:
    """One run of the jobs of a batch on an executor.

    Args:
        jobs: In order.
        options: For the workers, with local paths.
        executor: Runs tasks; is entered and left by ``run``.
        observer: Hears of the jobs, in their order.
        files: Where the files of the jobs are.
        survey: Surveys a video.
        begin_shared: Begins to share a video.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        options: Options,
        executor: Executor,
        observer: Observer,
        files: Files,
        survey: SurveyVideo,
        begin_shared: BeginShared,
    ) -> None:
        self._waiting = deque(jobs)
        self._options, self._survey, self._begin_shared = options, survey, begin_shared
        self._executor, self._observer, self._files = executor, observer, files
        self._turns = Turns(jobs, observer.begin)
        self._jobs: dict[Job, _Shared] = {}  # those that were begun
        self._again: deque[tuple[Job, ...]] = deque()  # their worker was lost, or one has to make the video
        self._surveying: tuple[Job, BackgroundCall[Survey | None]] | None = None  # one at a time
        self._videos: dict[Job, SharedVideo] = {}
        self._merging: dict[Job, BackgroundCall[Merged]] = {}
        self._device = ""  # of the first worker that has joined
        self._has_told_devices = False  # that another one has another device
        self._running: dict[int, tuple[Job, ...]] = {}
        self._number = 0

    def run(self) -> None:
        """Run all jobs; an interrupted one is the last.

        Raises:
            UpscalerError: The executor cannot run anything any more.
            Exception: What the observer raised.
        """
        try:
            with self._executor:
                self._feed()
                while self._running or self._surveying or self._merging:
                    timeout_s = _THREAD_POLL_S if self._surveying or self._merging else _POLL_S
                    if report := self._executor.next_report(timeout_s):
                        self._take(report)
                    self._take_surveyed()
                    self._take_merged()
                    self._end_finished()
                    self._feed()
                self._end_finished()
        except BaseException as error:
            self._end_videos(error)
            if not isinstance(error, KeyboardInterrupt):
                raise
            self._interrupt()

    def _end_videos(self, error: BaseException) -> None:
        """End the work on shared videos; a survey ends with what it needs."""
        for call in self._merging.values():
            call.stop()
        for video in self._videos.values():
            video.close(error)
        for shared in self._jobs.values():
            shared.say_all()

    def _interrupt(self) -> None:
        """The job whose turn it is ends as interrupted; of the others, nothing is said."""
        if self._waiting or self._jobs:
            job = self._turns.current
            shared = self._jobs.get(job) or self._begin(job)
            shared.work.interrupted()
            assert shared.work.ended, "it was interrupted"
            self._observer.end(shared.work.ended)

    def _feed(self) -> None:
        """Submit tasks until each worker has another one waiting."""
        while len(self._running) < 2 * max(1, self._executor.slots):
            if self._again:
                group = self._again.popleft()
                self._submit(JobGroup(group, self._options), group)
            elif not self._feed_video():
                if group := tuple(self._next_group()):
                    self._submit(JobGroup(group, self._options), group)
                elif self._surveying or not self._waiting:  # if not, jobs were only skipped or have failed
                    return

    def _feed_video(self) -> bool:
        """Submit a part of the work on a shared video, if there is some."""
        for job, video in self._videos.items():
            if task := video.next_task():
                video.submitted(self._submit(task, (job,)), task)
                return True
        return False

    def _submit(self, task: Task, group: tuple[Job, ...]) -> int:
        self._number += 1
        self._running[self._number] = group
        self._executor.submit(self._number, task)
        return self._number

    def _next_group(self) -> Iterator[Job]:
        """The next jobs that one worker gets together; none if a video is next, or those next have ended."""
        self._survey_next()
        slots = max(1, self._executor.slots)
        most = max(1, min(_GROUP_JOBS, len(self._waiting) // (_GROUPS_LEFT * slots)))
        pixels = taken = 0
        while self._waiting and taken < most:
            job = self._waiting[0]
            if job.is_encoded or (job.kind != "still" and taken):
                return
            self._waiting.popleft()
            if not self._is_needed(job):
                continue
            pixels += _pixels(job)
            taken += 1
            yield job
            if job.kind != "still" or pixels >= _GROUP_PX:
                return

    def _survey_next(self) -> None:
        """Begin to survey the next video, unless another one is being surveyed.

        It may overtake pictures, for no worker should have a whole video left when the others have nothing;
        but not those that are fetched from a store in their order, as far as they have room.
        """
        ahead = _AHEAD_JOBS if self._files.are_local else 0
        for job in list(islice(self._waiting, ahead + 1)):
            if self._surveying:
                return
            if job.is_encoded:
                self._waiting.remove(job)
                if self._is_needed(job):
                    survey = BackgroundCall(partial(self._fetch_and_survey, job), "survey")
                    self._surveying = job, survey
                    survey.start()

    def _is_needed(self, job: Job) -> bool:
        """Begin a job; false if it ended at once."""
        shared = self._begin(job)
        try:
            if job.is_skippable and not job.replaces and self._files.has_result(job):
                shared.work.skipped()
                return False
            if not job.is_encoded:
                self._files.fetch(job)
        except UpscalerError as error:
            shared.work.failed(error)
            return False
        return True

    def _fetch_and_survey(self, job: Job, _: RaiseIfStopped) -> Survey | None:
        """In a thread; it is not waited for when the driver ends, for it holds nothing."""
        self._files.fetch(job)
        return self._survey(job)

    def _take_surveyed(self) -> None:
        """Begin a video that has been surveyed: to be shared, or for one worker."""
        if self._surveying is None or not self._surveying[1].is_done:
            return
        (job, survey), self._surveying = self._surveying, None
        shared = self._jobs[job]
        try:
            video = self._begin_shared(
                job, self._options, survey.result(), self._executor.slots, shared.unsaid.append
            )
        except Exception as error:  # a bug that one file brings to light must not end the batch
            shared.say_all()
            shared.work.failed(error)
            return
        shared.say_all()
        if video:
            self._videos[job] = video
        else:
            self._again.append((job,))

    def _begin(self, job: Job) -> _Shared:
        def on_progress(progress: Progress) -> None:
            self._turns.say(job, lambda: self._observer.progress(job, progress))

        def on_message(message: Message) -> None:
            self._turns.say(job, lambda: self._observer.message(job, message))

        watched = self._observer.watch(job, on_progress, on_message)
        work = Work(job, watched, on_message, keep_date=self._options.keep_dates)
        shared = self._jobs[job] = _Shared(work)
        return shared

    def _take(self, report: Report) -> None:
        if isinstance(report, Joined):
            self._compare_device(report)
            return
        group = self._running[report.task]
        video = self._videos.get(group[0])
        if isinstance(report, Told):
            event, job = report.event, group[report.event.job]
            if video and isinstance(event, Advanced):
                event = replace(event, progress=video.progress(report.task, event.progress.done))
            self._hear(job, event)
            return
        del self._running[report.task]
        if video:
            self._take_part(group[0], video, report)
        elif isinstance(report, Lost):
            self._lost(group, report)
        elif isinstance(report.result, GroupDone):
            for ended in report.result.ended:
                self._hear(group[ended.job], ended)

    def _compare_device(self, joined: Joined) -> None:
        """Say, or refuse before it has worked, that a worker has another device than the first one.

        Raises:
            UsageError: Devices must not differ.
        """
        self._device = self._device or joined.device
        if joined.device == self._device:
            return
        line = devices_differ((self._device, joined.device), strict=self._options.strict_plan)
        # The job whose turn it is may wait behind videos that overtake it.
        begun = self._jobs.get(self._turns.current) or next(iter(self._jobs.values()), None)
        if begun and not self._has_told_devices:
            self._has_told_devices = True
            begun.say(Message("info", line))

    def _take_part(self, job: Job, video: SharedVideo, report: Finished | Lost) -> None:
        if isinstance(report, Lost):
            video.lost(report.task, report)
        elif not isinstance(report.result, GroupDone):
            video.finished(report.task, report.result)
        self._jobs[job].say_all()
        if video.is_over:
            merge = BackgroundCall(partial(self._merge, job, video), "merge")
            self._merging[job] = merge  # before it starts: an interrupt may come at any moment
            merge.start()
            del self._videos[job]

    def _merge(self, job: Job, video: SharedVideo, raise_if_stopped: RaiseIfStopped) -> Merged:
        """In a thread."""
        return video.finish(partial(self._files.deliver, job, raise_if_stopped), raise_if_stopped)

    def _take_merged(self) -> None:
        """End the jobs of videos that have been merged."""
        for job in [job for job, call in self._merging.items() if call.is_done]:
            call, shared = self._merging.pop(job), self._jobs[job]
            shared.say_all()
            try:
                merged = call.result()
            except Exception as error:  # as above
                shared.work.failed(error)
                continue
            if merged is None:
                self._again.append((job,))
            else:
                shared.is_delivered = True
                shared.work.done(*merged)

    def _hear(self, job: Job, event: Event) -> None:
        """Take an event. The end of a job may come twice: by itself, and with the result of its task."""
        shared = self._jobs.get(job)
        if shared is None or shared.work.ended:
            return
        if isinstance(event, Advanced):
            shared.work.on_progress(event.progress)
        elif isinstance(event, Said):
            shared.say(event.message)
        else:
            self._end(job, shared, event)

    def _end(self, job: Job, shared: _Shared, ended: JobEnded) -> None:
        for message in ended.messages:
            shared.say(message)
        done = ended.done
        error = ended.failure.error() if ended.failure else None
        shared.work.ended = Result(
            job.source,
            job.target,
            job.kind,
            ended.outcome,
            ended.seconds,
            replace(done, made_by={ended.worker: done.frames}) if done else None,
            tuple(shared.work.messages),
            ended.weights,
            error,
            ended.is_tried,
        )

    def _lost(self, group: tuple[Job, ...], lost: Lost) -> None:
        """A worker was lost with these jobs: give those that have not ended to others, in halves."""
        left = tuple(job for job in group if job in self._jobs and not self._jobs[job].work.ended)
        if len(left) > 1:
            half = len(left) // 2
            self._again += [left[:half], left[half:]]
            return
        for job in left:
            shared = self._jobs[job]
            if shared.lost_workers.add(lost):
                shared.work.failed(lost_too_often(job, lost))
            else:
                self._again.append(left)

    def _end_finished(self) -> None:
        """End the turns of jobs that have ended, as far as nothing before them has not."""
        while self._jobs and (shared := self._jobs.get(self._turns.current)) and shared.work.ended:
            result = shared.work.ended
            self._files.release(self._turns.current)
            if not shared.is_delivered:
                result = self._delivered(self._turns.current, result)
            self._jobs.pop(self._turns.current)
            self._observer.end(result)
            self._turns.leave()

    def _delivered(self, job: Job, result: Result) -> Result:
        """The result of a job, whose files were sent to where they belong."""
        if result.done:
            try:
                self._files.deliver(job)
            except UpscalerError as error:
                return replace(result, outcome="failed", done=None, error=error)
        return result


def _pixels(job: Job) -> int:
    """Of the source, as far as it can be read."""
    with suppress(UpscalerError, OSError):
        if job.kind == "still":
            height, width = stills.read_size(job.source)
            return height * width
    return 0
