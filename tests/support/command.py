"""The command, run in this process or in one of its own."""

from pathlib import Path

from typer.testing import CliRunner

from upscaler.cli.app import app

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


def files_below(folder: Path) -> list[str]:
    """Names of all files in a folder and below it, relative to it, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
