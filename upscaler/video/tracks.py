"""Source streams into the target: copied packet by packet, or decoded and encoded."""

import math
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Protocol, cast

import av
import av.container
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from upscaler.results import StreamPlan
from upscaler.video.demux import MEDIA_ERRORS
from upscaler.video.description import custom_channel_layout
from upscaler.video.overlapping_lines import Line, OneAtATime

_BITS_PER_SECOND = {"aac": 128_000, "libopus": 96_000, "libmp3lame": 128_000}  # per channel
_LONGEST_SILENCE_S = 60  # the timestamps of damaged packets may be wrong by years
_LOUDEST = 1e4  # of samples in floating point, where 1 is full scale
_HIGH_RESOLUTION_FORMATS = {"alac": "s32p", "flac": "s32"}  # for sources of more than 16 bits


class Track(Protocol):
    """Turns the packets of one source stream into packets of its target stream.

    Attributes:
        target: Its stream in the output.
        damaged: Packets so far that were left out because they could not be decoded.
        merged: Lines of subtitles so far that are shown together with another.
    """

    target: Stream
    damaged: int
    merged: int

    def packets(self, packet: "Packet[Stream]") -> Iterator["Packet[Stream]"]:
        """The target packets for the next source packet; an empty one ends the stream."""

    def flush(self) -> Iterator["Packet[Stream]"]:
        """The target packets that remain after the last source packet."""


def open_track(
    stream: Stream,
    output: av.container.OutputContainer,
    plan: StreamPlan,
    start_s: Fraction,
    *,
    tested: bool = False,
) -> Track:
    """Add a stream to the output and return the track that feeds it.

    Args:
        stream: Of the source.
        output: Its header must not be written yet.
        plan: For this stream; neither to be dropped nor an attachment.
        start_s: Time in the source at which the output begins, seconds.
        tested: Copy only audio packets that can be decoded.
    """
    if plan.action == "copy":
        copied = _Copied(stream, output.add_stream_from_template(stream), start_s, tested=tested)
        copied.needs_duration = stream.type == "subtitle" and output.format.name in ("mp4", "mov")
        return copied
    if plan.kind == "subtitle":
        return _Subtitles(cast(SubtitleStream, stream), output, plan.encoder, start_s)
    return _Audio(cast(AudioStream, stream), output, plan, start_s)


def retarget(packet: "Packet[Stream]", offset_s: Fraction, target: Stream) -> "Packet[Stream]":
    """The packet shifted in time and assigned to its target stream.

    A missing PTS or DTS becomes equal to the other one, and 0 if both are missing.
    """
    assert packet.time_base, "a demuxed packet has a time base"
    pts = packet.dts if packet.pts is None else packet.pts
    pts = 0 if pts is None else pts
    offset = round(offset_s / packet.time_base)
    packet.dts = (pts if packet.dts is None else packet.dts) + offset
    packet.pts = pts + offset
    packet.stream = target
    return packet


class _Copied:
    """Copies packets.

    Of the packets before the first sample of an edit list exactly the last is kept: without it, the decoder
    lacks its priming and audio starts late; with all of them, hidden audio becomes audible.

    Attributes:
        needs_duration: Packets without a duration get the shortest one. Subtitles of DVDs have none, and in
            mp4 the last one would lie behind the end of its track.
    """

    def __init__(self, source: Stream, target: Stream, start_s: Fraction, *, tested: bool) -> None:
        self.target = target
        self.damaged = self.merged = 0
        self.needs_duration = False
        self._is_audio = source.type == "audio"
        decodable = source.codec_context is not None and not custom_channel_layout(source)
        self._tested = tested and self._is_audio and decodable
        self._start_s = start_s
        self._discarded: Packet[Stream] | None = None
        self._started = False

    def packets(self, packet: "Packet[Stream]") -> Iterator["Packet[Stream]"]:
        without_time = packet.pts is None and packet.dts is None
        if packet.size == 0 or (without_time and self._is_audio):
            return
        if self._tested and not _is_decodable(cast("Packet[AudioStream]", packet)):
            self.damaged += 1
            return
        if packet.is_discard:
            if not self._started:
                self._discarded = packet
            return
        self._started = True
        if self.needs_duration and not packet.duration:
            packet.duration = 1
        if self._discarded is not None:
            yield retarget(self._discarded, -self._start_s, self.target)
            self._discarded = None
        yield retarget(packet, -self._start_s, self.target)

    def flush(self) -> Iterator["Packet[Stream]"]:
        return iter(())


