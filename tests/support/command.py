"""The command, run in this process or in one of its own."""

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from upscaler.cli.app import app
from upscaler.system import console

LENGTH = 7  # frames in a segment of `UPSCALE`
# The command with short segments.
UPSCALE = (
    "from upscaler.__main__ import INTERRUPTS, main; INTERRUPTS.hold(); "
    "from upscaler.video import segments; "
    f"segments._FRAMES_MIN = segments._FRAMES_MAX = {LENGTH}; "
    "main()"
)


def run(*arguments: object, code: int = 0) -> str:
    """Run the command in this process; returns what it said."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def printed(command: typer.Typer, *arguments: object, encoding: str = "utf-8") -> tuple[int, str, str]:
    """Run a command in this process, with streams of an encoding that are prepared as commands prepare them.

    Returns:
        The exit code, and what went to standard output and standard error.
    """
    written = io.BytesIO(), io.BytesIO()
    output, errors = (io.TextIOWrapper(each, encoding=encoding, write_through=True) for each in written)
    with redirect_stdout(output), redirect_stderr(errors), pytest.raises(SystemExit) as end:
        console.let_streams_print_all()
        command([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code, *(each.getvalue().decode(encoding) for each in written)


def files_below(folder: Path) -> list[str]:
    """Names of all files in a folder and below it, relative to it, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
