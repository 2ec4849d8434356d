"""A file that is being written is held, so that other processes can tell it from what a killed one has left.

On POSIX it is locked, and the system unlocks it when the process ends, however it ends. On Windows it is
open, and an open file cannot be removed.
"""

import os
import stat
import sys
from pathlib import Path

from upscaler.system import own_files

if sys.platform != "win32":
    import fcntl


class HeldFile:
    """Creates an empty file, as ``own_files.create`` does, and holds it until ``release``.

    Raises:
        OSError: It cannot be created.
    """

    def __init__(self, path: Path) -> None:
        descriptor = own_files.create(path)
        # Before it was locked, another process may have taken it for what was left.
        while not _is_lockable(descriptor) or os.fstat(descriptor).st_nlink == 0:
            os.close(descriptor)
            descriptor = own_files.create(path)
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Hold it no longer; may be called again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def release_to_rename(self) -> None:
        """Call before it is renamed: Windows renames no open file. Elsewhere it stays held."""
        if sys.platform == "win32":
            self.release()


def _is_lockable(descriptor: int) -> bool:
    """Lock an open file; false if another process has locked it. Without locks, it goes unlocked."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # as on Lustre, where `remove_unless_held` removes nothing either
            return True
    return True


def remove_unless_held(path: Path) -> None:
    """Remove a file of this user's that no process holds.

    Raises:
        OSError: It is held, it cannot be opened or removed, or the file system has no locks.
    """
    if sys.platform == "win32":
        path.unlink()
    else:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        finally:
            os.close(descriptor)
