"""What FFmpeg logs while something is tried; often its only explanation of a failure."""

from collections.abc import Iterator
from contextlib import contextmanager

import av.logging


@contextmanager
def captured_log(level: int) -> Iterator[list[str]]:
    """Collect FFmpeg's log lines instead of discarding them.

    FFmpeg has one log level per process: it is raised meanwhile and then restored.

    Args:
        level: The least severe level to collect, such as ``av.logging.ERROR``.

    Yields:
        The lines; filled when the block ends, even by an exception.
    """
    lines: list[str] = []
    capture, before = av.logging.Capture(), av.logging.get_level()
    av.logging.set_level(level)
    try:
        with capture:
            yield lines
    finally:
        lines += [text.strip() for _, _, text in capture.logs if text.strip()]
        av.logging.set_level(before)
