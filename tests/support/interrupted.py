"""Runs that end before their time, with short segments."""

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray
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


def moving_clip(
    path: Path,
    encoder: str = "libx264",
    options: dict[str, str] | None = None,
    pts: list[int] | None = None,
    frames: int = 38,
    shown: Callable[[VideoFrame], VideoFrame] = lambda frame: frame,
    picture: NDArray[np.uint8] | None = None,
) -> Path:
    """A video of a picture ``(96, 160)``, or of noise, that moves; at 25 frames/s or these milliseconds."""
    if picture is None:
        picture = np.random.default_rng(0).integers(0, 255, (96, 160), np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(encoder, rate=25, options=options or {"g": "5"})
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        if pts is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number in range(frames):
            step = number % 48
            luma = picture[step : step + 48, 2 * step : 2 * step + 64]
            planes = np.concatenate([luma, np.full((24, 64), 100 + step, np.uint8)])
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            if pts is not None:
                frame.pts, frame.time_base = pts[number], Fraction(1, 1000)
            output.mux(stream.encode(shown(frame)))
        output.mux(stream.encode(None))
    return path


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
