"""``upscale``: the command line, derived from the fields of ``Options``; ``run.py`` runs the batch."""

import inspect
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from upscaler.cli import other_programs
from upscaler.commands.interrupts import INTERRUPTS
from upscaler.commands.loading import say_loading
from upscaler.commands.typer_command import Version, command_class
from upscaler.commands.typer_parameters import option_parameter, parameter
from upscaler.error_text import error_report, exit_code
from upscaler.errors import UsageError
from upscaler.models.shipped import installed_models
from upscaler.option_fields import options_of
from upscaler.options import Options
from upscaler.process_settings import (
    keep_freed_memory,
    let_waiting_threads_sleep,
    use_allowed_processors,
)
from upscaler.remote.urls import any_remote
from upscaler.system import current_folder, wildcards

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

_THREADS = "a whole number of at least 1"
_SHORT = {"output": "-o", "scale": "-s", "model": "-m", "overwrite": "-y"}

app = typer.Typer(rich_markup_mode=None)


def upscale(
    inputs: list[Path],
    report: Path | None,
    dry_run: bool,
    quiet: bool,
    threads: int | None,
    list_models: bool,
    version: bool,
    **values: Any,  # noqa: ANN401
) -> None:
    """Upscale images and videos.

    upscale photo.jpg            writes photo_x4.jpg next to it

    upscale photos/ --scale 2    writes the same tree into photos_x2/

    upscale video.mp4 -o out.mp4

    Exit codes: 0 done, 1 some inputs failed, 2 nothing was started, 3 finished with warnings (damaged
    source), 130 interrupted.
    """
    try:
        options = Options(**{name: value for name, value in values.items() if value is not None})
        code = _run(inputs, options, report, dry_run=dry_run, quiet=quiet, threads=threads)
    except Exception as error:
        _fail(error)
    except KeyboardInterrupt as interrupt:
        _say("interrupted; no partial file is left")
        raise typer.Exit(EXIT_INTERRUPTED) from interrupt
    finally:
        INTERRUPTS.leave()
    raise typer.Exit(code)


def _run(
    inputs: list[Path],
    options: Options,
    report: Path | None,
    *,
    dry_run: bool,
    quiet: bool,
    threads: int | None,
) -> int:
    current_folder.check()
    if dry_run and report is not None:
        raise UsageError("--dry-run and --json exclude each other")
    if threads is not None and threads < 1:
        raise UsageError(f"--threads '{threads}' must be {_THREADS}")
    inputs = list(wildcards.expand(inputs))
    if not any_remote(inputs):
        other_programs.check_inputs(inputs, options.output_path)
    if not quiet:
        say_loading()
    from upscaler.cli import crash_recovery, pipes

    # Before anything is loaded that starts threads. What comes through a pipe cannot be read twice.
    alone = dry_run or pipes.are_used(inputs, options)
    notes = None if alone else crash_recovery.go_on_in_worker(INTERRUPTS)
    let_waiting_threads_sleep()
    from upscaler.cli.run import run  # loads torch and av, which --help does not need

    INTERRUPTS.release()
    keep_freed_memory()
    use_allowed_processors(threads)
    return run(inputs, options, report, dry_run=dry_run, quiet=quiet, ledger=notes)


def _fail(error: Exception) -> NoReturn:
    """Write one line."""
    _say(error_report(error))
    raise typer.Exit(exit_code(error)) from error


def _say(text: str) -> None:
    """Write a line to stderr, if it still is there: a terminal may have been closed."""
    with suppress(OSError):
        if sys.stderr is not None:
            print(text, file=sys.stderr)  # noqa: T201


def _print_models(given: bool) -> None:
    if given:
        say_loading()
        from upscaler.cli.list_models import lines  # loads torch, which --help does not need

        INTERRUPTS.release()
        print("\n".join(lines()))  # noqa: T201
        raise typer.Exit


def _signature() -> inspect.Signature:
    inputs = typer.Argument(metavar="INPUT", help="Images, videos, and folders of them.")
    report = typer.Option("--json", metavar="FILE", help="Write one JSON line per input; - for stdout.")
    rehearsal = typer.Option("--dry-run", help="Print what would be done, with sizes, and end.")
    models = typer.Option(
        "--list-models", callback=_print_models, is_eager=True, help="List shipped and installed models."
    )
    quiet = typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")
    threads = typer.Option("--threads", metavar="COUNT", help="Most processors to use. [default: all]")
    installed = installed_models()
    return inspect.Signature(
        [
            parameter("inputs", Annotated[list[Path], inputs], inspect.Parameter.empty),
            *(
                option_parameter(
                    each,
                    short=_SHORT.get(each.name, ""),
                    help=each.help.replace("{models}", ", ".join(installed)),
                    names=installed if each.name == "model" else (),
                )
                for each in options_of(Options)
            ),
            parameter("report", Annotated[Path | None, report]),
            parameter("dry_run", Annotated[bool, rehearsal], False),
            parameter("quiet", Annotated[bool, quiet], False),
            parameter("threads", Annotated[int | None, threads]),
            parameter("list_models", Annotated[bool, models], False),
            parameter("version", Version, False),
        ]
    )


upscale.__signature__ = _signature()  # type: ignore[attr-defined]  # which Typer reads
app.command(cls=command_class(options_of(Options), other_programs.ANSWERS, {"--threads": _THREADS}))(upscale)
