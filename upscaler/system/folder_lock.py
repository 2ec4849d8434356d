"""A lock that lets only one process work in a folder."""

import errno
import sys
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

NO_LOCKS = "the file system has no locks: do not start the same work twice"
# What locking fails with there: on Lustre, for example, or in a folder shared with a virtual machine.
_MISSING = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}


class FolderLock:
    """Locks a folder for this process until it is released or the process ends, however it ends.

    The lock is on a hidden file beside the folder: Windows neither locks a folder nor renames one that holds
    an open file.

    Args:
        folder: It need not exist.

    Attributes:
        works: False if the file system has no locks, so that nothing keeps other processes out.

    Raises:
        BlockingIOError: Another process, or this one, has locked it.
        OSError: The file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._file = lock_file_of(folder)
        self.works = True
        # Not thread-local: a thread may release what another one has locked. Without flock, filelock would
        # use the existence of the file, which outlives a process that is killed.
        self._lock = FileLock(self._file, thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise BlockingIOError(errno.EAGAIN, "locked by another process", str(self._file)) from error
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            self.works = False

    def release(self) -> None:
        """Let other processes lock it, and remove the file."""
        if sys.platform != "win32":  # where filelock removes it, after unlocking
            with suppress(OSError):
                self._file.unlink()
        self._lock.release()


def remove_leftover(folder: Path) -> None:
    """Remove the file of a lock whose process was killed; nothing happens while a process holds it."""
    if lock_file_of(folder).is_file():
        with suppress(OSError):
            FolderLock(folder).release()


def lock_file_of(folder: Path) -> Path:
    """The file that stands for a folder's lock: ``.NAME.lock`` beside it."""
    return folder.with_name(f".{folder.name}.lock")
