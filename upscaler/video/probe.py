"""The first look at a video, in a helper process: FFmpeg and av end the process on some damaged files.

There everything happens that comes before the second frame: the video is surveyed, its streams are planned,
and the first frame of the video and of each sound to be converted is decoded (docs/video.md has the price).
Pictures are not tried: no decoder of Pillow or OpenCV has ended a process yet.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from av.packet import Packet
from av.stream import Stream

from upscaler.errors import MediaError, UpscalerError
from upscaler.helper_process import (
    Answer,
    HelperDiedError,
    HelperOutOfMemoryError,
    HelperProcess,
    HelperUnavailableError,
    Request,
    serve,
)
from upscaler.options import VideoOptions
from upscaler.video import stream_plan
from upscaler.video.demux import MEDIA_ERRORS, demux, main_video_stream, open_source
from upscaler.video.frame_index import FrameIndex
from upscaler.video.geometry import Shape
from upscaler.video.survey import Survey, source_of, survey

if TYPE_CHECKING:
    from upscaler.video.black_bars import BlackBars

MODULE = "upscaler.video.probe"
_TIMEOUT_S = 120.0  # without progress; drives that sleep take a while to answer
_PACKETS_MAX = 500  # in which every stream should have begun


class Prober:
    """Looks at files in a helper process, which starts in the background; a context manager."""

    def __init__(self) -> None:
        self._helper = HelperProcess(MODULE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._helper.end()  # which another thread may be waiting for
        self._helper.close()

    def survey(self, path: Path, options: VideoOptions, suffix: str) -> Survey | None:
        """Survey a video, and make sure that opening it does not end the process.

        Args:
            path: The file.
            options: Name its streams, and the part that is read.
            suffix: Of the target.

        Returns:
            ``None`` if there is no helper, or if the survey failed: repeated here, it raises the same error.

        Raises:
            MediaError: It would end the process, or it makes no progress.
        """
        answer = self._ask(path, options, suffix, is_surveyed=True)
        if not answer:
            return None
        try:
            shape = answer["shape"]
            return Survey(
                replace(source_of(path, options), probe_bytes=int(answer["probe_bytes"])),
                Shape(int(shape[0]), int(shape[1]), Fraction(shape[2])) if shape else None,
                bool(answer["has_captions"]),
                _bars(answer["bars"]),
                FrameIndex.from_json(answer["index"]),
            )
        except (LookupError, TypeError, ValueError, ZeroDivisionError) as error:
            raise _crash(path, "wrong answer") from error

    def check(self, path: Path, options: VideoOptions, suffix: str) -> None:
        """Make sure that opening a file does not end the process: ``survey`` without reading all of it."""
        self._ask(path, options, suffix, is_surveyed=False)

    def _ask(self, path: Path, options: VideoOptions, suffix: str, *, is_surveyed: bool) -> Answer:
        request = {
            "source": os.path.abspath(path),
            "video_stream": options.video_stream,
            "program": options.program,
            "start_s": str(options.from_s),
            "end_s": None if options.until_s is None else str(options.until_s),
            "frames": options.frames,
            "fps": str(options.rate),
            "crop": "auto" if options.crop == "auto" else None,
            "audio_codec": options.audio_codec,
            "suffix": suffix,
            "is_surveyed": is_surveyed,
        }
        try:
            return self._helper.ask(request, _TIMEOUT_S)
        except HelperOutOfMemoryError as error:
            text = f"there is too little memory to open '{path}'"
            raise MediaError(text, "close other programs") from error
        except HelperDiedError as error:
            raise _crash(path, str(error)) from error
        except HelperUnavailableError:
            return {}  # where processes cannot be started, files are opened untried


def _bars(rows: list[list[int]] | None) -> "BlackBars | None":
    if rows is None:
        return None
    from upscaler.video.black_bars import BlackBars  # loads torch

    seen = {}
    for row in rows:
        width, height, left, right, top, bottom = map(int, row)
        seen[width, height] = (left, right, top, bottom)
    return BlackBars(seen)


def _crash(path: Path, how: str) -> MediaError:
    return MediaError(f"FFmpeg crashes on '{path}' ({how})", "the file is damaged")


def _answer(request: Request, on_progress: Callable[[], None]) -> Answer:
    """Open a file as the parent will do. What is wrong with it, the parent will find out by itself."""
    path, end_s = Path(request["source"]), request["end_s"]
    options = VideoOptions(
        video_stream=request["video_stream"],
        program=request["program"],
        start_s=Fraction(request["start_s"]),
        end_s=None if end_s is None else Fraction(end_s),
        frames=request["frames"],
        fps=Fraction(request["fps"]),
        crop=request["crop"],
    )
    answer: Answer = {}
    with suppress(UpscalerError, *MEDIA_ERRORS):
        source = source_of(path, options)
        if request["is_surveyed"]:
            surveyed = survey(path, options, on_progress)
            source, shape = surveyed.source, surveyed.shape
            answer = {
                "probe_bytes": source.probe_bytes,
                "shape": shape and [shape.width, shape.height, str(shape.sample_aspect)],
                "has_captions": surveyed.has_captions,
                "bars": surveyed.bars and [[*size, *edges] for size, edges in surveyed.bars.seen.items()],
                "index": surveyed.index and surveyed.index.to_json(),
            }
        plans = stream_plan.plan(
            source, Path(f"target{request['suffix']}"), audio_codec=request["audio_codec"]
        )
        with open_source(source) as container:
            decoded = {plan.index for plan in plans if (plan.kind, plan.action) == ("audio", "convert")}
            decoded.add(main_video_stream(container, source).index)
            _decode_first(demux(container), decoded)
    return answer


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
