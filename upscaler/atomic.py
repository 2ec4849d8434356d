"""Files that are there as a whole or not at all, whatever happens to the program or to the power."""

import json
import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl


def publish(partial: Path, path: Path) -> None:
    """Put a finished file under its name, for good: its bytes first, then the name.

    Args:
        partial: The file, closed; on the same disk as ``path``.
        path: Its name; what stood there is replaced.

    Raises:
        OSError: The disk failed; what stood under the name then still stands there.
    """
    _sync(partial)
    os.replace(partial, path)
    if sys.platform != "win32":
        _sync(path.parent)  # the folder too, or a power cut may undo the renaming


def write_json(path: Path, content: object) -> None:
    """Write a JSON file.

    Raises:
        OSError: The disk failed.
    """
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    publish(partial, path)


class Lock:
    """Holds a folder for this process until it is released or the process ends, however it ends.

    Without effect on Windows.

    Args:
        folder: An existing one.

    Raises:
        BlockingIOError: Another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        if sys.platform != "win32":
            self._descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._descriptor)
                raise

    def release(self) -> None:
        """Let others have it."""
        if sys.platform != "win32":
            os.close(self._descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
