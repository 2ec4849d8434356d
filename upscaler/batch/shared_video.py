"""A video whose segments are made by several workers, in ranges, and merged here.

First, one worker plans it, on a device as all have. Its borders are known before the work, from the index
that the survey has made. What comes back is checked as a whole: all frames, and at each border the same frame
of the source on both sides, sample by sample. If anything is wrong or unusual, the segments are dropped, and
one worker makes the video from its start.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import pairwise

from upscaler.batch.retry_limit import LostWorkers, lost_too_often
from upscaler.executors.executor import Lost
from upscaler.executors.tasks import RangeDone, VideoPlanned, VideoPlanning, VideoRange
from upscaler.frames.video_frames import Tally
from upscaler.jobs import Job
from upscaler.options import Options
from upscaler.results import Done, Message, OnMessage, Progress, WeightFacts
from upscaler.resume import begin as resuming
from upscaler.resume.job_folder import JobFolder
from upscaler.system.threads import RaiseIfStopped
from upscaler.video.cuts import CannotCutError
from upscaler.video.segments import Segment, closed_segments, is_one_segment
from upscaler.video.survey import Survey
from upscaler.video.trim import selected_positions
from upscaler.video_pipeline import HowMade, OpenVideo, VideoSegments, finish_video, opened_video

# So many ranges are made for each worker, of so many segments at most.
_RANGES_EACH, _SEGMENTS_MAX = 4, 8
_PLANNING = -1  # stands for it where ranges have the number of their first segment


@dataclass
class _Made:
    """What the workers have made so far."""

    by: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    decoded: int = 0
    stages_s: dict[str, float] = field(default_factory=dict)
    weights: dict[WeightFacts, None] = field(default_factory=dict)

    def add(self, done: RangeDone) -> None:
        """Add a range."""
        self.by[done.worker] += sum(frames for _, frames in done.made)
        self.tally.frames_px += done.frames_px
        self.tally.computed_px += done.computed_px
        self.decoded += done.frames_decoded
        for stage, busy_s in done.stages_s.items():
            self.stages_s[stage] = self.stages_s.get(stage, 0.0) + busy_s
        self.weights |= dict.fromkeys(done.weights)


class SharedVideo:
    """A video on its way; made by ``begin``.

    Args:
        video: Open.
        options: For the workers.
        folder: Its job folder, locked.
        slots: How many workers there are.
        on_message: Called with every message.

    Attributes:
        opened: Closes the video and the folder.
        doubt: Why it has to be made by one worker after all; empty if it has not.
        error: Why it failed.
    """

    def __init__(
        self, video: OpenVideo, options: Options, folder: JobFolder, slots: int, on_message: OnMessage
    ) -> None:
        self.opened = ExitStack()
        self.doubt = ""
        self.error: Exception | None = None
        self._video, self._options, self._folder, self._slots = video, options, folder, slots
        self._on_message = on_message
        # By the first segment of the range.
        self._lost_workers: defaultdict[int, LostWorkers] = defaultdict(LostWorkers)
        self._made = _Made()
        self._earlier = closed_segments(folder.path)
        planning = VideoPlanning(video.job, options, self._surveyed(), options.resume and bool(self._earlier))
        self._waiting: deque[VideoPlanning | VideoRange] = deque([planning])
        self._running: dict[int, VideoPlanning | VideoRange] = {}
        self._planned: VideoPlanned | None = None
        self._is_whole = False  # one worker makes it: there is nothing to share
        self._counted: set[int] = set()  # segments that an earlier run, or a lost worker has made
        self._shown_until = self._resumed = self._count = 0
        self._progress = Progress(0, 0, "frames", source_px=(0, 0))
        self._frames: dict[int, int] = {}  # of running ranges

    def _surveyed(self) -> Survey:
        """What workers are told; they need no index."""
        return replace(self._video.surveyed, index=None)

    def _begin(self, planned: VideoPlanned) -> None:
        """Cut the video as a worker has planned it, or leave it to one worker."""
        frames, length = frames_of(self._video), planned.segment_frames
        is_kept = planned.is_resumed
        is_intact = all(segment.is_intact for segment in self._earlier.values()) or not is_kept
        if frames <= length or not is_intact:
            self._is_whole = True
            return
        for line in planned.lines:
            self._on_message(Message("info", line))
        start = resuming.Start(planned.execution, is_kept, planned.obstacle)
        self._earlier = resuming.begin(
            self._folder, planned.fingerprint, start, self._earlier, self._on_message
        )
        self._planned = planned
        self._counted = set(self._earlier)
        self._resumed = sum(segment.frames for segment in self._earlier.values())
        self._progress = replace(self._video.progress(planned.factor, self._resumed), total=frames)
        self._count = -(-frames // length)
        self._waiting.extend(self._range(planned, first, stop) for first, stop in self._ranges())

    def _range(self, planned: VideoPlanned, first: int, stop: int) -> VideoRange:
        return VideoRange(
            self._video.job,
            self._options,
            surveyed=self._surveyed(),
            folder=self._folder.path,
            fingerprint=planned.fingerprint,
            execution=planned.execution,
            first=first,
            stop=stop,
            cut=self._video.cut(planned.segment_frames, planned.frames_before, first, stop),
            strict=self._options.strict_plan,
        )

    def _ranges(self) -> Iterator[tuple[int, int]]:
        """First and stop of each range; the last one goes on to find that nothing follows."""
        missing = [number for number in range(self._count) if number not in self._earlier]
        most = max(1, min(_SEGMENTS_MAX, len(missing) // (_RANGES_EACH * max(1, self._slots))))
        last = self._count - 1
        for first, stop in _runs(missing or [last], most):
            yield first, stop + (stop == self._count)
        if missing and missing[-1] != last:  # where the video ends, that range has to tell
            yield last, self._count + 1

    def next_task(self) -> VideoPlanning | VideoRange | None:
        """The next task to submit."""
        return None if self.error or self.doubt or not self._waiting else self._waiting.popleft()

    def submitted(self, number: int, task: VideoPlanning | VideoRange) -> None:
        """A task was submitted."""
        self._running[number] = task

    @property
    def is_over(self) -> bool:
        """Whether nothing runs or waits any more."""
        return not self._running and (not self._waiting or bool(self.error or self.doubt))

    def progress(self, number: int, frames: int) -> Progress:
        """How far the video is, when a running range has so many frames."""
        self._frames[number] = frames
        done = self._resumed + self._made.by.total() + sum(self._frames.values())
        return replace(self._progress, done=done)

    def finished(self, number: int, done: VideoPlanned | RangeDone) -> None:
        """A task ended."""
        task = self._running.pop(number)
        self._frames.pop(number, None)
        if isinstance(done, RangeDone) and done.differs:
            self._on_message(Message("info", f"{done.differs}: the result may differ in the last bit"))
        for message in done.messages:
            self._on_message(message)
        if done.failure:
            self.error = self.error or done.failure.error()
        elif isinstance(done, VideoPlanned):
            self._try_to_begin(done)
        elif done.doubt:
            self.doubt = done.doubt
        else:
            self._made.add(done)
            if isinstance(task, VideoRange) and task.stop > self._count:
                self._shown_until = done.shown_until

    def _try_to_begin(self, planned: VideoPlanned) -> None:
        try:
            self._begin(planned)
        except CannotCutError as error:
            self.doubt = str(error)
        except Exception as error:  # a bug that one file brings to light must not end the batch
            self.error = error

    def lost(self, number: int, lost: Lost) -> None:
        """The worker of a task was lost: the task is the next to be given out, unless too many were."""
        task = self._running.pop(number)
        self._frames.pop(number, None)
        first = task.first if isinstance(task, VideoRange) else _PLANNING
        if isinstance(task, VideoRange):
            complete = closed_segments(self._folder.path, range(task.first, task.stop))
            new = [number for number in complete if number not in self._counted]
            self._counted.update(new)
            self._made.by[lost.worker] += sum(complete[number].frames for number in new)
        if self._lost_workers[first].add(lost):
            self.error = self.error or lost_too_often(task.job, lost)
        else:
            self._waiting.appendleft(task)

    def finish(
        self, deliver: Callable[[], None], raise_if_stopped: RaiseIfStopped
    ) -> tuple[Done, list[WeightFacts]] | None:
        """Merge the video once nothing runs any more; ``None`` if one worker has to make it: see ``doubt``.

        Raises:
            Stopped: By ``raise_if_stopped``; the segments stay.
            MediaError: It cannot be merged, or a worker has failed.
            Exception: What a worker has raised.
        """
        with self.opened:
            if self.error:
                raise self.error
            if self._is_whole:
                if self._earlier:  # which the worker may keep
                    self._folder.leave()
                return None
            segments = closed_segments(self._folder.path)
            self.doubt = self.doubt or self._doubt_about(segments)
            if self.doubt:
                self._on_message(Message("info", f"one worker makes it from the start: {self.doubt}"))
                return None
            made, planned = self._made, self._planned
            assert planned, "ranges were made as it says"
            encoded = VideoSegments(
                [segments[number] for number in range(self._count)],
                frames_resumed=self._resumed,
                frames_decoded=made.decoded,
                reused_share=made.tally.reused_share,
                shown_until=self._shown_until,
                stages_s=made.stages_s,
            )
            how = HowMade(planned.factor, planned.summary, planned.execution)
            done = finish_video(
                self._video, encoded, how, self._folder, self._on_message, deliver, raise_if_stopped
            )
        self._video.check_unchanged(self._on_message)
        return replace(done, made_by=dict(+made.by)), list(made.weights)

    def close(self, error: BaseException) -> None:
        """End the work on the video because of an error; its segments stay."""
        self.opened.__exit__(type(error), error, None)

    def _doubt_about(self, segments: dict[int, Segment]) -> str:
        """What is wrong or unusual about the segments; empty if nothing is."""
        frames = sum(segment.frames for segment in segments.values())
        if sorted(segments) != list(range(self._count)) or frames != frames_of(self._video):
            return "its frames are not those that its packets announce"
        if not all(segment.is_intact for segment in segments.values()):
            return "it is damaged or unusual"
        in_order = [segments[number] for number in range(self._count)]
        if any(segment.last != after.before for segment, after in pairwise(in_order)):
            return "its frames depend on those before"
        return ""


def begin(
    job: Job, options: Options, surveyed: Survey | None, slots: int, on_message: OnMessage
) -> SharedVideo | None:
    """Open a video and lock its job folder.

    Args:
        job: The video.
        options: For the workers.
        surveyed: Of the source, if that was done already.
        slots: How many workers there are.
        on_message: Called with every message.

    Returns:
        The video; ``None`` if it has one segment only, or cannot be cut: one worker makes it as a whole.

    Raises:
        MediaError: It cannot be read, or its folder cannot be used.
        UsageError: The target's container does not support the options.
    """
    with ExitStack() as opened:
        video = opened.enter_context(opened_video(job, options.video, on_message, surveyed))
        try:
            video.cut(length=1, before=1, first=0, stop=1)
        except CannotCutError as error:
            on_message(Message("info", f"one worker makes it: {error}"))
            return None
        if is_one_segment(frames_of(video)):
            return None
        folder = opened.enter_context(JobFolder(job.target, on_message))
        shared = SharedVideo(video, options, folder, slots, on_message)
        shared.opened = opened.pop_all()
        return shared


def frames_of(video: OpenVideo) -> int:
    """How many frames the index says are selected."""
    assert video.surveyed.index, "the video can be cut"
    return len(selected_positions(video.surveyed.index, video.options))


def _runs(numbers: list[int], most: int) -> Iterator[tuple[int, int]]:
    """First and stop of runs of consecutive numbers, of so many at most."""
    first = stop = numbers[0]
    for number in numbers:
        if number != stop or number - first == most:
            yield first, stop
            first = number
        stop = number + 1
    yield first, stop
