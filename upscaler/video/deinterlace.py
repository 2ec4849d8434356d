"""Interlaced frames -> whole ones, one for one, each at its own time (FFmpeg's bwdif)."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Literal

import av
import av.error
import av.filter
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

Mode = Literal["auto", "on", "off"]


def deinterlaced(frames: Iterable[VideoFrame], stream: VideoStream, mode: Mode) -> Iterator[VideoFrame]:
    """Pass frames on, interlaced ones made whole.

    Args:
        frames: With stamps in the stream's time base.
        stream: They come from.
        mode: ``auto``: frames that say they are interlaced; ``on``: all of them; ``off``: none.
    """
    graph: av.filter.Graph | None = None
    for frame in frames:
        if graph is None and (mode == "on" or (mode == "auto" and frame.interlaced_frame)):
            graph = _graph(frame, stream, mode)
        if graph is None:
            yield frame
        else:
            graph.push(frame)
            yield from _ready(graph, stream)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph, stream)


def _graph(frame: VideoFrame, stream: VideoStream, mode: Mode) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base
    )
    which = "all" if mode == "on" else "interlaced"
    filtered = graph.add("bwdif", f"mode=send_frame:deint={which}")
    sink = graph.add("buffersink")
    source.link_to(filtered)
    filtered.link_to(sink)
    graph.configure()
    return graph


def _ready(graph: av.filter.Graph, stream: VideoStream) -> Iterator[VideoFrame]:
    with suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            frame = graph.pull()
            assert isinstance(frame, VideoFrame), "the graph holds video only"
            if frame.pts is not None and frame.time_base and stream.time_base:
                # The filter counts in half ticks; send_frame keeps whole ones, so this is exact.
                frame.pts = round(frame.pts * frame.time_base / stream.time_base)
                frame.time_base = stream.time_base
            yield frame
