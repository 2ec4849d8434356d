"""Lines on stderr and, on a terminal, a progress bar."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Self, TextIO, cast

from rich.console import Console
from rich.control import Control
from rich.progress import Progress as Bar
from rich.progress import TaskID
from rich.segment import ControlType

from upscaler.cli.bar import Line
from upscaler.jobs import JobList
from upscaler.results import Message, Outcome, Progress
from upscaler.system.console import LastingStream, printable, printable_lines


def say(text: str) -> None:
    """Write a line to stderr, above the bar if there is one. Errors (a closed pipe) are ignored."""
    with suppress(OSError):
        if sys.stderr is not None:
            print(printable_lines(text), file=sys.stderr, flush=True)  # noqa: T201


def tell(text: str) -> None:
    """Write a line to standard output: what was asked for."""
    print(printable_lines(text), flush=True)  # noqa: T201


class Display:
    """Shows each file of a batch: on a terminal a bar with frames/s and time left; then lines.

    Args:
        files: Number of files in the batch.
        shown: What is shown of a text.
        ended: How many of these an earlier process has done.
        quiet: Show warnings and errors only.
    """

    def __init__(
        self, files: int, shown: Callable[[str], str] = str, ended: int = 0, *, quiet: bool = False
    ) -> None:
        terminal = cast(TextIO, LastingStream(sys.stderr)) if sys.stderr else None
        self._console = Console(file=terminal, stderr=True, highlight=False, soft_wrap=True)
        self._bar = Bar(
            Line(self._console),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.file.isatty(),  # whatever FORCE_COLOR says: no bar in logs
        )
        self._task: TaskID | None = None
        self._files, self._shown, self._quiet = files, shown, quiet
        self._started = ended
        self._start = 0.0
        self._all_end_s: float | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def clear_line(self) -> None:
        """Remove the bar of a process that crashed."""
        if self._console.is_terminal:
            self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))

    def begin(self, name: str, begun_s: float | None = None) -> None:
        """Start a file, now or at an earlier time of the monotonic clock."""
        self._started += 1
        self._name = name = printable(self._shown(name))
        self._start = time.monotonic() if begun_s is None else begun_s
        if self._started == self._files:  # the time of the file says it
            self._all_end_s = None
        count = f"[{self._started}/{self._files}]" if self._files > 1 else ""
        self._task = self._bar.add_task(
            name, total=None, count=count, rate="reading", ends_s=None, all_end_s=self._all_end_s
        )

    def message(self, message: Message) -> None:
        """Write a line about the current file."""
        if self._quiet and message.severity == "info":
            return
        severity = "warning: " if message.severity == "warning" else ""
        say(f"{self._name}: {severity}{printable(self._shown(message.text))}")

    def advance(
        self, progress: Progress, left_s: float | None = None, all_left_s: float | None = None
    ) -> None:
        """Move the bar: more frames or tiles are done.

        Args:
            progress: Of the current file.
            left_s: Seconds until it ends, if that is known.
            all_left_s: Seconds until the batch ends, likewise.
        """
        assert self._task is not None, "call begin first"
        now_s = time.monotonic()
        elapsed_s = max(1e-9, now_s - self._start)
        if all_left_s is not None:
            self._all_end_s = now_s + all_left_s
        self._bar.update(
            self._task,
            completed=progress.done,
            total=progress.total or None,
            rate=_rate(progress.done - progress.resumed, progress.unit, elapsed_s),
            ends_s=None if left_s is None else now_s + left_s,
            all_end_s=self._all_end_s,
        )

    def line(self, text: str) -> None:
        """Write a line about the batch."""
        if not self._quiet:
            say(text)

    def drop(self) -> None:
        """Finish the current file without a line."""
        assert self._task is not None, "call begin first"
        self._bar.remove_task(self._task)

    def end(self, outcome: str, *, is_trouble: bool = False) -> None:
        """Finish the current file: write the outcome with the time."""
        self.drop()
        (say if is_trouble else self.line)(f"{self._shown(outcome)} ({time.monotonic() - self._start:.1f} s)")


def _rate(done: int, unit: str, elapsed_s: float) -> str:
    """``12.50 frames/s``, or ``140 s each`` if it is slow."""
    if not done:
        return ""
    return (
        f"{done / elapsed_s:.2f} {unit}/s" if done / elapsed_s >= 0.01 else f"{elapsed_s / done:.0f} s each"
    )


def summary(
    job_list: JobList, outcomes: Mapping[Outcome, int], *, lossy: int, frames: int, elapsed_s: float
) -> str:
    """How a whole batch ended, in one line.

    Args:
        job_list: What was to be done.
        outcomes: How many of its jobs ended how.
        lossy: Jobs of which something is not kept.
        frames: That were written.
        elapsed_s: How long it took.
    """
    failed, taken = outcomes.get("failed", 0), outcomes.get("skipped", 0)
    done = len(job_list.jobs) - failed - taken
    text = f"{done} of {len(job_list.jobs)} files, {frames} frames, {elapsed_s:.1f} s"
    if failed:
        text += f"; {failed} failed"
    if lossy:
        text += f"; {lossy} not kept completely"
    if job_list.unreadable:
        text += f"; {len(job_list.unreadable)} folders not readable"
    if skipped := len(job_list.skipped) + taken:
        text += f"; {skipped} skipped (already exist)"
    if job_list.ignored:
        text += f"; {len(job_list.ignored)} ignored ({job_list.ignored_kinds()})"
    return text
