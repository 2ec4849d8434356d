"""The command line of tools that read images from one folder and write images into another."""

import argparse
from pathlib import Path

from flat_names import flat_names

from upscaler.errors import TrainingError


def names_and_target(description: str) -> tuple[dict[Path, str], Path]:
    """Read ``SOURCE TARGET`` from the command line and create the target folder.

    Args:
        description: For ``--help``.

    Returns:
        The images below the source with their ``flat_names``, and the target.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    try:
        names = flat_names(arguments.source)
    except TrainingError as error:
        raise SystemExit(f"error: {error}") from error
    arguments.target.mkdir(parents=True, exist_ok=True)
    return names, arguments.target
