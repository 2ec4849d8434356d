"""Interlaced frames -> whole ones, one for one, each at its own time (FFmpeg's bwdif)."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Literal

import av
import av.error
import av.filter
from av.video.frame import VideoFrame

Mode = Literal["auto", "on", "off"]


def deinterlaced(frames: Iterable[VideoFrame], time_base: Fraction, mode: Mode) -> Iterator[VideoFrame]:
    """Pass frames on, interlaced ones made whole.

    Args:
        frames: With stamps in ``time_base``; their size and format may change on the way.
        time_base: Of the stamps.
        mode: ``auto``: frames that say they are interlaced; ``on``: all of them; ``off``: none.
    """
    graph: av.filter.Graph | None = None
    shape = None
    for frame in frames:
        now = (frame.width, frame.height, frame.format.name)
        if graph is not None and now != shape:
            yield from _rest(graph, time_base)
            graph = None
        if graph is None and (mode == "on" or (mode == "auto" and frame.interlaced_frame)):
            graph, shape = _graph(frame, time_base, mode), now
        if graph is None:
            yield frame
        else:
            graph.push(frame)
            yield from _ready(graph, time_base)
    if graph is not None:
        yield from _rest(graph, time_base)


def _graph(frame: VideoFrame, time_base: Fraction, mode: Mode) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=time_base
    )
    which = "all" if mode == "on" else "interlaced"
    filtered = graph.add("bwdif", f"mode=send_frame:deint={which}")
    sink = graph.add("buffersink")
    source.link_to(filtered)
    filtered.link_to(sink)
    graph.configure()
    return graph


def _rest(graph: av.filter.Graph, time_base: Fraction) -> Iterator[VideoFrame]:
    graph.push(None)
    yield from _ready(graph, time_base)


def _ready(graph: av.filter.Graph, time_base: Fraction) -> Iterator[VideoFrame]:
    with suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            frame = graph.pull()
            assert isinstance(frame, VideoFrame), "the graph holds video only"
            if frame.pts is not None and frame.time_base:
                # The filter counts in half ticks; send_frame keeps whole ones, so this is exact.
                frame.pts = round(frame.pts * frame.time_base / time_base)
                frame.duration = round((frame.duration or 0) * frame.time_base / time_base)
                frame.time_base = time_base
            yield frame
