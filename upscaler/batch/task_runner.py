"""What a worker does: tasks of a batch, one after the other, with engines that stay loaded.

``runner_at`` and ``device_at`` are what executors call in a worker; ``main`` is the start of a local worker
process.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from upscaler.batch.batch import Batch, load_engines
from upscaler.batch.observer import Observer
from upscaler.batch.result import Result
from upscaler.errors import DeviceError
from upscaler.executors.local_processes import Place, serve_tasks
from upscaler.executors.tasks import (
    Advanced,
    Event,
    Failure,
    GroupDone,
    JobEnded,
    JobGroup,
    OnEvent,
    RangeDone,
    RunTask,
    Said,
    Task,
    TaskResult,
    VideoPlanned,
    VideoPlanning,
    VideoRange,
)
from upscaler.frames.video_range import SegmentRange, encode_range
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job, JobList, Kind
from upscaler.options import EngineOptions, Options
from upscaler.process_settings import keep_freed_memory, use_allowed_processors
from upscaler.results import Message, OnMessage, Progress
from upscaler.resume.begin import planned_start
from upscaler.resume.job_folder import JobFolder
from upscaler.video.cuts import CannotCutError
from upscaler.video.segments import closed_segments
from upscaler.video_pipeline import begun_video


def main() -> None:
    """In a process of ``LocalProcesses``."""
    serve_tasks(runner_at)


def runner_at(place: Place) -> RunTask:
    """Make this process a worker.

    Args:
        place: Which device and how many processors it uses.

    Returns:
        Runs one task after the other; to be called by one thread at a time.
    """
    keep_freed_memory()
    use_allowed_processors(place.processors)
    return TaskRunner(place).run


def device_at(place: Place) -> str:
    """The name of the device of a worker, such as that of a GPU.

    Raises:
        DeviceError: It is not there.
    """
    return devices.name(devices.select(place.device))


class TaskRunner:
    """Runs tasks in this process.

    Args:
        place: Which device it uses, and what it is called.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._engines: dict[EngineOptions, dict[Kind, Upscaler]] = {}

    def run(self, task: Task, on_event: OnEvent) -> TaskResult:
        """Run a task.

        Args:
            task: The task.
            on_event: Called with what happens.
        """
        if isinstance(task, JobGroup):
            return self._run_group(task, on_event)
        if isinstance(task, VideoPlanning):
            return self._run_planning(task)
        return self._run_range(task, on_event)

    def _run_group(self, group: JobGroup, on_event: OnEvent) -> GroupDone:
        options = replace(group.options, device=self._place.device)
        engines = self._engines.setdefault(options.engine, {})
        teller = _Teller(self._place.name, group.jobs, on_event)
        with Batch((), options, JobList(list(group.jobs), []), engines=engines) as batch:
            batch.run(teller)
        return GroupDone(self._place.name, tuple(teller.ended))

    def _run_planning(self, task: VideoPlanning) -> VideoPlanned:
        messages: list[Message] = []
        planned = VideoPlanned(self._place.name)
        try:
            planned = self._plan(task, messages.append)
        except Exception as error:  # a bug that one file brings to light must not end the worker
            planned = replace(planned, failure=Failure.of(error))
        return replace(planned, messages=tuple(messages))

    def _plan(self, task: VideoPlanning, on_message: OnMessage) -> VideoPlanned:
        options, engine = self._ready(task)
        earlier = JobFolder(task.job.target).manifest() if task.may_resume else None
        with begun_video(task.job, engine, options.video, on_message, task.surveyed) as video:
            plan = video.plan
            with (
                engine.leaving_to_others(plan.encoder_bytes),
                planned_start(
                    earlier,
                    video.fingerprint,
                    engine,
                    plan.upscaling,
                    video.reader.info,
                    video.opened.expected_frames(),
                    on_any_device=not options.strict_plan,
                ) as start,
            ):
                return VideoPlanned(
                    self._place.name,
                    segment_frames=plan.segment_frames,
                    frames_before=video.frames_before,
                    factor=plan.upscaling.factor,
                    summary=plan.summary,
                    lines=tuple(video.first_lines()),
                    fingerprint=video.fingerprint,
                    execution=start.execution,
                    is_resumed=start.is_resumed,
                    obstacle=start.obstacle,
                )

    def _ready(self, task: VideoPlanning | VideoRange) -> tuple[Options, Upscaler]:
        """The options for this worker, and the engine."""
        options = replace(task.options, device=self._place.device)
        engines = self._engines.setdefault(options.engine, {})
        load_engines(engines, {task.job.kind}, options.engine)
        return options, engines[task.job.kind]

    def _run_range(self, task: VideoRange, on_event: OnEvent) -> RangeDone:
        messages: list[Message] = []
        result = RangeDone(self._place.name)
        try:
            options, engine = self._ready(task)
            result = self._encode(task, engine, options, messages.append, on_event)
        except CannotCutError as error:
            result = replace(result, doubt=str(error))
        except Exception as error:  # a bug that one file brings to light must not end the worker
            result = replace(result, failure=Failure.of(error))
        return replace(result, messages=tuple(messages))

    def _encode(
        self, task: VideoRange, engine: Upscaler, options: Options, on_message: OnMessage, on_event: OnEvent
    ) -> RangeDone:
        """Make the segments of a range that are not there yet; raises as ``video_range.encode_range``."""
        with begun_video(task.job, engine, options.video, on_message, task.surveyed) as video:
            plan = video.plan
            here = engine.execution(plan.upscaling)
            differs = _difference(task, video.fingerprint, here)
            progress = video.progress(0)

            def on_frame(made: int) -> None:
                on_event(Advanced(0, replace(progress, done=made)))

            closed = closed_segments(task.folder, range(task.first - 1, task.stop))
            execution = {**task.execution, "device": here["device"]}
            with (
                engine.leaving_to_others(plan.encoder_bytes),
                engine.restored_execution(execution, plan.upscaling),
            ):
                task.cut.move(video.reader)
                part = SegmentRange(task.first, task.stop, task.cut)
                encoded = encode_range(
                    video.reader, engine, plan, options.video, task.folder, part, closed, on_frame
                )
        return RangeDone(
            self._place.name,
            made=tuple((number, segment.frames) for number, segment in encoded.made.items()),
            frames_px=encoded.tally.frames_px,
            computed_px=encoded.tally.computed_px,
            stages_s=encoded.stages_s,
            frames_decoded=encoded.frames_decoded,
            shown_until=encoded.shown_until,
            differs=differs,
            weights=tuple(engine.loaded_weights()),
        )


