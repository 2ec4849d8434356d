"""Finds photographs and clips: the images and videos below folders."""

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from upscaler.errors import TrainingError
from upscaler.images.formats import IMAGE_SUFFIXES
from upscaler.video.formats import VIDEO_SUFFIXES

RUN_SUFFIX = ".run"

# A run writes one of these before its first image.
_RUN_FILES = ("config.toml", "state.pt", "metrics.csv")


@dataclass(frozen=True)
class Source:
    """An image or video file.

    Attributes:
        path: The file, with links resolved.
        relative: Its path from the folder that was searched.
        folder_index: Index of that folder among those that were searched.
    """

    path: Path
    relative: Path
    folder_index: int


def images_below(folder: Path) -> list[Path]:
    """The image files in and below a folder, by suffix, sorted; without those that runs wrote."""
    return files_below(folder, IMAGE_SUFFIXES)


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files in and below a folder with these suffixes, sorted; without those that runs wrote."""
    runs = run_folders_below(folder)
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    return sorted(path for path in found if not (runs and runs & {*path.parents}) and path.is_file())


def not_images(folders: tuple[str, ...], *, videos: bool = False) -> dict[str, int]:
    """How many files in and below folders cannot be trained on, by suffix, most first; without hidden ones.

    Args:
        folders: As in ``find``.
        videos: As in ``find``.
    """
    counts: Counter[str] = Counter()
    for folder in map(Path, folders):
        runs = run_folders_below(folder) if folder.is_dir() else set()
        for path in folder.rglob("*") if folder.is_dir() else ():
            suffix = path.suffix.lower()
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if (
                suffix not in _suffixes(videos=videos)
                and not hidden
                and not (runs and runs & {*path.parents})
                and path.is_file()
            ):
                counts[suffix or "without suffix"] += 1
    return dict(counts.most_common())


def unreadable_below(folder: Path) -> dict[Path, str]:
    """Why folders in and below a folder cannot be listed; what they hold is missing from ``images_below``."""
    errors: list[OSError] = []
    for _ in os.walk(folder, onerror=errors.append) if folder.is_dir() else ():
        pass
    return {Path(os.fsdecode(error.filename)): error.strerror or str(error) for error in errors}


def run_folders_below(folder: Path) -> set[Path]:
    """The run folders anywhere below a folder; their images are results, not photographs."""
    named = (path for path in folder.rglob(f"*{RUN_SUFFIX}") if path.is_dir())
    return {path for path in named if any((path / name).exists() for name in _RUN_FILES)}


def _suffixes(*, videos: bool) -> set[str]:
    return {*IMAGE_SUFFIXES, *(VIDEO_SUFFIXES if videos else ())}


def find(folders: tuple[str, ...], *, videos: bool = False) -> list[Source]:
    """Every image file in folders, searched recursively, or among single files; none of them twice.

    Args:
        folders: Folders and files.
        videos: Find video files, too.

    Raises:
        TrainingError: A folder is missing.
    """
    return _find(folders, _suffixes(videos=videos), without=() if videos else VIDEO_SUFFIXES)


def find_videos(folders: tuple[str, ...]) -> list[Source]:
    """Every video file, likewise."""
    return _find(folders, VIDEO_SUFFIXES, without=IMAGE_SUFFIXES)


def _find(folders: tuple[str, ...], suffixes: Collection[str], without: Collection[str]) -> list[Source]:
    """Files below folders with some suffixes; single files have any but others."""
    sources: list[Source] = []
    for index, folder in enumerate(map(Path, folders)):
        if folder.is_file():
            if folder.suffix.lower() not in without:
                sources.append(Source(folder.resolve(), Path(folder.name), index))
        elif folder.is_dir():
            sources += [
                Source(path.resolve(), path.relative_to(folder), index)
                for path in files_below(folder, suffixes)
            ]
        else:
            raise TrainingError(f"no folder '{folder}'", "use a folder with photographs")
    # A photograph found twice, in two overlapping folders, must not be both trained on and held out.
    return list({source.path: source for source in sources}.values())
