"""What ``upscale-train`` and ``upscale-eval`` share: one line per error. Prints."""

import contextlib
import sys
from collections.abc import Iterator

import typer

from upscaler.error_text import error_report
from upscaler.errors import UsageError
from upscaler.interrupts import INTERRUPTS


@contextlib.contextmanager
def errors_as_one_line() -> Iterator[None]:
    """Around a command: an error ends it with a line and exit code 2 (its use) or 1 (anything else)."""
    try:
        yield
    except BrokenPipeError:  # nobody reads standard output any more: Click ends the command quietly
        raise
    except Exception as error:
        print(error_report(error), file=sys.stderr)  # noqa: T201
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error
    finally:
        INTERRUPTS.leave()
