"""Images of a batch overlap as the frames of a video do: read ahead, and written behind, in helper processes.

The network takes them in their order. What waits before and behind it has bounds: a number, and memory.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from upscaler.atomic import Partial
from upscaler.errors import MediaError, UpscalerError
from upscaler.helper_pool import HelperPool
from upscaler.helper_process import (
    Answer,
    HelperDiedError,
    HelperOutOfMemoryError,
    HelperUnavailableError,
)
from upscaler.images import still_helper, stills
from upscaler.images.encoding import Encoding
from upscaler.images.still import Still
from upscaler.jobs import Job
from upscaler.remote.files import Files
from upscaler.system import memory, processors
from upscaler.system.waiting import wait_for

# Starting a helper takes 0.4 s of a core: less than writing what becomes of files of this size.
_WORTHWHILE_BYTES = 1_000_000
_HELPERS_MAX = 16
# Shares of the memory that is left when a batch begins. An image that is being written takes its samples
# three to four times: here, in the helper, and there as Pillow stores them.
_READ_SHARE, _WRITTEN_SHARE, _WRITTEN_TIMES = 0.1, 0.4, 4


class OverlappedStills:
    """Reads images ahead and writes them behind, until ``close``.

    Args:
        jobs: All that may be read, in their order.
        helpers: How many helpers there are at most.
        files: Where the images are.
        is_too_large: Whether memory is too small for an image as a whole: ``take`` gives ``None`` for it.
    """

    def __init__(
        self, jobs: Sequence[Job], helpers: int, files: Files, is_too_large: Callable[[Path], bool]
    ) -> None:
        self._unread, self._is_too_large = deque(jobs), is_too_large
        self._files = files
        self._reads: dict[Job, _Read] = {}
        self._helpers = helpers
        self._partials: set[Partial] = set()  # files that are being written
        self._pool = HelperPool(still_helper.MODULE, helpers)
        left_bytes = memory.available_bytes()
        self._read_bytes_max = left_bytes * _READ_SHARE
        self._written_bytes_max = left_bytes * _WRITTEN_SHARE
        self._read_on()

    def close(self) -> None:
        """End all reading and writing at once, and remove what is not complete."""
        self._pool.close()
        while self._partials:
            self._discard(next(iter(self._partials)))

    def take(self, job: Job) -> Still | None:
        """Wait for an image; ``None`` if ``still_pipeline.upscale_still`` has to read it.

        Raises:
            MediaError: Its decoder has ended the helper.
        """
        read = self._reads.pop(job, None)
        self._read_on()
        if read is None:
            return None
        try:
            return still_helper.still_of(*wait_for(read.answer).result())
        except HelperOutOfMemoryError:  # there may be enough for this image alone
            return None
        except HelperDiedError as error:
            text = f"cannot read '{job.source}': its decoder crashes ({error})"
            raise MediaError(text, "the file is damaged") from error
        except MemoryError:  # there may be enough for this image alone
            return None
        except HelperUnavailableError:
            self._give_up()
            return None

    def waiting(self, job: Job) -> Still | None:
        """The image that ``take`` would give without waiting; ``None`` if there is none."""
        read = self._reads.get(job)
        if read is None or not read.answer.done() or read.answer.exception() is not None:
            return None
        return still_helper.still_of(*read.answer.result())

    def drop(self, job: Job) -> None:
        """Do without an image."""
        self._reads.pop(job, None)
        self._read_on()

    def write(self, job: Job, still: Still, how: Encoding) -> "Write":
        """Begin to write an image; see ``stills.write``.

        Raises:
            MediaError: The file cannot be created.
        """
        partial = Partial(job.target)
        self._partials.add(partial)  # before it exists: an interrupt may come at any moment
        with stills.naming_errors(job.target):
            partial.create()
        request, data = still_helper.write_request(partial.path, still, how)
        return Write(job, partial, still, how, self._pool.exchange(request, data))

    def finish(self, write: "Write") -> None:
        """Wait for a file, and give it its name.

        Raises:
            TargetTakenError: The file exists, and is not replaced.
            MediaError: It cannot be written; an existing file stays.
        """
        target, replaces = write.job.target, write.job.replaces
        try:
            if still_helper.is_written(wait_for(write.answer).result()[0]):
                with stills.naming_errors(target):
                    write.partial.publish(replaces=replaces)
                return
        except HelperOutOfMemoryError:  # as above
            pass
        except HelperDiedError as error:
            raise MediaError(f"cannot write '{target}': its encoder crashes ({error})") from error
        except HelperUnavailableError:
            pass
        finally:
            self._discard(write.partial)
        stills.write(target, write.still, write.how, replaces=replaces)  # or raise what the helper met

    def _discard(self, partial: Partial) -> None:
        """Remove a file, unless it has its name."""
        partial.discard()
        self._partials.discard(partial)

    def has_room(self, writes: Sequence["Write"]) -> bool:
        """Whether one more image may be made while these are being written."""
        written_bytes = sum(write.still.pixels.nbytes for write in writes) * _WRITTEN_TIMES
        return not writes or (len(writes) <= self._helpers and written_bytes < self._written_bytes_max)

    def _read_on(self) -> None:
        """Read ahead: two images for each helper, as far as memory allows, at least one."""
        waiting_bytes = sum(read.size_bytes for read in self._reads.values())
        while self._unread and len(self._reads) < 2 * self._helpers:
            if self._reads and not self._files.is_here(self._unread[0]):
                return  # those that are here can go on
            try:
                self._files.fetch(self._unread[0])
            except UpscalerError:  # which the image will meet in its turn
                self._unread.popleft()
                continue
            size_bytes = _size_bytes(self._unread[0].source)
            if self._reads and waiting_bytes + size_bytes > self._read_bytes_max:
                return
            job = self._unread.popleft()
            if self._is_too_large(job.source):
                continue
            request = still_helper.read_request(job.source)
            self._reads[job] = _Read(size_bytes, self._pool.exchange(request))
            waiting_bytes += size_bytes

    def _give_up(self) -> None:
        """Where processes cannot be started, images are read and written one after the other."""
        self._unread.clear()
        self._reads.clear()


@dataclass(frozen=True)
class _Read:
    """An image that is being read, or waits; its samples take about ``size_bytes``."""

    size_bytes: int
    answer: "Future[tuple[Answer, bytearray]]"


@dataclass(frozen=True)
class Write:
    """An image that is being written, under a hidden name.

    Attributes:
        job: Whose target it is.
        still: The image.
        how: It is encoded.
    """

    job: Job
    partial: Partial
    still: Still
    how: Encoding
    answer: "Future[tuple[Answer, bytearray]]"

    def is_done(self) -> bool:
        """Whether ``OverlappedStills.finish`` would not wait."""
        return self.answer.done()


def helpers_for(images: Sequence[Job]) -> int:
    """How many helpers are worth starting for some images; 0 if none is."""
    count = processors.count()
    if len(images) < 2 or count < 2 or sum(_file_bytes(job.source) for job in images) < _WORTHWHILE_BYTES:
        return 0
    return min(count, _HELPERS_MAX)


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _size_bytes(path: Path) -> int:
    """About how much memory an image takes; 0 if it cannot be read."""
    try:
        height, width = stills.read_size(path)
    except MediaError:
        return 0
    return height * width * 4
