"""A batch: plan all jobs, load the engines, run one job after the other. ``upscale`` does it from Python."""

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from upscaler import comparison, dry_run, image_sequences, jobs, pipeline, preview, video_plan
from upscaler.comparison import Comparison
from upscaler.dry_run import Expected
from upscaler.error_text import error_line
from upscaler.errors import DiskFullError, MediaError, TargetTakenError, UpscalerError, UsageError
from upscaler.images.formats import format_of
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job, JobList, Kind
from upscaler.models.find_weights import default_scale
from upscaler.option_fields import takes_options
from upscaler.options import DEFAULT_MODEL, EngineOptions, Options
from upscaler.results import Done, Message, OnMessage, OnProgress, Outcome, Progress, VideoFacts, WeightFacts
from upscaler.system import disk
from upscaler.system.console import printable
from upscaler.video.probe import Prober
from upscaler.video.survey import Survey
from upscaler.video_to_images import upscale_to_images

# FFmpeg's log, torch's thread count and the memory of the device exist once per process.
_running = threading.Lock()


@dataclass(frozen=True)
class Result:
    """How one input ended.

    Attributes:
        source: The file, or a folder that could not be read.
        target: The file written; ``None`` for a folder.
        kind: ``still``, ``video``, ``preview``, or ``folder`` for one that could not be read.
        outcome: ``done``, ``done with warnings`` (the source is damaged), ``failed``, ``interrupted``, or
            ``skipped`` because the target exists.
        seconds: How long the job took.
        done: What the job wrote, unless it failed.
        messages: Every message about the job, in order.
        weights: The weight files that the batch has used for jobs of this kind, up to this one.
        error: Why it failed; not an ``UpscalerError`` if it is a bug of this program.
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


class Batch:
    """All jobs of one call, planned and checked; nothing is written before ``run``. A context manager.

    Args:
        inputs: Images, videos, and folders of them.
        options: Everything else.
        job_list: The plan, if it was made before; its first jobs may be done.

    Attributes:
        job_list: What is to be done, and what is left out.
        messages: Messages about the whole batch.
        engines: The engine for each kind of job; kinds with the same model share one.

    Raises:
        UsageError: The jobs or the options are not possible.
        WeightsError: The model is unknown, or its file is damaged.
        DeviceError: The device is not available.
    """

    def __init__(self, inputs: Iterable[Path], options: Options, job_list: JobList | None = None) -> None:
        if options.models and options.scale is None and options.size_px is None:
            options = replace(options, scale=default_scale(options.models))
        self._image_options, self._video_options = options.image, options.video
        self._keep_dates = options.keep_dates
        self._full_disks: set[int] = set()
        self.job_list = job_list or jobs.plan(inputs, options)
        self._comparison = _planned_comparison(self.job_list, options)
        kinds = {job.kind for job in self.job_list.jobs}
        with ExitStack() as started:
            # First, because it starts while the engines are loaded.
            self._prober = started.enter_context(Prober()) if kinds - {"still"} else None
            self.engines = _load_engines(kinds, options.engine)
            video_plan.check_codecs(self.job_list.jobs, options.video)
            self._started = started.pop_all()
        lines = _ignored(self.job_list.jobs, options)
        if options.engine.device == "auto":
            lines += {line for engine in self.engines.values() if (line := devices.unused_gpu(engine.device))}
        self.messages = [Message("info", line) for line in lines]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started.close()

    def not_run(self) -> list[Result]:
        """A result for each input that no job is for: folders that cannot be read, and existing targets."""
        unreadable = [
            Result(folder.folder, None, "folder", "failed", error=MediaError(str(folder)))
            for folder in self.job_list.unreadable
        ]
        return unreadable + [_result(job, "skipped") for job in self.job_list.skipped]

    def not_tried(self, job: Job) -> Result | None:
        """The result of a job for which there is no room, after another one has found the disk full."""
        if _device_of(job) not in self._full_disks or disk.has_room(job.target.parent):
            return None
        error = DiskFullError(f"'{job.source}' is not tried: no space left on the disk of '{job.target}'")
        return _result(job, "failed", error=error)

    def run(self, job: Job, on_progress: OnProgress, on_message: OnMessage) -> Result:
        """Run one job of the list. Errors and interrupts become part of the result.

        With ``skip_existing``, a job whose target exists by now, or which another process works at, is
        skipped: several runs may share a folder.

        Args:
            job: One of ``job_list.jobs``.
            on_progress: Called after every frame, or every batch of tiles.
            on_message: Called with every message about the job as it arises.
        """
        if job.is_skippable and not job.replaces and job.has_result():
            return _result(job, "skipped")
        start = time.monotonic()
        messages: list[Message] = []

        def collect(message: Message) -> None:
            messages.append(message)
            on_message(message)

        try:
            before = job.source.stat() if self._keep_dates and job.has_date else None
            done = self._upscale(job, on_progress, collect)
            if before:
                _set_date(job, before, collect)
        except KeyboardInterrupt:
            return _result(job, "interrupted", time.monotonic() - start, messages=messages)
        except DiskFullError as error:
            self._full_disks.add(_device_of(job))
            return _result(job, "failed", time.monotonic() - start, messages=messages, error=error)
        except TargetTakenError as error:
            outcome: Outcome = "skipped" if job.is_skippable else "failed"
            cause = None if job.is_skippable else error
            return _result(job, outcome, time.monotonic() - start, messages=messages, error=cause)
        except Exception as error:  # a bug that one file brings to light must not end the batch
            _release(error)
            failure = _without_memory(job, error) or error
            return _result(job, "failed", time.monotonic() - start, messages=messages, error=failure)
        warned = any(message.severity == "warning" for message in messages)
        outcome = "done with warnings" if warned else "done"
        result = _result(job, outcome, time.monotonic() - start, messages=messages, done=done)
        return replace(result, weights=self.engines[job.kind].loaded_weights())

    def compare(self, on_message: OnMessage) -> None:
        """Write the page that ``compare`` asks for, about all jobs whose target exists; nothing without it.

        Args:
            on_message: Called with what is not compared, and with the name of the page.

        Raises:
            MediaError: It cannot be written.
        """
        if self._comparison:
            finished = [job for job in _all_jobs(self.job_list) if job.target.exists()]
            comparison.write(self._comparison, finished, on_message)

    def crashed(self, job: Job, how: str, seconds: float, on_message: OnMessage) -> Result:
        """The result of a job that ended the process.

        Args:
            job: One of ``job_list.jobs``.
            how: What ended it, such as ``SIGSEGV``.
            seconds: How long the job took.
            on_message: Called with every message about what is left of it.
        """
        messages: list[Message] = []
        text, hint = f"the program crashed on '{job.source}' ({how})", "the file may be damaged"
        error = MediaError(text, hint)
        if job.kind == "video":
            pipeline.tidy_after_crash(job, error, messages.append)
        for message in messages:
            on_message(message)
        return _result(job, "failed", seconds, messages=messages, error=error)

    def expected(self, job: Job) -> Expected:
        """What a job of the list would do; nothing is written.

        Raises:
            UpscalerError: It would fail.
        """
        engine = self.engines[job.kind]
        if job.kind == "still":
            return dry_run.of_still(job, engine)
        of_kind = dry_run.of_images if job.writes_images else dry_run.of_video
        return of_kind(job, engine, self._video_options, self._surveyed(job))

    def _surveyed(self, job: Job) -> Survey | None:
        """A first look at a video, in another process."""
        assert self._prober, "there is a video among the jobs"
        # Images have no container.
        suffix = ".mkv" if job.kind == "preview" or job.writes_images else job.target.suffix
        if job.kind == "video" or self._video_options.crop == "auto":
            return self._prober.survey(job.source, self._video_options, suffix)
        self._prober.check(job.source, self._video_options, suffix)
        return None

    def _upscale(self, job: Job, on_progress: OnProgress, on_message: OnMessage) -> Done:
        engine = self.engines[job.kind]
        if job.kind == "still":
            return pipeline.upscale_still(job, engine, self._image_options, on_progress, on_message)
        surveyed = self._surveyed(job)
        if job.kind == "preview":
            return preview.write_preview(job, engine, self._video_options, on_progress, on_message, surveyed)
        if job.writes_images:
            return upscale_to_images(
                job,
                engine,
                self._video_options,
                pipeline.encoding_of(self._image_options),
                on_progress,
                on_message,
                surveyed,
            )
        return pipeline.upscale_video(job, engine, self._video_options, on_progress, on_message, surveyed)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Refuse a second batch in this process while the first one runs.

    Raises:
        UsageError: Another batch is running.
    """
    if not _running.acquire(blocking=False):
        raise UsageError(
            "another upscale is running in this process", "wait for it, or start another process"
        )
    try:
        yield
    finally:
        _running.release()


