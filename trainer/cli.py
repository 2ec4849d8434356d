"""``upscale-train``: turns parameters into settings and runs the training. Prints, as does its display."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from upscaler.error_text import error_report
from upscaler.interrupts import INTERRUPTS
from upscaler.process_settings import keep_freed_memory

if TYPE_CHECKING:
    from upscaler.trainer.loops import Outcome

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def train(  # noqa: PLR0913 - one parameter per option
    photos: Annotated[
        list[Path] | None, typer.Argument(help="Folders (searched recursively) or files with photographs.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Weight file to write (.safetensors).")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="fast, balanced (default), deep, restore, srresnet, srresnet-paper or srcnn."),
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="1 (restore only), 2, 3, 4 or 8; default: that of --from FILE, else 4.")
    ] = None,
    lr_dirs: Annotated[
        list[Path] | None,
        typer.Option("--lr-dir", help="Folder with LR versions of the photographs; default: make them."),
    ] = None,
    degradation: Annotated[
        str | None,
        typer.Option(
            help="How LR images are made: photo (default), clean, bilinear, jpegN, jpegN-M, mild, "
            "mild-combined, real, drawn, strong or video."
        ),
    ] = None,
    show_degraded: Annotated[
        bool | None, typer.Option("--show-degraded", help="First write a page of example LR images.")
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Weights to start from: name of shipped weights, file of any scale, or none. Default: the "
            "shipped weights of the network.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="Distil: stage one learns the output of these weights (name or file)."),
    ] = None,
    stages: Annotated[
        str | None,
        typer.Option(help="1 (pixel loss), 2 (perceptual and adversarial losses) or 1,2 (default)."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="balanced (default), sharp, paper, tutorial, mae-noise or soft-label."),
    ] = None,
    vgg: Annotated[
        str | None,
        typer.Option(
            help="Perceptual network of stage two: small (a shipped encoder, default), torchvision (VGG19, "
            "downloaded once), or a file with VGG19 weights, complete or the first layers."
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of the run in minutes.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Length of the run in steps, both stages together.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with settings, or name of a recipe (srresnet-x4). Options override it."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Set any setting, for example gan.batch=16."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Crops per step in stage one.")] = None,
    patch: Annotated[int | None, typer.Option(help="Side of a crop in stage one, LR pixels.")] = None,
    phase2_batch: Annotated[
        int | None, typer.Option(help="Crops per step in phase 2, the end of stage one.")
    ] = None,
    phase2_patch: Annotated[int | None, typer.Option(help="Side of a crop in phase 2, LR pixels.")] = None,
    phase2_share: Annotated[float | None, typer.Option(help="Share of stage one that is phase 2.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="Optimizer of stage one: muon or adamw.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate of stage one; default: depends on the network.")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Weight decay of stage one; default: depends on the network.")
    ] = None,
    warmup: Annotated[int | None, typer.Option(help="Warm-up steps of stage one.")] = None,
    pixel_loss: Annotated[
        str | None, typer.Option(help="Pixel loss of stage one: l1, mse or charbonnier.")
    ] = None,
    fft_weight: Annotated[
        float | None, typer.Option(help="Weight of the spectrum loss of stage one.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of initial weights and crops.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 uses all cores.")] = None,
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile the network (default).")
    ] = None,
    checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--checkpointing", help="Recompute features in the backward pass: less memory, more time."
        ),
    ] = None,
    tensorboard: Annotated[
        bool | None, typer.Option("--tensorboard", help="Also write TensorBoard event files.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Start over instead of resuming.")] = False,
) -> None:
    """Train weights that `upscale --model FILE` takes, from a folder of photographs.

    Stage one learns pixels, stage two textures; both weight files are kept. Ctrl-C saves and stops; the same
    command resumes.
    """
    from upscaler.errors import UsageError
    from upscaler.trainer.data import file_names

    file_names.let_streams_print_all()
    options = {
        "photos": [str(path) for path in photos] if photos else None,
        "output": None if output is None else str(output),
        "network": network,
        "scale": scale,
        "lr_dirs": [str(path) for path in lr_dirs] if lr_dirs else None,
        "degradation": degradation,
        "show_degraded": show_degraded,
        "start_from": start_from,
        "teacher": teacher,
        "stages": stages,
        "preset": preset,
        "minutes": minutes,
        "steps": steps,
        "batch": batch,
        "patch_px": patch,
        "phase2_batch": phase2_batch,
        "phase2_patch_px": phase2_patch,
        "phase2_share": phase2_share,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup_steps": warmup,
        "pixel_loss": pixel_loss,
        "fft_weight": fft_weight,
        "seed": seed,
        "device": device,
        "threads": threads,
        "compiled": compiled,
        "checkpointing": checkpointing,
        "tensorboard": tensorboard,
        "gan": None if vgg is None else {"vgg": vgg},
    }
    try:
        outcome = _run(
            {name: value for name, value in options.items() if value is not None},
            config,
            assignments or [],
            restart,
        )
    except BrokenPipeError:  # nobody reads standard output any more: Click ends the command quietly
        raise
    except Exception as error:
        print(error_report(error), file=sys.stderr)  # noqa: T201
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error
    finally:
        INTERRUPTS.leave()
    if not _is_rank_zero():
        return
    if not outcome.finished:
        print(f"stopped at step {outcome.steps}; run the same command to resume")  # noqa: T201
        raise typer.Exit(130)
    files = " and ".join(map(str, outcome.weights))
    print(f"ready: {files} (PSNR {outcome.psnr_db:.2f} dB, step {outcome.steps})")  # noqa: T201


def _run(options: dict[str, Any], file: Path | None, assignments: list[str], restart: bool) -> "Outcome":
    from upscaler.trainer import loops
    from upscaler.trainer.config.resolve import merged, parse_assignment, resolve_config
    from upscaler.trainer.display import TrainingDisplay

    INTERRUPTS.release()
    keep_freed_memory()
    for text in assignments:
        options = merged(options, parse_assignment(text))
    config, notes = resolve_config(options, file)
    with _StopOnInterrupt() as stop, TrainingDisplay() as display:
        if _is_rank_zero():
            for note in notes:
                display.line(note)
        return loops.train(config, display.report, stop.requested, restart)


def _is_rank_zero() -> bool:
    """Whether this process prints, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


class _StopOnInterrupt:
    """The first Ctrl-C asks the training to stop; the second one kills the process."""

    def __init__(self) -> None:
        self._requested = False

    def __enter__(self) -> Self:
        self._earlier = {
            number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        return self._requested

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        self._requested = True
        signal.signal(number, signal.SIG_DFL)
