"""Inverse telecine: film at 24 frames/s that 3:2 pulldown spread over 60 fields becomes 24 frames/s again.

A cycle of ten fields shows four frames of film. Where they were telecined for good ("hard"), it is five
frames of two fields, of which one repeats its predecessor once fields are matched. Where the stream only
flags that fields repeat ("soft"), it is four frames that last three, two, three and two fields.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import torch
from av.video.frame import VideoFrame
from torch import Tensor
from torch.nn import functional
from torch.utils.dlpack import from_dlpack

_FIELD_S = Fraction(1001, 60000)
_HARD = (2, 2, 2, 2, 2)
_SOFT = ((3, 2, 3, 2), (2, 3, 2, 3))
_TOLERANCE = Fraction(3, 20)  # of a field: Matroska rounds times to a millisecond, and 60 fields/s exist, too
_PARTS = 4  # of a tick, as in `deinterlace.TICK_PARTS`
# A frame is a repeat if no block of it differs by more than this share of the code range on average: the
# threshold of FFmpeg's filter `decimate`, which does not keep the source's times.
_BLOCK_PX, _SAME = 32, 0.011


@dataclass(frozen=True)
class _Waiting:
    """A frame, its PTS in ticks of the source, and how much it differs from the one before, 0 to 1."""

    frame: VideoFrame
    pts: int
    change: float


class InverseTelecine:
    """Leaves out the frames that pulldown added, and spaces the others evenly.

    Each cycle begins at the time that the source gives its first frame, so that the times of the film stay
    those of the source. Frames outside any cycle keep their own time; a cycle of five different frames, which
    was not film, keeps all of them.

    Args:
        time_base: Of the source, seconds.

    Attributes:
        frames_in: Frames so far.
        left_out: Of these, the ones that repeated another.
    """

    def __init__(self, time_base: Fraction) -> None:
        self.frames_in = 0
        self.left_out = 0
        self._ticks_per_field = _FIELD_S / time_base
        self._waiting: deque[_Waiting] = deque()
        self._before: Tensor | None = None
        self._phase: int | None = None  # of the repeat in the last cycle

    def frames(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """The frames of the film.

        Args:
            frames: With matched fields, and PTS in ticks of the source.

        Yields:
            Frames with PTS in quarters of these ticks.
        """
        for frame in frames:
            assert frame.pts is not None, "the reader gives every frame a PTS"
            self.frames_in += 1
            luma = from_dlpack(frame.planes[0])
            luma = luma.view(torch.int16) if luma.dtype == torch.uint16 else luma
            bits = frame.format.components[0].bits
            change = 1.0 if self._before is None else _change(luma, self._before, bits)
            self._before = luma.clone()
            self._waiting.append(_Waiting(frame, frame.pts, change))
            if len(self._waiting) > len(_HARD):
                yield from self._next()
        yield from self._rest()

    def _next(self) -> Iterator[VideoFrame]:
        """The first frame or cycle of six frames."""
        fields = self._fields([each.pts for each in self._waiting])
        if fields[:4] in _SOFT:
            yield from self._cycle(4, None)
        elif fields == _HARD:
            yield from self._cycle(5, self._repeat())
        else:
            yield _at(self._waiting[0].frame, self._waiting.popleft().pts * _PARTS)

    def _cycle(self, length: int, repeat: int | None) -> Iterator[VideoFrame]:
        """The frames of the cycle that begins now, without the repeat, spaced evenly up to the next one."""
        begin, end = self._waiting[0].pts, self._waiting[length].pts
        frames = [self._waiting.popleft().frame for _ in range(length)]
        yield from self._spaced(frames, repeat, begin, Fraction(_PARTS * (end - begin), length))

    def _spaced(
        self, frames: list[VideoFrame], repeat: int | None, begin: int, step: Fraction
    ) -> Iterator[VideoFrame]:
        """Frames that follow each other after ``step`` parts of a tick; with a repeat, after 5/4 of that."""
        if repeat is not None:
            del frames[repeat]
            self.left_out += 1
            step *= Fraction(len(_HARD), len(_HARD) - 1)
        for index, frame in enumerate(frames):
            yield _at(frame, begin * _PARTS + round(index * step))

    def _repeat(self) -> int | None:
        """Which of the next five frames repeats its predecessor; of several, the one that did before."""
        changes = [each.change for each in self._waiting][: len(_HARD)]
        least = min(changes)
        if least > _SAME:
            self._phase = None
        elif self._phase is None or changes[self._phase] > max(_SAME / 4, 2 * least):
            self._phase = changes.index(least)
        return self._phase

    def _rest(self) -> Iterator[VideoFrame]:
        """What remains at the end: less than a cycle and a frame."""
        frames = [each.frame for each in self._waiting]
        stamps = [each.pts for each in self._waiting]
        if not frames:
            return
        fields = self._fields(stamps)
        phase = self._phase
        is_hard = set(fields) <= {2} and phase is not None and phase < len(frames)
        if is_hard and len(stamps) > 1 and phase is not None and self._waiting[phase].change <= _SAME:
            yield from self._spaced(frames, phase, stamps[0], Fraction(_PARTS * (stamps[1] - stamps[0])))
        elif 3 in fields and fields[:4] in {each[: len(fields)] for each in _SOFT}:
            step = round(_PARTS * self._ticks_per_field * Fraction(5, 2))
            yield from (_at(frame, stamps[0] * _PARTS + index * step) for index, frame in enumerate(frames))
        else:
            yield from (_at(frame, pts * _PARTS) for frame, pts in zip(frames, stamps, strict=True))
        self._waiting.clear()

    def _fields(self, stamps: list[int]) -> tuple[int, ...]:
        """How many fields each frame but the last is shown; 0 where that is no whole number."""
        shown = [(after - before) / self._ticks_per_field for before, after in pairwise(stamps)]
        return tuple(round(each) if abs(each - round(each)) <= _TOLERANCE else 0 for each in shown)


def _change(luma: Tensor, before: Tensor, bits: int) -> float:
    """The mean difference of the block that differs most, as a share of the code range."""
    if luma.shape != before.shape:
        return 1.0
    difference = (luma.int() - before.int()).abs().float()
    means = functional.avg_pool2d(difference[None, None], _BLOCK_PX, ceil_mode=True)
    return means.max().item() / float(2**bits - 1)


def _at(frame: VideoFrame, pts: int) -> VideoFrame:
    frame.pts = pts
    return frame
