"""What makes a file durable, and takes its room on the disk beforehand."""

import errno
import os
import sys
import time
from pathlib import Path
from typing import IO

if sys.platform == "darwin":
    import fcntl

# What opening or syncing a folder fails with on file systems and in folders that do not allow it.
_FOLDER_CANNOT_BE_SYNCED = {errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
# How long a file may be held by a virus scanner or an indexer, which open every new file on Windows.
_HELD_S = 2.0


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk.

    Raises:
        OSError: The disk failed.
    """
    descriptor = os.open(path, os.O_RDWR)  # Windows syncs no file that was opened for reading
    try:
        os.fsync(descriptor)
        if sys.platform == "darwin":  # where fsync leaves it in the drive's own cache
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk, where the system and the file system can.

    Windows does not open folders; NTFS keeps a journal of names.

    Raises:
        OSError: The disk failed.
    """
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_CANNOT_BE_SYNCED:
            raise


def replace(partial: Path, path: Path) -> None:
    """Rename a file, over an existing one.

    Raises:
        OSError: It cannot be renamed; on Windows also if another program holds either file open.
    """
    deadline = time.monotonic() + _HELD_S
    while True:
        try:
            os.replace(partial, path)
            return
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def reserve(file: IO[bytes], size_bytes: int) -> None:
    """Give a file its size, and where the system can, the room on the disk for it.

    Raises:
        OSError: There is no room.
    """
    if sys.platform == "linux":  # a disk that fills up later would kill a process that maps the file
        os.posix_fallocate(file.fileno(), 0, size_bytes)
    else:
        file.truncate(size_bytes)
