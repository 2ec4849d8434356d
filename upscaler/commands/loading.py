"""The first word on a terminal: libraries take seconds to load, and the first line comes after that."""

import sys
from contextlib import suppress


def say_loading() -> None:
    """Write ``loading`` on a terminal; the next line, which is longer, takes its place."""
    with suppress(OSError, ValueError):  # the terminal or the stream is closed
        if sys.stderr is not None and sys.stderr.isatty():
            print("loading", end="\r", file=sys.stderr, flush=True)  # noqa: T201
