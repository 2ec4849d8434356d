"""How long slow work will take, told once, from work that was measured; and which model would be faster."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from upscaler import stills
from upscaler.engine import Upscaler
from upscaler.errors import UpscalerError

# Called with how many of how many parts (frames, tiles) are done; returns the line, or nothing.
Watch = Callable[[int, int], str]

# Work is slow from so many seconds on, and a video's if it also takes so many times its playing time.
_SLOW_S = 600.0
_SLOW_PLAYING_TIMES = 4.0
# So much is measured first.
_MEASURED_S = 10.0


class Forecast:
    """Watches the jobs of one run.

    Args:
        pictures: Sources of all pictures of the run, which count as one piece of work.
        clock: Seconds that only rise.
    """

    def __init__(self, pictures: Sequence[Path] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = False
        self._waiting = dict.fromkeys(pictures)
        self._macs_waiting: dict[Path, int] | None = None  # their sizes are read when first needed
        self._macs_done, self._busy_s = 0.0, 0.0

    def video(self, engine: Upscaler, height: int, width: int, rate: float) -> Watch:
        """A watch on one video, called after every frame.

        Args:
            engine: At work on it.
            height: Of its frames, as they go in.
            width: Of its frames.
            rate: Frames that are played in a second.
        """
        first: tuple[float, int] | None = None

        def watch(done: int, total: int) -> str:
            nonlocal first
            now = self._clock()
            first = first or (now, done)  # the frame that warms up, and those of an earlier run, do not count
            seconds, made = now - first[0], done - first[1]
            if self._said or not made or seconds < _MEASURED_S:
                return ""
            left_s = seconds / made * (total - done)
            if left_s <= _SLOW_PLAYING_TIMES * (total - done) / rate:
                return ""
            return self._line(engine, height, width, left_s, f" at {made / seconds:.2g} frames/s")

        return watch

    def picture(self, source: Path, engine: Upscaler, height: int, width: int) -> Watch:
        """A watch on one of the pictures, called after its tiles, which every network counts anew.

        Args:
            source: As in ``pictures``.
            engine: At work on it; the same for all.
            height: Of the picture.
            width: Of the picture.
        """
        self._waiting.pop(source, None)
        if self._macs_waiting:
            self._macs_waiting.pop(source, None)
        costs = engine.macs_each(engine.plan(height, width), height, width)
        begun, before_s, before_macs = self._clock(), self._busy_s, self._macs_done
        finished = 0  # networks

        def watch(done: int, total: int) -> str:
            nonlocal finished
            macs = sum(costs[:finished]) + costs[finished] * done / total
            finished = min(finished + (done == total), len(costs) - 1)
            self._busy_s = before_s + self._clock() - begun
            self._macs_done = before_macs + macs
            if self._said or self._busy_s < _MEASURED_S or not self._macs_done:
                return ""
            left = sum(costs) - macs + sum(self._ahead(engine).values())
            return self._line(engine, height, width, self._busy_s / self._macs_done * left)

        return watch

    def _ahead(self, engine: Upscaler) -> dict[Path, int]:
        """The work of every picture that has not begun; none of those that cannot be read."""
        if self._macs_waiting is None:
            self._macs_waiting = {}
            for path in self._waiting:
                try:
                    height, width = stills.size(path)
                    self._macs_waiting[path] = engine.macs(engine.plan(height, width), height, width)
                except UpscalerError:
                    continue
        return self._macs_waiting

    def _line(self, engine: Upscaler, height: int, width: int, left_s: float, rate: str = "") -> str:
        if left_s <= _SLOW_S:
            return ""
        self._said = True
        faster = engine.fastest(height, width)
        if faster is None:
            return ""
        name, share = faster
        return f"about {_span(left_s)} to go{rate}; --model {name} would take about {_span(left_s * share)}"


def _span(seconds: float) -> str:
    """Such as ``50 min``, ``3 h 20 min`` or ``3 days``."""
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{round(minutes / 60 / 24)} days"
