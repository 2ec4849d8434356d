"""Folders with models of the user, which ``--model`` then takes by their names."""

import os
from pathlib import Path

import platformdirs

from upscaler.models.checkpoint import SUFFIXES

VARIABLE = "UPSCALER_MODELS"


def folders() -> list[Path]:
    """Folders that are searched: those of ``UPSCALER_MODELS``, then ``models`` in the user's data folder."""
    own = [Path(folder).expanduser() for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    try:
        return [*own, platformdirs.user_data_path("upscaler", appauthor=False) / "models"]
    except RuntimeError:  # the user has no home folder
        return own


def installed() -> dict[str, Path]:
    """Model files by name, which is that of the file without its suffix.

    Folders are searched with everything below them. Of two files with one name the first folder's counts, and
    in a folder ``.safetensors`` before ``.pth``.
    """
    found: dict[str, Path] = {}
    for folder in folders():
        files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
        for path in sorted(files, key=lambda path: (SUFFIXES.index(path.suffix.lower()), path)):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def find(name: str) -> Path | None:
    """The model file of this name, with or without its suffix; ``None`` if there is none."""
    files = installed()
    return files.get(name) or next((path for path in files.values() if path.name == name), None)
