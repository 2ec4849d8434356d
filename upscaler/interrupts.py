"""SIGINT and SIGTERM, held back while libraries are loaded."""

import signal
from types import FrameType


class Interrupts:
    """SIGINT and SIGTERM end the work as KeyboardInterrupt, so that nothing half-written stays behind.

    While libraries are loaded they are only noted: some swallow an exception raised in their midst.
    """

    def __init__(self) -> None:
        self._noted = False
        self._held = True

    def hold(self) -> None:
        """From now on, only note them."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def release(self) -> None:
        """From now on, raise; at once if one was noted."""
        self._held = False
        if self._noted:
            raise KeyboardInterrupt

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._noted = True
        if not self._held:
            raise KeyboardInterrupt
