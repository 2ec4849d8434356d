"""A helper process: work that may end a process, or that should not wait for it, is done in another one.

The helper is a fresh interpreter, not a fork, so it works alike on every system, and it loads only what its
module imports: that must not be torch, which takes seconds. It stays warm and answers one request after the
other. Requests and answers are JSON, one line each; a helper that was taken over by a hostile file can answer
wrongly, but not make its parent run anything. While it works on a request, the helper sends empty lines: its
time is limited by its progress, for a long film takes long.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from upscaler.system import core_dumps, crashes, stop_signals

Request = Mapping[str, Any]
Answer = dict[str, Any]

_READY = b"ready\n"
_ALIVE = b"\n"
_ALIVE_EVERY_S = 1.0
_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 5.0  # a process that waits for a dead network drive ends when the drive answers


class HelperDiedError(Exception):
    """The helper ended while it worked on a request; ``str`` says how, such as ``SIGSEGV``.

    Args:
        how: In words.
        by_itself: Whether it ended by itself; otherwise somebody ended it.
    """

    def __init__(self, how: str, *, by_itself: bool = True) -> None:
        super().__init__(how)
        self.by_itself = by_itself


class HelperUnavailableError(Exception):
    """No helper can be started here."""


class HelperProcess:
    """A helper that runs ``main`` of a module, which calls ``serve``; a context manager.

    Args:
        module: Full name of the module. It is started at once, in the background.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        with suppress(HelperUnavailableError):  # `ask` reports it
            self._start()

    def __enter__(self) -> "HelperProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: Request, timeout_s: float) -> Answer:
        """Have a request answered; after a death, a new helper is started for the next one.

        If somebody ends the helper, such as the system when memory runs out, a new one gets the request once
        more.

        Args:
            request: Passed to the function that the module gave to ``serve``.
            timeout_s: When the helper shows no progress for longer, it is ended.

        Raises:
            HelperDiedError: It ended, or was ended, before it answered; or its answer is not JSON.
            HelperUnavailableError: It cannot be started.
        """
        try:
            try:
                return self._ask(request, timeout_s)
            except HelperDiedError as error:
                if error.by_itself:
                    raise
                return self._ask(request, timeout_s)
        except BaseException:  # an interrupt, too: the next request must not get the answer to this one
            self.close()
            raise

    def _ask(self, request: Request, timeout_s: float) -> Answer:
        if self._is_ready and self._process and self._process.poll() is not None:
            self.close()  # it was killed while it waited: this request has nothing to do with it
        process = self._process or self._start()
        if not self._is_ready:
            if self._line(process, _START_TIMEOUT_S)[0] != _READY:
                self.close()
                raise HelperUnavailableError
            self._is_ready = True
        assert process.stdin, "it was opened with a pipe"
        with suppress(OSError):  # it is dead: reading its answer says so
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        line, is_late = _ALIVE, False
        while line == _ALIVE:
            line, is_late = self._line(process, timeout_s)
        if line.endswith(b"\n"):
            with suppress(ValueError, RecursionError):
                answer: Answer = json.loads(line)
                return answer
            self.close()
            raise HelperDiedError("wrong answer")
        if is_late:
            self.close()
            raise HelperDiedError(f"no answer in {timeout_s:g} s")
        with suppress(subprocess.TimeoutExpired):  # its answers ended, so it should end, too
            process.wait(_END_TIMEOUT_S)
        code = process.returncode
        self.close()
        if code is None:
            raise HelperDiedError("wrong answer")
        raise HelperDiedError(crashes.describe(code), by_itself=code >= 0 or crashes.is_crash(code))

    def close(self) -> None:
        """End the helper."""
        process, self._process, self._is_ready = self._process, None, False
        if process is None:
            return
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_TIMEOUT_S)
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()

    def _start(self) -> subprocess.Popen[bytes]:
        # The parent's module path, as `multiprocessing` passes it, and unlike it nothing of the program's own
        # file, which may lack the guard that it needs.
        code = f"import sys; sys.path[:] = {sys.path!r}; from {self._module} import main; main()"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise HelperUnavailableError from error
        return self._process

    @staticmethod
    def _line(process: subprocess.Popen[bytes], timeout_s: float) -> tuple[bytes, bool]:
        """The next line, incomplete if the helper ended; and whether it was ended for taking too long."""
        assert process.stdout, "it was opened with a pipe"
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            process.kill()

        timer = threading.Timer(timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            return process.stdout.readline(), is_late.is_set()
        finally:
            timer.cancel()


def serve(answer: Callable[[Request, Callable[[], None]], Answer]) -> None:
    """In the helper: answer requests until the parent ends.

    Args:
        answer: The answer to a request. It calls its second argument whenever it got on. What it raises ends
            the helper.
    """
    stop_signals.leave_to_parent()
    core_dumps.write_none()
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as answers, open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)  # libraries print
        answers.write(_READY)
        answers.flush()
        said_s = time.monotonic()

        def on_progress() -> None:
            nonlocal said_s
            if time.monotonic() - said_s >= _ALIVE_EVERY_S:
                said_s = time.monotonic()
                answers.write(_ALIVE)
                answers.flush()

        for line in requests:
            answers.write(json.dumps(answer(json.loads(line), on_progress)).encode() + b"\n")
            answers.flush()
