"""Single frames of clips to train on: spread over the scenes, without near duplicates and empty frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.errors import MediaError
from upscaler.pixels import as_codes, upright
from upscaler.video import yuv
from upscaler.video.info import Frame, VideoInfo
from upscaler.video.reader import VideoReader

# Frames are compared as thumbnails of this size, by the mean difference of their levels, 0 to 1. A pan by a
# fiftieth of the width is 0.02 to 0.05; noise and compression stay below 0.01.
_THUMBNAIL = (18, 32)
_SAME = 0.03

# Standard deviation of the levels in the thumbnail of a frame with nothing to learn from: black, a fade.
_EMPTY = 0.02

# Of each frame that is kept, this many are considered; not more often than this.
_CONSIDERED_PER_KEPT = 8
_SHORTEST_INTERVAL_S = Fraction(1, 5)

# In a longer clip, frames are sought instead of decoding all of them.
_LONGEST_DECODED_S = 120


@dataclass(frozen=True)
class ClipFrame:
    """A frame of a clip.

    Attributes:
        time_s: Where it is.
        pixels: RGB ``(H, W, 3)`` uint8, rotated for display.
        thumbnail: RGB ``(3, h, w)`` fp32 in [0, 1], as stored.
    """

    time_s: float
    pixels: Tensor
    thumbnail: Tensor

    def difference(self, other: "ClipFrame") -> float:
        """Mean difference from another frame, 0 to 1."""
        return float((self.thumbnail - other.thumbnail).abs().mean())


def size_of(path: Path) -> tuple[int, int]:
    """Height and width of the frames of a clip.

    Raises:
        MediaError: It cannot be read, or is HDR.
    """
    with VideoReader(path) as reader:
        info = reader.info
        if info.hdr is not None:
            raise MediaError("it is HDR, which cannot be trained on")
        return (info.width, info.height) if info.rotation % 180 else (info.height, info.width)


def sampled(path: Path, most: int) -> list[ClipFrame]:
    """Frames of a clip that differ from each other, in order: every scene, and more of what changes more.

    Interlaced ones are deinterlaced.

    Args:
        path: The video file.
        most: At most this many.

    Raises:
        MediaError: It cannot be read, or has no such frame.
    """
    kept: list[ClipFrame] = []
    for frame in _considered(path, most):
        if float(frame.thumbnail.std()) < _EMPTY or any(frame.difference(each) < _SAME for each in kept):
            continue
        kept.append(frame)
        if len(kept) > most:
            del kept[_most_redundant(kept)]
    if not kept:
        raise MediaError("all its frames are empty")
    return kept


def _most_redundant(frames: list[ClipFrame]) -> int:
    """Index of the frame that is missed least: of the two most similar ones, that with another one near."""
    thumbnails = torch.stack([frame.thumbnail.flatten() for frame in frames])
    differences = torch.cdist(thumbnails, thumbnails, p=1).fill_diagonal_(float("inf"))
    nearest = differences.sort(1).values[:, :2].tolist()
    return nearest.index(min(nearest))


def _considered(path: Path, most: int) -> Iterator[ClipFrame]:
    """Frames at regular intervals."""
    with VideoReader(path) as reader:
        info = reader.info
        duration_s = info.frames / info.rate if info.rate else Fraction(0)
        interval_s = max(_SHORTEST_INTERVAL_S, duration_s / (_CONSIDERED_PER_KEPT * most))
        frames = (
            _at_intervals(reader, interval_s)
            if duration_s <= _LONGEST_DECODED_S
            else _sought(reader, interval_s, duration_s)
        )
        for frame in frames:
            yield _clip_frame(frame, info)


def _at_intervals(reader: VideoReader, interval_s: Fraction) -> Iterator[Frame]:
    """Decode all frames; yield one in each interval."""
    next_s = Fraction(0)
    for frame in reader.frames():
        time_s = frame.pts * reader.info.time_base
        if time_s >= next_s:
            yield frame
            next_s = time_s + interval_s


def _sought(reader: VideoReader, interval_s: Fraction, duration_s: Fraction) -> Iterator[Frame]:
    """The frame that seeking finds in each interval, which is one that is decoded without others."""
    time_s, last_pts = Fraction(0), None
    while time_s < duration_s:
        reader.seek(time_s)
        frame = next(reader.frames(), None)
        if frame is not None and frame.pts != last_pts:
            last_pts = frame.pts
            yield frame
        time_s += interval_s


def _clip_frame(frame: Frame, info: VideoInfo) -> ClipFrame:
    rgb = yuv.to_rgb(frame.planes, frame.layout).clamp(0, 1)
    thumbnail = F.interpolate(rgb[None], size=_THUMBNAIL, mode="area")[0]
    codes = as_codes(rgb, torch.uint8).permute(1, 2, 0).numpy()
    pixels = torch.from_numpy(upright(codes, info.rotation, mirrored=info.mirrored))
    return ClipFrame(float(frame.pts * info.time_base), pixels, thumbnail)
