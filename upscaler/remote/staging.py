"""Where remote files are staged: a folder of its own for every command line, in the cache.

The same command finds the folder of an earlier run, and with it the job folders of videos that were
interrupted; everything else is removed at the end.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from upscaler import image_sequences
from upscaler.cache_folder import cache_folder
from upscaler.errors import UpscalerError, UsageError
from upscaler.jobs import JobList
from upscaler.options import Options
from upscaler.remote.announcing import announce_inputs, announce_targets
from upscaler.remote.files import Files
from upscaler.remote.mirror import Mirror
from upscaler.remote.store import Store
from upscaler.remote.urls import any_remote, is_remote, local_path, url_of
from upscaler.system import own_files
from upscaler.system.folder_lock import FolderLock

_CACHE = "remote"
# What needs all files of a batch together, or what objects do not have.
_LOCAL_ONLY = ("compare", "keep_dates")


@contextmanager
def staged(inputs: Iterable[Path], options: Options, job_list: JobList | None = None) -> Iterator[Files]:
    """Stage what is remote among the inputs and the output, until the block ends.

    Args:
        inputs: Paths, and URLs as paths.
        options: Likewise.
        job_list: The plan, if another process has made it: this one works on in the folder of that one.

    Raises:
        UsageError: An input does not exist, or the options need local files.
        MediaError: A store cannot be asked.
        CacheError: There is no cache folder.
    """
    inputs = [local_path(path) for path in inputs]
    output = None if options.output_path is None else local_path(options.output_path)
    if not any_remote([*inputs, output]):
        yield Files(inputs, replace(options, output=output))
        return
    _check([*inputs, output], options)
    with _own_folder([*inputs, output], job_list) as folder:
        mirror, store = Mirror(folder), Store()
        options = replace(options, output=output and _local(output, mirror))
        files = Files([_local(path, mirror) for path in inputs], options, mirror, store)
        try:
            if job_list is None:
                mirror.clean()
                announce_inputs([url_of(path) for path in inputs if is_remote(path)], mirror, store)
                announce_targets(files, mirror, store)
            yield files
        except UpscalerError as error:
            raise type(error)(files.shown(error.message), files.shown(error.hint)) from error
        finally:
            files.close()
            with suppress(OSError):
                mirror.clean()


def _check(paths: Sequence[Path | None], options: Options) -> None:
    for name in _LOCAL_ONLY:
        if getattr(options, name):
            text = f"--{name.replace('_', '-')} needs local files"
            raise UsageError(text, "leave it out, or copy the files first")
    for path in paths:
        if path is not None and is_remote(path) and image_sequences.is_pattern(path):
            text = f"'{url_of(path)}': numbered images must be local files"
            raise UsageError(text, "copy them first, or use a video")


def _local(path: Path, mirror: Mirror) -> Path:
    if not is_remote(path):
        return path
    local = mirror.local(url_of(path))
    if local is None:
        raise UsageError(f"'{url_of(path)}' cannot be the name of a file")
    return local


@contextmanager
def _own_folder(paths: Sequence[Path | None], job_list: JobList | None) -> Iterator[Path]:
    """A folder that this process alone uses: the one of an earlier run of the same command, if it is free."""
    name = hashlib.sha256("\0".join(map(str, paths)).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    parent = cache_folder(_CACHE) / name
    for number in count(1):
        folder = parent / str(number)
        if job_list and not _is_planned_in(job_list, folder):
            continue
        own_files.make_folder(folder)
        try:
            lock = FolderLock(folder)
        except BlockingIOError:
            continue
        break
    try:
        own_files.make_folder(folder)  # its last user may have removed it meanwhile
        yield folder
    finally:
        for each in (folder, parent):
            with suppress(OSError):  # it holds job folders, or the folder of another run
                each.rmdir()
        lock.release()


def _is_planned_in(job_list: JobList, folder: Path) -> bool:
    return any(path.is_relative_to(folder) for job in job_list.jobs for path in (job.source, job.target))
