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


class Listing:
    """The files in and below a folder, without those in run folders: their images are results.

    Every folder is listed once and no file is opened: only links cost a further look at the disk.

    Args:
        folder: The folder.

    Attributes:
        files: The path of every file from the folder, sorted. As text: of 70,000 files, ``Path`` would take
            seconds.
        run_folders: The run folders anywhere below it.
        unreadable: Why folders in and below it cannot be listed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._resolved_folder = folder, folder.resolve()
        self.files: list[str] = []
        self.run_folders: set[Path] = set()
        self.unreadable: dict[Path, str] = {}
        self._links: set[str] = set()
        remaining = [""]
        while remaining:
            remaining += self._subfolders(remaining.pop())
        self.files.sort(key=lambda path: path.split(os.sep))

    def _subfolders(self, relative: str) -> list[str]:
        """List one folder; returns those in it that are to be listed, too."""
        subfolders = []
        path = self._folder / relative
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    inside = os.path.join(relative, entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        if _is_run_folder(self._folder / inside):
                            self.run_folders.add(self._folder / inside)
                        else:
                            subfolders.append(inside)
                    elif _is_file(entry):
                        self.files.append(inside)
                        if entry.is_symlink():
                            self._links.add(inside)
        except OSError as error:
            self.unreadable[path] = error.strerror or str(error)
        return subfolders

    def with_suffixes(self, suffixes: Collection[str]) -> list[str]:
        """The path from the folder of every file with one of these suffixes, sorted."""
        return [path for path in self.files if _suffix_of(path) in suffixes]

    def sources(self, suffixes: Collection[str], folder_index: int) -> list[Source]:
        """The same files as sources."""
        paths = self.with_suffixes(suffixes)
        return [Source(self._resolved(path), Path(path), folder_index) for path in paths]

    def _resolved(self, relative: str) -> Path:
        if relative in self._links:
            return (self._folder / relative).resolve()
        return Path(os.path.join(self._resolved_folder, relative))


def _suffix_of(path: str) -> str:
    """The suffix of a file, in lower case."""
    return os.path.splitext(path)[1].lower()


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link in a circle, or into a folder that must not be searched
        return False


def _is_run_folder(path: Path) -> bool:
    return path.suffix == RUN_SUFFIX and any((path / name).exists() for name in _RUN_FILES)


class Folders:
    """Folders and single files of a user, each folder listed once.

    Args:
        paths: Folders, which are searched recursively except for run folders, and files.

    Raises:
        TrainingError: A folder is missing.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._paths = [Path(path) for path in paths]
        missing = next((path for path in self._paths if not (path.is_file() or path.is_dir())), None)
        if missing is not None:
            raise TrainingError(f"no folder '{missing}'", "use a folder with photographs")
        self._listings = {path: Listing(path) for path in self._paths if path.is_dir()}

    def images(self, *, videos: bool = False) -> list[Source]:
        """Every image file, and every single file that is no video; none of them twice.

        Args:
            videos: Find video files, too.
        """
        return self._found(_suffixes(videos=videos), without=() if videos else VIDEO_SUFFIXES)

    def videos(self) -> list[Source]:
        """Every video file, and every single file that is no image; none of them twice."""
        return self._found(VIDEO_SUFFIXES, without=IMAGE_SUFFIXES)

    def _found(self, suffixes: Collection[str], without: Collection[str]) -> list[Source]:
        found: list[Source] = []
        for index, path in enumerate(self._paths):
            if path in self._listings:
                found += self._listings[path].sources(suffixes, index)
            elif path.suffix.lower() not in without:
                found.append(Source(path.resolve(), Path(path.name), index))
        # A photograph found twice, in two overlapping folders, must not be both trained on and held out.
        return list({source.path: source for source in found}.values())

    def others(self, *, videos: bool = False) -> dict[str, int]:
        """How many files below the folders are no images, by suffix, most first; without hidden ones.

        Args:
            videos: Nor videos.
        """
        counts: Counter[str] = Counter()
        known = _suffixes(videos=videos)
        for listing in self._listings.values():
            for path in listing.files:
                suffix = _suffix_of(path)
                if suffix not in known and not any(part.startswith(".") for part in path.split(os.sep)):
                    counts[suffix or "without suffix"] += 1
        return dict(counts.most_common())

    def unreadable(self) -> dict[Path, str]:
        """Why folders in and below them cannot be listed."""
        return {path: why for each in self._listings.values() for path, why in each.unreadable.items()}


def _suffixes(*, videos: bool) -> set[str]:
    return {*IMAGE_SUFFIXES, *(VIDEO_SUFFIXES if videos else ())}


def images_below(folder: Path) -> list[Path]:
    """The image files in and below a folder, by suffix, sorted; without those that runs wrote."""
    return [folder / path for path in Listing(folder).with_suffixes(IMAGE_SUFFIXES)]
