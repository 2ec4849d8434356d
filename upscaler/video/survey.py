"""One look through a whole video before work starts: streams that begin late, shapes of the picture, bars."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av.container
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from upscaler.options import VideoOptions
from upscaler.video.captions import captions_of
from upscaler.video.demux import (
    MEDIA_ERRORS,
    MPEG_FORMATS,
    Source,
    demux,
    frame_rate,
    has_undetected_stream,
    main_video_stream,
    open_input,
    open_source,
)
from upscaler.video.description import stream_count
from upscaler.video.frame_index import FrameIndex, IndexRecorder
from upscaler.video.geometry import Shape, aspect_of
from upscaler.video.timestamps import MAX_REORDERED_FRAMES

if TYPE_CHECKING:
    from upscaler.video.black_bars import BlackBars

# FFmpeg keeps in memory what it searches for streams.
_PROBE_BYTES_MAX = 512 << 20
# What FFmpeg searches by default, and needs from the start of a stream on to know its properties.
_PROBE_BYTES = 5 << 20
_PACKETS_PER_CHECK = 250  # describing the file takes as long as reading a few packets
# Key frames that are decoded of a video; more if its duration is unknown or wrong, as of joined recordings.
_SAMPLES = 300
# With fewer key frames than this, all frames are decoded to find black bars.
_SAMPLES_FOR_BARS = 30
# Shapes that last for a smaller share of the video do not decide its size.
_MIN_SHARE = Fraction(1, 10)


@dataclass(frozen=True)
class Survey:
    """What a video contains.

    Attributes:
        source: The file, with ``probe_bytes`` such that streams that begin late are found on opening.
        shape: The largest of the shapes that last for a tenth of the video; ``None``: that of the first
            frame.
        has_captions: Whether key frames have closed captions.
        bars: Where the pictures have black bars; ``None``: nobody asked.
        index: Of the requested part, by which it can be cut; ``None``: unknown.
    """

    source: Source
    shape: Shape | None = None
    has_captions: bool = False
    bars: "BlackBars | None" = None
    index: FrameIndex | None = None


def source_of(path: Path, options: VideoOptions) -> Source:
    """A file and the streams of it that were requested."""
    return Source(path, options.video_stream, options.program, options.rate)


def survey(path: Path, options: VideoOptions, on_progress: Callable[[], None] = lambda: None) -> Survey:
    """Read a video and decode some of its key frames; for ``--crop auto`` all frames, if these are too few.

    Args:
        path: The file.
        options: Name the streams, and the part that is read.
        on_progress: Called after every packet.

    Raises:
        MediaError: The file cannot be opened, or has no such video.
    """
    source = source_of(path, options)
    bars = _bars() if options.crop == "auto" else None
    with open_input(path) as container:
        video = main_video_stream(container, source)
        recorder = IndexRecorder(container, video, whole=not options.trims)
        late, shapes = _LateStreams(container), _Shapes(container, video, bars, recorder)
        try:
            for packet in _requested(demux(container), container, video, options):
                on_progress()
                late.record(packet)
                if packet.stream.index == video.index:
                    shapes.record(cast("Packet[VideoStream]", packet))
                recorder.record(packet)
        except MEDIA_ERRORS:  # reported by the reader
            recorder.hinder("it is damaged")
        late.check()
        if has_undetected_stream(container) and not late.probe_bytes:
            recorder.hinder("a stream of it starts too late to be found")
        index = recorder.index()
    if bars is not None and shapes.sampled < _SAMPLES_FOR_BARS:
        _record_all(bars, source, options, on_progress)
    source = replace(source, probe_bytes=late.probe_bytes)
    return Survey(source, shapes.main(), shapes.have_captions, bars, index)


def _bars() -> "BlackBars":
    from upscaler.video.black_bars import BlackBars  # loads torch, which the helper process need not have

    return BlackBars()


def _record_all(
    bars: "BlackBars", source: Source, options: VideoOptions, on_progress: Callable[[], None]
) -> None:
    """Look for black bars in every frame of the requested part."""
    with open_source(source) as container:
        video = main_video_stream(container, source)
        video.thread_type = "AUTO"
        with suppress(*MEDIA_ERRORS):
            for packet in _requested(demux(container), container, video, options):
                on_progress()
                if packet.stream.index == video.index:
                    with suppress(*MEDIA_ERRORS):
                        for frame in video.codec_context.decode(cast("Packet[VideoStream]", packet)):
                            bars.record(frame)
            for frame in video.codec_context.decode(None):
                bars.record(frame)


def _requested(
    packets: Iterator["Packet[Stream]"],
    container: av.container.InputContainer,
    video: VideoStream,
    options: VideoOptions,
) -> Iterator["Packet[Stream]"]:
    """Packets up to the end of the requested part."""
    start_s, frames = Fraction(container.start_time or 0, 1_000_000), 0
    for packet in packets:
        if packet.size == 0:
            continue  # an empty frame of AVI, or at the end, to flush decoders
        if packet.stream.index == video.index and packet.dts is not None and packet.time_base:
            time_s = packet.dts * packet.time_base - start_s
            frames += time_s >= options.from_s
            if options.until_s is not None and time_s > options.until_s:
                return
            if options.frames is not None and frames > options.frames + MAX_REORDERED_FRAMES:
                return
        yield packet


class _LateStreams:
    """How much of a transport or program stream contains the start of all its streams.

    Such a stream may announce others at any time; and of some that it has announced, nothing is known before
    their first packet.

    Attributes:
        probe_bytes: So far; 0: FFmpeg's default.
    """

    def __init__(self, container: av.container.InputContainer) -> None:
        self.probe_bytes = 0
        self._container = container
        self._needed = container.format.name in MPEG_FORMATS
        self._streams = len(container.streams)
        self._unknown = {stream.index for stream in container.streams if _is_unknown(stream)}
        self._position = 0
        self._packets = 0

    def record(self, packet: "Packet[Stream]") -> None:
        """Take a packet of any stream into account."""
        if not self._needed:
            return
        self._position = max(self._position, packet.pos or 0)
        self._packets += 1
        if packet.stream.index in self._unknown:
            self._unknown.discard(packet.stream.index)
            self._extend()
        if self._packets % _PACKETS_PER_CHECK == 0:
            self.check()

    def check(self) -> None:
        """Look for new streams."""
        if self._needed and (found := stream_count(self._container)) > self._streams:
            self._streams = found
            self._extend()

    def _extend(self) -> None:
        needed = self._position + 2 * _PROBE_BYTES
        if needed <= _PROBE_BYTES_MAX:
            self.probe_bytes = needed


def _is_unknown(stream: Stream) -> bool:
    """Whether FFmpeg has found no packet that shows the properties of a stream."""
    # Not its channels: reading those of an unusual layout ends the process (see `custom_channel_layout`).
    return isinstance(stream, AudioStream) and not (stream.codec_context and stream.codec_context.sample_rate)


class _Shapes:
    """Which shapes the pictures of a video have, and for how long: from key frames all over it.

    Attributes:
        have_captions: Whether one of these key frames has closed captions.
        sampled: Key frames that were decoded.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        video: VideoStream,
        bars: "BlackBars | None",
        recorder: IndexRecorder,
    ) -> None:
        self._video = video
        self._bars = bars
        self._recorder = recorder
        self._packets: Counter[Shape] = Counter()
        self._current: Shape | None = None
        self.have_captions = False
        duration_s = Fraction(container.duration or 0, 1_000_000)
        frames = video.frames or round(duration_s * frame_rate(video))
        self._step = max(1, frames // _SAMPLES)  # packets between two samples
        self._since = self._step
        self.sampled = 0

    def record(self, packet: "Packet[VideoStream]") -> None:
        """Take a packet into account."""
        self._since += 1
        if packet.is_keyframe and self._since >= self._step:
            self._since = 0
            self.sampled += 1
            if self.sampled % _SAMPLES == 0:  # longer than declared
                self._step *= 2
            with suppress(*MEDIA_ERRORS):
                frame = next(iter(self._decoded(packet)), None)
                if frame is not None:
                    decoder = self._video.codec_context
                    aspect = aspect_of(self._video, decoder)
                    self.have_captions |= bool(captions_of(frame, decoder.codec.canonical_name))
                    shape = Shape(frame.width, frame.height, aspect)
                    if shape != (self._current or shape):
                        self._recorder.hinder("its picture changes its shape")
                    self._current = shape
                    self._recorder.sample(frame)
                    if self._bars is not None:
                        self._bars.record(frame)
        if self._current:
            self._packets[self._current] += 1

    def _decoded(self, packet: "Packet[VideoStream]") -> list[VideoFrame]:
        decoder = self._video.codec_context
        frames = [*decoder.decode(packet), *decoder.decode(None)]
        decoder.flush_buffers()
        return frames

    def main(self) -> Shape | None:
        """The largest shape, as displayed, among those that are frequent."""
        total = sum(self._packets.values())
        frequent = [shape for shape, count in self._packets.items() if count >= total * _MIN_SHARE]
        return max(frequent, key=Shape.displayed_area, default=None)
