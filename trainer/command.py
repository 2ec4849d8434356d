"""What ``upscale-train`` and ``upscale-eval`` share: one line per error. Prints."""

import contextlib
import os
import sys
from collections.abc import Iterator

import typer

from upscaler.commands.interrupts import INTERRUPTS
from upscaler.error_text import error_line, error_report, exit_code


@contextlib.contextmanager
def errors_as_one_line() -> Iterator[None]:
    """Around a command: an error ends it with a line and the exit code of ``error_text``."""
    try:
        yield
    except BrokenPipeError:  # nobody reads standard output any more: Click ends the command quietly
        raise
    except Exception as error:
        rank = os.environ.get("RANK", "0")  # of the processes that torchrun has started
        line = f"rank {rank}: {error_line(error)}" if rank != "0" else ""
        print(error_report(error, line), file=sys.stderr)  # noqa: T201
        raise typer.Exit(exit_code(error)) from error
    finally:
        INTERRUPTS.leave()
