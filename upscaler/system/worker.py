"""Work in a forked child, the worker, whose parent survives when native code crashes it. Linux only.

The parent forks before heavy libraries load and before there are threads, and then only waits, so a worker
costs a millisecond and nothing else changes: it has the same terminal, files, arguments and signals. It ends
with its parent, and the parent ends as the worker did.

Other systems have no fork, or (macOS) system libraries that do not work after one.
"""

import ctypes
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from upscaler.system import core_dumps, stop_signals

_LINUX = "only where `is_possible`"
_PR_SET_PDEATHSIG = 1  # from prctl.h


def is_possible() -> bool:
    """Whether this process can fork a worker: a fork has one thread, and every lock that another one held."""
    if sys.platform != "linux":
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:  # /proc is not mounted
        return False


class SharedNote:
    """Some bytes that this process and its workers share, and that outlive the one that wrote them."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise NotImplementedError(_LINUX)
        self._file = os.memfd_create("note")

    def write(self, content: bytes) -> None:
        """Replace the content. A process that ends meanwhile may leave a mixture."""
        if sys.platform != "linux":
            raise NotImplementedError(_LINUX)
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def read(self) -> bytes:
        """The content; empty at first."""
        if sys.platform != "linux":
            raise NotImplementedError(_LINUX)
        return os.pread(self._file, os.fstat(self._file).st_size, 0)


class Worker:
    """A worker, seen by its parent.

    Attributes:
        was_stopped: Whether this process was asked to stop, and has passed it on.
    """

    def __init__(self, process: int) -> None:
        self.was_stopped = False
        self._process = process

    def wait(self) -> int:
        """Wait until the worker ends, and pass on to it what asks to stop.

        Returns:
            Its exit code, or the negative number of the signal that ended it. Stop signals are blocked then.
        """
        if sys.platform != "linux":
            raise NotImplementedError(_LINUX)
        for number in stop_signals.usable():
            signal.signal(number, self._pass_on)
        signal.signal(stop_signals.PASSED_ON, signal.SIG_IGN)
        _let_through(passes=True)
        # Not reaped yet, so that its number is not given to another process while signals are passed on.
        os.waitid(os.P_PID, self._process, os.WEXITED | os.WNOWAIT)
        _let_through(passes=False)
        _, status = os.waitpid(self._process, 0)
        return os.waitstatus_to_exitcode(status)

    def _pass_on(self, _number: int, _frame: FrameType | None) -> None:
        if sys.platform != "linux":
            raise NotImplementedError(_LINUX)
        self.was_stopped = True
        os.kill(self._process, stop_signals.PASSED_ON)


def fork() -> Worker | None:
    """Start a worker, which has the signal handlers of this process.

    Returns:
        In this process, the worker; in the worker, ``None``.

    Raises:
        OSError: The system allows no more processes.
    """
    if sys.platform != "linux":
        raise NotImplementedError(_LINUX)
    for stream in (sys.stdout, sys.stderr):
        if stream:  # neither process may write what the other one has in its buffer
            stream.flush()
    parent = os.getpid()
    _let_through(passes=False)
    try:
        process = os.fork()
    except OSError:
        _let_through(passes=True)
        raise
    if process:
        return Worker(process)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that call
        os.kill(os.getpid(), signal.SIGKILL)
    _let_through(passes=True)
    return None


def end_as(code: int) -> NoReturn:
    """End this process at once as its worker ended.

    Args:
        code: From ``Worker.wait``.
    """
    if sys.platform != "linux":
        raise NotImplementedError(_LINUX)
    if code < 0:
        core_dumps.write_none()  # the worker may have written one
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
        os.kill(os.getpid(), -code)
    os._exit(code)


def _let_through(*, passes: bool) -> None:
    """Block or unblock what asks to stop: while there are two processes with one set of handlers."""
    if sys.platform != "linux":
        raise NotImplementedError(_LINUX)
    how = signal.SIG_UNBLOCK if passes else signal.SIG_BLOCK
    signal.pthread_sigmask(how, {*stop_signals.STOP_SIGNALS, stop_signals.PASSED_ON})
