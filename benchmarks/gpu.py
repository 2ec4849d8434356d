"""Networks, engine and the whole command on an NVIDIA GPU, in minutes; `gpu.sh` prepares the machine.

    python benchmarks/gpu.py OUT_FOLDER [--minutes 6] [--rehearse]

Writes `gpu.json` and `gpu.md` (tables for `docs/performance.md`) after every step, so that an interrupted
run leaves what it has. A step that fails leaves its error in the tables and does not stop the others; the
exit code is then 1. No step starts after `--minutes`.

- `bare`: the folded network alone, in half precision, frames on the GPU: eager, CUDA graph, compiled;
- `loop`: the fp16 loop that other programs hold (`peers.py`), one frame at a time;
- `engine`: `Upscaler.frames`, arrays in and out: upload, network and download overlap;
- `decode`, `pipeline`, `video`: decoding alone; decoding and network with both colour conversions, without
  encoding; the whole command, per decoder and encoder;
- `picture`: 24 megapixels at x2.

`--rehearse` runs every step on the CPU with small sizes: the figures mean nothing, but every line has run.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from peers import loop, network_of
from pipeline import clip

from upscaler import pipeline
from upscaler.errors import first_line
from upscaler.frames.video_frames import upscale_frames
from upscaler.frames.video_plan import plan_video
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.inference.runtime import COMPILING, Runtime
from upscaler.jobs import Job
from upscaler.models.fold import fold_for_inference
from upscaler.options import VideoOptions
from upscaler.process_settings import keep_freed_memory
from upscaler.results import Message
from upscaler.video.reader import VideoReader

Row = dict[str, float | str]


@dataclass(frozen=True)
class Sizes:
    """What a run measures; a rehearsal measures as many things, but small ones."""

    device: str
    frames_px: tuple[tuple[int, int], ...]  # (height, width)
    batches: tuple[int, ...]
    models: tuple[str, ...]
    seconds: float  # of measuring, for one figure
    clip_frames: int
    picture_px: tuple[int, int]
    matrix_side: int


REAL = Sizes(
    "cuda",
    ((480, 640), (720, 1280), (1080, 1920)),
    (1, 2, 4, 8),
    ("fast-photo", "balanced-photo", "srresnet"),
    0.6,
    240,
    (4000, 6000),
    8192,
)
REHEARSAL = Sizes(
    "cpu", ((48, 64), (72, 128)), (1, 2), ("fast-photo", "balanced-photo"), 0.02, 6, (96, 144), 128
)


@dataclass
class Results:
    """Tables by name, written after every step."""

    folder: Path
    machine: dict[str, str]
    tables: dict[str, dict[str, Row]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def add(self, table: str, name: str, row: Row) -> None:
        """Add a row and write both files."""
        self.tables.setdefault(table, {})[name] = row
        content = {"machine": self.machine, "tables": self.tables, "failed": self.failed}
        (self.folder / "gpu.json").write_text(json.dumps(content, indent=1))
        (self.folder / "gpu.md").write_text("\n".join(self._lines()) + "\n")
        print(f"{table} | {name} | {row}", flush=True)

    def _lines(self) -> Iterator[str]:
        yield "; ".join(f"{name} {value}" for name, value in self.machine.items())
        for table, rows in self.tables.items():
            columns = list(dict.fromkeys(column for row in rows.values() for column in row))
            yield f"\n| {table} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}"
            for name, row in rows.items():
                values = [row.get(column, "-") for column in columns]
                shown = [f"{value:.4g}" if isinstance(value, float) else value for value in values]
                yield f"| {name} | {' | '.join(shown)} |"


class Bench:
    """The steps, each of which adds rows to the results."""

    def __init__(self, sizes: Sizes, results: Results, work: Path) -> None:
        self.sizes, self.results, self.work = sizes, results, work
        self.device = torch.device(sizes.device)
        self.gpu = self.device.type == "cuda"
        self.dtype = devices.fast_dtype(self.device)
        self.peak_flops = 0.0
        self._clips: dict[tuple[int, int], Path] = {}

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """What can be measured, the most important things first."""
        yield "limits", self.limits
        for height, width in reversed(self.sizes.frames_px):
            for model in self.sizes.models:
                yield f"bare {model} {width}x{height}", lambda m=model, h=height, w=width: self.bare(m, h, w)
        largest = self.sizes.frames_px[-1]
        for model in self.sizes.models[:2]:
            yield f"engine {model}", lambda m=model: self.engine(m, *largest)
            yield f"pipeline {model}", lambda m=model: self.pipeline(m, *largest)
            yield f"video {model}", lambda m=model: self.video(m, *largest)
        yield "picture", self.picture

    def rate(self, call: Callable[[], object], per_call: int = 1) -> float:
        """Frames a second of a call, after two to warm up; the GPU has finished at both ends."""
        for _ in range(3):
            call()
        self._wait()
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < self.sizes.seconds or calls < 3:
            for _ in range(2):  # the GPU must not run dry between looks at the clock
                call()
            calls += 2
            self._wait()
        return calls * per_call / (time.perf_counter() - start)

    def _wait(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()

    def _peak_gb(self) -> float:
        if not self.gpu:
            return 0.0
        peak = torch.cuda.max_memory_allocated() / 1e9
        torch.cuda.reset_peak_memory_stats()
        return peak

    def limits(self) -> None:
        """What the hardware can do: matrix products, and copies in its memory and to it."""
        side = self.sizes.matrix_side
        left, right = (torch.rand(side, side, device=self.device).to(self.dtype) for _ in range(2))
        self.peak_flops = self.rate(lambda: left @ right) * 2 * side**3
        source = torch.zeros(side * side * 4, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        copies = self.rate(lambda: target.copy_(source)) * 2 * source.numel()
        host = torch.zeros(side * side, dtype=torch.uint8)
        host = host.pin_memory() if self.gpu else host
        uploads = self.rate(lambda: host.to(self.device, non_blocking=True)) * host.numel()
        row: Row = {
            "TFLOP/s": self.peak_flops / 1e12,
            "copy GB/s": copies / 1e9,
            "upload GB/s": uploads / 1e9,
        }
        self.results.add("limits", str(self.dtype), row)

    def bare(self, model: str, height: int, width: int) -> None:
        """The network alone, per way to run it and batch."""
        network = fold_for_inference(network_of(model, 2)).to(device=self.device, dtype=self.dtype)
        network = network.to(memory_format=torch.channels_last)
        flops = 2 * network.contract.macs_per_pixel * height * width
        compiled = devices.can_compile(self.device)
        for batch in self.sizes.batches:
            lr = torch.rand(batch, 3, height, width, device=self.device)
            lr = lr.contiguous(memory_format=torch.channels_last)
            row: Row = {}
            with torch.inference_mode():
                row["eager"] = self.rate(lambda: network(lr), batch)  # noqa: B023 - called at once
                if self.gpu:
                    runtime = Runtime(network, _refuse)
                    row["graph"] = self.rate(lambda: runtime(lr), batch)  # noqa: B023
                    runtime.drop_graphs()
                if compiled and batch == 1 and height == self.sizes.frames_px[-1][0]:
                    runtime = Runtime(network, _refuse)
                    runtime.use("compiled")
                    row["compiled"] = self.rate(lambda: runtime(lr), batch)  # noqa: B023
                    runtime.drop_graphs()
            best = max(value for value in row.values() if isinstance(value, float))
            row |= {"share of peak": best * flops / self.peak_flops, "peak GB": self._peak_gb()}
            if batch == 1:
                row["loop"] = self.rate(loop(model, 2, height, width, self.device.type))
                row["best / loop"] = best / float(row["loop"])
            self.results.add(f"bare x2, frames/s, {width}x{height}", f"{model}, batch {batch}", row)

    def engine(self, model: str, height: int, width: int) -> None:
        """Arrays in and out."""
        frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        for batch in (None, *self.sizes.batches):
            upscaler = Upscaler(model, 2, device=self.sizes.device, batch=batch)
            frames = upscaler.frames(frame for _ in iter(int, 1))  # the same one for ever
            row: Row = {"frames/s": self.rate(lambda: next(frames)), "peak GB": self._peak_gb()}  # noqa: B023
            self.results.add(f"engine x2, {width}x{height}", f"{model}, batch {batch or 'auto'}", row)

    def clip(self, height: int, width: int) -> Path:
        """A clip of this size, made once."""
        path = self.work / f"{width}x{height}.mp4"
        if not path.exists():
            clip(path, self.sizes.clip_frames, height, width)
        return path

    def pipeline(self, model: str, height: int, width: int) -> None:
        """Decoding alone, then decoding and network, without encoding."""
        source, frames = self.clip(height, width), self.sizes.clip_frames
        for decoder in ("software", "nvdec"):
            row: Row = {}
            with VideoReader(source, decoder=decoder) as reader:
                start = time.perf_counter()
                decoded = sum(1 for _ in reader.frames())
                row["decode, frames/s"] = decoded / (time.perf_counter() - start)
            engine = Upscaler(model, 2, device=self.sizes.device)
            with VideoReader(source, decoder=decoder) as reader:
                plan = plan_video(reader, Job(source, self.work / "out.mp4", "video"), engine, VideoOptions())
                layout = plan.encoding.layout
                upscaled = upscale_frames(reader.frames(), engine, plan.upscaling, reader.info, layout)
                warm = sum(1 for _ in islice(upscaled, frames // 3))
                start = time.perf_counter()
                rest = sum(1 for _ in upscaled)
                row["decode and network, frames/s"] = rest / (time.perf_counter() - start)
            assert warm + rest == frames, f"{frames} frames went in, {warm + rest} came out"
            row["peak GB"] = self._peak_gb()
            self.results.add(f"pipeline without encoding x2, {width}x{height}", f"{model}, {decoder}", row)

    def video(self, model: str, height: int, width: int) -> None:
        """The whole command, per encoder."""
        source, frames = self.clip(height, width), self.sizes.clip_frames
        for encoder, codec, preset in (
            ("software", "h264", "ultrafast"),
            ("nvenc", "h264", None),
            ("nvenc", "hevc", None),
        ):
            engine = Upscaler(model, 2, device=self.sizes.device)
            options = VideoOptions(encoder=encoder, codec=codec, preset=preset, decoder="auto", resume=False)
            job = Job(source, self.work / "out.mp4", "video")
            start = time.perf_counter()
            messages: list[Message] = []
            done = pipeline.upscale_video(job, engine, options, lambda _: None, messages.append)
            seconds = time.perf_counter() - start
            assert done.frames == frames
            row: Row = {
                "frames/s": frames / seconds,
                "plan": next(message.text for message in messages if "->" in message.text),
                "peak GB": self._peak_gb(),
            }
            self.results.add(f"video x2, {width}x{height}", f"{model}, {encoder} {codec}", row)

    def picture(self) -> None:
        """A large picture through the engine."""
        height, width = self.sizes.picture_px
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        for model in self.sizes.models:
            upscaler = Upscaler(model, 2, device=self.sizes.device)
            upscaler.image(pixels)
            start = time.perf_counter()
            upscaler.image(pixels)
            row: Row = {"seconds": time.perf_counter() - start, "peak GB": self._peak_gb()}
            self.results.add(f"picture x2, {width}x{height}", model, row)


def _refuse(message: Message) -> None:
    """What a runtime says is that it does not do what is measured, or that it begins to compile."""
    if message != COMPILING:
        raise RuntimeError(message.text)


def main() -> None:
    """Run every step that there is time for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--rehearse", action="store_true")
    arguments = parser.parse_args()
    keep_freed_memory()
    start = time.monotonic()
    sizes = REHEARSAL if arguments.rehearse else REAL
    arguments.out.mkdir(parents=True, exist_ok=True)
    machine = {"device": devices.describe(torch.device(sizes.device)), "torch": torch.__version__}
    results = Results(arguments.out, machine)
    work = Path(tempfile.mkdtemp())
    try:
        for name, step in Bench(sizes, results, work).steps():
            if time.monotonic() - start > 60 * arguments.minutes:
                results.failed.append(f"{name}: no time left")
                continue
            try:
                step()
            except Exception as error:  # of whatever kind: what the other steps find must not be lost
                results.failed.append(f"{name}: {type(error).__name__}: {error}")
                results.add("failed", name, {"error": first_line(error)})
                with suppress(RuntimeError):
                    torch.cuda.empty_cache()
    finally:
        shutil.rmtree(work)
    if results.failed:
        sys.exit("\n".join(["failed:", *results.failed]))


if __name__ == "__main__":
    main()
