"""What a run tells while it trains: lines and reports for the user, rows for ``metrics.csv`` and trackers."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upscaler.trainer.config import resolve
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.run.record import Record
from upscaler.trainer.run.report import TrainingReport
from upscaler.trainer.run.scores import Scores
from upscaler.trainer.run.tracking import TensorBoard, Tracker, WeightsAndBiases
from upscaler.trainer.run.train_state import TrainState
from upscaler.trainer.stages.divergence import Means, color_alarm, discriminator_alarm

_ROW_EVERY_S = 10.0


class Journal:
    """Reports a run, and records it where this process is rank 0.

    Args:
        config: Settings of the run.
        state: Where the run is.
        folder: The run folder.
        on_report: Called with every report.
        is_rank_zero: Whether this process writes files.

    Raises:
        TrainingError: The folder cannot be written, or a tracker is not installed.
    """

    def __init__(
        self,
        config: TrainConfig,
        state: TrainState,
        folder: Path,
        on_report: Callable[[TrainingReport], None],
        *,
        is_rank_zero: bool,
    ) -> None:
        self._state, self._on_report = state, on_report
        self._record = Record(folder, state.step, _trackers(config, folder)) if is_rank_zero else None
        self._alarms: set[str] = set()
        self._first_color_drift: float | None = None
        self._row_at_s = state.elapsed_s
        self._means_since_row: list[Means] = []

    def say(self, message: str) -> None:
        """Report a line for the user."""
        self._report(message=message)

    def add_means(self, means: Means) -> None:
        """Report the means of the losses since the last call, and record them from time to time."""
        if self._record is not None:
            self._means_since_row.append(means)
        if self._state.elapsed_s - self._row_at_s > _ROW_EVERY_S:
            self._write_row({})
        self._report(means=means)
        self._alarm("discriminator", discriminator_alarm(means))

    def add_scores(
        self, scores: Scores, samples: NDArray[np.uint8], more_columns: dict[str, float] | None = None
    ) -> None:
        """Report and record a validation.

        Args:
            scores: Its scores.
            samples: A page of samples, RGB ``(H, W, 3)``.
            more_columns: More columns of ``metrics.csv``.
        """
        self._write_row(scores.columns() | (more_columns or {}))
        if self._record is not None:
            self._record.draw(samples)
        self._report(scores=scores)
        if self._first_color_drift is None:
            self._first_color_drift = scores.color_drift
        self._alarm("color", color_alarm(scores.color_drift, self._first_color_drift))

    def rewound(self) -> None:
        """Forget the means that are not recorded yet: the state went back, and its time with it."""
        self._row_at_s, self._means_since_row = self._state.elapsed_s, []

    def _write_row(self, scores: dict[str, float]) -> None:
        """Add a row to ``metrics.csv``: means of the checks since the last row, and scores."""
        if self._record is None:
            return
        state, checks = self._state, self._means_since_row
        names = checks[-1] if checks else {}
        means = {name: math.fsum(check.get(name, 0.0) for check in checks) / len(checks) for name in names}
        position = {
            "step": state.step,
            "stage": state.stage,
            "epoch": state.epoch(),
            "progress": state.run_progress(),
            "elapsed_s": state.elapsed_s,
            "rate_factor": state.rate_factor(),
        }
        self._record.add(position | means | scores)
        self._means_since_row, self._row_at_s = [], state.elapsed_s

    def _alarm(self, kind: str, line: str | None) -> None:
        """Report an alarm when it starts, and not again while it lasts."""
        if line is None:
            self._alarms.discard(kind)
        elif kind not in self._alarms:
            self._alarms.add(kind)
            self.say(line)

    def _report(
        self, *, means: Means | None = None, scores: Scores | None = None, message: str | None = None
    ) -> None:
        state = self._state
        self._on_report(
            TrainingReport(
                step=state.step,
                progress=state.run_progress(),
                elapsed_s=state.elapsed_s,
                stage=state.stage,
                epoch=state.epoch(),
                means=means or {},
                scores=scores,
                message=message,
            )
        )


def _trackers(config: TrainConfig, folder: Path) -> list[Tracker]:
    trackers: list[Tracker] = [TensorBoard(folder)] if config.tensorboard else []
    return [*trackers, WeightsAndBiases(folder, resolve.public(config))] if config.wandb else trackers
