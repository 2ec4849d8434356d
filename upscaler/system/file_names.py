"""What a file system makes of names: which ones it refuses, and which ones it takes for the same.

It is asked, by making empty files in a folder of its own, because the system alone does not decide: Linux
mounts exFAT, and macOS volumes that tell upper from lower case. Only names that could be meant are asked for.
"""

import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from upscaler.system import disk

# Characters, endings and devices that Windows or its file systems refuse:
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DOUBTFUL = re.compile(
    r'[<>:"|?*\\\x00-\x1f]|[. ]$|^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|$)',
    re.IGNORECASE,
)
_LONGEST_PATH_WINDOWS = 259


def folded(path: Path) -> str:
    """What is equal for all paths that some file system takes for the same, and for some others."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", str(path)).casefold())


def are_same(first: Path, second: Path) -> bool:
    """Whether two paths with equal ``folded`` would be the same file; false where it cannot be asked."""
    pairs = [(one, two) for one, two in zip(first.parts, second.parts, strict=False) if one != two]
    with (
        suppress(OSError),
        tempfile.TemporaryDirectory(prefix=".upscale-", dir=_folder_of(first)) as trial,
    ):
        for number, (one, two) in enumerate(pairs):
            folder = Path(trial) / str(number)
            folder.mkdir()
            (folder / one).touch()
            if not (folder / two).exists():
                return False
        return len(first.parts) == len(second.parts)
    return False


def refused(paths: Iterable[Path]) -> list[Path]:
    """Those of the paths whose names the file system would not store as they are; each with its folders."""
    found = []
    doubtful: dict[Path, list[Path]] = {}
    for path in paths:
        folder = _folder_of(path)
        if any(_DOUBTFUL.search(name) for name in _new_names(path, folder)):
            doubtful.setdefault(folder, []).append(path)
    for folder, asked in doubtful.items():
        with suppress(OSError), tempfile.TemporaryDirectory(prefix=".upscale-", dir=folder) as trial:
            found += [
                path for path in asked if not all(_is_stored(trial, n) for n in _new_names(path, folder))
            ]
    return found


def _new_names(path: Path, folder: Path) -> tuple[str, ...]:
    """The names below an existing folder that a path would add."""
    absolute = path.absolute()
    return absolute.relative_to(folder).parts if absolute.is_relative_to(folder) else (path.name,)


def _is_stored(trial: str, name: str) -> bool:
    if not _DOUBTFUL.search(name):
        return True
    try:
        (Path(trial) / name).touch()
    except (OSError, ValueError):
        return False
    # A device takes what is written, a final dot is dropped, and after a colon comes a stream's name.
    return name in {path.name for path in Path(trial).iterdir()}


def _folder_of(path: Path) -> Path:
    """The nearest folder above a path that exists."""
    return disk.existing_folder(path.absolute().parent)


def longest_path() -> int | None:
    """Most characters of a whole path; ``None`` where only the file system limits it.

    Windows allows 259 unless long paths are enabled for the whole machine.
    """
    if sys.platform == "win32":
        import ctypes

        return None if ctypes.WinDLL("ntdll").RtlAreLongPathsEnabled() else _LONGEST_PATH_WINDOWS
    return None
