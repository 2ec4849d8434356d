"""What libpng and libtiff print about damaged files is discarded: their callers report damage themselves.

Neither OpenCV nor Pillow offers a setting for it, so the standard error of the process is redirected while
they decode.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
_lock = threading.Lock()
_threads_inside = 0
_saved: int | None = None


@contextmanager
def discarded() -> Iterator[None]:
    """Discard everything that the process prints to standard error; for as short as possible."""
    global _threads_inside
    with _lock:
        _threads_inside += 1
        if _threads_inside == 1:
            _redirect()
    try:
        yield
    finally:
        with _lock:
            _threads_inside -= 1
            if _threads_inside == 0:
                _restore()


def _redirect() -> None:
    global _saved
    try:
        _saved = os.dup(_STDERR)
    except OSError:  # it is closed, as in a service
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDERR)
    os.close(nowhere)


def _restore() -> None:
    global _saved
    if _saved is not None:
        os.dup2(_saved, _STDERR)
        os.close(_saved)
        _saved = None
