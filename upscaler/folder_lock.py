"""A lock that lets only one process work in a folder."""

import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl


class FolderLock:
    """Locks a folder for this process until it is released or the process ends, however it ends.

    Without effect on Windows.

    Args:
        folder: An existing one.

    Raises:
        BlockingIOError: Another process has locked it.
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
        """Let other processes lock it."""
        if sys.platform != "win32":
            os.close(self._descriptor)
