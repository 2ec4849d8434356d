"""Locks of folders: one process at a time, on file systems with and without locks."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.messages import Messages

from upscaler.resume.job_folder import JobFolder
from upscaler.system import folder_lock
from upscaler.system.folder_lock import FolderLock


def test_the_lock_of_a_killed_process_does_not_count(tmp_path: Path) -> None:
    code = (
        "import os, pathlib; from upscaler.system.folder_lock import FolderLock; "
        "lock = FolderLock(pathlib.Path('job')); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert [path.name for path in tmp_path.iterdir()] == [".job.lock"]
    FolderLock(tmp_path / "job").release()
    assert not list(tmp_path.iterdir())


def test_a_leftover_is_removed_unless_it_is_held(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "job")
    folder_lock.remove_leftover(tmp_path / "job")
    assert (tmp_path / ".job.lock").exists()
    lock.release()
    (tmp_path / ".job.lock").touch()
    folder_lock.remove_leftover(tmp_path / "job")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_work_goes_on_with_a_note_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def fail(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    said = Messages()
    with JobFolder(tmp_path / "out.mp4", said):
        pass
    assert folder_lock.NO_LOCKS in said
    assert not list(tmp_path.iterdir())
