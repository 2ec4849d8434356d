"""``upscale-train``: parameters -> settings -> the loop. Prints; nothing else here does."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Self

import typer

if TYPE_CHECKING:
    from upscaler.trainer.loops import Report

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train(  # noqa: PLR0913 - one parameter per option
    photos: Annotated[list[Path], typer.Argument(help="Folders or files with HR photographs.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Weight file to write (.safetensors).")],
    network: Annotated[
        str, typer.Option(help="fast, balanced, restore, srresnet, srresnet-paper or srcnn.")
    ] = "balanced",
    scale: Annotated[int, typer.Option(help="2, 3, 4 or 8; 1 restores without enlarging.")] = 4,
    low_folders: Annotated[
        list[Path] | None,
        typer.Option("--lr", help="Folder with LR versions of the photographs; default: they are made."),
    ] = None,
    degradation: Annotated[
        str,
        typer.Option(
            help="How LR pictures are made: photo (default), clean, bilinear, jpegN, jpegN-M, worn, strong "
            "or video.",
            show_default=False,
        ),
    ] = "",
    show_degraded: Annotated[
        bool, typer.Option("--show-degraded", help="First write a page of what LR pictures look like.")
    ] = False,
    start_from: Annotated[
        str, typer.Option("--from", help="Weight file to start from (of any scale), or none.")
    ] = "none",
    minutes: Annotated[float | None, typer.Option(help="Length by the clock.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length in steps.")] = None,
    batch: Annotated[int, typer.Option(help="Crops per step.")] = 16,
    patch: Annotated[int, typer.Option(help="Side of a crop, LR pixels.")] = 32,
    late_batch: Annotated[int, typer.Option(help="Crops per step in the late share.")] = 12,
    late_patch: Annotated[int, typer.Option(help="Side of a crop in the late share, LR pixels.")] = 48,
    late_share: Annotated[float, typer.Option(help="Share of the run with the late crops.")] = 0.3,
    optimizer: Annotated[str, typer.Option(help="muon or adamw.")] = "muon",
    learning_rate: Annotated[float | None, typer.Option(help="Peak; default: the network's own.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Default: the network's own.")] = None,
    warmup: Annotated[int, typer.Option(help="Steps of linear rise.")] = 200,
    pixel_loss: Annotated[str, typer.Option(help="l1 or mse.")] = "l1",
    fft_weight: Annotated[float, typer.Option(help="Weight of the spectrum loss.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of initial weights and crops.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(help="Processor threads; 0: all.")] = 0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the network.")] = True,
    restart: Annotated[bool, typer.Option("--restart", help="Forget an earlier run.")] = False,
) -> None:
    """Train weights that `upscale --model FILE` takes, from a folder of photographs.

    Ctrl-C saves and stops; the same command goes on from there.
    """
    from upscaler.errors import UpscalerError, UsageError
    from upscaler.trainer.config import TrainConfig

    try:
        config = TrainConfig(
            photos=tuple(map(str, photos)),
            output=str(output),
            network=network,
            scale=scale,
            low_folders=tuple(map(str, low_folders or [])),
            degradation=degradation,
            show_degraded=show_degraded,
            start_from=start_from,
            minutes=minutes,
            steps=steps,
            batch=batch,
            patch_px=patch,
            late_batch=late_batch,
            late_patch_px=late_patch,
            late_share=late_share,
            optimizer=optimizer,  # type: ignore[arg-type]  # checked by TrainConfig
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup,
            pixel_loss=pixel_loss,  # type: ignore[arg-type]  # checked by TrainConfig
            fft_weight=fft_weight,
            seed=seed,
            device=device,
            threads=threads,
            compiled=compiled,
        )
        from upscaler.trainer.loops import pretrain

        with _StopOnInterrupt() as stop:
            outcome = pretrain(config, _Printer(), stop.asked, restart)
    except UpscalerError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error
    if not outcome.finished:
        print(f"stopped at step {outcome.steps}; the same command goes on from there")  # noqa: T201
        raise typer.Exit(130)
    print(f"wrote {outcome.weights} (held-out PSNR {outcome.psnr_db:.2f} dB, step {outcome.steps})")  # noqa: T201


class _StopOnInterrupt:
    """Turns the first Ctrl-C into a question answered with yes; the second one kills as usual."""

    def __init__(self) -> None:
        self._asked = False

    def __enter__(self) -> Self:
        self._earlier = {
            number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        return self._asked

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(number, signal.SIG_DFL)


class _Printer:
    """Prints a line per event, and on a terminal keeps one line of progress up to date."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()

    def __call__(self, report: "Report") -> None:
        if report.message:
            self._line(report.message)
            return
        left_s = report.elapsed_s * (1 - report.share) / report.share if report.share else 0.0
        text = f"step {report.step}  {report.share:6.1%}  {_clock(left_s)} left"
        if report.psnr_db is not None:
            self._line(f"{text}  held-out PSNR {report.psnr_db:.3f} dB")
        elif self._live:
            text += f"  loss {report.loss:.4f}  data {report.data_share:.0%}"
            print(f"\r{text}\033[K", end="", flush=True)  # noqa: T201

    def _line(self, text: str) -> None:
        print(f"\r{text}\033[K" if self._live else text, flush=True)  # noqa: T201


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def main() -> None:
    """Entry point of the command."""
    app()
