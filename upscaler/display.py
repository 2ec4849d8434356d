"""What a terminal shows while files are worked on; part of the command, used by nothing else."""

import time
from collections.abc import Iterable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from upscaler.report import Progress


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
            disable=not self._console.is_terminal,
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
        self._task = self._bar.add_task(f"{count}{name}", total=None, rate="")

    def note(self, text: str) -> None:
        """Something about the file at hand."""
        self._line(f"{self._name}: {text}")

    def advance(self, progress: Progress) -> None:
        """A frame, or some tiles, are done."""
        assert self._task is not None, "begin comes first"
        rate = (progress.done - progress.resumed) / max(1e-9, time.monotonic() - self._start)
        self._bar.update(
            self._task,
            completed=progress.done,
            total=progress.total or None,
            rate=f"{rate:.2f} {progress.unit}/s" if rate >= 0.01 else f"{1 / rate:.0f} s each",
        )

    def end(self, outcome: str, notes: Iterable[str] = ()) -> None:
        """The file is done with."""
        assert self._task is not None, "begin comes first"
        self._bar.remove_task(self._task)
        for note in notes:
            self._line(note)
        self._line(f"{outcome} ({time.monotonic() - self._start:.1f} s)")

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False)
