"""A helper that dies as decoders do. Each request says how."""

import os
import signal
import time
from contextlib import suppress

from upscaler.helper_process import Answer, Request, serve
from upscaler.video import probe


def main() -> None:
    serve(_answer)


def _answer(request: Request) -> Answer:
    name = os.path.basename(request.get("source", ""))
    what = request.get("do") or ("abort" if name.startswith("doomed") else "")
    if what == "abort":
        os.abort()
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "exit":
        os._exit(3)
    if what == "raise":
        raise ValueError("a bug")
    if what == "hang":
        time.sleep(60)
    if what == "babble":
        for descriptor in range(3, 20):  # the pipe to the parent is one of them
            with suppress(OSError):
                os.write(descriptor, request["given"].encode() + b"\n")
    if what == "print":
        os.write(1, b"library: hello\n")
    return probe._answer(request) if name else {"process": os.getpid(), "given": request.get("given")}
