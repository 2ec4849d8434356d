"""Upscale every clip of a folder to mp4 and mkv, and compare each result with its source.

    python benchmarks/clips.py FOLDER [--frames 60] [--model fast] [--scale 2] [--only NAME]

Method: `upscale_video` on the first frames of each clip. Plain PyAV, without our code, then reads source
and result: number of frames, time of each since the first, streams, colour tags. A clip is correct if
all of these match, or if it is rejected with a message that gives the reason. The table is Markdown; the exit
code is 1 if any clip is wrong.
"""

import argparse
import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import torch

from upscaler import pipeline
from upscaler.content import kind_of
from upscaler.errors import UpscalerError
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.process_settings import keep_freed_memory
from upscaler.video import stream_plan
from upscaler.video.demux import Source

# Allowed timestamp error: one tick of the container, seconds.
TICKS = {".mp4": Fraction(0), ".mkv": Fraction(1, 1000)}
UNSPECIFIED = 2


@dataclass(frozen=True)
class Facts:
    """What plain PyAV finds in a file.

    Attributes:
        times: Of each frame, seconds from the first one.
        tags: Matrix, primaries, transfer (H.273 codes) and range (1 limited, 2 full, 0 unspecified).
        others: Number of streams other than the video.
    """

    times: list[Fraction]
    tags: tuple[int, int, int, int]
    others: int


def look(path: Path, frames: int) -> Facts:
    """Read the first frames of a file."""
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        decoded = list(itertools.islice(_survivors(container), frames))
        first = decoded[0]
        tags = (first.colorspace, first.color_primaries, first.color_trc, first.color_range)
        stamps = [frame.pts * stream.time_base for frame in decoded]
        others = len(container.streams) - 1
    return Facts([stamp - stamps[0] for stamp in stamps], tuple(map(int, tags)), others)


def _survivors(container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded."""
    for packet in container.demux(container.streams.video[0]):
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


def row(source: Path, target: Path, engine: Upscaler, options: VideoOptions) -> dict[str, str]:
    """Upscale one clip; return its row of the table."""
    assert options.frames is not None, "the number of frames bounds the time"
    try:
        job = Job(source, target, "video")
        pipeline.upscale_video(job, engine, options, lambda _: None, lambda _: None)
    except UpscalerError as error:
        return {"result": f"rejected: {error.message.replace(str(source), source.name)}"}
    before, after = look(source, options.frames), look(target, options.frames + 1)
    plans = stream_plan.plan(Source(source), target)
    kept = sum(plan.action != "drop" for plan in plans)
    error_s = max((abs(a - b) for a, b in zip(before.times, after.times, strict=False)), default=Fraction(0))
    wrong = []
    if len(before.times) != len(after.times):
        wrong.append("frames")
    if error_s > TICKS[target.suffix]:
        wrong.append("times")
    if after.others != kept:
        wrong.append("streams")
    if not _fits(before.tags, after.tags):
        wrong.append("tags")
    counts = Counter(plan.result().split(":")[0] for plan in plans)
    return {
        "frames in, out": f"{len(before.times)}, {len(after.times)}",
        "PTS error": f"{float(error_s * 1000):.3g} ms",
        "streams": ", ".join(f"{number} {what}" for what, number in counts.items()) or "-",
        "colour tags in, out": f"{_words(before.tags)}, {_words(after.tags)}",
        "result": f"WRONG: {', '.join(wrong)}" if wrong else "correct",
    }


def _fits(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether all tags of the source are kept, and the matrix is tagged in any case."""
    untagged = (0, UNSPECIFIED, UNSPECIFIED, 0)
    kept = (
        old == new or old in (unknown, UNSPECIFIED if index < 3 else unknown)
        for index, (old, new, unknown) in enumerate(zip(before, after, untagged, strict=True))
    )
    return all(kept) and after[0] not in (0, UNSPECIFIED)


def _words(tags: tuple[int, ...]) -> str:
    codes = ("-" if tag == UNSPECIFIED else str(tag) for tag in tags[:3])
    return f"{'/'.join(codes)} {('-', 'limited', 'full')[tags[3]]}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--model", default="fast", help="or a weight file")
    parser.add_argument("--scale", type=float, default=2)
    parser.add_argument("--preset", default="ultrafast", help="of x264 and x265")
    parser.add_argument("--only", help="part of a clip's name")
    arguments = parser.parse_args()
    keep_freed_memory()
    engine = Upscaler(arguments.model, arguments.scale)
    options = VideoOptions(frames=arguments.frames, preset=arguments.preset)
    print(
        f"{devices.describe(engine.device)}; torch {torch.__version__}; av {av.__version__}; {engine.dtype}\n"
    )
    columns = ("frames in, out", "PTS error", "streams", "colour tags in, out", "result")
    print(f"| clip | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}", flush=True)
    wrong = False
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted(arguments.folder.iterdir()):
            if kind_of(source) != "video" or (arguments.only or "") not in source.name:
                continue
            for suffix in TICKS:
                target = Path(folder) / f"out{suffix}"
                target.unlink(missing_ok=True)
                values = row(source, target, engine, options)
                cells = [values.get(column, "-") for column in columns]
                print(f"| {source.name} -> {suffix.removeprefix('.')} | {' | '.join(cells)} |", flush=True)
                wrong |= "WRONG" in values["result"]
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
