"""A batch: plan all jobs, load the engines, run them. ``upscale`` does it from Python."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from upscaler import atomic, image_sequences, jobs, pipeline, video_pipeline
from upscaler.batch import dry_run, shared_video
from upscaler.batch.driver import Driver
from upscaler.batch.dry_run import Expected
from upscaler.batch.observer import Observer
from upscaler.batch.result import Result
from upscaler.batch.retry_limit import crashed
from upscaler.batch.runner import Runner
from upscaler.batch.worker_places import (
    executor_for,
    have_own_device,
    like_a_worker,
    note_on_devices,
    worker_places,
)
from upscaler.comparison import comparison
from upscaler.comparison.comparison import Comparison
from upscaler.errors import MediaError, UsageError
from upscaler.frames import preview, video_plan
from upscaler.frames.video_to_images import upscale_to_images
from upscaler.frames.video_to_y4m import upscale_to_y4m
from upscaler.images import library_settings
from upscaler.images.encoding import encoding_of
from upscaler.images.formats import format_of
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.inference.tiled_network import name_of
from upscaler.jobs import Job, JobList, Kind
from upscaler.models.find_weights import blends, default_scale
from upscaler.option_fields import takes_options
from upscaler.options import DEFAULT_MODEL, EngineOptions, Options
from upscaler.remote.files import Files
from upscaler.remote.staging import staged
from upscaler.results import Done, Message, OnMessage, OnProgress, Progress
from upscaler.system import disk
from upscaler.video.probe import Prober
from upscaler.video.survey import Survey

_TASK_RUNNER = "upscaler.batch.task_runner"  # which imports this module
# FFmpeg's log, torch's thread count and the memory of the device exist once per process.
_running = threading.Lock()


class Batch:
    """All jobs of one call, planned and checked; nothing is written before ``run``. A context manager.

    Args:
        inputs: Images, videos, and folders of them; paths or URLs.
        options: Everything else.
        job_list: The plan, if it was made before; its first jobs may be done.
        raw_output: Where a target in y4m is written to instead.
        engines: Those that earlier batches have loaded with the same options; others are added to them.

    Attributes:
        job_list: What is to be done, and what is left out.
        messages: Messages about the whole batch.
        engines: The engine for each kind of job; kinds with the same model share one.
        files: Where the files of the jobs are, and what a user is shown of their names.

    Raises:
        UsageError: The jobs or the options are not possible.
        MediaError: An object store cannot be asked.
        WeightsError: The model is unknown, or its file is damaged.
        DeviceError: The device is not available.
    """

    def __init__(
        self,
        inputs: Iterable[Path],
        options: Options,
        job_list: JobList | None = None,
        raw_output: BinaryIO | None = None,
        engines: dict[Kind, Upscaler] | None = None,
    ) -> None:
        if options.models and options.scale is None and options.size_px is None:
            options = replace(options, scale=default_scale(options.models))
        self._image_options, self._video_options = options.image, options.video
        self._keep_dates = options.keep_dates
        self._raw_output = raw_output
        with ExitStack() as started:
            self.files: Files = started.enter_context(staged(inputs, options, job_list))
            options = self.files.options
            self._options = options
            places = worker_places(options) if options.are_shared else []
            if places:
                if raw_output:
                    raise UsageError(
                        "--workers, --devices and --cluster do not write to a pipe", "name a file"
                    )
                started.enter_context(like_a_worker(places[0]))
                options = replace(options, device=places[0].device, devices=(), workers=None, cluster=None)
            self._places = places
            self.job_list = job_list or jobs.plan(self.files.inputs, options)
            self._comparison = _planned_comparison(self.job_list, options)
            kinds = {job.kind for job in self.job_list.jobs}
            # First, because it starts while the engines are loaded.
            self._prober = started.enter_context(Prober()) if kinds - {"still"} else None
            self.engines = {} if engines is None else engines
            if engines is None:  # else another process has done so, for all inputs
                _check_shares(self.job_list, options.engine)
            load_engines(self.engines, kinds, options.engine)
            video_plan.check_codecs(self.job_list.jobs, options.video)
            self._started = started.pop_all()
        lines = _ignored(self.job_list.jobs, self._options)
        if options.engine.device == "auto":
            lines += {line for engine in self.engines.values() if (line := devices.unused_gpu(engine.device))}
        if line := note_on_devices(places, strict=options.strict_plan):
            lines.append(line)
        lines += {line for each in _target_folders(self.job_list) if (line := disk.missing_durability(each))}
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
        return unreadable + [
            Result(job.source, job.target, job.kind, "skipped") for job in self.job_list.skipped
        ]

    def run(self, observer: Observer, ended: int = 0, *, overlap: bool = True) -> None:
        """Run all jobs of the list in order. Errors and an interrupt become part of their results.

        What killed runs left under hidden names in the folders of the targets is removed first.

        With ``skip_existing``, a job whose target exists by now, or which another process works at, is
        skipped: several runs may share a folder. After a job that has found the disk full, others are not
        tried while there is no room.

        Args:
            observer: Hears of each job in its turn.
            ended: How many of the jobs have been done before.
            overlap: Whether images are read ahead and written behind.

        Raises:
            Exception: What the observer raises.
        """
        planned = self.job_list.jobs[ended:]
        self.files.expect(planned)
        for folder in _target_folders(self.job_list):
            atomic.remove_leftovers(folder)
        if self._places:
            executor = executor_for(self._options, self._places, _TASK_RUNNER)
            options = self._shared_options(alike=have_own_device(executor))
            Driver(planned, options, executor, observer, self.files, self._surveyed, shared_video.begin).run()
            return
        with (
            library_settings.accepting(self._image_options.max_pixels),
            Runner(
                planned,
                self.engines,
                self._image_options,
                self._upscale,
                observer,
                self.files,
                keep_dates=self._keep_dates,
                overlap=overlap,
            ) as runner,
        ):
            runner.run()

    def _shared_options(self, *, alike: bool) -> Options:
        """The options for workers; of those like this process: what it has chosen is not chosen again."""
        # Those of `upscale` in Python have callbacks, too, which cannot be pickled.
        options = Options(**{each.name: getattr(self._options, each.name) for each in fields(Options)})
        options = replace(options, workers=None, devices=(), cluster=None, compare=False, reference=None)
        dtypes = {name_of(engine.dtype) for engine in self.engines.values()}
        if alike and options.precision == "auto" and len(dtypes) == 1:
            options = replace(options, precision=dtypes.pop())
        return options

    def compare(self, on_message: OnMessage) -> None:
        """Write the page that ``compare`` asks for, about all jobs whose target exists; nothing without it.

        Args:
            on_message: Called with what is not compared, and with the name of the page.

        Raises:
            MediaError: It cannot be written.
        """
        if self._comparison:
            finished = [job for job in _all_jobs(self.job_list) if job.target.exists()]
            with library_settings.accepting(self._image_options.max_pixels):
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
        error = crashed(job, how)
        if job.kind == "video":
            video_pipeline.tidy_after_crash(job, error, messages.append)
        for message in messages:
            on_message(message)
        return Result(job.source, job.target, job.kind, "failed", seconds, messages=messages, error=error)

    def expected(self, job: Job) -> Expected:
        """What a job of the list would do; nothing is written.

        Raises:
            UpscalerError: It would fail.
        """
        engine = self.engines[job.kind]
        self.files.fetch(job)
        try:
            if job.kind == "still":
                with library_settings.accepting(self._image_options.max_pixels):
                    return dry_run.of_still(job, engine)
            of_kind = dry_run.of_frames if job.writes_images or job.writes_y4m else dry_run.of_video
            return of_kind(job, engine, self._video_options, self._surveyed(job))
        finally:
            self.files.release(job)

    def _surveyed(self, job: Job) -> Survey | None:
        """A first look at a video, in another process."""
        assert self._prober, "there is a video among the jobs"
        # Images have no container.
        suffix = job.target.suffix if job.is_encoded else ".mkv"
        if job.kind == "video" or self._video_options.crop == "auto":
            return self._prober.survey(job.source, self._video_options, suffix)
        self._prober.check(job.source, self._video_options, suffix)
        return None

    def _upscale(self, job: Job, on_progress: OnProgress, on_message: OnMessage) -> Done:
        self.files.fetch(job)
        if job.is_encoded:
            return pipeline.upscale_video(
                job,
                self.engines[job.kind],
                self._video_options,
                on_progress,
                on_message,
                self._surveyed(job),
                lambda: self.files.deliver(job),
            )
        done = self._upscale_frames(job, on_progress, on_message)
        self.files.deliver(job)
        return done

    def _upscale_frames(self, job: Job, on_progress: OnProgress, on_message: OnMessage) -> Done:
        """Run a job that writes no segments."""
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
                encoding_of(self._image_options),
                on_progress,
                on_message,
                surveyed,
            )
        return upscale_to_y4m(
            job, engine, self._video_options, on_progress, on_message, surveyed, self._raw_output
        )


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
        inputs: Images, videos, and folders of them; paths or URLs.
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
        caller = _Caller(arguments, batch.files, batch.not_run())
        for message in batch.messages:
            caller.say(message)
        batch.run(caller)
        if caller.results and caller.results[-1].outcome == "interrupted":
            raise KeyboardInterrupt
        batch.compare(caller.say)
        return caller.results


class _Caller(Observer):
    """Calls back a caller in Python."""

    def __init__(self, arguments: _Arguments, files: Files, results: list[Result]) -> None:
        self._files = files
        self.results = [self._given(result) for result in results]
        self._on_progress = arguments.on_progress
        self._on_message = arguments.on_message

    def progress(self, job: Job, progress: Progress) -> None:
        if self._on_progress:
            self._on_progress(job, progress)

    def message(self, job: Job, message: Message) -> None:
        if self._on_message:
            self._on_message(job, self._shown(message))

    def end(self, result: Result) -> None:
        self.results.append(self._given(result))

    def _given(self, result: Result) -> Result:
        """The result with the names that the caller knows."""
        return replace(
            result,
            source=self._files.given(result.source),
            target=result.target and self._files.given(result.target),
            messages=[self._shown(message) for message in result.messages],
            error=result.error and self._files.shown_error(result.error),
        )

    def _shown(self, message: Message) -> Message:
        return replace(message, text=self._files.shown(message.text))

    def say(self, message: Message) -> None:
        """Pass on a message about the whole batch."""
        if self._on_message:
            self._on_message(None, message)


def _all_jobs(job_list: JobList) -> list[Job]:
    return [*job_list.jobs, *job_list.skipped]


def _target_folders(job_list: JobList) -> list[Path]:
    return list(dict.fromkeys(job.target.parent for job in _all_jobs(job_list)))


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
    if options.strict_plan and not options.are_shared:
        lines.append("--strict-plan ignored: this process works alone")
    if "video" in kinds and options.compare:
        lines.append("--compare leaves videos out: compare a frame with --preview")
    return lines


def _has_quality(job: Job) -> bool:
    image_format = format_of(job.target)
    return bool(image_format and image_format.has_quality)


def _check_shares(job_list: JobList, options: EngineOptions) -> None:
    """Raise if ``perceptual`` or ``denoise`` is given and is for the default model of no input."""
    if not options.models:
        models = {DEFAULT_MODEL[job.kind] for job in _all_jobs(job_list)}
        blends(sorted(models), options.perceptual, options.denoise)


def load_engines(engines: dict[Kind, Upscaler], kinds: set[Kind], options: EngineOptions) -> None:
    """Add what is missing; kinds with the same options share an engine."""
    by_options = {engine.options: engine for engine in engines.values()}
    for kind in sorted(kinds - engines.keys()):
        completed = options.completed(kind)
        if completed not in by_options:
            by_options[completed] = Upscaler(**vars(completed))
        engines[kind] = by_options[completed]
