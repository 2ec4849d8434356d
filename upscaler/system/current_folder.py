"""The current folder, which can be deleted while a shell stands in it."""

from pathlib import Path

from upscaler.errors import UsageError


def check() -> None:
    """Make sure that there is one before libraries are loaded that crash without it, such as oneMKL.

    Raises:
        UsageError: It was deleted.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UsageError("the current folder does not exist any more", "change to another folder") from error
