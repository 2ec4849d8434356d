"""Atomic and durable files: after a crash or a power cut, a name has its old or its whole new content."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from upscaler.system import disk, own_files

_LONGEST_STEM = 40  # characters of the name that a temporary name repeats; file systems allow 255 bytes


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
    partial = hidden_name(path)
    try:
        create(partial)
        yield partial
        publish(partial, path, replaces=replaces)
    finally:
        discard(partial)


def hidden_name(path: Path) -> Path:
    """A fresh hidden name next to ``path``, with the suffix of ``path`` in lower case."""
    return path.with_name(f".{path.stem[:_LONGEST_STEM]}.{secrets.token_hex(4)}.part{path.suffix.lower()}")


def create(partial: Path) -> None:
    """Create an empty file, to be published or discarded, with the mode of any new file.

    Raises:
        OSError: It cannot be created.
    """
    # `tempfile` would make the file private, and asking for the umask sets it.
    os.close(own_files.create(partial))


def discard(partial: Path) -> None:
    """Remove a file that has not got its final name, if it is still there."""
    with suppress(OSError):
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of our own, which only one process writes.

    It is written as ``NAME.part`` first, so that after a kill the next write replaces what was left.

    Raises:
        OSError: It cannot be written; the old file stays.
    """
    partial = path.with_name(f"{path.name}.part")
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
