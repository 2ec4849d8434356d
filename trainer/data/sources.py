"""Where photographs are: the pictures below folders, and which of them are LR versions of which others."""

from dataclasses import dataclass
from pathlib import Path

from upscaler.errors import MediaError, TrainingError
from upscaler.images.formats import IMAGE_SUFFIXES

RUN_SUFFIX = ".run"

# A run writes one of these before its first picture.
_RUN_FILES = ("config.toml", "state.pt", "metrics.csv")


@dataclass(frozen=True)
class Source:
    """A picture that was found.

    Attributes:
        path: Of the file, with links resolved.
        below: The same, from the folder on in which it was found.
        number: Of that folder among those that were searched, from 0.
    """

    path: Path
    below: Path
    number: int


def pictures_below(folder: Path) -> list[Path]:
    """The files in a folder and the folders below it that are pictures by their suffix, sorted.

    What runs of this trainer have left below it is passed over.
    """
    runs = run_folders_below(folder)
    found = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(path for path in found if runs.isdisjoint(path.parents) and path.is_file())


def run_folders_below(folder: Path) -> set[Path]:
    """The folders of runs somewhere below a folder: their pictures are results, not photographs."""
    named = (path for path in folder.rglob(f"*{RUN_SUFFIX}") if path.is_dir())
    return {path for path in named if any((path / name).exists() for name in _RUN_FILES)}


def flat_names(folder: Path) -> dict[Path, str]:
    """The pictures below a folder, and a name without suffix for each with which all fit into one folder.

    It is made of the names of file and folders, from the one below that which is searched on; of a picture
    directly in that, of its name too.

    Raises:
        TrainingError: Two would have one name.
    """
    names: dict[Path, str] = {}
    taken: dict[str, Path] = {}
    for path in pictures_below(folder):
        parts = path.relative_to(folder).with_suffix("").parts
        name = "-".join(parts if len(parts) > 1 else (folder.resolve().name, *parts))
        other = taken.setdefault(name.casefold(), path)  # some systems tell no cases apart
        if other != path:
            raise TrainingError(
                f"'{other}' and '{path}' would both become '{name}.png'", "rename one of them"
            )
        names[path] = name
    return names


def find(folders: tuple[str, ...]) -> list[Source]:
    """Every picture in folders, searched recursively, or among single files; none of them twice.

    Raises:
        TrainingError: A folder is missing.
    """
    sources: list[Source] = []
    for number, folder in enumerate(map(Path, folders)):
        if folder.is_file():
            sources.append(Source(folder.resolve(), Path(folder.name), number))
        elif folder.is_dir():
            sources += [
                Source(path.resolve(), path.relative_to(folder), number) for path in pictures_below(folder)
            ]
        else:
            raise TrainingError(f"no folder '{folder}'", "name a folder with photographs")
    # A photograph named twice, or by way of two folders, must not be both trained on and held out.
    return list({source.path: source for source in sources}.values())


class LrFiles:
    """The files in the LR folders, to be found by the place of the photograph.

    Where there are as many LR folders as folders of photographs, each is for the one of its number;
    otherwise all are for all.

    Args:
        folders: The LR folders.
        scale: HR size over LR size; a name may end in it.
        originals: The photographs.
        original_folders: How many folders they were found in.

    Raises:
        TrainingError: A folder is missing, or it cannot be told which picture belongs to which.
    """

    def __init__(
        self, folders: tuple[str, ...], scale: int, originals: list[Source], original_folders: int
    ) -> None:
        self._endings = ("", f"x{scale}", f"_x{scale}")
        self._by_number = len(folders) == original_folders
        self._paths: dict[tuple[int, Path], list[Path]] = {}
        for source in find(folders):
            self._paths.setdefault(self._place(source), []).append(source.path)
        taken: dict[Path, Source] = {}
        for original in originals:
            lows = self._found(original)
            if len(lows) > 1:
                raise _ambiguous("LR pictures", lows[0], lows[1])
            # A photograph saved in two formats in one folder may well have one LR version.
            if lows and taken.setdefault(lows[0], original).number != original.number:
                raise _ambiguous("photographs", taken[lows[0]].path, original.path)

    def of(self, original: Source) -> Path:
        """The LR version of a photograph; raises a MediaError if there is none."""
        low = self.of_any(original)
        if low is None:
            raise MediaError("no LR picture of it")
        return low

    def of_any(self, original: Source) -> Path | None:
        """The LR version of a photograph, if there is one."""
        lows = self._found(original)
        return lows[0] if lows else None

    def _place(self, source: Source) -> tuple[int, Path]:
        return source.number if self._by_number else 0, source.below.with_suffix("")

    def _found(self, original: Source) -> list[Path]:
        number, below = self._place(original)
        places = ((number, below.with_name(below.name + ending)) for ending in self._endings)
        return next((self._paths[place] for place in places if place in self._paths), [])


def _ambiguous(what: str, one: Path, other: Path) -> TrainingError:
    return TrainingError(
        f"the {what} '{one}' and '{other}' have the same place and name in their folders",
        "name one --lr-dir folder for each folder of photographs, in the same order, or rename them",
    )
