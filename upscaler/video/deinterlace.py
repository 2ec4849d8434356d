"""Deinterlacing with FFmpeg's bwdif: as many frames as before, each at its own time."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Literal

import av
import av.error
import av.filter
from av.video.frame import VideoFrame

Mode = Literal["auto", "on", "off"]


def deinterlace(frames: Iterable[VideoFrame], time_base: Fraction, mode: Mode) -> Iterator[VideoFrame]:
    """Yield every frame, deinterlaced where necessary.

    Args:
        frames: With PTS in ``time_base``; their size and format may change in mid-stream.
        time_base: Of the PTS.
        mode: Which frames to deinterlace. ``auto``: those flagged as interlaced; ``on``: all; ``off``: none.
    """
    graph: av.filter.Graph | None = None
    shape = None
    for frame in frames:
        current = (frame.width, frame.height, frame.format.name)
        if graph is not None and current != shape:
            yield from _flushed(graph, time_base)
            graph = None
        if graph is None and (mode == "on" or (mode == "auto" and frame.interlaced_frame)):
            graph, shape = _graph(frame, time_base, mode), current
        if graph is None:
            yield frame
        else:
            graph.push(frame)
            yield from _available(graph, time_base)
    if graph is not None:
        yield from _flushed(graph, time_base)


def _graph(frame: VideoFrame, time_base: Fraction, mode: Mode) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=time_base
    )
    selection = "all" if mode == "on" else "interlaced"
    filtered = graph.add("bwdif", f"mode=send_frame:deint={selection}")
    sink = graph.add("buffersink")
    source.link_to(filtered)
    filtered.link_to(sink)
    graph.configure()
    return graph


def _flushed(graph: av.filter.Graph, time_base: Fraction) -> Iterator[VideoFrame]:
    graph.push(None)
    yield from _available(graph, time_base)


def _available(graph: av.filter.Graph, time_base: Fraction) -> Iterator[VideoFrame]:
    with suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            frame = graph.pull()
            assert isinstance(frame, VideoFrame), "the graph has video only"
            if frame.pts is not None and frame.time_base:
                # The filter halves the time base, but send_frame gives whole ticks only: this is exact.
                frame.pts = round(frame.pts * frame.time_base / time_base)
                frame.duration = round((frame.duration or 0) * frame.time_base / time_base)
                frame.time_base = time_base
            yield frame
