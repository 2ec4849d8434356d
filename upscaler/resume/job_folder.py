"""The job folder next to a video's target: keeps what is encoded, so that an interrupted job can resume.

It contains ``job.json``, the manifest, which says what the segments belong to; the segments, see
``video/segments.py``; and at the end the merged file. After success it is removed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from upscaler import atomic
from upscaler.errors import TAKEN_HINT, DiskFullError, MediaError, NetworkError, TargetTakenError, UsageError
from upscaler.results import Message, OnMessage
from upscaler.system import disk, folder_lock, own_files
from upscaler.system.folder_lock import FolderLock

SUFFIX = ".upscaling"
_MANIFEST, _FINISHED = "job.json", "finished.json"
_OURS = ("segment-*", "merged.*", "incomplete.*", f"{_MANIFEST}*", f"{_FINISHED}*")

# Setting of a run -> its value.
Settings = Mapping[str, str | int]


@dataclass(frozen=True)
class Manifest:
    """What the segments in a job folder belong to.

    Attributes:
        fingerprint: Everything that determines the bytes of the segments; see ``fingerprint.py``.
        execution: How the networks ran; see ``Upscaler.execution``.
    """

    fingerprint: Settings
    execution: Settings

    def difference(self, fingerprint: Settings) -> str:
        """The first entry that differs, in words; empty if both are equal."""
        for name in dict.fromkeys((*self.fingerprint, *fingerprint)):
            before, now = self.fingerprint.get(name, "unknown"), fingerprint.get(name, "unknown")
            if before != now:
                return f"{name} was {before} and is {now}"
        return ""


class JobFolder:
    """The folder, locked for one process at a time; a context manager.

    Leaving it without an error removes it. Leaving it with an error removes incomplete files; if there are
    complete segments, it keeps them and sends a message that says so. A full disk becomes a ``MediaError``.

    Args:
        target: The video to be written.
        on_message: Called when segments are kept, and when the file system has no locks.

    Raises:
        MediaError: The folder cannot be made, another process uses it, or something else has its name; or it
            belongs to another user.
    """

    def __init__(self, target: Path, on_message: OnMessage = lambda _: None) -> None:
        self.target = target
        self._on_message = on_message
        self.path = folder_of(target)
        self._is_unwanted = self._is_left = False

    def __enter__(self) -> Self:
        try:
            own_files.make_folder(self.path)
            self._lock = FolderLock(self.path)
        except FileExistsError as error:
            raise MediaError(f"'{self.path}' already exists, and is a file or a link", "move it") from error
        except own_files.NotOursError as error:
            hint = "move it, or write to another folder"
            raise MediaError(f"the job folder '{self.path}' belongs to another user", hint) from error
        except BlockingIOError as error:
            text = f"another upscale is writing '{self.target}'"
            raise TargetTakenError(text, "wait until it ends") from error
        except OSError as error:
            raise MediaError(f"cannot write to '{self.path.parent}': {error.strerror}") from error
        if any(self.path.iterdir()) and not any(self.path.glob(f"{_MANIFEST}*")):
            self._lock.release()
            raise MediaError(f"the folder '{self.path}' is not a job folder of upscale", "move it")
        atomic.remove_leftovers(self.path)
        if not self._lock.works:
            self._on_message(Message("info", folder_lock.NO_LOCKS))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        segments = sum(1 for _ in self.path.glob("segment-*.json"))
        if self._is_left:
            self._lock.release()
            return
        if error is None or not segments or self._is_unwanted:
            self._discard()
        else:
            _remove(self.path, "merged.*", "*.part.*", "*.part")
            kept = "1 segment" if segments == 1 else f"{segments} segments"
            hint = "; rerun the same command to continue" if _may_succeed_later(error) else ""
            self._on_message(Message("info", f"kept {kept} in '{self.path}'{hint}"))
        self._lock.release()
        if disk.is_full(error):
            raise DiskFullError(f"no space left on the disk of '{self.target}'", "free some") from error

    def leave(self) -> None:
        """Keep the folder as it is, for whoever enters it next."""
        self._is_left = True

    def manifest(self) -> Manifest | None:
        """The manifest of an earlier run; ``None`` if there is none, or none that can be read."""
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            content = json.loads(own_files.read(self.path / _MANIFEST))
            return Manifest(dict(content["fingerprint"]), dict(content["execution"]))
        return None

    def begin(self, manifest: Manifest) -> None:
        """Remove the files of an earlier run, and write the manifest.

        Raises:
            MediaError: The disk failed.
        """
        _remove(self.path, "segment-*", "merged.*", "incomplete.*", f"{_FINISHED}*")
        try:
            atomic.write_json(self.path / _MANIFEST, asdict(manifest))
        except OSError as error:
            raise MediaError(f"cannot write to '{self.path}': {error.strerror}") from error

    def publish(
        self,
        merged: Path,
        *,
        replaces: bool = True,
        is_skippable: bool = False,
        deliver: Callable[[], None] = lambda: None,
    ) -> None:
        """Give the finished file the target's name.

        If the process is killed after this and before the context ends, ``was_finished`` recognises that the
        job is done.

        Args:
            merged: The file, in this folder.
            replaces: Replace an existing target.
            is_skippable: If the target exists, nothing of the job is kept.
            deliver: Called when the target has its name, to send it on; if that fails, the segments are kept.

        Raises:
            TargetTakenError: The target exists by now, and is not replaced.
            MediaError: The disk failed.
        """
        try:
            atomic.write_json(self.path / _FINISHED, _identity(merged))
            atomic.publish(merged, self.target, replaces=replaces)
        except FileExistsError as error:
            _remove(self.path, f"{_FINISHED}*")
            self._is_unwanted = is_skippable
            raise TargetTakenError(
                f"'{self.target}' exists by now, and is not replaced", TAKEN_HINT
            ) from error
        except OSError as error:
            raise MediaError(f"cannot write '{self.target}': {error.strerror}") from error
        try:
            deliver()
        except TargetTakenError:
            _remove(self.path, f"{_FINISHED}*")
            self._is_unwanted = is_skippable
            raise

    def _discard(self) -> None:
        """Remove the folder; a file in it that is not ours keeps it.

        First it gets another name: a process killed between two of the files would else leave a folder that
        is neither that of a finished job nor of one that can resume. ``remove_leftovers`` finds that name.
        """
        leftovers = _leftovers_of(self.target)
        try:
            self.path.rename(leftovers)
        except OSError:  # such as a name that is too long
            leftovers = self.path
        _remove(leftovers, "*")
        try:
            leftovers.rmdir()
        except OSError:
            with suppress(OSError):
                leftovers.rename(self.path)


def _remove(folder: Path, *patterns: str) -> None:
    """Remove the matching files, if they are of a kind that upscale writes there."""
    ours = {path for pattern in _OURS for path in folder.glob(pattern)}
    for path in ours & {path for pattern in patterns for path in folder.glob(pattern)}:
        with suppress(OSError):
            path.unlink()


def folder_of(target: Path) -> Path:
    """The job folder of a target: ``film_x4.mp4.upscaling`` next to ``film_x4.mp4``."""
    return target.with_name(target.name + SUFFIX)


def longest_path_of(target: Path) -> Path:
    """The longest path that a job writes in its folder."""
    return folder_of(target) / "segment-000000.json.part"


def _leftovers_of(target: Path) -> Path:
    """The name of a job folder while it is removed; not an input either, for it ends like a job folder."""
    return target.with_name(f"{target.name}.removing{SUFFIX}")


def remove_leftovers(target: Path) -> None:
    """Remove what a process left that was killed while it removed the job folder of this target."""
    leftovers = _leftovers_of(target)
    with suppress(OSError):  # its name may be too long to ask for
        if _is_folder(leftovers):
            _remove(leftovers, "*")
            leftovers.rmdir()
        folder_lock.remove_leftover(folder_of(target))


def was_finished(target: Path) -> bool:
    """Whether the target was written by a run that was killed before it removed its job folder."""
    with suppress(OSError, ValueError, RecursionError):
        folder = folder_of(target)
        # The target was not made by somebody else's job.
        if _is_folder(folder) and folder.lstat().st_uid == target.lstat().st_uid:
            return bool(json.loads(own_files.read(folder / _FINISHED)) == _identity(target))
    return False


def _is_folder(path: Path) -> bool:
    """Whether it is one, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def _identity(path: Path) -> dict[str, int]:
    """Properties of a file that renaming keeps, and that another file of the same name does not share."""
    status = path.stat()
    return {"inode": status.st_ino, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _may_succeed_later(error: BaseException) -> bool:
    """Whether the same command may succeed: not where the file or the options led to the error.

    What FFmpeg calls invalid data or an invalid argument is a ``ValueError``; a disk, a network drive or
    memory fails with an ``OSError``.
    """
    fails_again = isinstance(error, MediaError | UsageError) and not isinstance(error, NetworkError)
    return not fails_again or any(
        isinstance(each, OSError | MemoryError) and not isinstance(each, ValueError)
        for each in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
