"""What a terminal shows while files are worked on; part of the command, used by nothing else."""

import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from upscaler.jobs import JobList
from upscaler.results import Progress

_NAME_SHARE = 1 / 3  # of the terminal's width; with longer names the bar and the time left would have no room


def say(text: str) -> None:
    """Write a line to stderr; above the bar, if there is one. Where nobody reads it, the work goes on."""
    with suppress(OSError):
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)  # noqa: T201


class Display:
    """Lines and, on a terminal, a progress bar per file with frames/s and time left; to stderr."""

    def __init__(self, files: int) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.file.isatty(),  # whatever FORCE_COLOR says: logs need no bar
        )
        self._task: TaskID | None = None
        self._files = files
        self._begun = 0
        self._start = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, name: str) -> None:
        """A file is begun."""
        self._begun += 1
        self._name = name
        self._start = time.monotonic()
        count = f"[{self._begun}/{self._files}] " if self._files > 1 else ""
        most = max(8, int(self._console.width * _NAME_SHARE))
        shown = name if len(name) <= most else f"…{name[1 - most :]}"
        self._task = self._bar.add_task(f"{count}{shown}", total=None, rate="")

    def note(self, text: str) -> None:
        """Something about the file at hand."""
        say(f"{self._name}: {text}")

    def advance(self, progress: Progress) -> None:
        """A frame, or some tiles, are done."""
        assert self._task is not None, "begin comes first"
        elapsed_s = max(1e-9, time.monotonic() - self._start)
        self._bar.update(
            self._task,
            completed=progress.done,
            total=progress.total or None,
            rate=_rate(progress.done - progress.resumed, progress.unit, elapsed_s),
        )

    def end(self, outcome: str, notes: Iterable[str] = ()) -> None:
        """The file is done with."""
        assert self._task is not None, "begin comes first"
        self._bar.remove_task(self._task)
        for note in notes:
            say(note)
        say(f"{outcome} ({time.monotonic() - self._start:.1f} s)")


def _rate(done: int, unit: str, elapsed_s: float) -> str:
    """Units a second, or seconds a unit where it takes long."""
    if not done:
        return ""
    return (
        f"{done / elapsed_s:.2f} {unit}/s" if done / elapsed_s >= 0.01 else f"{elapsed_s / done:.0f} s each"
    )


def summary(job_list: JobList, failed: int, frames: int, elapsed_s: float) -> str:
    """What became of all files, in one line."""
    done = len(job_list.jobs) - failed
    text = f"{done} of {len(job_list.jobs)} files, {frames} frames, {elapsed_s:.1f} s"
    if failed:
        text += f"; {failed} failed"
    if job_list.unreadable:
        text += f"; folders not read: {len(job_list.unreadable)}"
    if job_list.skipped:
        text += f"; {len(job_list.skipped)} skipped, which exist"
    if job_list.ignored:
        text += f"; {len(job_list.ignored)} ignored ({job_list.ignored_kinds()})"
    return text
