"""A helper that dies as decoders do. Each request says how."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from upscaler import helper_process
from upscaler.helper_process import Answer, Data, Request, serve_exchanges
from upscaler.video import probe

PIPES = range(3, 20)  # one of them goes to the parent


def main() -> None:
    serve_exchanges(_exchange)


def _exchange(request: Request, data: bytearray, on_progress: Callable[[], None]) -> tuple[Answer, Data]:
    if request.get("do") == "data":
        return {"length": len(data)}, [data]
    return _answer(request, on_progress), ()


def _answer(request: Request, on_progress: Callable[[], None]) -> Answer:
    name = os.path.basename(request.get("source", ""))
    what = request.get("do") or ("abort" if name.startswith("doomed") else "")
    if what == "work":
        helper_process._ALIVE_EVERY_S = 0.1
        for _ in range(10):
            time.sleep(0.1)
            on_progress()
    elif what:
        DEATHS[what](request.get("given", ""))
    if name:
        return probe._answer(request, on_progress)
    return {"process": os.getpid(), "given": request["given"]}


def _raise(_given: str) -> None:
    raise ValueError("a bug")


def _lack_memory(_given: str) -> None:
    raise MemoryError


def _babble(given: str) -> None:
    for descriptor in PIPES:
        with suppress(OSError):
            os.write(descriptor, given.encode() + b"\n")


def _close(_given: str) -> None:
    os.closerange(PIPES.start, PIPES.stop)
    time.sleep(60)


def _be_killed(mark: str, *, always: bool = True) -> None:
    if always or not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)


DEATHS: dict[str, Callable[[str], object]] = {
    "abort": lambda _: os.abort(),
    "crash": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda _: os._exit(3),
    "raise": _raise,
    "lack memory": _lack_memory,
    "hang": lambda _: time.sleep(60),
    "babble": _babble,
    "close": _close,
    "be killed": _be_killed,
    "be killed once": lambda mark: _be_killed(mark, always=False),
    "print": lambda _: os.write(1, b"library: hello\n"),
}