def _is_decodable(packet: "Packet[AudioStream]") -> bool:
    try:
        packet.decode()
    except MEDIA_ERRORS:
        return False
    return True


class _Audio:
    """Decodes and encodes audio, every frame at its own time.

    Where packets cannot be decoded, the time between the frames around them becomes silence: most encoders
    take no gap, but join what is on both sides of it.
    """

    def __init__(
        self, source: AudioStream, output: av.container.OutputContainer, plan: StreamPlan, start_s: Fraction
    ) -> None:
        context, encoder = source.codec_context, plan.encoder
        target = cast(AudioStream, output.add_stream(encoder, rate=plan.rate, layout=plan.layout))
        if encoder in _BITS_PER_SECOND:
            target.codec_context.bit_rate = _BITS_PER_SECOND[encoder] * target.codec_context.channels
        elif context.format is not None and context.format.bytes > 2:
            target.codec_context.format = av.AudioFormat(_HIGH_RESOLUTION_FORMATS[encoder])
        self.target: Stream = target
        self.damaged = self.merged = 0
        self._encoder = target
        self._plan = plan
        # Sample format and time base of everything that the encoder gets.
        self._encoder_input: tuple[str, Fraction] | None = None
        self._last: AudioFrame | None = None  # the frame decoded last, with its time in the output
        self._resampler: AudioResampler | None = None
        self._start_s = start_s
        self._lost_until_s: Fraction | None = None  # end of the packets lost since, in the output

    def packets(self, packet: "Packet[Stream]") -> Iterator["Packet[Stream]"]:
        try:
            frames = cast("Packet[AudioStream]", packet).decode()
        except EOFError:  # after the end, which an empty packet declares
            return
        except MEDIA_ERRORS:
            self._record_loss(packet)
            return
        for frame in frames:
            self._set_time(frame)
            if not _is_sound(frame):
                self.damaged += 1
                self._lost_until_s = _end_s(frame)
                continue
            if self._last is not None and self._lost_until_s is not None:
                yield from self._silence(self._last, min(self._lost_until_s, _begin_s(frame)))
            self._lost_until_s = None
            if self._last is None or _shape(frame) != _shape(self._last):
                yield from self._encoded(None)
                self._encoder_input = self._encoder_input or (frame.format.name, _time_base(frame))
                sample_format, _ = self._encoder_input
                self._resampler = AudioResampler(sample_format, self._plan.layout, self._plan.rate)
            self._last = frame
            yield from self._encoded(frame)

    def _record_loss(self, packet: "Packet[Stream]") -> None:
        if packet.size == 0:
            return
        self.damaged += 1
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is not None:
            end_s = (stamp + (packet.duration or 0)) * packet.time_base - self._start_s
            self._lost_until_s = max(self._lost_until_s or end_s, end_s)

    def _set_time(self, frame: AudioFrame) -> None:
        """Count the PTS of a decoded frame from the start of the output; without one, it follows the last."""
        if frame.pts is not None and frame.time_base:
            frame.pts -= round(self._start_s / frame.time_base)
            return
        frame.time_base = frame.time_base or Fraction(1, frame.sample_rate)
        begin_s = Fraction(0) if self._last is None else _end_s(self._last)
        frame.pts = round(begin_s / frame.time_base)

    def _silence(self, last: AudioFrame, until_s: Fraction) -> Iterator["Packet[Stream]"]:
        """Packets of silence from the end of the frame decoded last until a time in the output."""
        begin_s = _end_s(last)
        until_s = min(until_s, begin_s + _LONGEST_SILENCE_S)
        while (missing := math.floor((until_s - begin_s) * last.sample_rate)) > 0:
            silent = AudioFrame(last.format.name, last.layout.name, min(missing, last.sample_rate))
            for plane in silent.planes:  # unsigned samples are silent in the middle of their range
                plane.update(bytes([0x80 if last.format.name.startswith("u8") else 0]) * plane.buffer_size)
            silent.sample_rate, silent.time_base = last.sample_rate, _time_base(last)
            silent.pts = round(begin_s / silent.time_base)
            begin_s += Fraction(silent.samples, silent.sample_rate)
            yield from self._encoded(silent)

    def _encoded(self, frame: AudioFrame | None) -> Iterator["Packet[Stream]"]:
        """Packets for a frame, or with ``None`` for what the resampler still holds.

        Broadcasts change channels and rate in mid-stream. A resampler accepts no change of its input, so each
        stretch gets its own; nor does the encoder accept a change of sample format and time base.
        """
        for resampled in self._resampler.resample(frame) if self._resampler else []:
            assert self._encoder_input and resampled.pts is not None and resampled.time_base, (
                "only frames with a PTS are resampled"
            )
            _, time_base = self._encoder_input
            resampled.pts = round(resampled.pts * resampled.time_base / time_base)
            resampled.time_base = time_base
            try:
                packets = self._encoder.encode(resampled)
            except MEDIA_ERRORS:  # an encoder that cannot be opened, or whatever samples it refuses
                self.damaged += 1
            else:
                yield from cast("list[Packet[Stream]]", packets)

    def flush(self) -> Iterator["Packet[Stream]"]:
        if self._last is not None and self._lost_until_s is not None:
            yield from self._silence(self._last, self._lost_until_s)
        yield from self._encoded(None)
        with suppress(*MEDIA_ERRORS):  # it could not be opened, which was counted
            yield from cast("list[Packet[Stream]]", self._encoder.encode(None))


