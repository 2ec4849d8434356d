"""Deinterlacing with FFmpeg's filters: bwdif, frame for frame or one frame per field; or inverse telecine."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Literal

import av
import av.error
import av.filter
from av.video.frame import VideoFrame

from upscaler.errors import MediaError
from upscaler.video.inverse_telecine import InverseTelecine

Mode = Literal["auto", "on", "off", "bob", "ivtc"]
FieldOrder = Literal["auto", "top", "bottom"]

# Into how many parts a tick of the source is divided, so that every new PTS is a whole number: bob shows the
# second field midway between two frames, and inverse telecine makes four frames of the time of five.
TICK_PARTS: dict[Mode, int] = {"auto": 1, "on": 1, "off": 1, "bob": 2, "ivtc": 4}
_NTSC_RATE = Fraction(30000, 1001)
_SAME_RATE = Fraction(1, 100)
_PARITIES: dict[FieldOrder, str] = {"auto": "auto", "top": "tff", "bottom": "bff"}


def rate_factor(mode: Mode, rate: Fraction) -> Fraction:
    """Frames per second after deinterlacing over those before; an estimate for inverse telecine.

    Args:
        mode: How the video is deinterlaced.
        rate: Frames per second of the source.
    """
    if mode == "ivtc" and abs(rate / _NTSC_RATE - 1) < _SAME_RATE:
        return Fraction(4, 5)
    return Fraction(2) if mode == "bob" else Fraction(1)


class Deinterlacer:
    """Deinterlaces the frames of one video.

    Args:
        time_base: Of the source's PTS.
        mode: ``auto``: the frames flagged as interlaced; ``on``: all; ``off``: none; ``bob``: all, and each
            becomes two frames, one per field; ``ivtc``: fields of film frames are put together again, and
            the frames that 3:2 pulldown added are left out.
        field_order: Which field of a frame is shown first; ``auto``: as flagged, else the top one.

    Attributes:
        telecine: Counts what inverse telecine did; ``None`` in other modes.
    """

    def __init__(self, time_base: Fraction, mode: Mode, field_order: FieldOrder = "auto") -> None:
        self._time_base = time_base
        self._mode: Mode = mode
        self._field_order: FieldOrder = field_order
        self.telecine = InverseTelecine(time_base) if mode == "ivtc" else None

    def frames(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        """Deinterlace.

        Args:
            frames: With PTS in ``time_base``; their size and format may change in mid-stream.

        Yields:
            Frames with PTS in ``time_base / TICK_PARTS[mode]``.

        Raises:
            MediaError: Inverse telecine does not take the pixel format.
        """
        filtered = self._filtered(frames)
        return filtered if self.telecine is None else self.telecine.frames(filtered)

    def _filtered(self, frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
        graph: av.filter.Graph | None = None
        shape = None
        for frame in frames:
            current = (frame.width, frame.height, frame.format.name)
            if graph is not None and current != shape:
                yield from self._flushed(graph)
                graph = None
            needed = self._mode not in ("auto", "off") or (self._mode == "auto" and frame.interlaced_frame)
            if graph is None and needed:
                graph, shape = self._graph(frame), current
            if graph is None:
                yield frame
            else:
                graph.push(frame)
                yield from self._available(graph)
        if graph is not None:
            yield from self._flushed(graph)

    def _graph(self, frame: VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        self._format = frame.format.name
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self._time_base
        )
        filters = [graph.add(name, arguments) for name, arguments in self._filters(frame)]
        graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
        return graph

    def _filters(self, frame: VideoFrame) -> list[tuple[str, str]]:
        parity = _PARITIES[self._field_order]
        if self._mode == "ivtc":
            if parity == "auto" and not frame.interlaced_frame:
                parity = "tff"  # the filter would take unflagged frames for bottom field first
            # What no neighbouring field completes is flagged as interlaced, and deinterlaced. By default, the
            # filter looks for that at cuts only.
            return [
                ("fieldmatch", f"order={parity}:combmatch=full"),
                ("bwdif", "mode=send_frame:deint=interlaced"),
            ]
        rate = "send_field" if self._mode == "bob" else "send_frame"
        selection = "interlaced" if self._mode == "auto" else "all"
        return [("bwdif", f"mode={rate}:parity={parity}:deint={selection}")]

    def _flushed(self, graph: av.filter.Graph) -> Iterator[VideoFrame]:
        graph.push(None)
        yield from self._available(graph)

    def _available(self, graph: av.filter.Graph) -> Iterator[VideoFrame]:
        # In inverse telecine, ticks are divided only where frames are left out.
        time_base = self._time_base / (2 if self._mode == "bob" else 1)
        with suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                frame = graph.pull()
                assert isinstance(frame, VideoFrame), "the graph has video only"
                if frame.format.name != self._format:  # a filter that FFmpeg converts the frames for
                    raise MediaError(f"--deinterlace {self._mode} does not take the format {self._format}")
                if frame.pts is not None and frame.time_base:
                    # The filter halves the time base. One frame per frame has whole ticks: this is exact.
                    frame.pts = round(frame.pts * frame.time_base / time_base)
                    frame.duration = round((frame.duration or 0) * frame.time_base / time_base)
                    frame.time_base = time_base
                yield frame
