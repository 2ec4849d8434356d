"""The command line of tools that read images from one folder and write images into another."""

import argparse
from pathlib import Path

from flat_names import flat_names

from upscaler.errors import TrainingError


def folder_parser(description: str) -> argparse.ArgumentParser:
    """A parser of ``SOURCE TARGET``, to which a tool may add options.

    Args:
        description: For ``--help``.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    return parser


def names_and_target(arguments: argparse.Namespace) -> tuple[dict[Path, str], Path]:
    """Find the images, and create the target folder.

    Args:
        arguments: What ``folder_parser`` parsed.

    Returns:
        The images below the source with their ``flat_names``, and the target.
    """
    try:
        names = flat_names(arguments.source)
    except TrainingError as error:
        raise SystemExit(f"error: {error}") from error
    arguments.target.mkdir(parents=True, exist_ok=True)
    return names, arguments.target
