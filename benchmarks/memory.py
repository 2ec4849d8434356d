"""Peak memory: of a huge image, of clips of growing length, and over the course of a long clip.

    python benchmarks/memory.py picture [--width 12000 --height 8000]
    python benchmarks/memory.py video [--frames 100 1000] [--width 320 --height 180] [--preset ultrafast]
    python benchmarks/memory.py video --width 1920 --height 1080 --preset medium --frames 60 120 --still
    python benchmarks/memory.py long [--minutes 10]

The targets are 2.5 GB for `picture --width 6000 --height 4000` and 1.5 GB for the second `video`. With
`--still` only a small square moves, so that the network computes little after the first frame; the encoder
keeps all.

Method: every case runs the command in its own process; the table has the process's largest resident set
(`VmHWM`, Linux only) and the time. `long` upscales a 64x36 clip at 24 frames/s with sound, and records the
resident set as frames finish and its maximum after merging.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from PIL import Image
from timing import print_table


def upscale(arguments: list[str], answers: "multiprocessing.Queue[tuple[float, float]]") -> None:
    """Run the command in this process; answer with GB and seconds."""
    from typer.testing import CliRunner

    from upscaler.cli.app import app

    start = time.perf_counter()
    result = CliRunner().invoke(app, arguments)
    if result.exit_code:
        print(result.output, file=sys.stderr)
    answers.put((largest_bytes() / 1e9, time.perf_counter() - start))


def largest_bytes() -> int:
    """Largest resident set of this process so far; `ru_maxrss` would include the parent before the fork."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def measured(arguments: list[str]) -> dict[str, str]:
    """A row of the table."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=upscale, args=(arguments, answers))
    process.start()
    peak_gb, seconds = answers.get()
    process.join()
    return {"peak": f"{peak_gb:.3f} GB", "time": f"{seconds:.0f} s"}


def picture(folder: Path, width: int, height: int) -> dict[str, dict[str, str]]:
    """One picture through `fast` at x2."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(folder / "in.jpg")
    arguments = [str(folder / "in.jpg"), "-o", str(folder / "out.jpg"), "--model", "fast", "--scale", "2"]
    return {f"{width}x{height} x2": measured(arguments)}


def still_clip(path: Path, frames: int, height: int, width: int) -> Path:
    """Write noise of which a square of 32 pixels moves, without losses."""
    picture = np.random.default_rng(0).integers(64, 192, (height // 8, width // 8, 3), dtype=np.uint8)
    noise = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=24, options={"preset": "ultrafast", "qp": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            frame = noise.copy()
            frame[:32, 2 * index : 2 * index + 32] = 255
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def video(
    folder: Path, lengths: list[int], width: int, height: int, preset: str, *, still: bool
) -> dict[str, dict[str, str]]:
    """Clips of one size and of several lengths through `fast` at x2."""
    from pipeline import clip

    rows = {}
    for frames in lengths:
        source = (still_clip if still else clip)(folder / f"{frames}.mp4", frames, height, width)
        options = ["--model", "fast", "--scale", "2", "--preset", preset]
        rows[f"{frames} frames"] = measured([str(source), "-o", str(folder / f"{frames}-out.mp4"), *options])
    return rows


def course(source: Path, target: Path, answers: "multiprocessing.Queue[dict[str, str]]") -> None:
    """Upscale a clip in this process; answer with the resident set at every tenth of its frames."""
    from upscaler import pipeline
    from upscaler.inference.engine import Upscaler
    from upscaler.jobs import Job
    from upscaler.options import VideoOptions
    from upscaler.process_settings import keep_freed_memory
    from upscaler.results import Progress

    keep_freed_memory()
    pages = {}

    def note(progress: Progress) -> None:
        share = 10 * progress.done // progress.total
        if share not in pages:
            pages[share] = int(Path("/proc/self/statm").read_text().split()[1])

    start = time.perf_counter()
    job = Job(source, target, "video")
    done = pipeline.upscale_video(job, Upscaler("fast", 2), VideoOptions(), note, lambda _: None)
    row = {
        f"{10 * share} %": f"{count * resource.getpagesize() / 1e6:.0f} MB" for share, count in pages.items()
    }
    peak_mb = largest_bytes() / 1e6
    seconds = time.perf_counter() - start
    answers.put(
        row | {"largest": f"{peak_mb:.0f} MB", "frames": str(done.frames), "time": f"{seconds:.0f} s"}
    )


def long(folder: Path, minutes: float) -> dict[str, dict[str, str]]:
    """A long small clip with sound through `fast` at x2."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.media import clip

    source = clip(
        folder / "in.mp4",
        pts=[3750 * index for index in range(round(minutes * 60 * 24))],
        height=36,
        width=64,
        audio=["aac"],
        seconds=minutes * 60,
    )
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=course, args=(source, folder / "out.mp4", answers))
    process.start()
    row = answers.get()
    process.join()
    return {f"{minutes:g} minutes": row}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["picture", "video", "long"])
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--frames", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--preset", default="ultrafast")
    parser.add_argument("--still", action="store_true")
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.what == "picture":
            rows = picture(Path(folder), arguments.width or 12000, arguments.height or 8000)
        elif arguments.what == "long":
            rows = long(Path(folder), arguments.minutes)
        else:
            size = arguments.width or 320, arguments.height or 180
            rows = video(Path(folder), arguments.frames, *size, arguments.preset, still=arguments.still)
    print_table(arguments.what, rows)


if __name__ == "__main__":
    main()
