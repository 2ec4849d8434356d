"""The video pipeline in the middle of a film, against its bare network and its encoder.

    python benchmarks/pipeline.py [--model fast-photo] [--scales 2 4] [--sizes 640x480 ...]
        [--seconds 12] [--lookahead 10]

Method: `upscale_video` of a pan over texture. x264 keeps frames: `medium` begins to encode after 40 of them,
and a shorter clip is encoded when its network has finished. So x264 gets a shorter lookahead here, frames
count only once it and the queues are full, and the end does not count: that is what a long film is like. The
command sets `GOMP_SPINCOUNT` itself; set it here to 5000 likewise.

- `bare`: the network alone, RGB, tensor in, tensor out, as one tile; a mean of calls before and after;
- `encode`: the same frames through the same encoder alone, once it is full;
- `whole / (bare + encode)`: the target is 1.10;
- `processor`: processor time of `whole`, over the number of processors: what is above it is waiting.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import av
import numpy as np
import torch
from timing import print_table
from torch import Tensor

from upscaler import pipeline
from upscaler.frames.video_frames import upscale_frames
from upscaler.frames.video_plan import plan_video
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.inference.tiled_network import TiledNetwork
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.process_settings import keep_freed_memory
from upscaler.system import processors
from upscaler.video import segment_writer
from upscaler.video.encoders import EncodeSettings
from upscaler.video.reader import VideoReader

VIDEO_SIZES = ["352x240", "640x480", "720x576", "1280x720", "1920x1080"]
# Frames that fill the queues, and x264 beside its lookahead: its threads, and frames between references.
FULL_QUEUES = 14
FRAMES_MIN, FRAMES_MAX = 8, 80

Frame = tuple[list[Tensor], int]


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


def network_of(engine: Upscaler, height: int, width: int) -> TiledNetwork:
    """The network that the engine runs first on a picture of this size; here the only one."""
    return engine._network(engine.plan(height, width).networks[0])


def bare(engine: Upscaler, height: int, width: int) -> Callable[[], object]:
    """The network alone, on a whole frame."""
    runtime = network_of(engine, height, width).runtime()
    lr = torch.rand(1, 3, height, width, device=engine.device)
    lr = lr.contiguous(memory_format=torch.channels_last)
    return torch.inference_mode()(lambda: runtime(lr))


def mean_s(call: Callable[[], object], times: int) -> float:
    """Mean seconds of a call."""
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def threads_described() -> str:
    """How many threads the network has, and how they wait for each other."""
    given = [
        f"{name}={os.environ[name]}" for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if name in os.environ
    ]
    return f"{torch.get_num_threads()} threads {' '.join(given)}"


def processor_s() -> float:
    """Seconds of processor time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def in_the_middle(
    source: Path, engine: Upscaler, frames: int, full: int, lookahead: int
) -> tuple[dict[str, float], list[Frame], EncodeSettings]:
    """Seconds per frame after the first ``full`` frames, of the clock and of processors; what was encoded."""
    marks: list[tuple[float, float]] = []
    encoded: list[Frame] = []
    settings: list[EncodeSettings] = []
    write = segment_writer.SegmentWriter.write

    def noting(writer: segment_writer.SegmentWriter, planes: list[Tensor], pts: int) -> None:
        settings.append(writer.settings)
        encoded.append((planes, pts))
        write(writer, planes, pts)

    options = VideoOptions(encoder_options=(("rc-lookahead", str(lookahead)),))
    job = Job(source, source.with_name("out.mp4"), "video", replaces=True)
    with mock.patch.object(segment_writer.SegmentWriter, "write", noting):
        pipeline.upscale_video(
            job, engine, options, lambda _: marks.append((time.perf_counter(), processor_s())), lambda _: None
        )
    assert len(marks) == frames, "as many as the clip has"
    (start_s, used_s), (stop_s, all_used_s) = marks[full - 1], marks[-1]
    count = frames - full
    whole = {
        "whole": (stop_s - start_s) / count,
        "processor": (all_used_s - used_s) / count / processors.count(),
    }
    return whole, encoded, settings[0]


def encoding_s(frames: list[Frame], full: int, settings: EncodeSettings, path: Path) -> float:
    """Seconds per frame of the encoder alone, after the first ``full`` frames."""
    with segment_writer.SegmentWriter(path, settings) as writer:
        for planes, pts in frames[:full]:
            writer.write(planes, pts)
        start = time.perf_counter()
        for planes, pts in frames[full:]:
            writer.write(planes, pts)
        return (time.perf_counter() - start) / (len(frames) - full)


def row(engine: Upscaler, height: int, width: int, seconds: float, lookahead: int) -> dict[str, str]:
    """A size."""
    alone = bare(engine, height, width)
    mean_s(alone, 2)  # to warm up
    before_s = mean_s(alone, 3)
    full = lookahead + FULL_QUEUES
    frames = full + min(FRAMES_MAX, max(FRAMES_MIN, round(seconds / before_s)))
    with tempfile.TemporaryDirectory() as folder:
        source = clip(Path(folder) / "in.mp4", frames, height, width)
        each, encoded, settings = in_the_middle(source, engine, frames, full, lookahead)
        bare_s = (before_s + mean_s(alone, 3)) / 2
        encode_s = encoding_s(encoded, full, settings, Path(folder) / "alone.mp4")
    return {
        "frames": str(frames - full),
        "bare": f"{1e3 * bare_s:.0f}",
        "encode": f"{1e3 * encode_s:.0f}",
        "whole": f"{1e3 * each['whole']:.0f}",
        "processor": f"{1e3 * each['processor']:.0f}",
        "whole / (bare + encode)": f"{each['whole'] / (bare_s + encode_s):.2f}",
    }


def main() -> None:
    """Print a table of milliseconds per frame for each scale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="fast-photo")
    parser.add_argument("--scales", type=int, nargs="*", default=[2, 4])
    parser.add_argument("--sizes", nargs="*", default=VIDEO_SIZES)
    parser.add_argument(
        "--seconds", type=float, default=12.0, help="of bare network that count, at least 8 frames"
    )
    parser.add_argument("--lookahead", type=int, default=10)
    arguments = parser.parse_args()
    keep_freed_memory()
    print(f"{devices.describe(devices.select('auto'))}; torch {torch.__version__}; {threads_described()}")
    for scale in arguments.scales:
        engine = Upscaler(arguments.model, scale)
        rows = {}
        for size in arguments.sizes:
            width, height = map(int, size.split("x"))
            rows[size] = row(engine, height, width, arguments.seconds, arguments.lookahead)
            print(size, rows[size], flush=True)
        print_table(f"`{arguments.model}` x{scale}, {engine.dtype}, ms", rows)


if __name__ == "__main__":
    main()
