"""A batch: plan all jobs, load the engines, then run one job after the other. A failed job ends alone."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from upscaler import jobs, pipeline, preview
from upscaler.errors import MediaError, UpscalerError
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job, Kind
from upscaler.models.find_weights import default_scale
from upscaler.options import DEFAULT_MODEL, EngineOptions, Options
from upscaler.results import Done, Message, OnMessage, OnProgress, Outcome


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
        messages: What was said about it, in order.
        error: Why it failed; not an ``UpscalerError`` if it is a bug of this program.
    """

    source: Path
    target: Path | None
    kind: Kind | Literal["folder"]
    outcome: Outcome
    seconds: float = 0.0
    done: Done | None = None
    messages: Sequence[Message] = ()
    error: Exception | None = None

    @property
    def error_line(self) -> str:
        """The error in one line that names the source; empty if there is none."""
        if self.error is None:
            return ""
        if not isinstance(self.error, UpscalerError):
            return (
                f"'{self.source}': internal error, please report it; set UPSCALER_DEBUG=1 for a traceback: "
                f"{type(self.error).__name__}: {self.error}"
            )
        text = str(self.error)
        return text if str(self.source) in text else f"'{self.source}': {text}"


class Batch:
    """All jobs of one call, planned and checked; nothing is written before ``run``.

    Args:
        inputs: Images, videos, and folders of them.
        options: Everything else.

    Attributes:
        job_list: What is to be done, and what is left out.
        ignored_options: Options that have no effect on these jobs, as the command line spells them.
        engines: The engine for each kind of job; kinds with the same model share one.

    Raises:
        UsageError: The jobs or the options are not possible.
        WeightsError: The model is unknown, or its file is damaged.
        DeviceError: The device is not available.
    """

    def __init__(self, inputs: Iterable[Path], options: Options) -> None:
        if options.model and options.scale is None and options.size_px is None:
            options = replace(options, scale=default_scale(options.model))
        self._video_options = options.video
        self.job_list = jobs.plan(inputs, options)
        kinds = {job.kind for job in self.job_list.jobs}
        self.engines = _load_engines(kinds, options.engine)
        pipeline.check_codecs(self.job_list.jobs, options.video)
        self.ignored_options = options.video.given() if kinds == {"still"} else []

    def not_run(self) -> list[Result]:
        """A result for each input that no job is for: folders that cannot be read, and existing targets."""
        unreadable = [
            Result(folder.folder, None, "folder", "failed", error=MediaError(str(folder)))
            for folder in self.job_list.unreadable
        ]
        return unreadable + [_result(job, "skipped") for job in self.job_list.skipped]

    def run(self, job: Job, on_progress: OnProgress, on_message: OnMessage) -> Result:
        """Run one job of the list. Every error becomes part of the result; only an interrupt is raised.

        Args:
            job: One of ``job_list.jobs``.
            on_progress: Called after every frame, or every batch of tiles.
            on_message: Called with every message about the job as it arises.
        """
        start = time.monotonic()
        messages: list[Message] = []

        def collect(message: Message) -> None:
            messages.append(message)
            on_message(message)

        try:
            done = self._upscale(job, on_progress, collect)
        except Exception as error:  # a bug that one file brings to light must not end the batch
            return _result(job, "failed", time.monotonic() - start, messages=messages, error=error)
        warned = any(message.severity == "warning" for message in messages)
        outcome: Outcome = "done with warnings" if warned else "done"
        return _result(job, outcome, time.monotonic() - start, messages=messages, done=done)

    def _upscale(self, job: Job, on_progress: OnProgress, on_message: OnMessage) -> Done:
        engine = self.engines[job.kind]
        if job.kind == "preview":
            return preview.write_preview(job, engine, self._video_options, on_progress, on_message)
        if job.kind == "still":
            return pipeline.upscale_still(job, engine, on_progress, on_message)
        return pipeline.upscale_video(job, engine, self._video_options, on_progress, on_message)


def interrupted(job: Job, seconds: float, messages: Sequence[Message]) -> Result:
    """The result of a job that an interrupt ended."""
    return _result(job, "interrupted", seconds, messages=messages)


def _result(
    job: Job,
    outcome: Outcome,
    seconds: float = 0.0,
    *,
    done: Done | None = None,
    messages: Sequence[Message] = (),
    error: Exception | None = None,
) -> Result:
    return Result(job.source, job.target, job.kind, outcome, seconds, done, messages, error)


def _load_engines(kinds: set[Kind], options: EngineOptions) -> dict[Kind, Upscaler]:
    by_model: dict[str, Upscaler] = {}
    engines: dict[Kind, Upscaler] = {}
    for kind in sorted(kinds):
        model = str(options.model or DEFAULT_MODEL[kind])
        if model not in by_model:
            by_model[model] = Upscaler(**vars(replace(options, model=model)))
        engines[kind] = by_model[model]
    return engines
