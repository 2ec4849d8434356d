"""Subtitles that overlap, for mp4, which shows one at a time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A subtitle as mp4 stores it.

    Attributes:
        begin: PTS.
        end: PTS at which it disappears.
        sample: Length of the text (2 bytes), text, and styles.
    """

    begin: int
    end: int
    sample: bytes


class OneAtATime:
    """Turns lines that overlap into a sequence: while several are shown, their texts are one below the other.

    Attributes:
        merged: Lines so far that overlap an earlier one.
    """

    def __init__(self) -> None:
        self.merged = 0
        self._pending: list[Line] = []  # lines that are not complete, as they came
        self._position = 0  # end of what is complete

    def add(self, line: Line) -> Iterator[Line]:
        """What is complete once a line begins; lines come roughly in the order in which they begin."""
        yield from self._until(line.begin)
        if line.begin < self._position:  # too late: moved
            line = Line(self._position, self._position + line.end - line.begin, line.sample)
        self.merged += any(line.begin < other.end and other.begin < line.end for other in self._pending)
        self._pending.append(line)

    def flush(self) -> Iterator[Line]:
        """The rest, after the last line."""
        yield from self._until(math.inf)

    def _until(self, time: float) -> Iterator[Line]:
        """Stretches in which the same lines are shown, up to a time."""
        while self._pending:
            begin = max(self._position, min(line.begin for line in self._pending))
            changes = [edge for line in self._pending for edge in (line.begin, line.end) if edge > begin]
            end = min([time, *changes])
            if begin >= end:
                return
            shown = [line.sample for line in self._pending if line.begin <= begin]
            yield Line(begin, int(end), _joined(shown))
            self._position = int(end)
            self._pending = [line for line in self._pending if line.end > end]


def _joined(samples: list[bytes]) -> bytes:
    """One sample with all texts; styles are only kept if there is one."""
    if len(samples) == 1:
        return samples[0]
    text = b"\n".join(sample[2 : 2 + int.from_bytes(sample[:2], "big")] for sample in samples)[:0xFFFF]
    return len(text).to_bytes(2, "big") + text
