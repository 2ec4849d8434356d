"""One stream of the source on its way into the target: copied packet by packet, or decoded and encoded."""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol, cast

import av
import av.container
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from upscaler.results import StreamPlan
from upscaler.video.demux import MEDIA_ERRORS

_BITS_PER_SECOND = {"aac": 128_000, "libopus": 96_000, "libmp3lame": 128_000}  # per channel
_NOTABLE_S = Fraction(1, 10)  # where streams were cut and joined, sounds overlap by a packet or two
_DEEP_FORMATS = {"alac": "s32p", "flac": "s32"}


class Track(Protocol):
    """A way to turn the packets of one source stream into packets of its target.

    Attributes:
        target: Its stream in the output.
        damaged: Packets so far that could not be decoded, and are left out.
    """

    target: Stream
    damaged: int

    def packets(self, packet: "Packet[Stream]") -> Iterator["Packet[Stream]"]:
        """What the next packet of the source becomes; an empty one ends the stream."""

    def rest(self) -> Iterator["Packet[Stream]"]:
        """What is left after the last packet."""


def open_track(
    stream: Stream, output: av.container.OutputContainer, plan: StreamPlan, start_s: Fraction
) -> Track:
    """Add a stream to the output and return the way to it.

    Args:
        stream: Of the source.
        output: Before its header is written.
        plan: For this stream; not one to drop, and no attachment.
        start_s: Time of the source at which the output begins, seconds.
    """
    if plan.action == "copy":
        return _Copied(stream, output.add_stream_from_template(stream), start_s)
    if plan.kind == "subtitle":
        return _Subtitles(cast(SubtitleStream, stream), output, plan.encoder, start_s)
    return _Audio(cast(AudioStream, stream), output, plan, start_s)


def move(packet: "Packet[Stream]", by_s: Fraction, target: Stream) -> "Packet[Stream]":
    """The packet shifted in time and handed to its target stream; a missing stamp is the other one, or 0."""
    assert packet.time_base, "a demuxed packet has a time base"
    pts = packet.dts if packet.pts is None else packet.pts
    pts = 0 if pts is None else pts
    by = round(by_s / packet.time_base)
    packet.dts = (pts if packet.dts is None else packet.dts) + by
    packet.pts = pts + by
    packet.stream = target
    return packet


class Order:
    """Decoding stamps of one stream that never go back, as muxers demand; what would is put right behind.

    Args:
        strict: They may not be equal either.

    Attributes:
        moved: Packets so far that come notably later than their stamps say.
    """

    def __init__(self, *, strict: bool) -> None:
        self.moved = 0
        self._apart_s = Fraction(strict, 8000)  # longer than a tick of sound in mp4
        self._last_s: Fraction | None = None

    def place(self, packet: "Packet[Stream]") -> "Packet[Stream]":
        """The packet, not before the one before."""
        assert packet.dts is not None and packet.pts is not None, "a moved packet has both stamps"
        due_s = packet.dts * packet.time_base
        if self._last_s is not None:
            packet.dts = max(packet.dts, math.ceil((self._last_s + self._apart_s) / packet.time_base))
            packet.pts = max(packet.pts, packet.dts)
        self._last_s = packet.dts * packet.time_base
        self.moved += self._last_s > due_s + _NOTABLE_S
        return packet


class _Copied:
    """Packets as they are.

    Of the packets before an edit list's first sample exactly the last is kept: without it the decoder starts
    unprimed and late, with all of them hidden sound becomes audible.
    """

    def __init__(self, source: Stream, target: Stream, start_s: Fraction) -> None:
        self.target = target
        self.damaged = 0
        self._is_audio = source.type == "audio"
        self._start_s = start_s
        self._discarded: Packet[Stream] | None = None
        self._begun = False

    def packets(self, packet: "Packet[Stream]") -> Iterator["Packet[Stream]"]:
        unplaced = packet.pts is None and packet.dts is None
        if packet.size == 0 or (unplaced and self._is_audio):
            return
        if packet.is_discard:
            if not self._begun:
                self._discarded = packet
            return
        self._begun = True
        if self._discarded is not None:
            yield move(self._discarded, -self._start_s, self.target)
            self._discarded = None
        yield move(packet, -self._start_s, self.target)

    def rest(self) -> Iterator["Packet[Stream]"]:
        return iter(())


