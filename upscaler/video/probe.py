"""Whether a video can be opened at all: FFmpeg and av end the whole process on some damaged or hostile files.

So each file is opened first in a helper process, with everything that happens before its second frame: its
streams are planned, and the first frame of the video and of each sound to be converted is decoded. That takes
17 ms of a core (mean of 28 clips on a Xeon; docs/video.md). Pictures are not tried: no decoder of Pillow or
OpenCV has ended a process yet.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from av.packet import Packet
from av.stream import Stream

from upscaler.errors import MediaError, UpscalerError
from upscaler.helper_process import (
    Answer,
    HelperDiedError,
    HelperProcess,
    HelperUnavailableError,
    Request,
    serve,
)
from upscaler.video import stream_plan
from upscaler.video.demux import MEDIA_ERRORS, Source, demux, main_video_stream, open_source

MODULE = "upscaler.video.probe"
_TIMEOUT_S = 120.0  # also for files on slow drives
_PACKETS_MAX = 500  # in which every stream should have begun


class Prober:
    """Tries files in a helper process, which starts in the background; a context manager."""

    def __init__(self) -> None:
        self._helper = HelperProcess(MODULE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._helper.close()

    def check(self, source: Source, suffix: str, audio_codec: str | None = None) -> None:
        """Make sure that opening a file does not end the process. Errors of any other kind are not raised.

        Args:
            source: The file, and which of its streams is the main video.
            suffix: Of the target.
            audio_codec: See ``stream_plan.plan``.

        Raises:
            MediaError: It would, or it never comes to an end.
        """
        request = {
            "source": os.path.abspath(source.path),
            "video_stream": source.video_stream,
            "program": source.program,
            "suffix": suffix,
            "audio_codec": audio_codec,
        }
        try:
            self._helper.ask(request, _TIMEOUT_S)
        except HelperDiedError as error:
            raise MediaError(f"FFmpeg crashes on '{source.path}' ({error})", "the file is damaged") from error
        except HelperUnavailableError:
            pass  # where processes cannot be started, files are opened untried


def _answer(request: Request) -> Answer:
    """Open a file as the parent will do. What is wrong with it, the parent will find out by itself."""
    source = Source(Path(request["source"]), request["video_stream"], request["program"])
    target = Path(f"target{request['suffix']}")
    with suppress(UpscalerError, *MEDIA_ERRORS):
        plans = stream_plan.plan(source, target, audio_codec=request["audio_codec"])
        with open_source(source) as container:
            decoded = {plan.index for plan in plans if (plan.kind, plan.action) == ("audio", "convert")}
            decoded.add(main_video_stream(container, source).index)
            _decode_first(demux(container), decoded)
    return {}


def _decode_first(packets: Iterator["Packet[Stream]"], wanted: set[int]) -> None:
    """Decode the first frame of the streams with these indices."""
    missing = set(wanted)
    for packet in islice(packets, _PACKETS_MAX):
        if packet.stream.index in missing:
            with suppress(*MEDIA_ERRORS):
                if packet.decode():
                    missing.discard(packet.stream.index)
        if not missing:
            return


def main() -> None:
    """What the helper process runs."""
    serve(_answer)
