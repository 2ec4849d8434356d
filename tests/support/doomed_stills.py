"""A helper for images that dies of those whose name says so, as a crash of a library would end it."""

import os

from upscaler.helper_process import Answer, Data, OnProgress, Request, serve_exchanges
from upscaler.images import still_helper


def main() -> None:
    serve_exchanges(_answer)


def _answer(request: Request, data: bytearray, on_progress: OnProgress) -> tuple[Answer, Data]:
    name = os.path.basename(request["path"])
    if name.startswith((f"{request['do']}-crash", f".{request['do']}-crash")):
        os.abort()
    return still_helper._answer(request, data, on_progress)