class _Audio:
    """Decoded and encoded again, every frame at its own time."""

    def __init__(
        self, source: AudioStream, output: av.container.OutputContainer, plan: StreamPlan, start_s: Fraction
    ) -> None:
        context, encoder = source.codec_context, plan.encoder
        target = cast(AudioStream, output.add_stream(encoder, rate=plan.rate, layout=plan.layout))
        if encoder in _BITS_PER_SECOND:
            target.codec_context.bit_rate = _BITS_PER_SECOND[encoder] * target.codec_context.channels
        elif context.format is not None and context.format.bytes > 2:
            target.codec_context.format = av.AudioFormat(_DEEP_FORMATS[encoder])
        self.target: Stream = target
        self.damaged = 0
        self._encoder = target
        self._plan = plan
        self._given: tuple[str, Fraction] | None = (
            None  # format and time base that the encoder gets throughout
        )
        self._shape: tuple[str, str, int] | None = None  # format, layout and rate that are decoded now
        self._resampler: AudioResampler | None = None
        self._start_s = start_s

    def packets(self, packet: "Packet[Stream]") -> Iterator["Packet[Stream]"]:
        try:
            frames = cast("Packet[AudioStream]", packet).decode()
        except MEDIA_ERRORS:  # a damaged packet leaves a gap of its own length
            self.damaged += 1
            return
        for frame in frames:
            if frame.pts is None or not frame.time_base:
                continue
            frame.pts -= round(self._start_s / frame.time_base)
            shape = (frame.format.name, frame.layout.name, frame.sample_rate)
            if self._resampler is None or shape != self._shape:
                yield from self._resampled(None)
                self._given = self._given or (shape[0], frame.time_base)
                self._resampler = AudioResampler(self._given[0], self._plan.layout, self._plan.rate)
                self._shape = shape
            yield from self._resampled(frame)

    def _resampled(self, frame: AudioFrame | None) -> Iterator["Packet[Stream]"]:
        """Packets of a frame, or of what the resampler holds back, as planned.

        Broadcasts change channels and rate on the way. A resampler takes no change, so each stretch has its
        own, and the encoder takes no change of format and time base either.
        """
        for made in self._resampler.resample(frame) if self._resampler else []:
            assert self._given and made.pts is not None and made.time_base, (
                "it comes from a frame with a stamp"
            )
            made.pts, made.time_base = round(made.pts * made.time_base / self._given[1]), self._given[1]
            yield from cast("list[Packet[Stream]]", self._encoder.encode(made))

    def rest(self) -> Iterator["Packet[Stream]"]:
        yield from self._resampled(None)
        yield from cast("list[Packet[Stream]]", self._encoder.encode(None))


class _Subtitles:
    """Text subtitles in the target's own format; styles may be lost, times are kept."""

    def __init__(
        self, source: SubtitleStream, output: av.container.OutputContainer, encoder: str, start_s: Fraction
    ) -> None:
        source.codec_context.open(strict=False)  # only an open decoder has the header that the encoder wants
        target = cast(SubtitleStream, output.add_stream(encoder))
        target.codec_context.subtitle_header = source.codec_context.subtitle_header
        target.codec_context.time_base = Fraction(1, 1000)
        self.target: Stream = target
        self.damaged = 0
        self._encoder = target.codec_context
        self._decoder = source.codec_context
        self._start_s = start_s

    def packets(self, packet: "Packet[Stream]") -> Iterator["Packet[Stream]"]:
        if packet.size == 0:
            return
        try:
            subtitles = self._decoder.decode2(packet)
            if subtitles is None:
                return
            made = cast("Packet[Stream]", self._encoder.encode_subtitle(subtitles))
        except MEDIA_ERRORS:  # most often text that is not UTF-8
            self.damaged += 1
            return
        made.time_base, made.pts, made.dts = packet.time_base, packet.pts, packet.dts
        made.duration = packet.duration
        yield move(made, -self._start_s, self.target)

    def rest(self) -> Iterator["Packet[Stream]"]:
        return iter(())
