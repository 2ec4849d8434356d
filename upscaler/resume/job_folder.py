"""The job folder: what is done of a video, kept beside its target while work goes on, so that it can resume.

It holds ``job.json``, the manifest that says what the work belongs to; the closed segments, see
``video/segments.py``; and, at the end, the file put together from them. After success it is gone.
"""

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from upscaler import atomic
from upscaler.errors import MediaError
from upscaler.folder_lock import FolderLock
from upscaler.results import Message, OnMessage

SUFFIX = ".upscaling"
_MANIFEST, _FINISHED = "job.json", "finished.json"
_OURS = ("segment-*", "merged.*", "incomplete.*", f"{_MANIFEST}*", f"{_FINISHED}*")

# Setting of a run -> its value.
Settings = Mapping[str, str | int]


@dataclass(frozen=True)
class Manifest:
    """What the work in a job folder belongs to.

    Attributes:
        fingerprint: All that decides what the frames look like; see ``fingerprint.py``.
        execution: How the networks run, resolved; see ``Upscaler.execution``.
    """

    fingerprint: Settings
    execution: Settings

    def difference(self, fingerprint: Settings) -> str:
        """What is not as it was, in words; empty where nothing is."""
        names = [*self.fingerprint, *(name for name in fingerprint if name not in self.fingerprint)]
        for name in names:
            before, now = self.fingerprint.get(name, "not known"), fingerprint.get(name, "not known")
            if before != now:
                return f"{name} was {before} and is {now}"
        return ""


class JobFolder:
    """The folder, held by one process at a time; a context manager.

    Leaving it without an error removes it. Leaving it with one keeps it where it holds a closed segment,
    without what is half-written, and sends a message that says so; a full disk becomes a ``MediaError``.

    Args:
        target: The video to be written.
        on_message: Called when segments are kept.

    Raises:
        MediaError: The folder cannot be made, another process is at work in it, or its name is taken.
    """

    def __init__(self, target: Path, on_message: OnMessage = lambda _: None) -> None:
        self.target = target
        self._on_message = on_message
        self.path = folder_of(target)

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.path)
        except FileExistsError as error:
            raise MediaError(f"'{self.path}' is in the way", "move it elsewhere") from error
        except BlockingIOError as error:
            raise MediaError(f"another upscale is at work on '{self.target}'", "wait for its end") from error
        except OSError as error:
            raise MediaError(f"cannot write into '{self.path.parent}': {error.strerror}") from error
        if any(self.path.iterdir()) and not any(self.path.glob(f"{_MANIFEST}*")):
            self._lock.release()
            raise MediaError(f"'{self.path}' is no folder of this program", "move it elsewhere")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closed = self._closed()
        if error is None or not closed:
            self._remove("*")
            with suppress(OSError):  # somebody put a file of theirs into it
                self.path.rmdir()
        else:
            self._remove("merged.*", "*.part.*", "*.part")
            text = f"{closed} segments are kept in '{self.path}'; rerun the same command to continue"
            self._on_message(Message("info", text))
        self._lock.release()
        if error is not None and _is_full(error):
            raise MediaError(f"no space is left on the disk of '{self.target}'", "make room") from error

    def manifest(self) -> Manifest | None:
        """What an earlier run left; None where it left nothing, or nothing that can be read."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads((self.path / _MANIFEST).read_text(encoding="utf-8"))
            return Manifest(dict(content["fingerprint"]), dict(content["execution"]))
        return None

    def begin(self, manifest: Manifest) -> None:
        """Remove what an earlier run left, and write the manifest.

        Raises:
            MediaError: The disk failed.
        """
        self._remove("segment-*", "merged.*", "incomplete.*", f"{_FINISHED}*")
        try:
            atomic.write_json(self.path / _MANIFEST, asdict(manifest))
        except OSError as error:
            raise MediaError(f"cannot write into '{self.path}': {error.strerror}") from error

    def publish(self, merged: Path) -> None:
        """Put the finished file under the target's name.

        A run that is killed between this and the end of the context has done its work: ``was_finished``.

        Raises:
            MediaError: The disk failed.
        """
        try:
            atomic.write_json(self.path / _FINISHED, _identity(merged))
            atomic.publish(merged, self.target)
        except OSError as error:
            raise MediaError(f"'{self.target}' cannot be written: {error.strerror}") from error

    def _closed(self) -> int:
        """How many closed segments there are."""
        return sum(1 for _ in self.path.glob("segment-*.json"))

    def _remove(self, *patterns: str) -> None:
        """Remove files of ours that match."""
        ours = {path for pattern in _OURS for path in self.path.glob(pattern)}
        for path in ours & {path for pattern in patterns for path in self.path.glob(pattern)}:
            with suppress(OSError):
                path.unlink()


def folder_of(target: Path) -> Path:
    """The job folder of a target: ``film_x4.mp4.upscaling`` beside ``film_x4.mp4``."""
    return target.with_name(target.name + SUFFIX)


def was_finished(target: Path) -> bool:
    """Whether the target is the work of a run that was killed before it could remove its folder."""
    with suppress(OSError, ValueError):
        finished = json.loads((folder_of(target) / _FINISHED).read_text(encoding="utf-8"))
        return bool(finished == _identity(target))
    return False


def _identity(path: Path) -> dict[str, int]:
    """What stays the same when a file is renamed, and changes when another takes its place."""
    status = path.stat()
    return {"inode": status.st_ino, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _is_full(error: BaseException) -> bool:
    """Whether an error, or one that led to it, is a full disk or a used-up quota."""
    return any(
        isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT) for each in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
