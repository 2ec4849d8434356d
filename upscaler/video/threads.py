"""The two threads beside the network: ``Prefetcher`` for decoding, ``BackgroundWriter`` for encoding.

Both have a short queue, re-raise in the calling thread what their thread raised, and join their thread when
their context ends. Both measure how long they worked and how long the calling thread waited for them.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

from torch import Tensor

T = TypeVar("T")

# Frames waiting between two threads: enough to even out their speeds; 12 MB each at 4K.
QUEUE_FRAMES = 4
# How often a thread that waits for room in its queue looks whether it should stop.
_POLL_S = 0.1


class Prefetcher(Generic[T]):
    """Runs an iterator in a thread, at most ``QUEUE_FRAMES`` + 1 items ahead; a context manager.

    Iterate over it once. An error of the iterator is raised after the items before it.

    Args:
        items: Is only used by the thread.

    Attributes:
        busy_s: Seconds spent in the iterator.
        waited_s: Seconds for which the caller waited for an item.
    """

    _END = object()

    def __init__(self, items: Iterator[T]) -> None:
        self.busy_s = 0.0
        self.waited_s = 0.0
        self._items = items
        self._queue: queue.Queue[object] = queue.Queue(QUEUE_FRAMES)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        self._thread.join()  # a decoder that outlives its container crashes the interpreter

    def __iter__(self) -> Iterator[T]:
        while (item := self._get()) is not self._END:
            yield item  # type: ignore[misc]  # only the end mark is of another type
        if self._error:
            raise self._error

    def _get(self) -> object:
        start = time.monotonic()
        item = self._queue.get()
        self.waited_s += time.monotonic() - start
        return item

    def _run(self) -> None:
        try:
            while (item := self._next()) is not self._END and self._put(item):
                pass
        except BaseException as error:
            self._error = error
        self._put(self._END)

    def _next(self) -> object:
        start = time.monotonic()
        item = next(self._items, self._END)
        self.busy_s += time.monotonic() - start
        return item

    def _put(self, item: object) -> bool:
        """Wait for room in the queue; False if the context has ended."""
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=_POLL_S)
                return True
        return False


class BackgroundWriter:
    """Calls a function for every frame in a thread, at most ``QUEUE_FRAMES`` + 1 calls behind.

    A context manager. Leaving it without ``finish``, or after an error, drops the frames that wait.

    Args:
        write: Takes the planes of a frame, ``(h, w)`` codes of any integer dtype, and its PTS; is only called
            by the thread.

    Attributes:
        busy_s: Seconds spent in ``write``.
        waited_s: Seconds for which ``put`` waited for room in the queue.
    """

    def __init__(self, write: Callable[[list[Tensor], int], None]) -> None:
        self.busy_s = 0.0
        self.waited_s = 0.0
        self._write = write
        self._queue: queue.Queue[tuple[list[Tensor], int] | None] = queue.Queue(QUEUE_FRAMES)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="encode", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def put(self, planes: list[Tensor], pts: int) -> None:
        """Hand over one frame; raises what an earlier ``write`` raised."""
        self._raise_error()
        start = time.monotonic()
        self._queue.put((planes, pts))
        self.waited_s += time.monotonic() - start

    def finish(self) -> None:
        """Wait until every frame is written; raises what one of the ``write`` calls raised."""
        self._queue.put(None)
        self._thread.join()
        self._raise_error()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._error = self._error or error or RuntimeError("left without finish")
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is not None:  # empty the queue, so that no `put` waits for ever
                continue
            start = time.monotonic()
            try:
                self._write(*item)
            except BaseException as error:
                self._error = error
            self.busy_s += time.monotonic() - start

    def _raise_error(self) -> None:
        if self._error:
            raise self._error
