"""File systems that lack something."""

import errno
import os
import stat

import pytest


def without_folder_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders cannot be synced, as where a virtual machine shares them; files can."""
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
