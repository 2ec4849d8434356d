"""Names of files, which are bytes: those that are no UTF-8 come to Python with lone surrogates in them."""

import io
import sys
import zlib


def seed_of(name: str) -> int:
    """A seed that is the same for a name on every machine."""
    return zlib.crc32(name.encode("utf-8", "surrogateescape"))


def encoded(text: str) -> bytes:
    """A text with names in it, for a file: UTF-8, and a backslash form of what is none."""
    return text.encode("utf-8", "backslashreplace")


def let_streams_print_all() -> None:
    """From now on, what a terminal's encoding lacks is printed in its backslash form; for the commands."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
