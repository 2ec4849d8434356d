"""The table of ``--list-models``: shipped models, and those in the user's model folders."""

from collections.abc import Iterable
from pathlib import Path

from upscaler.errors import UpscalerError
from upscaler.models import model_file, model_folder, shipped
from upscaler.models.community import CommunityFile

_HEAD = ("name", "scale", "architecture", "size", "licence")


def lines() -> list[str]:
    """The table with its heading, and the folders in which further models are looked for."""
    rows = [_HEAD, *_shipped_rows(), *_found_rows()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    searched = ", ".join(str(folder) for folder in model_folder.folders())
    return [*table, f"further models are looked for in {searched}"]


def _shipped_rows() -> Iterable[tuple[str, ...]]:
    for name, weights in shipped.installed_choices().items():
        files = shipped.weight_files(weights)
        architecture = model_file.load(next(iter(files.values()))).architecture
        scales = ", ".join(f"x{scale}" for scale in files)
        yield name, scales, architecture, _size(files.values()), "Apache-2.0"


def _found_rows() -> Iterable[tuple[str, ...]]:
    for name, path in model_folder.installed().items():
        try:
            file = model_file.load(path)
        except UpscalerError as error:
            yield name, "-", f"cannot be used: {error.message}", _size([path]), "-"
            continue
        terms = file.license if isinstance(file, CommunityFile) else ""
        yield name, f"x{file.scale}", file.architecture, _size([path]), terms or "not stated"


def _size(files: Iterable[Path]) -> str:
    return f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB"
