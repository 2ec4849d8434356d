"""How long slow work will take, told once, from work that was measured; and which model would be faster."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from upscaler.errors import UpscalerError
from upscaler.images import stills
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import scales_for
from upscaler.models import find_weights, shipped, weight_file
from upscaler.results import OnNote, OnProgress, Progress

# Work is slow from so many seconds on, and a video's if it also takes so many times its playing time.
_SLOW_S = 600.0
_SLOW_PLAYING_TIMES = 4.0
# So much is measured first.
_MEASURED_S = 10.0
# A model is worth naming as faster if it takes at most this share of the time.
_FASTER_SHARE = 0.75
# To write a pixel takes about as long as so many multiply-adds: what the times of `fast`, `balanced` and
# `srresnet` in docs/performance.md have besides their convolutions.
_MACS_LIKE_OUTPUT = 2000


class Forecast:
    """Watches the progress of the jobs of one run: ``watch`` wraps what is called after every part of a job.

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

    def watch(self, source: Path, engine: Upscaler, on_progress: OnProgress, on_note: OnNote) -> OnProgress:
        """Watch one job, from its first progress on.

        Args:
            source: Of the job; if it is one of the pictures, it no longer lies ahead.
            engine: At work on it; the same for all pictures.
            on_progress: Called as before.
            on_note: Called with the line, if there is one.
        """
        self._waiting.pop(source, None)
        if self._macs_waiting:
            self._macs_waiting.pop(source, None)
        picture, video = self._picture(engine, on_note), self._video(engine, on_note)

        def watch(progress: Progress) -> None:
            on_progress(progress)
            (picture if progress.unit == "tiles" else video)(progress)

        return watch

    def _video(self, engine: Upscaler, on_note: OnNote) -> OnProgress:
        first: tuple[float, int] | None = None

        def watch(progress: Progress) -> None:
            nonlocal first
            now = self._clock()
            first = first or (now, progress.done)  # what warms up and what an earlier run did do not count
            seconds, made = now - first[0], progress.done - first[1]
            if self._said or not made or seconds < _MEASURED_S:
                return
            left = progress.total - progress.done
            if seconds / made > _SLOW_PLAYING_TIMES / progress.rate:
                rate = f" at {made / seconds:.2g} frames/s"
                self._tell(on_note, engine, progress.source_px, seconds / made * left, rate)

        return watch

    def _picture(self, engine: Upscaler, on_note: OnNote) -> OnProgress:
        """Watches a picture. Every network counts its tiles from 1; the first call says 0 of 0."""
        costs: list[int] = []  # multiply-adds of each network
        begun, before_s, before_macs = 0.0, self._busy_s, self._macs_done
        finished = 0  # networks

        def watch(progress: Progress) -> None:
            nonlocal begun, finished
            size = progress.source_px
            if not costs:
                costs.extend(engine.macs_each(engine.plan(*size), *size))
                begun = self._clock()
            if not progress.total or not costs:
                return
            macs = sum(costs[:finished]) + costs[finished] * progress.done / progress.total
            finished = min(finished + (progress.done == progress.total), len(costs) - 1)
            self._busy_s = before_s + self._clock() - begun
            self._macs_done = before_macs + macs
            if not self._said and self._busy_s >= _MEASURED_S and self._macs_done:
                left = sum(costs) - macs + sum(self._ahead(engine).values())
                self._tell(on_note, engine, size, self._busy_s / self._macs_done * left)

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

    def _tell(
        self, on_note: OnNote, engine: Upscaler, size: tuple[int, int], left_s: float, rate: str = ""
    ) -> None:
        if left_s <= _SLOW_S:
            return
        self._said = True
        other = "no installed model is faster"
        if faster := fastest(engine, *size):
            name, share = faster
            other = f"--model {name} would take about {_span(left_s * share)}"
        on_note(f"about {_span(left_s)} to go{rate}; {other}")


def fastest(engine: Upscaler, height: int, width: int) -> tuple[str, float] | None:
    """The installed model that enlarges pictures of this size fastest, if it is clearly faster.

    Of two flavours, which are equally fast, the engine's own.

    Returns:
        Its name, and about which share of the engine's time it takes; ``None`` where nothing is faster, or
        nothing does the same: restore without enlarging.
    """
    factor = engine.factor(height, width)
    own = _time_like(engine.files, factor)
    if max(engine.files) == 1 or not own:
        return None
    models = {name: find_weights.blendable_files(name, None) for name in shipped.installed_models()}
    shares = {name: _time_like(files, factor) / own for name, files in models.items() if max(files) > 1}
    if not shares:
        return None
    photo = str(engine.options.model).endswith(shipped.PHOTO)
    name = min(shares, key=lambda name: (shares[name], name.endswith(shipped.PHOTO) != photo))
    return (name, shares[name]) if shares[name] <= _FASTER_SHARE else None


def _time_like(files: Mapping[int, tuple[Path, ...]], factor: float) -> float:
    """What a model's time for an LR pixel is proportional to, on any one machine."""
    total, pixels = 0.0, 1
    for scale in scales_for(files, factor):
        contract = weight_file.load(files[scale][0]).network().contract
        total += pixels * (contract.macs_per_pixel + _MACS_LIKE_OUTPUT * scale**2)
        pixels *= scale**2
    return total


def _span(seconds: float) -> str:
    """Such as ``50 min``, ``3 h 20 min`` or ``3 days``."""
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{round(minutes / 60 / 24)} days"
