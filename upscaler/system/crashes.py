"""How a process ended: by itself, by a fault in native code, or because somebody ended it."""

import signal
import sys
from contextlib import suppress

if sys.platform == "win32":
    FAULTS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
else:
    FAULTS = frozenset(
        {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP}
    )
# NTSTATUS codes of errors, with which Windows ends a process after a fault, such as 0xC0000005.
_WINDOWS_FAULTS_FROM = 0xC0000000


def is_crash(code: int) -> bool:
    """Whether a process ended by a fault of its own.

    Args:
        code: As ``subprocess`` gives it: an exit code, or the negative number of a signal.
    """
    return -code in FAULTS or (sys.platform == "win32" and code >= _WINDOWS_FAULTS_FROM)


def describe(code: int) -> str:
    """How a process ended, such as ``SIGSEGV`` or ``exit code 3``."""
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code:#x}" if code >= _WINDOWS_FAULTS_FROM else f"exit code {code}"
