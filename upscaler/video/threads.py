"""The two threads beside the network: one runs an iterator ahead of it, one makes calls behind it.

What a thread raises is raised in the thread that uses it. Both tell how long they really worked.
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

# Frames waiting between two threads: enough to even out their speeds, 12 MB each at 4K.
_QUEUE_FRAMES = 4


class Ahead(Generic[T]):
    """Runs an iterator in a thread, a few items ahead; a context manager that joins the thread.

    Attributes:
        busy_s: Seconds that the iterator took, without waiting for whoever takes the items.
        waited_s: Seconds for which whoever takes the items waited for them.
    """

    _END = object()

    def __init__(self, items: Iterator[T]) -> None:
        self.busy_s = 0.0
        self.waited_s = 0.0
        self._items = items
        self._queue: queue.Queue[object] = queue.Queue(_QUEUE_FRAMES)
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
        while (item := self._taken()) is not self._END:
            yield item  # type: ignore[misc]  # only the end mark is of another type
        if self._error:
            raise self._error

    def _taken(self) -> object:
        begun = time.monotonic()
        item = self._queue.get()
        self.waited_s += time.monotonic() - begun
        return item

    def _run(self) -> None:
        try:
            while (item := self._next()) is not self._END and self._offer(item):
                pass
        except BaseException as error:
            self._error = error
        self._offer(self._END)

    def _next(self) -> object:
        begun = time.monotonic()
        item = next(self._items, self._END)
        self.busy_s += time.monotonic() - begun
        return item

    def _offer(self, item: object) -> bool:
        """Wait for room in the queue; False when nobody wants items any more."""
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return True
        return False


class Behind:
    """Calls a function in a thread, a few calls behind; a context manager that joins the thread.

    Attributes:
        busy_s: Seconds that the calls took.
        waited_s: Seconds for which ``put`` waited for room.
    """

    def __init__(self, call: Callable[[list[Tensor], int], None]) -> None:
        self.busy_s = 0.0
        self.waited_s = 0.0
        self._call = call
        self._queue: queue.Queue[tuple[list[Tensor], int] | None] = queue.Queue(_QUEUE_FRAMES)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="encode", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def put(self, planes: list[Tensor], pts: int) -> None:
        """Hand over one frame; raises what an earlier call raised."""
        self._raise()
        begun = time.monotonic()
        self._queue.put((planes, pts))
        self.waited_s += time.monotonic() - begun

    def finish(self) -> None:
        """Wait until all calls are done; raises what one of them raised."""
        self._queue.put(None)
        self._thread.join()
        self._raise()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self._error = self._error or error or RuntimeError("left before finish")
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._error is not None:  # after an error the queue is only emptied
                continue
            begun = time.monotonic()
            try:
                self._call(*item)
            except BaseException as error:
                self._error = error
            self.busy_s += time.monotonic() - begun

    def _raise(self) -> None:
        if self._error:
            raise self._error