def _is_sound(frame: AudioFrame) -> bool:
    """Whether all samples can be sound; in floating point, damage gives numbers that AAC refuses."""
    if not frame.format.name.startswith(("flt", "dbl")):
        return True
    return bool(np.abs(frame.to_ndarray()).max(initial=0) < _LOUDEST)


def _shape(frame: AudioFrame) -> tuple[str, str, int]:
    """Sample format, layout and rate."""
    return frame.format.name, frame.layout.name, frame.sample_rate


def _time_base(frame: AudioFrame) -> Fraction:
    assert frame.time_base, "a decoded frame has a time base"
    return frame.time_base


def _begin_s(frame: AudioFrame) -> Fraction:
    assert frame.pts is not None, "_set_time sets it"
    return frame.pts * _time_base(frame)


def _end_s(frame: AudioFrame) -> Fraction:
    return _begin_s(frame) + Fraction(frame.samples, frame.sample_rate)


class _Subtitles:
    """Converts text subtitles; styles may be lost, times are kept."""

    def __init__(
        self, source: SubtitleStream, output: av.container.OutputContainer, encoder: str, start_s: Fraction
    ) -> None:
        source.codec_context.open(strict=False)  # only an open decoder has the header that the encoder needs
        target = cast(SubtitleStream, output.add_stream(encoder))
        target.codec_context.subtitle_header = source.codec_context.subtitle_header
        target.codec_context.time_base = Fraction(1, 1000)
        self.target: Stream = target
        self.damaged = self.merged = 0
        self._encoder = target.codec_context
        self._decoder = source.codec_context
        self._start_s = start_s
        self._sequence = OneAtATime() if encoder == "mov_text" else None
        self._time_base = source.time_base

    def packets(self, packet: "Packet[Stream]") -> Iterator["Packet[Stream]"]:
        if packet.size == 0:
            return
        try:
            subtitles = self._decoder.decode2(packet)
            if subtitles is None:
                return
            encoded = cast("Packet[Stream]", self._encoder.encode_subtitle(subtitles))
        except MEDIA_ERRORS:  # usually text that is not UTF-8
            self.damaged += 1
            return
        if self._sequence and packet.pts is not None:
            line = Line(packet.pts, packet.pts + (packet.duration or 1), bytes(encoded))
            yield from map(self._packet, self._sequence.add(line))
            self.merged = self._sequence.merged
            return
        encoded.time_base, encoded.pts, encoded.dts = packet.time_base, packet.pts, packet.dts
        encoded.duration = packet.duration
        yield retarget(encoded, -self._start_s, self.target)

    def flush(self) -> Iterator["Packet[Stream]"]:
        yield from map(self._packet, self._sequence.flush() if self._sequence else ())

    def _packet(self, line: Line) -> "Packet[Stream]":
        packet: Packet[Stream] = Packet(line.sample)
        packet.time_base = self._time_base or Fraction(1, 1000)
        packet.pts = packet.dts = line.begin
        packet.duration = line.end - line.begin
        return retarget(packet, -self._start_s, self.target)
