"""A helper process: work that may end a process, or that should not wait for it, is done in another one.

The helper is a fresh interpreter, not a fork, so it works alike on every system, and it loads only what its
module imports: that must not be torch, which takes seconds. It stays warm and answers one request after the
other. Requests and answers are JSON, one line each; a helper that was taken over by a hostile file can answer
wrongly, but not make its parent run anything.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from upscaler.system import core_dumps, stop_signals

Request = Mapping[str, Any]
Answer = dict[str, Any]

_READY = b"ready\n"
_START_TIMEOUT_S = 60.0


class HelperDiedError(Exception):
    """The helper ended while it worked on a request; ``str`` says how, such as ``SIGSEGV``."""


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

        Args:
            request: Passed to the function that the module gave to ``serve``.
            timeout_s: When the answer takes longer, the helper is ended.

        Raises:
            HelperDiedError: It ended, or was ended, before it answered; or its answer is not JSON.
            HelperUnavailableError: It cannot be started.
        """
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
        line, is_late = self._line(process, timeout_s)
        if line.endswith(b"\n"):
            with suppress(ValueError, RecursionError):
                answer: Answer = json.loads(line)
                return answer
            self.close()
            raise HelperDiedError("wrong answer")
        process.wait()
        code = process.returncode
        self.close()
        raise HelperDiedError(f"no answer in {timeout_s:g} s" if is_late else _how_it_ended(code))

    def close(self) -> None:
        """End the helper."""
        process, self._process, self._is_ready = self._process, None, False
        if process is None:
            return
        process.kill()
        process.wait()
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


def serve(answer: Callable[[Request], Answer]) -> None:
    """In the helper: answer requests until the parent ends.

    Args:
        answer: The answer to a request. What it raises ends the helper.
    """
    stop_signals.leave_to_parent()
    core_dumps.write_none()
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as answers, open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)  # libraries print
        answers.write(_READY)
        answers.flush()
        for line in requests:
            answers.write(json.dumps(answer(json.loads(line))).encode() + b"\n")
            answers.flush()


def _how_it_ended(code: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"
