"""Signals that ask to stop: recorded while libraries load, then KeyboardInterrupt, at exit deadly again."""

import signal
from types import FrameType

from upscaler.system import stop_signals


class Interrupts:
    """Turns the signals that ask to stop into KeyboardInterrupt, so that no partial file is left.

    While libraries load, a signal is only recorded: some libraries swallow an exception raised during their
    import. At exit, a signal ends the process at once: Python prints a traceback for anything raised while it
    shuts down.
    """

    def __init__(self) -> None:
        self._received = False
        self._deferred = True

    def hold(self) -> None:
        """From now on, only record signals."""
        for number in stop_signals.usable():
            signal.signal(number, self._handle)
        stop_signals.watch_window()

    def release(self) -> None:
        """From now on, raise KeyboardInterrupt; at once if a signal was recorded."""
        self._deferred = False
        if self._received:
            raise KeyboardInterrupt

    def leave(self) -> None:
        """From now on, end the process silently; called when everything is written.

        Does nothing without an earlier ``hold``, as in a program that calls the command's function.
        """
        for number in stop_signals.usable():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, signal.SIG_DFL)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._received = True
        if not self._deferred:
            raise KeyboardInterrupt


INTERRUPTS = Interrupts()  # signal handlers are per process