@dataclass(frozen=True, kw_only=True)
class _Arguments(Options):
    """What ``upscale`` takes besides its inputs."""

    on_progress: Callable[[Job, Progress], None] | None = None
    on_message: Callable[[Job | None, Message], None] | None = None


@takes_options(_Arguments)
def upscale(inputs: str | Path | Iterable[str | Path], arguments: _Arguments) -> list[Result]:
    """Upscale images and videos, as the ``upscale`` command does: same plan, same files.

    >>> from upscaler import upscale
    >>> results = upscale(["photos/", "film.mp4"], output="out/", scale=2)

    Takes the fields of ``Options`` as arguments: ``output``, ``model`` and ``scale`` by position or by name,
    the others by name. A failed input does not stop the others. Prints nothing. On a CPU, call
    ``keep_freed_memory`` first, as the command does: a frame then takes about half the time.

    Args:
        inputs: Images, videos, and folders of them.
        arguments: The options; ``on_progress``, called with the job and its progress after every frame of a
            video or batch of tiles; and ``on_message``, called with the job (``None``: the whole batch) and
            every message as it arises. What a callback raises ends the batch and is raised here.

    Returns:
        A result for each file: first those not run (folders that cannot be read, and with ``skip_existing``
        files whose target exists), then the others in the order of the inputs.

    Raises:
        UsageError: The options or inputs are not possible, or another call runs in this process. As for the
            next two, nothing is written then.
        WeightsError: The model is unknown, or its file is damaged.
        DeviceError: The device is not available.
    """
    paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    with one_at_a_time(), Batch([Path(path) for path in paths], arguments) as batch:
        callbacks = _Callbacks(arguments)
        for message in batch.messages:
            callbacks.message(None, message)
        results = batch.not_run()
        for job in batch.job_list.jobs:
            result = batch.not_tried(job) or batch.run(
                job, partial(callbacks.progress, job), partial(callbacks.message, job)
            )
            if callbacks.error:
                raise callbacks.error
            if result.outcome == "interrupted":
                raise KeyboardInterrupt
            results.append(result)
        batch.compare(partial(callbacks.message, None))
        return results


