"""What libjpeg, libpng and libtiff print about damaged files: discarded, or captured if nothing else tells.

Neither OpenCV nor Pillow offers a setting for it, so the standard error of the process is redirected while
they decode. Not nestable.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STDERR = 2
_lock = threading.Lock()  # one thread at a time: there is one standard error


@contextmanager
def discarded() -> Iterator[None]:
    """Discard everything that the process prints to standard error; for as short as possible."""
    with open(os.devnull, "wb") as nowhere, _redirected(nowhere.fileno()):
        yield


def captured(function: Callable[[], object]) -> bytes:
    """What the process prints to standard error while a function runs.

    Raises:
        Exception: What the function raises.
    """
    with tempfile.TemporaryFile() as file:
        with _redirected(file.fileno()):
            function()
        file.seek(0)
        return file.read()


@contextmanager
def _redirected(target: int) -> Iterator[None]:
    with _lock:
        try:
            saved = os.dup(_STDERR)
        except OSError:  # it is closed, as in a service
            yield
            return
        os.dup2(target, _STDERR)
        try:
            yield
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
