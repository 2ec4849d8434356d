"""Shows a training on the terminal; part of the command."""

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

if TYPE_CHECKING:
    from upscaler.trainer.run.report import TrainingReport

# Scalars of a step that are not loss terms: they go to the log only.
_NOT_TERMS = ("real_score", "fake_score", "gradient_norm", "data_wait")


class TrainingDisplay:
    """Prints a line per event, and on a terminal a bar with stage, loss terms, rate and time left."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1.0, numbers="")
        self._last: tuple[int, float] | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def line(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False)

    def report(self, report: "TrainingReport") -> None:
        """Show a report of the training loop."""
        if report.message:
            self.line(report.message)
            return
        left = _clock(report.elapsed_s * (1 - report.progress) / report.progress) if report.progress else "?"
        if report.scores is not None:
            scores = f"PSNR {report.scores.psnr_db:.3f} dB"
            if report.scores.vgg_distance is not None:
                scores += f", VGG distance {report.scores.vgg_distance:.4f}"
            self.line(
                f"stage {report.stage}  step {report.step}  {report.progress:6.1%}  {left} left  {scores}"
            )
            return
        terms = "  ".join(
            f"{name} {value:.4f}" for name, value in report.means.items() if name not in _NOT_TERMS
        )
        wait = f"data {report.means['data_wait']:.0%}"
        numbers = f"step {report.step}  {self._rate(report)}  {left} left  {terms}  {wait}"
        self._bar.update(
            self._task, completed=report.progress, description=f"stage {report.stage}", numbers=numbers
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
