"""Runs that end before their time, with short segments."""

import time
from pathlib import Path

import pytest
from support.command import LENGTH
from support.messages import Messages

from upscaler import pipeline
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.results import Done, Progress
from upscaler.resume import job_folder

FRAMES = 24  # of a clip


class CutError(Exception):
    """Stands for whatever interrupts a run."""


def run(
    engine: Upscaler,
    source: Path,
    target: Path,
    *,
    cut_after: int | None = None,
    messages: Messages | None = None,
    **options: object,
) -> tuple[Done, Messages, list[Progress]]:
    """Upscale; with ``cut_after`` the run ends after that many frames, once the encoder has caught up.

    Returns:
        What was written, what was said, and every progress.
    """
    messages = Messages() if messages is None else messages
    seen: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        seen.append(progress)
        if progress.done == cut_after:
            closed = job_folder.folder_of(target) / f"segment-{cut_after // LENGTH - 1:06}.json"
            deadline = time.monotonic() + 30
            while cut_after >= LENGTH and not closed.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            raise CutError

    job = Job(source, target, "video")
    done = pipeline.upscale_video(job, engine, VideoOptions(**options), on_progress, messages)
    return done, messages, seen


def cut(engine: Upscaler, source: Path, target: Path, after: int, **options: object) -> Messages:
    """A run that is interrupted after that many frames; returns what it said."""
    messages = Messages()
    with pytest.raises(CutError):
        run(engine, source, target, cut_after=after, messages=messages, **options)
    return messages