# What of a worker may differ from the plan: results are still the same but for the last bit.
_MAY_DIFFER = ("device", "CPU cores")


def _difference(task: VideoRange, fingerprint: Mapping[str, str], execution: Mapping[str, str | int]) -> str:
    """What of this worker differs from the plan, in words; empty if nothing does.

    Raises:
        DeviceError: It must not differ.
    """
    planned = {**task.fingerprint, "device": task.execution["device"]}
    here = {**fingerprint, "device": execution["device"]}
    found = ""
    for name in dict.fromkeys((*planned, *here)):
        if planned.get(name) != here.get(name):
            text = f"{name} is {here.get(name)} on a worker, and {planned.get(name)} in the plan"
            if task.strict or name not in _MAY_DIFFER:
                raise DeviceError(f"a worker cannot make the same video: {text}")
            found = found or text
    return found


class _Teller(Observer):
    """Tells the driver about the jobs of a group.

    Args:
        worker: Who runs them.
        jobs: Of the group.
        on_event: Called with every event.

    Attributes:
        ended: How each job ended, as far as they have.
    """

    def __init__(self, worker: str, jobs: tuple[Job, ...], on_event: Callable[[Event], None]) -> None:
        self._worker = worker
        self._numbers = {job: number for number, job in enumerate(jobs)}
        self._on_event = on_event
        self.ended: list[JobEnded] = []

    def progress(self, job: Job, progress: Progress) -> None:
        self._on_event(Advanced(self._numbers[job], progress))

    def message(self, job: Job, message: Message) -> None:
        self._on_event(Said(self._numbers[job], message))

    def end(self, result: Result) -> None:
        ended = JobEnded(
            self._worker,
            len(self.ended),
            result.outcome,
            result.seconds,
            result.done,
            tuple(result.messages),
            tuple(result.weights),
            Failure.of(result.error) if result.error else None,
            result.is_tried,
        )
        self.ended.append(ended)
        self._on_event(ended)
