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
        merged: Lines so far that began while another was shown.
    """

    def __init__(self) -> None:
        self.merged = 0
        self._shown: list[Line] = []
        self._position = 0

    def add(self, line: Line) -> Iterator[Line]:
        """What is complete once a line begins; lines come in the order in which they begin."""
        yield from self._until(line.begin)
        self.merged += bool(self._shown)
        self._position = line.begin if not self._shown else max(self._position, line.begin)
        self._shown.append(line)

    def flush(self) -> Iterator[Line]:
        """The rest, after the last line."""
        yield from self._until(math.inf)

    def _until(self, time: float) -> Iterator[Line]:
        while self._shown:
            stop = min(time, *(line.end for line in self._shown))
            if stop > self._position:
                yield Line(self._position, int(stop), _joined([line.sample for line in self._shown]))
                self._position = int(stop)
            self._shown = [line for line in self._shown if line.end > self._position]
            if stop >= time:
                return


def _joined(samples: list[bytes]) -> bytes:
    """One sample with all texts; styles are only kept if there is one."""
    if len(samples) == 1:
        return samples[0]
    text = b"\n".join(sample[2 : 2 + int.from_bytes(sample[:2], "big")] for sample in samples)[:0xFFFF]
    return len(text).to_bytes(2, "big") + text
