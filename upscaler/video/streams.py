"""What becomes of the streams beside the video, found out before any work is done."""

import io
from pathlib import Path
from typing import cast

import av
from av.stream import Stream
from av.video.stream import VideoStream

from upscaler.errors import MediaError
from upscaler.video.read import open_input

# Suffix of the target -> FFmpeg's name of the container.
MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


def check_audio(source: Path, target: Path) -> None:
    """Make sure that every audio stream of the source can be copied into the target's container.

    Raises:
        MediaError: One cannot; names it, the reason, and a container that takes everything.
    """
    with open_input(source) as container:
        for number, stream in enumerate(container.streams.audio):
            reason = refusal(stream, target.suffix.lower())
            if reason:
                raise MediaError(
                    f"audio stream {number} of '{source}' cannot be copied into {target.suffix}: {reason}",
                    "write to .mkv instead",
                )


def refusal(stream: Stream, suffix: str) -> str | None:
    """Why a container does not take a stream, or None if it does.

    Tried, not looked up: a file header with a small video and this stream is written to memory.
    """
    muxer = MUXERS[suffix]
    with av.open(io.BytesIO(), "w", format=muxer) as output:
        encoder = "libvpx-vp9" if muxer == "webm" else "libx264"
        video = cast(VideoStream, output.add_stream(encoder, rate=25))
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        try:
            copy = output.add_stream_from_template(stream)
            copy.disposition = stream.disposition
            output.start_encoding()
        except (OSError, ValueError) as error:  # every FFmpeg error is one of the two
            return str(error)
    return None
