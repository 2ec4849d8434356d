"""Signals that ask to stop: recorded while libraries load, then KeyboardInterrupt, at exit deadly again."""

import signal
from collections import Counter
from types import FrameType

from upscaler.system import stop_signals


class Interrupts:
    """Turns the signals that ask to stop into KeyboardInterrupt, so that no partial file is left.

    While libraries load, a signal is only recorded: some libraries swallow an exception raised during their
    import. At exit, a signal ends the process at once: Python prints a traceback for anything raised while it
    shuts down.

    Attributes:
        are_held: Whether this object handles the signals.
    """

    def __init__(self) -> None:
        self.are_held = False
        self._received: Counter[bool] = Counter()  # directly, and passed on by the parent process
        self._deferred = True

    def hold(self) -> None:
        """From now on, only record signals."""
        self.are_held = True
        for number in stop_signals.usable():
            signal.signal(number, self._handle)
        stop_signals.watch_window()

    def hold_in_worker(self) -> None:
        """In a process that forks a worker, each time before it does: handle signals in the worker."""
        self.hold()
        if stop_signals.PASSED_ON is not None:
            signal.signal(stop_signals.PASSED_ON, self._handle)

    def release(self) -> None:
        """From now on, raise KeyboardInterrupt; at once if a signal was recorded."""
        self._deferred = False
        if self._received:
            raise KeyboardInterrupt

    def leave(self) -> None:
        """From now on, end the process silently; called when everything is written.

        Does nothing without an earlier ``hold``, as in a program that calls the command's function.
        """
        self._deferred = True  # first: what arrives before the handlers are gone must not raise any more
        for number in stop_signals.usable():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, signal.SIG_DFL)
        # The process that passes signals on ends as this one does, in a moment.
        if stop_signals.PASSED_ON is not None and signal.getsignal(stop_signals.PASSED_ON) == self._handle:
            signal.signal(stop_signals.PASSED_ON, signal.SIG_IGN)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        """Count once what terminals and batch systems send to the parent, too, which passes it on."""
        before = max(self._received.values(), default=0)
        self._received[number == stop_signals.PASSED_ON] += 1
        if not self._deferred and max(self._received.values()) > before:
            raise KeyboardInterrupt


INTERRUPTS = Interrupts()  # signal handlers are per process
