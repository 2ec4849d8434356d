"""Records of a run: ``metrics.csv``, ``progress.png``, and what trackers get."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upscaler import atomic
from upscaler.errors import TrainingError
from upscaler.trainer.run import plot
from upscaler.trainer.run.report import LOSS_TERMS
from upscaler.trainer.run.tracking import Tracker

COLUMNS = (
    "step",
    "stage",
    "epoch",
    "progress",
    "elapsed_s",
    "rate_factor",
    "data_wait",
    *LOSS_TERMS,
    "real_score",
    "fake_score",
    "gradient_norm",
    "psnr_db",
    "ssim",
    "lpips",
    "vgg_distance",
    "color_drift",
    "bicubic_psnr_db",
    "bicubic_ssim",
    "bicubic_lpips",
    "bicubic_vgg_distance",
)

Row = dict[str, float]


class Record:
    """The table of a run: a row every ten seconds and for every validation.

    Logged loss terms are already multiplied by their weights. ``data_wait`` is the share of the time in which
    the networks waited for crops.

    Args:
        folder: The run folder.
        last_step: Later rows are dropped: a run that was killed had come further than its state.
        trackers: Get every row and every page of samples, too.

    Raises:
        TrainingError: The folder cannot be written.
    """

    def __init__(self, folder: Path, last_step: int, trackers: Sequence[Tracker] = ()) -> None:
        self._path, self._picture = folder / "metrics.csv", folder / "progress.png"
        self._rows = [row for row in _read(self._path) if row["step"] <= last_step]
        self._trackers = trackers
        header = dict(zip(COLUMNS, COLUMNS, strict=True))
        table = _csv([header, *map(_text, self._rows)])
        try:  # atomically: a power cut must not cost the rows of an earlier part of the run
            atomic.write_bytes(self._path, table)
        except OSError as error:
            raise _cannot_write(self._path, error) from error

    def add(self, row: Row) -> None:
        """Append a row; missing columns stay empty."""
        self._rows.append(row)
        try:
            with self._path.open("ab") as file:
                file.write(_csv([_text(row)]))
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        for tracker in self._trackers:
            tracker.scalars(int(row["step"]), {name: row[name] for name in row if name != "step"})

    def draw(self, samples: NDArray[np.uint8]) -> None:
        """Redraw the curves, and pass a page of samples, RGB ``(H, W, 3)``, to the trackers."""
        plot.draw(self._picture, self._rows)
        for tracker in self._trackers:
            tracker.picture(int(self._rows[-1]["step"]), "samples", samples)
            tracker.flush()


def _csv(rows: list[dict[str, str]]) -> bytes:
    lines = io.StringIO(newline="")
    csv.DictWriter(lines, COLUMNS, restval="").writerows(rows)
    return lines.getvalue().encode()


def _cannot_write(path: Path, error: OSError) -> TrainingError:
    return TrainingError(f"cannot write '{path}': {error.strerror}")


def _text(row: Row) -> dict[str, str]:
    return {name: f"{value:.6g}" for name, value in row.items()} | {"step": str(int(row["step"]))}


def _read(path: Path) -> list[Row]:
    """The rows of an earlier part of the run; unreadable ones are dropped rather than failing the run."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error, UnicodeDecodeError):
        return []
    found = []
    for row in rows:
        try:
            values = {name: float(text) for name, text in row.items() if name in COLUMNS and text}
        except (TypeError, ValueError):  # the last line of a run that was killed while it wrote
            continue
        if "step" in values:
            found.append(values)
    return found
