"""Files of our own in folders that others may write to: no link is followed, nothing foreign is used.

A folder is ours if it has the owner that our new files get there; on file systems without owners every folder
has. A file in it is ours if it is a regular file with the folder's owner.
"""

import os
import secrets
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

# Windows has neither; there a link is looked for first, and opening one takes a privilege.
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a pipe without a writer would block


class NotOursError(OSError):
    """A file or folder is a link, or belongs to another user."""


def create(path: Path) -> int:
    """Create a file for writing; whatever had its name, such as what was left of a kill, is removed.

    Returns:
        The file descriptor; the file has the mode of any new file.

    Raises:
        OSError: The file cannot be created.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    # The kernel applies the umask. With O_EXCL, a link that has appeared since is an error.
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, 0o666)


def read(path: Path) -> bytes:
    """The content of a file of ours.

    Raises:
        NotOursError: It is not ours.
        OSError: It cannot be read.
    """
    with opened(path) as file:
        return file.read()


def opened(path: Path) -> BufferedReader:
    """Open a file of ours for reading.

    Raises:
        NotOursError: It is not ours.
        OSError: It cannot be opened.
    """
    _check(path, path.lstat())
    # What has taken its place since is not followed if it is a link, and checked if it is a file.
    file = os.fdopen(os.open(path, os.O_RDONLY | _NO_FOLLOW | _NO_WAIT | _BINARY), "rb")
    try:
        _check(path, os.fstat(file.fileno()))
    except BaseException:
        file.close()
        raise
    return file


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotOursError(f"'{path}' is not a regular file")
    if status.st_uid != path.parent.lstat().st_uid:
        raise NotOursError(f"'{path}' belongs to another user")


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may use, and the folders above it; an existing one must be ours.

    Raises:
        FileExistsError: A file or a link has its name.
        NotOursError: It belongs to another user.
        OSError: It cannot be made, or files cannot be written into it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise
        if status.st_uid != _owner_of_new_files(path):
            raise NotOursError(f"'{path}' belongs to another user") from None
        with suppress(OSError):  # on file systems that have no modes
            path.chmod(0o700)


def _owner_of_new_files(folder: Path) -> int:
    trial = folder / f".{secrets.token_hex(4)}.part"
    descriptor = create(trial)
    try:
        return os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
        trial.unlink(missing_ok=True)  # another process may have taken it for what was left
