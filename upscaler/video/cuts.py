"""Where a video is cut: at which key frame decoding begins, so that the frames from some number on come out.

A cut is not trusted: the frames that come must be those that the index of the video announced, and the last
one before the range must be that of the segment before it, sample by sample.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count

from upscaler.options import VideoOptions
from upscaler.video.frame_index import FrameIndex
from upscaler.video.info import Frame
from upscaler.video.reader import VideoReader
from upscaler.video.trim import selected_positions


class CannotCutError(Exception):
    """A video has to be decoded from its start; ``str`` says why, as the rest of a sentence."""


@dataclass(frozen=True)
class Cut:
    """A key frame to begin at.

    Attributes:
        position: Of the key frame among the selected frames, from 0; negative: before the first of them.
        dts: By which it is sought; ``None``: the video is decoded from its start.
        pts: Of the frames that must come, from the key frame on, as the reader counts them.
    """

    position: int
    dts: int | None
    pts: Sequence[int]

    def move(self, reader: VideoReader) -> None:
        """Have a reader begin at the key frame.

        Raises:
            CannotCutError: It is not found there.
        """
        if self.dts is not None and not reader.begin_at(self.pts[0], self.dts):
            raise CannotCutError("seeking does not find its key frames")

    def verified(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The same frames.

        Raises:
            CannotCutError: They are not the announced ones.
        """
        for number in count():
            frame = next(frames, None)
            announced = self.pts[number] if number < len(self.pts) else None
            if announced is not None and (frame is None or frame.pts != announced):
                raise CannotCutError("its frames are not those that its packets announce")
            if frame is None:
                return
            yield frame


def cut_before(
    index: FrameIndex | None,
    options: VideoOptions,
    time_base: Fraction,
    first: int,
    stop: int | None,
    before: int,
) -> Cut:
    """Where to begin for a range of the selected frames.

    Args:
        index: Of the video.
        options: Select frames.
        time_base: In which the reader counts.
        first: Number of the first frame of the range.
        stop: Number of the first frame after it, at most; ``None``: from ``first`` on, any frames may come.
        before: How many frames before the range are needed, at least 1.

    Raises:
        CannotCutError: The video cannot be cut there.
    """
    if options.deinterlace not in ("auto", "off"):
        raise CannotCutError(f"--deinterlace {options.deinterlace} needs the frames before")
    if index is None or index.obstacle:
        raise CannotCutError(index.obstacle if index else "nothing is known of its frames")
    if index.time_base != time_base:
        raise CannotCutError("its times are counted in another way")
    selected = selected_positions(index, options)
    needed = selected.start + max(0, first - before)
    place = bisect_right(index.keys, needed, key=lambda key: key.position) - 1
    key = index.keys[place] if place > 0 else None
    begin = key.position if key else 0
    end = selected.start + (first if stop is None else min(stop, len(selected)))
    return Cut(begin - selected.start, key.dts if key else None, index.pts[begin:end])


def digest(frame: Frame) -> str:
    """A hash of the samples of a frame, hexadecimal."""
    hashed = hashlib.sha256()
    for plane in frame.planes:
        hashed.update(plane.contiguous().numpy().data)
    return hashed.hexdigest()
