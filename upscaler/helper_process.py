"""A helper process: work that may end a process, or that should not wait for it, is done in another one.

The helper is a fresh interpreter, not a fork, so it works alike on every system, and it loads only what its
module imports: that must not be torch, which takes seconds. It stays warm and answers one request after the
other. A request or an answer is a line of JSON, with bytes behind it where it has any, such as pixels; a
helper that was taken over by a hostile file can answer wrongly, but not make its parent run anything. While
it works on a request, the helper sends empty lines: its time is limited by its progress, for a long video
takes long. It may also send reports, each a JSON object on a line.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from upscaler.system import core_dumps, crashes, stop_signals

Request = Mapping[str, Any]
Answer = dict[str, Any]
Data = Sequence[bytes | bytearray | memoryview]  # one after the other
OnProgress = Callable[[], None]
OnReport = Callable[[Answer], None]

_READY = b"ready\n"
_ALIVE = b"\n"
_ALIVE_EVERY_S = 1.0
_OUT_OF_MEMORY = 71  # an exit code that Python does not use
_START_TIMEOUT_S = 300.0  # a helper that loads torch takes minutes on a machine with much other work
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


class HelperOutOfMemoryError(HelperDiedError):
    """The helper ended because memory did not hold a request or its answer."""

    def __init__(self) -> None:
        super().__init__("too little memory")


class HelperUnavailableError(Exception):
    """No helper can be started here."""


class HelperProcess:
    """A helper that runs ``main`` of a module, which calls ``serve``; a context manager.

    One thread at a time may ask. ``end`` may come from another.

    Args:
        module: Full name of the module. It is started at once, in the background.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._has_ended = False
        self._lock = threading.Lock()  # between starting a process and ending it for good
        with suppress(HelperUnavailableError):  # `ask` reports it
            self._start()

    def __enter__(self) -> "HelperProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: Request, timeout_s: float) -> Answer:
        """Have a request answered, both without data; see ``exchange``."""
        return self.exchange(request, (), timeout_s)[0]

    def exchange(
        self,
        request: Request,
        data: Data,
        timeout_s: float | None,
        on_report: OnReport = lambda _: None,
        *,
        tries_again: bool = True,
    ) -> tuple[Answer, bytearray]:
        """Have a request answered; after a death, a new helper is started for the next one.

        Args:
            request: Passed to the function that the module gave to ``serve``.
            data: Passed with it.
            timeout_s: When the helper shows no progress for longer, it is ended; ``None``: no limit.
            on_report: Called with every report of the helper on this request.
            tries_again: If somebody ends the helper, such as the system when memory runs out, a new one gets
                the request once more.

        Returns:
            The answer and its data.

        Raises:
            HelperDiedError: It ended, or was ended, before it answered; or its answer is not JSON.
            HelperUnavailableError: It cannot be started.
        """
        try:
            try:
                return self._exchange(request, data, timeout_s, on_report)
            except HelperDiedError as error:
                if error.by_itself or self._has_ended or not tries_again:
                    raise
                return self._exchange(request, data, timeout_s, on_report)
        except BaseException:  # an interrupt, too: the next request must not get the answer to this one
            self.close()
            raise

    def end(self) -> None:
        """End the helper for good; a request that another thread waits for raises an error."""
        with self._lock:
            self._has_ended = True
            if process := self._process:  # the thread that asks may set it to None meanwhile
                process.kill()

    def _exchange(
        self, request: Request, data: Data, timeout_s: float | None, on_report: OnReport
    ) -> tuple[Answer, bytearray]:
        if self._is_ready and self._process and self._process.poll() is not None:
            self.close()  # it was killed while it waited: this request has nothing to do with it
        process = self._process or self._start()
        assert process.stdin and process.stdout, "they were opened with pipes"
        if not self._is_ready:
            with _killed_after(process, _START_TIMEOUT_S):
                is_ready = process.stdout.readline() == _READY
            if not is_ready:
                self.close()
                raise HelperUnavailableError
            self._is_ready = True
        with suppress(OSError):  # it is dead: reading its answer says so
            _send(process.stdin, request, data)
        line, is_late = self._next_answer(process, timeout_s, on_report)
        if line.endswith(b"\n"):
            try:
                return _received(line, process.stdout)
            except (ValueError, RecursionError) as error:
                self.close()
                raise HelperDiedError("wrong answer") from error
            except EOFError:
                pass
        if is_late:
            self.close()
            raise HelperDiedError(f"no answer in {timeout_s:g} s")
        with suppress(subprocess.TimeoutExpired):  # its answers ended, so it should end, too
            process.wait(_END_TIMEOUT_S)
        code = process.returncode
        self.close()
        if code is None:
            raise HelperDiedError("wrong answer")
        if code == _OUT_OF_MEMORY:
            raise HelperOutOfMemoryError
        raise HelperDiedError(crashes.describe(code), by_itself=code >= 0 or crashes.is_crash(code))

    def _next_answer(
        self, process: subprocess.Popen[bytes], timeout_s: float | None, on_report: OnReport
    ) -> tuple[bytes, bool]:
        """The line after all signs of life and reports, empty at the end; and whether it took too long."""
        assert process.stdout, "it was opened with pipes"
        line, is_late = _ALIVE, False
        while line == _ALIVE or _is_report(line):
            if line != _ALIVE:
                self._pass_on(line, on_report)
            with _killed_after(process, timeout_s) as late:
                line = process.stdout.readline()
            is_late = late.is_set()
        return line, is_late

    def _pass_on(self, line: bytes, on_report: OnReport) -> None:
        try:
            report = json.loads(line)
        except (ValueError, RecursionError) as error:
            self.close()
            raise HelperDiedError("wrong answer") from error
        on_report(report)

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
        with self._lock:
            if self._has_ended:
                raise HelperUnavailableError
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


