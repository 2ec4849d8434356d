"""A call in a thread of its own, which can be asked to stop."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

RaiseIfStopped = Callable[[], None]

_POLL_S = 0.2  # on Windows, Ctrl-C does not end a wait without a limit


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """The call was asked to stop."""


def never_stopped() -> None:
    """For a call that nobody asks to stop."""


class BackgroundCall(Generic[T]):
    """Calls a function in a thread, from ``start`` on.

    There is no lock in it, as a future has one: Ctrl-C may come when it was just taken, and it would never be
    given back.

    Args:
        function: What it returns or raises, ``result`` does. It gets a function that raises ``Stopped`` after
            ``stop``: it calls that between two steps.
        name: Of the thread.
    """

    def __init__(self, function: Callable[[RaiseIfStopped], T], name: str) -> None:
        self._function = function
        self._is_stopping = False
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

    def stop(self) -> None:
        """Ask the function to stop, and wait until it has ended."""
        self._is_stopping = True
        while self._thread.is_alive():
            self._thread.join(_POLL_S)

    def _run(self) -> None:
        try:
            self._returned = (self._function(self._raise_if_stopped),)
        except BaseException as error:
            self._raised = error

    def _raise_if_stopped(self) -> None:
        if self._is_stopping:
            raise Stopped
