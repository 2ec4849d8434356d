"""Reduce videos, so that they have as much detail as pixels: originals to train on and to evaluate with.

    python tools/make_reduced_clips.py films/ clips/ --size 0.4
    upscale-train clips/ photos/ --network film -o film.safetensors
    upscale-eval film.safetensors held-out-clips/ --scale 4

Compressed films are soft at their full size. Frames are stored without loss (FFV1, RGB), which also decodes
faster than the films.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import VideoFrame

from upscaler.trainer.data.clips import Clip, clips_below


def write(clip: Clip, target: Path, size: float, frames: int | None) -> int:
    """Write a clip, reduced to a fraction of its size; returns the number of frames."""
    count = 0
    with av.open(str(target), "w") as output:
        stream = output.add_stream("ffv1", rate=Fraction(25))
        stream.pix_fmt = "bgr0"
        for pixels in clip.frames(frames, size):
            if not count:
                stream.height, stream.width = pixels.shape[:2]
            frame = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = count, Fraction(1, 25)
            output.mux(stream.encode(frame))
            count += 1
        output.mux(stream.encode(None))
    return count


def main() -> None:
    """Run the command; the files are named after the clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--size", type=float, default=0.4, help="fraction of the size of each")
    parser.add_argument("--frames", type=int, help="of each clip, the first so many")
    arguments = parser.parse_args()
    arguments.target.mkdir(parents=True, exist_ok=True)
    clips = clips_below(arguments.source)
    for clip in clips:
        name = clip.name.replace("/", "-")
        count = write(clip, arguments.target / f"{name}.mkv", arguments.size, arguments.frames)
        print(f"{name}: {count} frames")
    print(f"{len(clips)} clips in {arguments.target}")


if __name__ == "__main__":
    main()
