"""Going on with a long film: from a key frame before the missing part, against decoding it from its start.

    python benchmarks/resuming.py [--minutes 20] [--share 0.9]

The target is that the time until the first new frame does not grow with what was done before: seconds, not
the decoding of it.

Method: a film of 64x48 pixels, 24 frames/s, a key frame every 2 seconds, goes through a network that does
next to nothing. Its picture moves twice a second, and what does not move is not computed again, so that a
long film is made in a minute. At `--share` of it, the job folder is copied: it is what a power cut there
would leave. Two runs then go on from copies of it, one as always, one that is told that the film cannot be
cut. The seconds include the survey and the check of the segments' hashes, which both do. All three files must
have the same bytes.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from timing import print_table

from upscaler import pipeline, video_pipeline
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.models import weight_file
from upscaler.models.compact import Compact
from upscaler.options import VideoOptions
from upscaler.results import Progress
from upscaler.resume.job_folder import folder_of
from upscaler.video.cuts import CannotCutError, Cut

RATE, WIDTH, HEIGHT, GOP = 24, 64, 48, 48


def make_film(path: Path, frames: int) -> Path:
    """A film that moves twice a second."""
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT * 2, WIDTH * 2), np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(
            "libx264", rate=RATE, options={"preset": "superfast", "g": str(GOP), "bf": "2"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            top, left = number // 12 % HEIGHT, number // 12 % WIDTH
            planes = np.concatenate(
                [noise[top : top + HEIGHT, left : left + WIDTH], np.full((HEIGHT // 2, WIDTH), 128, np.uint8)]
            )
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv420p")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def small_engine(folder: Path) -> Upscaler:
    """An engine with next to no network."""
    network = Compact(scale=1, channels=4, depth=1)
    weight_file.save(folder / "small.safetensors", network, network.state_dict(), {})
    return Upscaler(folder / "small.safetensors", precision="fp32")


@contextmanager
def uncut() -> Iterator[None]:
    """No film can be cut."""
    found = video_pipeline.cut_before

    def refuse(*_: object) -> Cut:
        raise CannotCutError("the benchmark says so")

    video_pipeline.cut_before = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        video_pipeline.cut_before = found


def go_on(engine: Upscaler, source: Path, target: Path, saved: Path) -> tuple[float, float, int]:
    """Resume a film; seconds until the first new frame and until the end, and frames decoded."""
    shutil.copytree(saved, folder_of(target))
    start = time.perf_counter()
    first_s = 0.0

    def on_progress(_: Progress) -> None:
        nonlocal first_s
        first_s = first_s or time.perf_counter() - start

    options = VideoOptions(preset="ultrafast")
    done = pipeline.upscale_video(Job(source, target, "video"), engine, options, on_progress, lambda _: None)
    assert done.video and done.video.frames_resumed, "it did not resume"
    return first_s, time.perf_counter() - start, done.video.frames_decoded


def main() -> None:
    """Make the film, interrupt it, and go on both ways."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--share", type=float, default=0.9)
    arguments = parser.parse_args()
    frames = round(arguments.minutes * 60 * RATE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, engine = make_film(folder / "film.mp4", frames), small_engine(folder)
        whole, saved = folder / "whole.mp4", folder / "saved"

        def keep(progress: Progress) -> None:
            if progress.done == round(frames * arguments.share):
                shutil.copytree(folder_of(whole), saved, ignore=shutil.ignore_patterns("*.part.*", "*.lock"))

        options = VideoOptions(preset="ultrafast")
        pipeline.upscale_video(Job(source, whole, "video"), engine, options, keep, lambda _: None)
        cut = go_on(engine, source, folder / "cut.mp4", saved)
        with uncut():
            start = go_on(engine, source, folder / "start.mp4", saved)
        same = len({path.read_bytes() for path in (whole, folder / "cut.mp4", folder / "start.mp4")}) == 1
    rows = {
        how: {
            "first new frame, s": f"{first_s:.2f}",
            "end, s": f"{all_s:.2f}",
            "frames decoded": str(decoded),
        }
        for how, (first_s, all_s, decoded) in {"a key frame": cut, "the start": start}.items()
    }
    print_table("decoding from", rows)
    print(f"\n{frames} frames; first new frame {start[0] / cut[0]:.1f} times as early; same bytes: {same}")


if __name__ == "__main__":
    main()