def _is_report(line: bytes) -> bool:
    return line.startswith(b"{") and line.endswith(b"}\n")


@contextmanager
def _killed_after(process: subprocess.Popen[bytes], timeout_s: float | None) -> Iterator[threading.Event]:
    """Kill a process if the block takes longer; yields an event that is set then."""
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        process.kill()

    if timeout_s is None:
        yield is_late
        return
    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()


def _send(pipe: IO[bytes], content: Mapping[str, Any], data: Data) -> None:
    """Write a line of JSON, ``[content, bytes of the data]``, and the data."""
    pipe.write(json.dumps([content, sum(memoryview(part).nbytes for part in data)]).encode() + b"\n")
    for part in data:
        pipe.write(part)
    pipe.flush()


def _received(line: bytes, pipe: IO[bytes]) -> tuple[dict[str, Any], bytearray]:
    """What ``_send`` wrote: its line, and the data from the pipe.

    Raises:
        EOFError: The other side ended before they were complete.
        ValueError: It is something else.
        RecursionError: Likewise.
    """
    message = json.loads(line)
    if not isinstance(message, list) or [type(part) for part in message] != [dict, int]:
        raise ValueError("not a message of a helper")
    content, count = message
    data = bytearray(count)
    view, done = memoryview(data), 0
    while done < count:
        read = pipe.readinto(view[done:])  # type: ignore[attr-defined]  # pipes of bytes have it
        if not read:
            raise EOFError
        done += read
    return content, data


def serve(answer: Callable[[Request, OnProgress], Answer]) -> None:
    """In the helper: answer requests without data until the parent ends; see ``serve_exchanges``."""
    serve_exchanges(lambda request, _, on_progress: (answer(request, on_progress), ()))


def serve_exchanges(answer: Callable[[Request, bytearray, OnProgress], tuple[Answer, Data]]) -> None:
    """In the helper: answer requests until the parent ends.

    Args:
        answer: The answer to a request and its data, and the data of the answer. It calls its third argument
            whenever it got on. What it raises ends the helper.
    """
    with _answers() as answers:
        said_s = time.monotonic()

        def on_progress() -> None:
            nonlocal said_s
            if time.monotonic() - said_s >= _ALIVE_EVERY_S:
                said_s = time.monotonic()
                answers.write(_ALIVE)
                answers.flush()

        for line in sys.stdin.buffer:
            _send(answers, *answer(*_received(line, sys.stdin.buffer), on_progress))


def serve_with_reports(answer: Callable[[Request, bytearray, OnReport], Answer]) -> None:
    """In the helper: as ``serve_exchanges``, without data of answers.

    Args:
        answer: It may call its third argument, from any thread, with reports on the request.
    """
    lock = threading.Lock()
    with _answers() as answers:

        def on_report(report: Answer) -> None:
            with lock:
                answers.write(json.dumps(report).encode() + b"\n")
                answers.flush()

        for line in sys.stdin.buffer:
            _send(answers, answer(*_received(line, sys.stdin.buffer), on_report), ())


@contextmanager
def _answers() -> Iterator[IO[bytes]]:
    """The pipe for answers, after the first line on it; what libraries print goes nowhere."""
    stop_signals.leave_to_parent()
    core_dumps.write_none()
    with os.fdopen(os.dup(1), "wb") as answers, open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)
        answers.write(_READY)
        answers.flush()
        try:
            yield answers
        except MemoryError:
            os._exit(_OUT_OF_MEMORY)  # without writing what is buffered of an answer
