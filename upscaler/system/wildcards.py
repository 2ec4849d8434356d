"""Wildcards that no shell has expanded: cmd and PowerShell hand ``*.jpg`` to the program as it is."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def expand(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths; each that has wildcards and names no file, as what it matches, sorted.

    ``*``, ``?``, ``[a-z]``, and ``**`` for folders in folders. What matches nothing stays.
    """
    for path in paths:
        text = str(path)
        matches = [] if os.path.lexists(text) or not glob.has_magic(text) else glob.glob(text, recursive=True)
        yield from sorted(map(Path, matches)) or [path]
