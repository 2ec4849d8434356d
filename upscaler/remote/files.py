"""The files of a batch, wherever they are. Those of an object store are staged in the cache folder.

A run has a folder of its own there. The same command finds the folder of an earlier run, and with it the job
folders of videos that were interrupted; everything else is removed at the end.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from upscaler import image_sequences, jobs
from upscaler.cache_folder import cache_folder
from upscaler.content import HEAD_BYTES, kind_of
from upscaler.errors import MediaError, UpscalerError, UsageError
from upscaler.jobs import Job, JobList
from upscaler.options import Options
from upscaler.remote.fetching import Fetching
from upscaler.remote.mirror import Mirror
from upscaler.remote.store import Entry, Store
from upscaler.remote.urls import any_remote, is_remote, local_path, url_of
from upscaler.system import own_files
from upscaler.system.folder_lock import FolderLock

_CACHE = "remote"
# What reads several files at once, or writes what belongs to them.
_LOCAL_ONLY = ("compare", "keep_dates")
# From this number of names in one folder on, they are listed instead of asked for one by one.
_LISTED_FROM = 10
# For signals: on Windows, Ctrl-C does not end a wait.
_POLL_S = 0.2


class Files:
    """The files of a batch. For local ones, nothing needs to be done.

    Args:
        inputs: Local paths.
        options: With local paths.
        mirror: Where remote files are staged; ``None`` if there are none.
        store: Where they come from.
        job_list: The plan, if it was made before.

    Attributes:
        inputs: As given.
        options: As given.
        notes: What is to be said about the whole batch.
    """

    def __init__(
        self,
        inputs: Sequence[Path],
        options: Options,
        mirror: Mirror | None = None,
        store: Store | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.inputs, self.options, self.notes = list(inputs), options, list(notes)
        self._mirror, self._store = mirror, store
        self._fetching: Fetching | None = None

    def expect(self, planned: Iterable[Job]) -> None:
        """Begin to fetch the sources of jobs, in their order."""
        if self._mirror and self._store:
            sources = [job.source for job in planned if self._mirror.url(job.source)]
            self._fetching = Fetching(self._store, self._mirror, sources)

    def is_here(self, job: Job) -> bool:
        """Whether the source of a job can be read. If not, it is being fetched from now on."""
        return not (self._fetching and self._is_remote(job.source)) or self._fetching.is_here(job.source)

    def fetch(self, job: Job) -> None:
        """Wait until the source of a job can be read.

        Raises:
            MediaError: It cannot be fetched.
        """
        if self._fetching and self._is_remote(job.source):
            self._fetching.need(job.source)

    def release(self, job: Job) -> None:
        """The source of a job is not needed any more."""
        if self._fetching and self._is_remote(job.source):
            self._fetching.release(job.source)

    def has_result(self, job: Job) -> bool:
        """Whether a target of a job exists by now.

        Raises:
            MediaError: The store cannot be asked.
        """
        urls = self._urls(jobs.targets_of(job))
        if not urls or not self._store:
            return job.has_result()
        return any(self._store.find(url) for url in urls.values())

    def deliver(self, job: Job) -> None:
        """Give what a job has written to whoever keeps it: an object store, if its target is there.

        Raises:
            TargetTakenError: The target exists by now, and is not replaced.
            MediaError: It cannot be uploaded.
        """
        if not self._store:
            return
        for path, url in self._urls(jobs.targets_of(job)).items():
            with ThreadPoolExecutor(1, "deliver") as thread:
                upload = thread.submit(self._store.put, path, url, replaces=job.replaces)
                try:
                    while not upload.done():
                        wait([upload], _POLL_S)
                except BaseException:
                    self._store.stop()
                    raise
                upload.result()
            with suppress(OSError):
                path.unlink()

    def shown(self, text: str) -> str:
        """A text for the user, with URLs in place of paths of the staging folder."""
        return self._mirror.shown(text) if self._mirror else text

    def given(self, path: Path) -> Path:
        """A path as the caller knows it: with a URL in place of one of the staging folder."""
        url = self._mirror.url(path) if self._mirror else None
        return path if url is None else Path(url)

    def close(self) -> None:
        """Stop all transfers."""
        if self._fetching:
            self._fetching.close()

    def _is_remote(self, path: Path) -> bool:
        return self._mirror is not None and self._mirror.url(path) is not None

    def _urls(self, paths: Iterable[Path]) -> dict[Path, str]:
        if not self._mirror:
            return {}
        return {path: url for path in paths if (url := self._mirror.url(path))}


@contextmanager
def opened(inputs: Iterable[Path], options: Options, job_list: JobList | None = None) -> Iterator[Files]:
    """Stage what is remote among the inputs and the output, until the block ends.

    Args:
        inputs: Paths, and URLs as paths.
        options: Likewise.
        job_list: The plan, if another process has made it; it then works on in the folder of that one.

    Raises:
        UsageError: An input does not exist, or the options need local files.
        MediaError: A store cannot be asked.
    """
    inputs = [local_path(path) for path in inputs]
    output = None if options.output_path is None else local_path(options.output_path)
    options = replace(options, output=output)
    if not any_remote([*inputs, output]):
        yield Files(inputs, options)
        return
    _check(inputs, options)
    urls = [url_of(path) for path in (*inputs, *([output] if output else [])) if is_remote(path)]
    with _own_folder([*map(str, inputs), str(output)], job_list) as folder:
        mirror, store = Mirror(folder), Store()
        files = Files(
            [_staged(path, mirror) for path in inputs],
            replace(options, output=output and _staged(output, mirror)),
            mirror,
            store,
        )
        try:
            if job_list is None:
                mirror.clean()
                files.notes = _announce_inputs(urls, inputs, mirror, store)
                _announce_targets(files, mirror, store)
            yield files
        except UpscalerError as error:
            raise type(error)(files.shown(error.message), files.shown(error.hint)) from error
        finally:
            files.close()
            with suppress(OSError):
                mirror.clean()


def _check(inputs: Sequence[Path], options: Options) -> None:
    for name in _LOCAL_ONLY:
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} needs local files", "leave it out, or copy the files first")
    for path in (*inputs, options.output_path):
        if path is not None and is_remote(path) and image_sequences.is_pattern(path):
            text = f"'{url_of(path)}': numbered images must be local files"
            raise UsageError(text, "copy them first, or use a video")


def _staged(path: Path, mirror: Mirror) -> Path:
    if not is_remote(path):
        return path
    local = mirror.local(url_of(path))
    if local is None:
        raise UsageError(f"'{url_of(path)}' cannot be the name of a file")
    return local
