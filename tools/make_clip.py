"""Make the two samples: a small photograph, and a clip with sound that pans and zooms over it.

    pip install scikit-image
    python tools/make_clip.py

The photograph is read from the installed package scikit-image, which carries it as test data; see README.md
for its author and licence. Nothing is downloaded.
"""

import importlib.util
import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray
from PIL import Image

from upscaler.images.formats import READ_FORMATS

FOLDER = Path(__file__).parents[1] / "samples"
PHOTOGRAPH = "astronaut.png"
REDUCTION = 2

SECONDS = 3
FRAMES_PER_SECOND = 24
WIDTH, HEIGHT = 160, 120
# Where the camera starts and ends: left, top and width of what it sees, in pixels of the photograph. Both
# widths are at least twice the clip's, so every frame has all the detail that its size can hold.
START = (16.0, 8.0, 480.0)
END = (96.5, 6.5, 320.0)

SAMPLE_RATE_HZ = 48_000
TONE_HZ = 440
TONE_LEVEL = 0.2
FADE_S = 0.05


def source_photograph() -> Image.Image:
    """The photograph at its full size, from the package's folder; the package itself is not imported."""
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise SystemExit("scikit-image is not installed: pip install scikit-image")
    with Image.open(Path(package.origin).parent / "data" / PHOTOGRAPH, formats=READ_FORMATS) as picture:
        return picture.convert("RGB")


def view(photograph: Image.Image, progress: float) -> Image.Image:
    """What the camera sees.

    Args:
        photograph: The photograph at its full size.
        progress: 0 at the start of the clip, 1 at its end.

    Returns:
        A frame of ``WIDTH`` x ``HEIGHT``.
    """
    eased = (1 - math.cos(math.pi * progress)) / 2
    left, top, width = (start + (end - start) * eased for start, end in zip(START, END, strict=True))
    box = (left, top, left + width, top + width * HEIGHT / WIDTH)
    # A resize with a fractional box is an affine map whose filter widens with the reduction: exact motion by
    # parts of a pixel, and no aliasing. Image.transform would sample a fixed 4x4 neighbourhood.
    return photograph.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box)


def tone() -> NDArray[np.float32]:
    """The tone, ``(2, samples)`` in [-1, 1], faded in and out so that it does not click."""
    seconds = np.arange(SECONDS * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    fade = np.clip(np.minimum(seconds, SECONDS - seconds) / FADE_S, 0, 1)
    wave = TONE_LEVEL * fade * np.sin(2 * np.pi * TONE_HZ * seconds)
    return np.stack([wave, wave]).astype(np.float32)


def write_clip(photograph: Image.Image, target: Path) -> None:
    """Write the clip: H.264 with BT.601 colour in limited range, and AAC in stereo."""
    with av.open(target, "w") as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "16"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, FRAMES_PER_SECOND)
        video.codec_context.colorspace = Colorspace.ITU601
        video.codec_context.color_range = ColorRange.MPEG
        video.codec_context.color_primaries = ColorPrimaries.SMPTE170M
        video.codec_context.color_trc = ColorTrc.SMPTE170M
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="stereo")

        count = SECONDS * FRAMES_PER_SECOND
        for index in range(count):
            picture = view(photograph, index / (count - 1))
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
            frame.pict_type = PictureType.NONE
            container.mux(video.encode(frame))
        container.mux(video.encode(None))

        sound = av.AudioFrame.from_ndarray(tone(), format="fltp", layout="stereo")
        sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def main() -> None:
    """Write both samples beside this script."""
    photograph = source_photograph()
    small = photograph.resize(
        (photograph.width // REDUCTION, photograph.height // REDUCTION), Image.Resampling.BICUBIC
    )
    small.save(FOLDER / PHOTOGRAPH, optimize=True)
    write_clip(photograph, FOLDER / "clip.mp4")
    for name in (PHOTOGRAPH, "clip.mp4"):
        print(f"{FOLDER / name}: {(FOLDER / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
