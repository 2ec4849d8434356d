"""The signals by which a system asks a program to stop, each as Ctrl-C does."""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    # Ctrl-Break.
    STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
    PASSED_ON = None
    # From wincon.h: the window is closed, the user logs off, the system shuts down.
    _CLOSING_EVENTS = (2, 5, 6)
    # Longer than Windows waits after a closed window, 5 s, before it ends the process.
    _HELD_S = 10.0

    @ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)  # type: ignore[untyped-decorator]
    def _on_event(event: int) -> bool:
        """Called by Windows in a thread of its own. The process ends when it returns, so it does not."""
        if event not in _CLOSING_EVENTS:
            return False
        _thread.interrupt_main(signal.SIGBREAK)
        time.sleep(_HELD_S)
        return True

else:
    # The second: `kill`, batch systems, shutdown. The third: the terminal or the connection is closed.
    STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # By which a process passes one of these on to its worker, see `worker`.
    PASSED_ON = signal.SIGUSR1


def usable() -> list[signal.Signals]:
    """The stop signals to handle: those that were not ignored when the process began, as ``nohup`` has it."""
    return [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def kept() -> Iterator[None]:
    """Around what sets handlers of its own, as libraries do: the block ends with the handlers of before."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # which alone may set handlers
            for number, handler in before.items():
                signal.signal(number, handler)


def leave_to_parent() -> None:
    """Ignore what a terminal sends to all processes in it: the parent decides whether this one ends."""
    for number in STOP_SIGNALS:
        if number is not signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)


def watch_window() -> None:
    """On Windows, make closing the window, logging off and shutting down arrive as Ctrl-Break does.

    Call it after a handler for the signals is set: Windows asks the last function first. Elsewhere these are
    signals already.
    """
    if sys.platform == "win32":
        ctypes.windll.kernel32.SetConsoleCtrlHandler(_on_event, True)
