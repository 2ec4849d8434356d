"""A call in a thread of its own, which can be ended as Ctrl-C ends one in the main thread."""

import ctypes
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL_S = 0.2  # on Windows, Ctrl-C does not end a wait without a limit


class BackgroundCall(Generic[T]):
    """Calls a function in a thread, from ``start`` on.

    There is no lock in it, as a future has one: an interrupt may come when it was just taken, and it would
    never be given back.

    Args:
        function: What it returns or raises, ``result`` does.
        name: Of the thread.
    """

    def __init__(self, function: Callable[[], T], name: str) -> None:
        self._function = function
        self._returned: tuple[T] | None = None
        self._raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether the function has ended."""
        return self._returned is not None or self._raised is not None

    def result(self) -> T:
        """What the function has returned; it has ended."""
        if self._raised:
            raise self._raised
        assert self._returned, "it has ended"
        return self._returned[0]

    def interrupt(self) -> None:
        """Raise ``SystemExit`` in the function, and wait until it has ended.

        It comes between two steps of Python code, as ``KeyboardInterrupt`` does in the main thread: what
        the function does must be safe against that, and must not wait for long in a library.
        """
        if not self.is_done and self._thread.ident is not None:
            # Not KeyboardInterrupt: should the function end at this moment, a thread ends with it silently.
            number, raised = ctypes.c_ulong(self._thread.ident), ctypes.py_object(SystemExit)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(number, raised)
        while self._thread.is_alive():
            self._thread.join(_POLL_S)

    def _run(self) -> None:
        try:
            self._returned = (self._function(),)
        except BaseException as error:
            self._raised = error
