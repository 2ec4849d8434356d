"""``upscale-train``: parameters -> settings -> the loop. It and its display talk; nothing else here does."""

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
    photos: Annotated[list[Path] | None, typer.Argument(help="Folders or files with HR photographs.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Weight file to write (.safetensors).")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="fast, balanced (default), deep, restore, srresnet, srresnet-paper or srcnn."),
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="2, 3, 4 or 8; 1 only restores; default: that of --from FILE, else 4.")
    ] = None,
    lr_dirs: Annotated[
        list[Path] | None,
        typer.Option("--lr-dir", help="Folder with LR versions of the photographs; default: they are made."),
    ] = None,
    degradation: Annotated[
        str | None,
        typer.Option(
            help="How LR pictures are made: photo (default), clean, bilinear, jpegN, jpegN-M, mild, "
            "mild-combined, real, strong or video."
        ),
    ] = None,
    show_degraded: Annotated[
        bool | None, typer.Option("--show-degraded", help="First write a page of what LR pictures look like.")
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Weights to start from: shipped ones by name, a file of any scale, or none. Default: "
            "the shipped weights of the network.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="Learn in stage one what these weights make, a name or a file, not the originals."),
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="1 (pixel loss), 2 (perceptual and adversarial) or 1,2 (default).")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="balanced (default), sharp, paper, tutorial, mae-noise or soft-label."),
    ] = None,
    vgg: Annotated[
        str | None,
        typer.Option(
            help="What makes the features that stage two compares: small (an encoder that ships, default), "
            "torchvision (VGG19, downloaded once), or a file with VGG19's weights, whole or the first layers."
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Length by the clock.")] = None,
    steps: Annotated[int | None, typer.Option(help="Length in steps, both stages together.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with any settings, or a recipe: srresnet-x4. Options go before it."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of a TOML file, such as gan.batch=16."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Crops per step in stage one.")] = None,
    patch: Annotated[int | None, typer.Option(help="Side of a crop in stage one, LR pixels.")] = None,
    phase2_batch: Annotated[
        int | None, typer.Option(help="Crops per step in phase 2, the end of stage one.")
    ] = None,
    phase2_patch: Annotated[int | None, typer.Option(help="Side of a crop in phase 2, LR pixels.")] = None,
    phase2_share: Annotated[float | None, typer.Option(help="Share of stage one that is phase 2.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="Of stage one: muon or adamw.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak in stage one; default: the network's own.")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="In stage one; default: the network's own.")
    ] = None,
    warmup: Annotated[int | None, typer.Option(help="Steps of linear rise in stage one.")] = None,
    pixel_loss: Annotated[str | None, typer.Option(help="Of stage one: l1, mse or charbonnier.")] = None,
    fft_weight: Annotated[float | None, typer.Option(help="Weight of stage one's spectrum loss.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of initial weights and crops.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads; 0: all.")] = None,
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile the network (default).")
    ] = None,
    checkpointing: Annotated[
        bool | None,
        typer.Option("--checkpointing", help="Less memory, more time: recompute features. Same result."),
    ] = None,
    tensorboard: Annotated[
        bool | None, typer.Option("--tensorboard", help="Also write TensorBoard's event files.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget an earlier run.")] = False,
) -> None:
    """Train weights that `upscale --model FILE` takes, from a folder of photographs.

    Stage one learns pixels, stage two textures; both files are kept. Ctrl-C saves and stops; the same command
    goes on from there.
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
    if not _leads():
        return
    if not outcome.finished:
        print(f"stopped at step {outcome.steps}; the same command goes on from there")  # noqa: T201
        raise typer.Exit(130)
    files = " and ".join(map(str, outcome.weights))
    print(f"ready: {files} (PSNR {outcome.psnr_db:.2f} dB, step {outcome.steps})")  # noqa: T201


def _run(options: dict[str, Any], file: Path | None, assignments: list[str], restart: bool) -> "Outcome":
    from upscaler.trainer.config.resolve import merged, parse_assignment, resolve_config
    from upscaler.trainer.display import TrainingDisplay
    from upscaler.trainer.loops import train as run

    INTERRUPTS.release()
    keep_freed_memory()
    for text in assignments:
        options = merged(options, parse_assignment(text))
    config, notes = resolve_config(options, file)
    with _StopOnInterrupt() as stop, TrainingDisplay() as display:
        if _leads():
            for note in notes:
                display.line(note)
        return run(config, display.report, stop.asked, restart)


def _leads() -> bool:
    """Whether this is the process that talks, of those that torchrun has started."""
    return os.environ.get("RANK", "0") == "0"


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
