"""Shows a training on the terminal; part of the command."""

import sys
from typing import TYPE_CHECKING, Self, TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from upscaler.system.console import LastingStream, printable

if TYPE_CHECKING:
    from upscaler.trainer.run.report import TrainingReport

_WIDE = 80  # columns
# Scalars of a step that are not loss terms: they go to the log only.
_NOT_TERMS = ("real_score", "fake_score", "gradient_norm", "data_wait")


class TrainingDisplay:
    """Prints a line per event, and on a terminal a bar that is never cut, with the numbers in lines below it.

    Args:
        console: Where it prints; the terminal if ``None``.
    """

    def __init__(self, console: Console | None = None) -> None:
        terminal = cast(TextIO, LastingStream(sys.stdout)) if sys.stdout else None
        self._console = console or Console(file=terminal, highlight=False)
        # At most 36 columns, and 74 on a terminal of 80, below which the other numbers have their own line.
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12 if self._is_wide else 6),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.fields[more]}", markup=False),
            console=self._console,
        )
        self._task = self._bar.add_task("starting", total=1.0, left="", more="")
        self._more = self._numbers = self._scores = ""
        self._live = Live(
            get_renderable=self._shown, console=self._console, transient=True, refresh_per_second=4
        )
        self._last: tuple[int, float] | None = None

    @property
    def _is_wide(self) -> bool:
        return self._console.width >= _WIDE

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _shown(self) -> RenderableType:
        lines = [Text(line) for line in (self._more, self._numbers, self._scores) if line]
        return Group(self._bar, *lines)

    def line(self, text: str) -> None:
        """Print a line."""
        self._console.print(printable(text), markup=False, soft_wrap=True)

    def stopping(self) -> None:
        """Say that the run ends as soon as it can."""
        self.line("stopping after this step; Ctrl-C again stops at once")

    def report(self, report: "TrainingReport") -> None:
        """Show a report of the training loop."""
        if report.message:
            self.line(report.message)
            return
        done = report.progress
        left = f"{_clock(report.elapsed_s * (1 - done) / done) if done else '?'} left"
        if report.scores is not None:
            self._scores = report.scores.text(report.stage)
            where = f"stage {report.stage}  step {report.step}  epoch {report.epoch:.1f}  {done:6.1%}  {left}"
            self.line(f"{where}  {self._scores}")
            return
        terms = [f"{name} {value:.4f}" for name, value in report.means.items() if name not in _NOT_TERMS]
        self._numbers = "  ".join(
            [f"epoch {report.epoch:.1f}", *terms, f"data {report.means.get('data_wait', 0):.0%}"]
        )
        more = " ".join(filter(None, [self._rate(report), f"step {report.step}"]))
        self._more = "" if self._is_wide else more
        self._bar.update(
            self._task,
            completed=done,
            description=f"stage {report.stage}",
            left=left,
            more=more if self._is_wide else "",
        )

    def _rate(self, report: "TrainingReport") -> str:
        last, self._last = self._last, (report.step, report.elapsed_s)
        if last is None or report.elapsed_s <= last[1]:
            return ""
        rate = (report.step - last[0]) / (report.elapsed_s - last[1])
        return f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / max(rate, 1e-9):.1f} s/step"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
