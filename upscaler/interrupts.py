"""SIGINT and SIGTERM: held back while libraries are loaded, then KeyboardInterrupt, then as by default."""

import signal
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """SIGINT and SIGTERM end the work as KeyboardInterrupt, so that nothing half-written stays behind.

    While libraries are loaded they are only noted: some swallow an exception raised in their midst. On the
    way out they end the process at once: what is raised while Python shuts down is shown with its traceback.
    """

    def __init__(self) -> None:
        self._noted = False
        self._held = True

    def hold(self) -> None:
        """From now on, only note them."""
        for number in _NUMBERS:
            signal.signal(number, self._handle)

    def release(self) -> None:
        """From now on, raise; at once if one was noted."""
        self._held = False
        if self._noted:
            raise KeyboardInterrupt

    def leave(self) -> None:
        """From now on, end the process without a word; for when everything is written.

        Without ``hold`` before it, as in a program that only borrows the command, it changes nothing.
        """
        for number in _NUMBERS:
            if signal.getsignal(number) == self._handle:
                signal.signal(number, signal.SIG_DFL)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._noted = True
        if not self._held:
            raise KeyboardInterrupt


INTERRUPTS = Interrupts()  # one, as the process has them once
