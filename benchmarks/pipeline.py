"""The video pipeline against its parts: how much of decoding and encoding hides behind the network.

    python benchmarks/pipeline.py [--frames 40] [--rounds 3] [--width 640 --height 360]

Method: a synthetic clip of moving texture. Decoding, network (with both colour conversions) and encoding each
run alone over all frames with all cores; then `upscale_video` does all three. They take turns; medians are
compared. The target is whole <= (decode + network + encode) / 0.9.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from timing import print_table, take_turns
from torch import Tensor

from upscaler import pipeline
from upscaler.frames.video_frames import upscale_frames
from upscaler.frames.video_plan import plan_video
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.process_settings import keep_freed_memory
from upscaler.video import segment_writer
from upscaler.video.reader import VideoReader

SCALE = 4


def clip(path: Path, frames: int, height: int, width: int) -> Path:
    """Write a pan over blurred noise as H.264."""
    generator = np.random.default_rng(0)
    coarse = torch.from_numpy(generator.random((1, 3, height // 4, width // 4), dtype=np.float32))
    big = torch.nn.functional.interpolate(coarse, size=(height, width + frames), mode="bicubic")
    picture = (big[0].permute(1, 2, 0).clamp(0, 1) * 255).to(torch.uint8).numpy()
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            view = np.ascontiguousarray(picture[:, index : index + width])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def parts(source: Path, folder: Path, engine: Upscaler) -> dict[str, Callable[[], object]]:
    """Each part alone, and the whole."""
    job = Job(source, folder / "whole.mp4", "video")
    with VideoReader(source) as reader:
        info = reader.info
        plan = plan_video(reader, job, engine, VideoOptions())
        decoded = list(reader.frames())

    def network() -> list[list[Tensor]]:
        frames = upscale_frames(decoded, engine, plan.upscaling, info, plan.encoding.layout)
        return [planes for planes, _ in frames]

    finished = network()

    def decode() -> int:
        with VideoReader(source) as reader:
            return sum(1 for _ in reader.frames())

    def encode() -> None:
        with segment_writer.SegmentWriter(folder / "alone.mp4", plan.encoding) as writer:
            for frame, planes in zip(decoded, finished, strict=True):
                writer.write(planes, frame.pts)
            writer.finish()

    def whole() -> None:
        pipeline.upscale_video(job, engine, VideoOptions(), lambda _: None, lambda _: None)

    return {"decode": decode, "network": network, "encode": encode, "whole": whole}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    arguments = parser.parse_args()
    keep_freed_memory()
    folder = Path(tempfile.mkdtemp())
    try:
        source = clip(folder / "in.mp4", arguments.frames, arguments.height, arguments.width)
        engine = Upscaler("fast", SCALE)
        seconds = take_turns(parts(source, folder, engine), arguments.rounds)
    finally:
        shutil.rmtree(folder)
    print(
        f"{devices.describe(engine.device)}; torch {torch.__version__}; {engine.dtype}; fast x{SCALE}, medium"
    )
    each = {name: value / arguments.frames for name, value in seconds.items()}
    bar = (each["decode"] + each["network"] + each["encode"]) / 0.9
    row = {name: f"{1e3 * value:.0f} ms" for name, value in each.items()}
    row["whole / bar"] = f"{float(Fraction(each['whole']) / Fraction(bar)):.2f}"
    print_table("per frame", {f"{arguments.width}x{arguments.height}": row})


if __name__ == "__main__":
    main()
