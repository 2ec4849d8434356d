"""Says once how long a slow batch will take, from a measurement, and which model would be faster."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from upscaler.errors import UpscalerError
from upscaler.images import stills
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import scales_for
from upscaler.models import find_weights, model_file, shipped
from upscaler.results import Message, OnMessage, OnProgress, Progress

# Slow: more than this left; for a video, also slower than this many times its playing time.
_SLOW_S = 600.0
_SLOW_PLAYING_TIMES = 4.0
# Measure for this long first.
_MEASURED_S = 10.0
# Name a model as faster if it takes at most this share of the time.
_FASTER_SHARE = 0.75
# Writing an output pixel takes about as long as this many multiply-adds: the part of the times of `fast`,
# `balanced` and `srresnet` in docs/performance.md that convolutions do not explain.
_OUTPUT_COST_MACS = 2000


class Forecast:
    """Watches the progress of the jobs of one batch: ``watch`` wraps the progress callback of a job.

    Args:
        stills: Sources of all stills of the batch; together they count as one piece of work.
        clock: Returns seconds; monotonic.
    """

    def __init__(self, stills: Sequence[Path] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._announced = False
        self._pending = dict.fromkeys(stills)
        self._pending_macs: dict[Path, int] | None = None  # None until the first use, which reads their sizes
        self._macs_done, self._busy_s = 0.0, 0.0

    def watch(
        self, source: Path, engine: Upscaler, on_progress: OnProgress, on_message: OnMessage
    ) -> OnProgress:
        """Wrap the progress callback of one job.

        Args:
            source: Source of the job; no longer pending from now on.
            engine: The job's engine; all stills share one.
            on_progress: Called with every progress.
            on_message: Called with the forecast, at most once per batch.
        """
        self._pending.pop(source, None)
        if self._pending_macs:
            self._pending_macs.pop(source, None)
        still, video = self._watch_still(engine, on_message), self._watch_video(engine, on_message)

        def watch(progress: Progress) -> None:
            on_progress(progress)
            (still if progress.unit == "tiles" else video)(progress)

        return watch

    def _watch_video(self, engine: Upscaler, on_message: OnMessage) -> OnProgress:
        first: tuple[float, int] | None = None

        def watch(progress: Progress) -> None:
            nonlocal first
            now = self._clock()
            first = first or (now, progress.done)  # not counted: warm-up, and frames of an earlier run
            seconds, frames = now - first[0], progress.done - first[1]
            if self._announced or not frames or seconds < _MEASURED_S:
                return
            left = progress.total - progress.done
            has_no_rate = progress.unit == "pages"
            if has_no_rate or seconds / frames > _SLOW_PLAYING_TIMES / progress.rate:
                rate = f" at {frames / seconds:.2g} {progress.unit}/s"
                self._announce(on_message, engine, progress.factor, seconds / frames * left, rate)

        return watch

    def _watch_still(self, engine: Upscaler, on_message: OnMessage) -> OnProgress:
        """Watch a still. Each network counts its tiles from 1; the first call is 0 of 0."""
        costs: list[int] = []  # multiply-adds of each network
        start_s, before_s, before_macs = 0.0, self._busy_s, self._macs_done
        finished = 0  # number of networks

        def watch(progress: Progress) -> None:
            nonlocal start_s, finished
            size = progress.source_px
            if not costs:
                costs.extend(engine.macs_per_network(engine.plan(*size), *size))
                start_s = self._clock()
            if not progress.total or not costs:
                return
            macs = sum(costs[:finished]) + costs[finished] * progress.done / progress.total
            finished = min(finished + (progress.done == progress.total), len(costs) - 1)
            self._busy_s = before_s + self._clock() - start_s
            self._macs_done = before_macs + macs
            if not self._announced and self._busy_s >= _MEASURED_S and self._macs_done:
                left = sum(costs) - macs + sum(self._pending_work(engine).values())
                self._announce(on_message, engine, progress.factor, self._busy_s / self._macs_done * left)

        return watch

    def _pending_work(self, engine: Upscaler) -> dict[Path, int]:
        """Multiply-adds of each pending still, except those that cannot be read."""
        if self._pending_macs is None:
            self._pending_macs = {}
            for path in self._pending:
                try:
                    height, width = stills.read_size(path)
                    self._pending_macs[path] = engine.macs(engine.plan(height, width), height, width)
                except UpscalerError:
                    continue
        return self._pending_macs

    def _announce(
        self, on_message: OnMessage, engine: Upscaler, factor: float, left_s: float, rate: str = ""
    ) -> None:
        if left_s <= _SLOW_S:
            return
        self._announced = True
        text = f"about {_span(left_s)} left{rate}"
        if faster := fastest(engine, factor):
            name, share = faster
            text += f"; --model {name} would take about {_span(left_s * share)}"
        elif len(engine.models) == 1:
            text += "; no installed model is faster"
        on_message(Message("info", text))


def fastest(engine: Upscaler, factor: float) -> tuple[str, float] | None:
    """The installed model that upscales by this factor fastest, if it is clearly faster.

    Models for photographs as people have them and for clean ones are equally fast: the engine's own kind is
    preferred.

    Returns:
        What to write after ``--model``, and about which share of the engine's time it takes; ``None`` if no
        model is faster, or none does the same: the engine restores at scale 1, or runs a chain of models.
    """
    if len(engine.models) > 1:
        return None
    files = engine.files[engine.models[0]]
    own = _relative_time(files, factor)
    if max(files) == 1 or not own:
        return None
    choices = shipped.installed_choices()
    models = {name: find_weights.blendable_files(weights, None) for name, weights in choices.items()}
    shares = {name: _relative_time(files, factor) / own for name, files in models.items() if max(files) > 1}
    if not shares:
        return None
    photo = bool(engine.options.denoise) or _is_for_photographs(engine.models[0])
    name = min(shares, key=lambda name: (shares[name], _is_for_photographs(choices[name]) != photo))
    return (name, shares[name]) if shares[name] <= _FASTER_SHARE else None


def _is_for_photographs(model: str) -> bool:
    """Whether a model removes what phones and websites do to an image."""
    return model.endswith(shipped.PHOTO) or model in ("real", "real-fast")


def _relative_time(files: Mapping[int, tuple[Path, ...]], factor: float) -> float:
    """The time that a model takes per LR pixel, in a unit that depends on the machine only."""
    total, pixels = 0.0, 1
    for scale in scales_for(files, factor):
        contract = model_file.load(files[scale][0]).network().contract
        total += pixels * (contract.macs_per_pixel + _OUTPUT_COST_MACS * scale**2)
        pixels *= scale**2
    return total


def _span(seconds: float) -> str:
    """``50 min``, ``3 h 20 min`` or ``3 days``."""
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{round(minutes / 60 / 24)} days"
