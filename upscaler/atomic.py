"""Atomic and durable files: after a crash or a power cut, a name has its old or its whole new content."""

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from upscaler.system import disk, held_file, own_files
from upscaler.system.held_file import HeldFile

_LONGEST_STEM = 40  # characters of the name that a temporary name repeats; file systems allow 255 bytes
# The names of `Partial`, and of the file with which `own_files` asks who owns new ones.
_HIDDEN = re.compile(r"\.(?:.{1,40}\.)?[0-9a-f]{8}\.part(?:\..+)?", re.DOTALL)


@contextmanager
def replacing(path: Path, *, replaces: bool = True) -> Iterator[Path]:
    """Create an empty file next to ``path`` to write to, and give it that name when the block ends.

    If the block raises, it is removed, and what ``path`` named before stays.

    Args:
        path: The name.
        replaces: Replace a file that has it.

    Raises:
        FileExistsError: A file has the name, and is not replaced.
        OSError: The file cannot be created, synced or renamed.
    """
    partial = Partial(path)
    try:
        partial.create()
        yield partial.path
        partial.publish(replaces=replaces)
    finally:
        partial.discard()


class Partial:
    """A file that has not got its name yet: ``create`` it, write it, then ``publish`` or ``discard`` it.

    It has a hidden name next to its final one, with the suffix of that in lower case. Until then it is held:
    what a killed process leaves, ``remove_leftovers`` of the next one removes.

    Args:
        name: Its final name.

    Attributes:
        path: Its hidden name.
    """

    def __init__(self, name: Path) -> None:
        hidden = f".{name.stem[:_LONGEST_STEM]}.{secrets.token_hex(4)}.part{name.suffix.lower()}"
        self.path = name.with_name(hidden)
        self._name = name
        self._held: HeldFile | None = None

    def create(self) -> None:
        """Create an empty file, with the mode of any new file.

        Raises:
            OSError: It cannot be created.
        """
        # `tempfile` would make the file private, and asking for the umask sets it.
        self._held = HeldFile(self.path)

    def publish(self, *, replaces: bool = True) -> None:
        """Give it its name; see the function ``publish``.

        Raises:
            FileExistsError: A file has the name, and is not replaced.
            OSError: The disk failed.
        """
        if self._held:
            self._held.release_to_rename()
        publish(self.path, self._name, replaces=replaces)

    def discard(self) -> None:
        """Remove it, unless it has its name."""
        if self._held:
            self._held.release()
        discard(self.path)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left under hidden names in a folder; what another one writes stays."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if _HIDDEN.fullmatch(name):
                with suppress(OSError):
                    held_file.remove_unless_held(folder / name)


def discard(partial: Path) -> None:
    """Remove a file that has not got its final name, if it is still there."""
    with suppress(OSError):
        partial.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Under which name ``write_bytes`` writes a file first."""
    return path.with_name(f"{path.name}.part")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of our own, which only one process writes.

    It is written as ``NAME.part`` first, so that after a kill the next write replaces what was left.

    Raises:
        OSError: It cannot be written; the old file stays.
    """
    partial = part_of(path)
    try:
        with os.fdopen(own_files.create(partial), "wb") as file:
            file.write(content)
        publish(partial, path)
    finally:
        discard(partial)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file as ``write_bytes`` does.

    Raises:
        OSError: It cannot be written; the old file stays.
    """
    write_bytes(path, json.dumps(content, indent=1).encode())


def publish(partial: Path, path: Path, *, replaces: bool = True) -> None:
    """Give a finished file its final name, durably.

    The order matters: without the first sync a power cut may leave the name with an empty file, without the
    last it may undo the renaming.

    Args:
        partial: The file, closed; on the same file system as ``path``.
        path: Its name.
        replaces: Replace a file of that name.

    Raises:
        FileExistsError: A file has the name, and is not replaced.
        OSError: The disk failed; ``path`` names either the old or the new file, each whole.
    """
    disk.sync_file(partial)
    if replaces:
        disk.replace(partial, path)
    else:
        disk.rename_new(partial, path)
    disk.sync_folder(path.parent)
