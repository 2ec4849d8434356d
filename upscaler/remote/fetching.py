"""Sources are downloaded before their turn, in the background, as far as their room goes."""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from upscaler.remote.mirror import Mirror
from upscaler.remote.store import Store
from upscaler.system.waiting import wait_for

# What waits before its turn takes at most so much of the disk; a single larger file may come alone.
ROOM_BYTES = 2 << 30
_AHEAD, _TRANSFERS = 8, 4


class Fetching:
    """Downloads files of a mirror until ``close``. Several threads may need files.

    Args:
        store: Where they are.
        mirror: Where they go.
        room_bytes: Of the files that wait before their turn.
    """

    def __init__(self, store: Store, mirror: Mirror, room_bytes: int = ROOM_BYTES) -> None:
        self._store, self._mirror, self._room_bytes = store, mirror, room_bytes
        self._waiting: deque[Path] = deque()
        self._fetched: dict[Path, Future[None]] = {}
        self._sizes: dict[Path, int] = {}
        self._lock = threading.RLock()
        self._threads = ThreadPoolExecutor(_TRANSFERS, "fetch")

    def expect(self, paths: Sequence[Path]) -> None:
        """Begin to fetch what will be needed, in this order."""
        self._waiting.extend(paths)
        self._go_on()

    def is_here(self, path: Path) -> bool:
        """Whether ``need`` would not wait. If not, it is being fetched from now on."""
        future = self._begin(path)
        return future.done()

    def need(self, path: Path) -> None:
        """Wait until a file is here.

        Raises:
            MediaError: It cannot be fetched.
        """
        future = self._begin(path)
        self._go_on()
        wait_for(future)
        if future.exception():
            self._fetched.pop(path, None)  # another call tries again
        future.result()

    def release(self, path: Path) -> None:
        """Remove a file, and make use of its room."""
        with self._lock:
            self._fetched.pop(path, None)
            self._sizes.pop(path, None)
        with suppress(OSError):
            path.unlink(missing_ok=True)
        self._go_on()

    def close(self) -> None:
        """Stop all transfers."""
        self._store.stop()
        self._threads.shutdown(cancel_futures=True)

    def _begin(self, path: Path) -> "Future[None]":
        url = self._mirror.url(path)
        assert url is not None, f"'{path}' is not in the mirror"
        with self._lock:
            if path not in self._fetched:
                with suppress(ValueError):
                    self._waiting.remove(path)
                self._sizes[path] = _size_bytes(path)
                self._fetched[path] = self._threads.submit(self._store.get, url, path)
            return self._fetched[path]

    def _go_on(self) -> None:
        with self._lock:
            while self._waiting and len(self._fetched) < _AHEAD:
                path = self._waiting[0]
                if sum(self._sizes.values()) + _size_bytes(path) > self._room_bytes and self._sizes:
                    return
                self._begin(path)


def _size_bytes(path: Path) -> int:
    """Of an object that was announced."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
