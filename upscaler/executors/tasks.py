"""What a worker is given, and what it gives back: data only, which can be pickled; answers are also JSON.

A task may run twice, if the first worker is lost: files get their names when they are complete, so the second
run replaces equal files by equal files.
"""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from upscaler import errors
from upscaler.errors import UpscalerError
from upscaler.jobs import Job
from upscaler.options import Options
from upscaler.results import Done, Message, Outcome, Progress, WeightFacts

if TYPE_CHECKING:  # these load torch, which takes a worker of other work two seconds
    from upscaler.video.cuts import Cut
    from upscaler.video.survey import Survey


@dataclass(frozen=True)
class JobGroup:
    """Whole jobs, one after the other: a few pictures, or one video that is not cut.

    Attributes:
        jobs: In order. Their paths are those that the worker sees.
        options: Of the command; a worker runs on its own device whatever ``options.device`` says.
    """

    jobs: tuple[Job, ...]
    options: Options


@dataclass(frozen=True)
class VideoPlanning:
    """How a video would be made on the device of a worker: nothing is written. The driver then cuts it.

    Attributes:
        job: The whole video.
        options: Of the command, as for ``JobGroup``.
        surveyed: Of the source, without its index.
        may_resume: Whether an earlier run has left segments that may be kept.
    """

    job: Job
    options: Options
    surveyed: "Survey"
    may_resume: bool


@dataclass(frozen=True)
class VideoRange:
    """Consecutive segments of a video; the worker writes them into the job folder of the video.

    Attributes:
        job: The whole video.
        options: Of the command, as for ``JobGroup``.
        surveyed: Of the source, without its index.
        folder: The job folder, which the driver has locked.
        fingerprint: See ``resume.fingerprint``; a worker that computes another one refuses.
        execution: How networks run, see ``Upscaler.execution``; a worker runs them so, or refuses.
        first: Number of the first segment, from 0.
        stop: Number of the segment after the last.
        cut: Where decoding begins, and which frames must come.
        strict: Whether a worker with another device or other processors refuses.
    """

    job: Job
    options: Options
    surveyed: "Survey"
    folder: Path
    fingerprint: Mapping[str, str]
    execution: Mapping[str, str | int]
    first: int
    stop: int
    cut: "Cut"
    strict: bool = False


Task = JobGroup | VideoPlanning | VideoRange


@dataclass(frozen=True)
class Failure:
    """An error as data.

    Attributes:
        kind: Name of its class.
        message: What is wrong.
        hint: What to do next; may be empty.
        trace: Where it arose, of a bug of this program; else empty.
    """

    kind: str
    message: str
    hint: str = ""
    trace: str = ""

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Describe an error."""
        kind = type(error).__name__
        if isinstance(error, UpscalerError):
            return cls(kind, error.message, error.hint)
        return cls(kind, str(error), trace="".join(traceback.format_exception(error)))

    def error(self) -> Exception:
        """The error again; one of a class that is not ours has its name only."""
        known = vars(errors).get(self.kind)
        if isinstance(known, type) and issubclass(known, UpscalerError):
            return known(self.message, self.hint)
        error: Exception = type(self.kind, (Exception,), {})(self.message)
        error.add_note(self.trace)
        return error


@dataclass(frozen=True)
class Said:
    """A message about a job.

    Attributes:
        job: Its place in the group; 0 for a range of a video.
        message: The message.
    """

    job: int
    message: Message


@dataclass(frozen=True)
class Advanced:
    """How far a job is; of a range of a video, frames of this range that were encoded."""

    job: int
    progress: Progress


@dataclass(frozen=True)
class JobEnded:
    """How a job of a group ended; see ``batch.result.Result``. ``worker`` is the name of its place."""

    worker: str
    job: int
    outcome: Outcome
    seconds: float
    done: Done | None
    messages: tuple[Message, ...]
    weights: tuple[WeightFacts, ...]
    failure: Failure | None
    is_tried: bool = True


Event = Said | Advanced | JobEnded
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class GroupDone:
    """A group is done, whatever became of its jobs.

    Attributes:
        worker: Who did it: host, device, process.
        ended: Each job, in order; those that came as events, too.
    """

    worker: str
    ended: tuple[JobEnded, ...]


@dataclass(frozen=True)
class RangeDone:
    """A range of a video is done, or was not possible.

    Attributes:
        worker: Who did it.
        made: Segments that were made now, by number, and the frames of each; others were there already.
        frames_px: Luma pixels of these frames; see ``video_frames.Tally``.
        computed_px: Those of them that went through the network.
        stages_s: Busy seconds by stage.
        frames_decoded: Frames that were decoded, those before the range included.
        shown_until: PTS at which the last frame that was decoded ends.
        differs: What of the worker differs from the plan, such as its device; empty: nothing.
        doubt: Why the video cannot be cut here, if that came out: the range is not to be trusted.
        messages: About the video, that arose in the range.
        weights: Weight files that were used.
        failure: Why nothing more was made, if the job failed.
    """

    worker: str
    made: tuple[tuple[int, int], ...] = ()
    frames_px: int = 0
    computed_px: int = 0
    stages_s: Mapping[str, float] = field(default_factory=dict)
    frames_decoded: int = 0
    shown_until: int = 0
    differs: str = ""
    doubt: str = ""
    messages: tuple[Message, ...] = ()
    weights: tuple[WeightFacts, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True)
class VideoPlanned:
    """How a video is made, whichever workers make its parts; or why that cannot be said.

    Attributes:
        worker: Who planned it.
        segment_frames: Frames per segment.
        frames_before: How many frames before a range have to be decoded for it.
        factor: By how much the picture is upscaled.
        summary: Sizes and encoder in one line.
        lines: What the user is told before the first frame.
        fingerprint: What the bytes of the segments depend on, see ``resume.fingerprint``: encoder, weights.
        execution: How networks run, see ``Upscaler.execution``: device, precision, batch.
        is_resumed: Whether the segments of an earlier run are kept.
        obstacle: Why they are not, if there are some.
        messages: About the video.
        failure: Why there is no plan.
    """

    worker: str
    segment_frames: int = 0
    frames_before: int = 0
    factor: float = 0.0
    summary: str = ""
    lines: tuple[str, ...] = ()
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    execution: Mapping[str, str | int] = field(default_factory=dict)
    is_resumed: bool = False
    obstacle: str = ""
    messages: tuple[Message, ...] = ()
    failure: Failure | None = None


TaskResult = GroupDone | VideoPlanned | RangeDone

# Runs a task where it is called, and tells of events on the way; ``batch/task_runner.py`` makes them.
RunTask = Callable[[Task, OnEvent], TaskResult]
