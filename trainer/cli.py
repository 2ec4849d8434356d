"""``upscale-train``: its command line, derived from the fields of ``TrainOptions``. Prints."""

import inspect
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from upscaler.commands.interrupts import INTERRUPTS
from upscaler.commands.loading import say_loading
from upscaler.commands.typer_command import Version, command_class
from upscaler.commands.typer_parameters import option_parameter, parameter
from upscaler.option_fields import options_of
from upscaler.process_settings import keep_freed_memory, use_allowed_processors
from upscaler.system import current_folder, stop_signals, wildcards
from upscaler.system.console import printable
from upscaler.trainer.command import errors_as_one_line
from upscaler.trainer.config.options import TrainOptions

if TYPE_CHECKING:
    from upscaler.trainer.loops import Outcome

# Options of other trainers, as typed.
_ANSWERS = {
    **dict.fromkeys(("-opt", "--opt"), "--config FILE"),
    "--lr": "--learning-rate RATE",
    **dict.fromkeys(("--iterations", "--iters", "--max-steps"), "--steps COUNT"),
    **dict.fromkeys(("--batch-size", "--batch_size"), "--batch COUNT"),
    **dict.fromkeys(("--patch-size", "--patch_size", "--crop-size"), "--patch PIXELS"),
    **dict.fromkeys(("--gpu", "--gpu-id"), "--device cuda:1"),
    **dict.fromkeys(("--pretrained", "--finetune"), "--from FILE"),
    **dict.fromkeys(("-i", "--input", "--data"), "photographs need no option: upscale-train FOLDER -o FILE"),
    "--resume": "the same command resumes",
}

app = typer.Typer(rich_markup_mode=None)


def train(
    photos: list[Path] | None,
    config: Path | None,
    assignments: list[str] | None,
    restart: bool,
    dry_run: bool,
    export: str | None,
    version: bool,
    **values: Any,  # noqa: ANN401
) -> None:
    """Train weights that `upscale --model FILE` takes, from a folder of photographs.

    Stage one learns pixels, stage two textures; both weight files are kept. Ctrl-C saves and stops; the same
    command resumes.
    """
    with errors_as_one_line():
        options = TrainOptions(**values).settings()
        if export:
            others = [*(name for name in options if name not in ("output", "scale")), *(assignments or [])]
            _export(export, photos or [], options, trains=bool(others or config or restart or dry_run))
            return
        if photos:
            options["photos"] = [str(path) for path in wildcards.expand(photos)]
        outcome = _run(options, config, assignments or [], restart=restart, dry_run=dry_run)
    if dry_run:
        return
    files = " and ".join(map(str, outcome.weights))
    line = f"ready: {printable(files)} (PSNR {outcome.psnr_db:.2f} dB, step {outcome.steps})"
    if not outcome.finished:
        line = f"stopped at step {outcome.steps}; run the same command to resume"
    if _is_rank_zero():
        print(line)  # noqa: T201
    if not outcome.finished:  # in every process: a 0 would tell torchrun that this one has finished
        raise typer.Exit(130)


def _export(file_format: str, models: list[Path], options: dict[str, Any], *, trains: bool) -> None:
    from upscaler.errors import UsageError
    from upscaler.trainer.export import export

    INTERRUPTS.release()
    if len(models) != 1 or trains:
        hint = "upscale-train --export onnx WEIGHTS [-o FILE] [--scale N]"
        raise UsageError("--export takes one weight file or name, and no option but -o and --scale", hint)
    output = options.get("output")
    text = export(file_format, str(models[0]), output and Path(output), options.get("scale"))
    print(f"wrote {printable(str(text))}")  # noqa: T201


def _signature() -> inspect.Signature:
    photos = typer.Argument(help="Folders (searched recursively) or files with photographs.")
    config = typer.Option(
        "--config", help="TOML file with settings, or name of a recipe (srresnet-x4). Options override it."
    )
    assignments = typer.Option(
        "--set", metavar="NAME=VALUE", help="Set any setting, for example gan.batch=16; repeatable."
    )
    restart = typer.Option("--restart", help="Start over instead of resuming.")
    dry_run = typer.Option(
        "--dry-run", help="Say what a new run would take (time, steps, memory, disk), and train nothing."
    )
    export = typer.Option(
        "--export",
        metavar="FORMAT",
        help="Train nothing: write weights, named in place of the photographs, for other programs. spandrel "
        "(chaiNNer, ComfyUI) or onnx.",
    )
    return inspect.Signature(
        [
            parameter("photos", Annotated[list[Path] | None, photos]),
            *(
                option_parameter(each, short="-o" if each.name == "output" else "")
                for each in options_of(TrainOptions)
            ),
            parameter("config", Annotated[Path | None, config]),
            parameter("assignments", Annotated[list[str] | None, assignments]),
            parameter("restart", Annotated[bool, restart], False),
            parameter("dry_run", Annotated[bool, dry_run], False),
            parameter("export", Annotated[str | None, export]),
            parameter("version", Version, False),
        ]
    )


train.__signature__ = _signature()  # type: ignore[attr-defined]  # which Typer reads
app.command(cls=command_class(options_of(TrainOptions), _ANSWERS))(train)


def _run(
    options: dict[str, Any], file: Path | None, assignments: list[str], *, restart: bool, dry_run: bool
) -> "Outcome":
    current_folder.check()
    say_loading()
    from upscaler.trainer import loops
    from upscaler.trainer.config.resolve import merged, parse_assignment, resolve_config
    from upscaler.trainer.display import TrainingDisplay

    INTERRUPTS.release()
    keep_freed_memory()
    use_allowed_processors()
    for text in assignments:
        options = merged(options, parse_assignment(text))
    config, notes = resolve_config(options, file)
    with TrainingDisplay() as display, _StopOnInterrupt(display.stopping) as stop:
        if _is_rank_zero():
            for note in notes:
                display.line(note)
        return loops.train(config, display.report, stop.requested, restart, dry_run)


def _is_rank_zero() -> bool:
    """Whether this process prints, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


class _StopOnInterrupt:
    """The first Ctrl-C asks the training to stop; the second one kills the process.

    Args:
        on_request: Called at the first one.
    """

    def __init__(self, on_request: Callable[[], None]) -> None:
        self._requested = False
        self._on_request = on_request

    def __enter__(self) -> Self:
        self._earlier = {number: signal.signal(number, self._interrupt) for number in stop_signals.usable()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        return self._requested

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        self._requested = True
        signal.signal(number, signal.SIG_DFL)
        if _is_rank_zero():
            self._on_request()