class _Callbacks:
    """The callbacks of a caller. Keeps what they raise, which must not count as an error of the job."""

    def __init__(self, arguments: _Arguments) -> None:
        self.error: Exception | None = None
        self._on_progress = arguments.on_progress
        self._on_message = arguments.on_message

    def progress(self, job: Job, progress: Progress) -> None:
        self._call(self._on_progress, job, progress)

    def message(self, job: Job | None, message: Message) -> None:
        self._call(self._on_message, job, message)

    def _call(self, callback: Callable[..., None] | None, *arguments: object) -> None:
        try:
            if callback:
                callback(*arguments)
        except Exception as error:
            self.error = error
            raise


def _set_date(job: Job, source: os.stat_result, on_message: OnMessage) -> None:
    try:
        os.utime(job.target, ns=(source.st_atime_ns, source.st_mtime_ns))
    except OSError as error:  # as on some network drives
        on_message(Message("info", f"the modification time cannot be set: {error.strerror}"))


def _all_jobs(job_list: JobList) -> list[Job]:
    return [*job_list.jobs, *job_list.skipped]


def _planned_comparison(job_list: JobList, options: Options) -> Comparison | None:
    every = [job for job in _all_jobs(job_list) if job.kind != "video"]
    if not options.compare or not every:
        return None
    reference = None if options.reference is None else Path(options.reference)
    found = comparison.planned(every, options.output_path, reference)
    if found.page.exists() and not (options.overwrite or options.skip_existing):
        raise UsageError(f"'{found.page}' already exists", "--overwrite replaces files")
    return found


def _ignored(planned: Sequence[Job], options: Options) -> list[str]:
    """A line for each group of options that no job uses."""
    kinds = {job.kind for job in planned}
    lines = []
    if kinds == {"still"} and (given := options.video.given()):
        lines.append(f"{', '.join(given)} ignored: no video among the inputs")
    if options.fps is not None and not any(image_sequences.is_pattern(job.source) for job in planned):
        lines.append("--fps ignored: no numbered images among the inputs")
    writes_images = "still" in kinds or any(job.writes_images for job in planned)
    if kinds and not writes_images and (given := options.image.given()):
        lines.append(f"{', '.join(given)} ignored: no image among the inputs")
    elif kinds and options.quality is not None and not any(map(_has_quality, planned)):
        lines.append("--quality ignored: no image is written as AVIF, JPEG or WebP")
    if "video" in kinds and options.compare:
        lines.append("--compare leaves videos out: compare a frame with --preview")
    return lines


def _has_quality(job: Job) -> bool:
    image_format = format_of(job.target)
    return bool(image_format and image_format.has_quality)


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


def _result(
    job: Job,
    outcome: Outcome,
    seconds: float = 0.0,
    *,
    done: Done | None = None,
    messages: Sequence[Message] = (),
    error: Exception | None = None,
) -> Result:
    return Result(job.source, job.target, job.kind, outcome, seconds, done, messages, error=error)


def _load_engines(kinds: set[Kind], options: EngineOptions) -> dict[Kind, Upscaler]:
    by_models: dict[tuple[str, ...], Upscaler] = {}
    engines: dict[Kind, Upscaler] = {}
    for kind in sorted(kinds):
        models = options.models or (DEFAULT_MODEL[kind],)
        if models not in by_models:
            by_models[models] = Upscaler(**vars(replace(options, model=models)))
        engines[kind] = by_models[models]
    return engines
