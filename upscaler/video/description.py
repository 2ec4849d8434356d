"""Properties that av 18.1 has no attribute for, from FFmpeg's description of a file."""

import re
from typing import cast

import av.container
import av.logging
from av.stream import Stream

from upscaler.video.ffmpeg_log import captured_log


def description_of(stream: Stream) -> str:
    """FFmpeg's description of an input stream: its properties and side data, some lines of text."""
    text = _description(cast(av.container.InputContainer, stream.container))
    streams = re.split(r"^  Stream #0:", text, flags=re.MULTILINE)[1:]
    return next((each for each in streams if re.match(rf"{stream.index}\b", each)), "")


def programs_of(container: av.container.InputContainer) -> dict[int, list[int]]:
    """The programs of a file, as transport streams have them: number -> indices of its streams."""
    programs: dict[int, list[int]] = {}
    current: list[int] = []
    for line in _description(container).splitlines():
        if found := re.match(r"  Program (\d+)", line):
            current = programs.setdefault(int(found.group(1)), [])
        elif line.startswith("  No Program"):
            current = []
        elif found := re.match(r"  Stream #0:(\d+)", line):
            current.append(int(found.group(1)))
    return programs


def stream_count(container: av.container.InputContainer) -> int:
    """The number of streams that were found so far, also those that av does not list."""
    return len(set(re.findall(r"^  Stream #0:(\d+)", _description(container), flags=re.MULTILINE)))


def _description(container: av.container.InputContainer) -> str:
    with captured_log(av.logging.INFO):
        text: str = container.dumps_format()  # type: ignore[attr-defined]  # not in av's stub file
    return text


def custom_channel_layout(stream: Stream) -> str:
    """The channels of an audio stream with a layout that has no name in FFmpeg; else empty.

    With an order of channels that FFmpeg calls custom, av 18.1 frees memory twice as soon as it decodes the
    stream or its layout is read, which ends the process (SIGABRT).
    """
    found = re.search(r" Hz, \d+ channels \(([^)]*)\)", description_of(stream))
    return found.group(1) if found else ""
