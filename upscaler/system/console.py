"""Standard output and error: what their encoding lacks is written in ASCII instead of raising."""

import codecs
import errno
import io
import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO, TypeVar

T = TypeVar("T")

_HANDLER = "upscaler.ascii"
_IN_ASCII = {
    "…": "...",
    "×": "x",
    "→": "->",
    "–": "-",
    "—": "-",
    "−": "-",
    "━": "-",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "≤": "<=",
    "≥": ">=",
    "\N{NO-BREAK SPACE}": " ",
    "\N{NARROW NO-BREAK SPACE}": " ",
}


# C0 and C1 (cursor, colours, line breaks), and what reverses or breaks lines in Unicode.
_CONTROLS = [
    *range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)
]  # fmt: skip
_ESCAPES = {code: chr(code).encode("unicode_escape").decode("ascii") for code in _CONTROLS}


def printable(text: str) -> str:
    """A text as one line that changes nothing but the place where it is printed.

    Names of files and streams, metadata and settings may hold control characters, which a terminal would
    obey; they become backslash escapes.
    """
    return text.translate(_ESCAPES)


def printable_lines(text: str) -> str:
    """``printable`` for each line of a text that has several."""
    return "\n".join(map(printable, text.split("\n")))


def let_streams_print_all() -> None:
    """Make stdout and stderr write in ASCII what their encoding lacks, in any console and into any pipe.

    Typographic characters become what a typewriter has, all others backslash escapes: those of a file's name
    too, and bytes of a name that are no text.
    """
    codecs.register_error(_HANDLER, _replacement)
    for stream in _streams():
        stream.reconfigure(errors=_HANDLER)


def _streams() -> Iterable[io.TextIOWrapper]:
    return (stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper))


def _replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    text = "".join(_IN_ASCII.get(each, each) for each in lacking)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


class LastingStream:
    """A stream to a terminal that may be closed meanwhile: what it then refuses is lost, and no error.

    Args:
        stream: Of the terminal; all that is not writing is left to it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, as files do."""
        return _unless_closed(lambda: self._stream.write(text), len(text))

    def flush(self) -> None:
        """Write what is buffered."""
        _unless_closed(self._stream.flush, None)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)


def _unless_closed(write: Callable[[], T], otherwise: T) -> T:
    try:
        return write()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return otherwise
