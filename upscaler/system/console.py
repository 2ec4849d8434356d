"""Standard output and error: what their encoding lacks is written in ASCII instead of raising."""

import codecs
import io
import sys
from collections.abc import Iterable

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
