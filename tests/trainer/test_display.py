"""What a training shows on a terminal."""

import io
import re
from dataclasses import replace

from rich.console import Console

from upscaler.trainer.display import TrainingDisplay
from upscaler.trainer.run.report import TrainingReport
from upscaler.trainer.run.scores import Scores


def shown(width: int, report: TrainingReport) -> list[str]:
    """The lines that a terminal of this width shows for a report, below a line that is longer."""
    file = io.StringIO()
    display = TrainingDisplay(Console(file=file, width=width, force_terminal=True, color_system=None))
    with display:
        display.line("a line " * 20)
        earlier = replace(report, step=report.step - 100, elapsed_s=report.elapsed_s - 8)
        display.report(earlier)
        display.report(report)
        file.truncate(file.seek(0))
        display._live.refresh()
        text = file.getvalue()
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9?;]*[A-Za-z]|\r", "", text).splitlines()]


def test_nothing_is_cut_at_80_columns() -> None:
    names = ("pixel", "fft", "vgg", "adversarial", "features", "tv", "grid", "power", "ldl", "discriminator")
    means = dict.fromkeys(names, 0.12345) | {"data_wait": 0.034, "gradient_norm": 3.0}
    first, *rest = shown(80, TrainingReport(1_234_567, 0.123, 12_345.0, 2, 1234.5, means))
    assert len(first) <= 80
    for part in ("stage 2", "12%", "24:27:00 left", "12.5 steps/s", "step 1234567"):
        assert part in first
    numbers = " ".join(rest)
    assert all(f"{name} 0.12" in numbers for name in names)
    assert "data 3%" in numbers
    assert "gradient_norm" not in numbers
    assert all(len(line) <= 80 for line in rest)


def test_times_are_not_cut_at_40_columns() -> None:
    first, *rest = shown(40, TrainingReport(1_234_567, 0.123, 12_345.0, 2, 1234.5, {"pixel": 0.1}))
    assert len(first) <= 40 and all(part in first for part in ("stage 2", "12%", "24:27:00 left"))
    assert rest[0] == "12.5 steps/s step 1234567"


def test_a_validation_says_what_should_fall() -> None:
    console = Console(file=io.StringIO(), width=80)
    TrainingDisplay(console).report(
        TrainingReport(500, 0.5, 60.0, 2, 3.25, scores=Scores(26.5, 0.81, lpips=0.117))
    )
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text == (
        "stage 2  step 500  epoch 3.2   50.0%  0:01:00 left  PSNR 26.500 dB, SSIM 0.8100, LPIPS 0.1170 "
        "(LPIPS should fall)\n"
    )


def test_the_scores_of_the_last_validation_stay_below_the_bar() -> None:
    console = Console(file=io.StringIO(), width=80)
    display = TrainingDisplay(console)
    display.report(TrainingReport(500, 0.5, 60.0, scores=Scores(26.5, 0.81, lpips=0.117)))
    display.report(TrainingReport(510, 0.51, 61.0, means={"pixel": 0.02}))
    console.print(display._shown())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    *_, numbers, scores = [line.rstrip() for line in text.splitlines()]
    assert "pixel 0.0200" in numbers
    assert scores == "PSNR 26.500 dB, SSIM 0.8100, LPIPS 0.1170 (PSNR should rise)"
