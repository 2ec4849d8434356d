"""Properties of a stream that av 18.1 has no attribute for, from FFmpeg's description of the file."""

import re
from typing import cast

import av.container
import av.logging
from av.stream import Stream

from upscaler.video.ffmpeg_log import captured_log


def description_of(stream: Stream) -> str:
    """FFmpeg's description of an input stream: its properties and side data, some lines of text."""
    container = cast(av.container.InputContainer, stream.container)
    with captured_log(av.logging.INFO):
        text = container.dumps_format()  # type: ignore[attr-defined]  # not in av's stub file
    streams = re.split(r"^  Stream #0:", text, flags=re.MULTILINE)[1:]
    return next((each for each in streams if re.match(rf"{stream.index}\b", each)), "")


def custom_channel_layout(stream: Stream) -> str:
    """The channels of an audio stream with a layout that has no name in FFmpeg; else empty.

    With an order of channels that FFmpeg calls custom, av 18.1 frees memory twice as soon as it decodes the
    stream or its layout is read, which ends the process (SIGABRT).
    """
    found = re.search(r" Hz, \d+ channels \(([^)]*)\)", description_of(stream))
    return found.group(1) if found else ""
