"""Show how calm upscaled films are: one row of pixels over time, and a clip of all versions side by side.

    python tools/make_xt_strip.py original.mkv strip.png --models balanced film --row 0.6 --video all.mp4

Each part of the strip is an x-t slice: from left to right as in the film, from top to bottom the frames. What
stands still is a vertical line; what flickers is ragged. LR is made from the original by bicubic downscaling.
"""

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from upscaler.inference.engine import Upscaler
from upscaler.trainer.data.clips import Clip
from upscaler.trainer.evaluation import bicubic

Rgb = NDArray[np.uint8]  # (H, W, 3)

_LABEL_PX = 14  # height of the line above each part
_ENLARGED = 4  # pixels of the strip per pixel and per frame


def versions(path: Path, models: list[str], scale: int, frames: int, crop_px: int) -> dict[str, list[Rgb]]:
    """Bicubic, the models' results and the original, by name: the middle of every frame."""
    hr = []
    for frame in Clip(path.stem, path).frames(frames):
        height, width = (min(side, crop_px) // scale * scale for side in frame.shape[:2])
        top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
        hr.append(np.ascontiguousarray(frame[top : top + height, left : left + width]))
    lr = [bicubic.downscale(frame, scale) for frame in hr]
    found: dict[str, list[Rgb]] = {"bicubic": [bicubic.upsample(frame, scale) for frame in lr]}
    for model in models:
        engine = Upscaler(model, scale)
        found[model] = [frame.astype(np.uint8, copy=False) for frame in engine.frames(lr)]
    return found | {"original": hr}


def strip(found: dict[str, list[Rgb]], row: float) -> Image.Image:
    """The x-t slices below each other, each with its name."""
    parts = []
    for name, frames in found.items():
        at = min(int(row * len(frames[0])), len(frames[0]) - 1)
        over_time = np.stack([frame[at] for frame in frames]).repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)
        label = Image.new("RGB", (over_time.shape[1], _LABEL_PX), "white")
        ImageDraw.Draw(label).text((2, 1), name, fill="black")
        parts += [np.asarray(label), over_time]
    return Image.fromarray(np.concatenate(parts))


def write_side_by_side(found: dict[str, list[Rgb]], target: Path, rate: int) -> None:
    """Write a video of all versions from left to right."""
    with av.open(str(target), "w") as output:
        stream = output.add_stream("libx264", rate=rate, options={"crf": "14", "preset": "slow"})
        for number, frame in enumerate(_joined(found)):
            if not number:
                stream.height, stream.width = (side - side % 2 for side in frame.shape[:2])
                stream.pix_fmt = "yuv420p"
            even = np.ascontiguousarray(frame[: stream.height, : stream.width])
            coded = VideoFrame.from_ndarray(even, format="rgb24")
            coded.pts, coded.time_base = number, Fraction(1, rate)
            output.mux(stream.encode(coded))
        output.mux(stream.encode(None))


def _joined(found: dict[str, list[Rgb]]) -> Iterator[Rgb]:
    for frames in zip(*found.values(), strict=True):
        yield np.concatenate(frames, axis=1)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("original", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--models", nargs="+", default=["balanced", "film"])
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--row", type=float, default=0.5, help="of the crop, from 0 at the top to 1")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument(
        "--crop", type=int, default=384, help="largest side of the middle that is shown, pixels"
    )
    parser.add_argument("--video", type=Path, help="also write the versions side by side")
    parser.add_argument("--rate", type=int, default=30, help="of that video, frames per second")
    arguments = parser.parse_args()
    found = versions(arguments.original, arguments.models, arguments.scale, arguments.frames, arguments.crop)
    strip(found, arguments.row).save(arguments.target)
    if arguments.video:
        write_side_by_side(found, arguments.video, arguments.rate)
    print(f"{arguments.target}: {', '.join(found)}")


if __name__ == "__main__":
    main()
