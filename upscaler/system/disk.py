"""What makes a file durable, and takes its room on the disk beforehand."""

import errno
import os
import shutil
import stat
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

if sys.platform == "darwin":
    import fcntl

# What opening or syncing a folder fails with on file systems and in folders that do not allow it.
_FOLDER_CANNOT_BE_SYNCED = {errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}
_ROOM_BYTES = 16 << 20
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


def sync_folder(folder: Path) -> bool:
    """Wait until a folder's names are on the disk, where the system and the file system can.

    Windows does not open folders; NTFS keeps a journal of names.

    Returns:
        Whether they are; without, a power cut may undo what was done last.

    Raises:
        OSError: The disk failed.
    """
    if sys.platform == "win32":
        return True
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_CANNOT_BE_SYNCED:
            raise
        return False
    return True


def missing_durability(folder: Path) -> str:
    """A line for the user if a folder cannot be synced, as where a virtual machine shares it; else empty."""
    existing = existing_folder(folder)
    with suppress(OSError):  # which writing there will meet
        if not sync_folder(existing):
            return f"'{existing}' cannot be synced: after a power cut, the last files may be missing from it"
    return ""


def replace(partial: Path, path: Path) -> None:
    """Rename a file, over an existing one, whose permissions it gets: a private file stays private.

    Raises:
        OSError: It cannot be renamed; on Windows also if another program holds either file open.
    """
    with suppress(OSError):  # there is none, or the file system has no permissions
        partial.chmod(stat.S_IMODE(path.stat().st_mode))
    deadline = time.monotonic() + _HELD_S
    while True:
        try:
            os.replace(partial, path)
            return
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def rename_new(partial: Path, path: Path) -> None:
    """Rename a file, never over an existing one; a link to nothing is replaced.

    Raises:
        FileExistsError: A file has that name.
        OSError: It cannot be renamed.
    """
    if path.is_symlink() and not path.exists():
        replace(partial, path)
    elif sys.platform == "win32":
        partial.rename(path)
    else:
        try:
            path.hardlink_to(partial)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            replace(partial, path)
        else:
            partial.unlink()


def is_full(error: BaseException | None) -> bool:
    """Whether an error or one of its causes is a full disk or an exhausted quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def existing_folder(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists; the top of its drive where none does."""
    absolute = folder.absolute()
    return next((each for each in (absolute, *absolute.parents) if each.is_dir()), Path(absolute.anchor))


def has_room(folder: Path) -> bool:
    """Whether some megabytes can be written in a folder, or else in the nearest one above it that exists."""
    folder = existing_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            reserve(file, _ROOM_BYTES)
        return shutil.disk_usage(folder).free >= _ROOM_BYTES
    except OSError as error:
        return not is_full(error)


def reserve(file: IO[bytes], size_bytes: int) -> None:
    """Give a file its size, and where the system can, the room on the disk for it.

    Raises:
        OSError: There is no room.
    """
    if sys.platform == "linux":  # a disk that fills up later would kill a process that maps the file
        os.posix_fallocate(file.fileno(), 0, size_bytes)
    else:
        file.truncate(size_bytes)
