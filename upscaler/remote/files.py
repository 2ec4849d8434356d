"""The files of a batch, wherever they are: fetched before their turn, delivered after it."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from upscaler import jobs
from upscaler.errors import UpscalerError
from upscaler.jobs import Job
from upscaler.options import Options
from upscaler.remote.fetching import Fetching
from upscaler.remote.mirror import Mirror
from upscaler.remote.store import Store
from upscaler.system.threads import RaiseIfStopped, never_stopped
from upscaler.system.waiting import wait_for


class Files:
    """The files of a batch. For local ones, nothing needs to be done.

    Args:
        inputs: Local paths.
        options: With local paths.
        mirror: Where remote files are staged; ``None`` if there are none.
        store: Where they come from and go to.

    Attributes:
        inputs: As given.
        options: As given.
    """

    def __init__(
        self,
        inputs: Sequence[Path],
        options: Options,
        mirror: Mirror | None = None,
        store: Store | None = None,
    ) -> None:
        self.inputs, self.options = list(inputs), options
        self._mirror, self._store = mirror, store
        self._fetching = Fetching(store, mirror) if store and mirror else None

    @property
    def are_local(self) -> bool:
        """Whether none is in an object store."""
        return self._store is None

    def expect(self, planned: Iterable[Job]) -> None:
        """Begin to fetch the sources of jobs, in their order."""
        if self._fetching:
            self._fetching.expect([job.source for job in planned if self._is_remote(job.source)])

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

    def deliver(self, job: Job, raise_if_stopped: RaiseIfStopped = never_stopped) -> None:
        """Give what a job has written to whoever keeps it: an object store, if its target is there.

        Raises:
            TargetTakenError: The target exists by now, and is not replaced.
            MediaError: It cannot be uploaded.
            Stopped: By ``raise_if_stopped``.
        """
        if not self._store:
            return
        for path, url in self._urls(jobs.targets_of(job)).items():
            with ThreadPoolExecutor(1, "deliver") as thread:
                upload = thread.submit(self._store.put, path, url, replaces=job.replaces)
                try:
                    wait_for(upload, raise_if_stopped)
                except BaseException:
                    self._store.stop()
                    raise
                upload.result()
            with suppress(OSError):
                path.unlink()

    def shown(self, text: str) -> str:
        """A text for the user, with URLs in place of paths of the staging folder."""
        return self._mirror.shown(text) if self._mirror else text

    def shown_error(self, error: Exception) -> Exception:
        """An error with URLs in the same way."""
        if self._mirror is None or not isinstance(error, UpscalerError):
            return error
        shown = type(error)(self.shown(error.message), self.shown(error.hint))
        shown.__cause__ = error.__cause__
        return shown.with_traceback(error.__traceback__)

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
