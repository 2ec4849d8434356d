"""The final merge: video segments and the source's other streams, muxed in DTS order."""

import heapq
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.container
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from upscaler.errors import MediaError
from upscaler.results import Message, OnMessage, StreamPlan
from upscaler.system import own_files
from upscaler.system.threads import RaiseIfStopped, never_stopped
from upscaler.video import matroska_projection, timecode, timed_metadata
from upscaler.video.demux import (
    MEDIA_ERRORS,
    Source,
    demux,
    ffmpeg_path,
    frame_rate,
    has_alpha_packets,
    main_video_stream,
    open_input,
    open_source,
)
from upscaler.video.formats import Container, container_of
from upscaler.video.info import Window
from upscaler.video.metadata import kept_chapters, kept_tags
from upscaler.video.segment_packets import extend_last, segment_packets
from upscaler.video.segments import Segment
from upscaler.video.subtitle_canvas import keep_canvas, write_track_sizes
from upscaler.video.timeline import Timeline
from upscaler.video.timestamps import MonotonicDts
from upscaler.video.tracks import Track, open_track

_SAME_RATE = Fraction(1, 100)
_UNUSABLE = "none of it can be decoded"
_TIMECODE_RATE_MAX = Fraction(255)  # frames per second that a timecode track can count


@dataclass(frozen=True)
class View:
    """How a coded picture is displayed.

    Attributes:
        rotation: Degrees counter-clockwise.
        mirrored: Whether it is mirrored left to right after that.
        stereo_mode: Matroska's name for how two views share the picture; empty for one view.
        has_projection: Whether ``matroska_projection.write`` follows.
    """

    rotation: int = 0
    mirrored: bool = False
    stereo_mode: str = ""
    has_projection: bool = False


AS_CODED = View()


@dataclass
class _Kept:
    """A stream of the source that is kept.

    Attributes:
        plan: For the stream.
        track: Feeds its stream in the output.
        order: Of its packets.
        canvas_px: (width, height) to be written into the finished file, if any.
        written: Packets so far that the muxer took.
        refused: Packets so far that it refused.
    """

    plan: StreamPlan
    track: Track
    order: MonotonicDts
    canvas_px: tuple[int, int] | None = None
    written: int = 0
    refused: int = 0

    @property
    def is_lost(self) -> bool:
        """Whether the source has packets of this stream, and none of them could be used."""
        return not self.written and bool(self.track.damaged or self.refused)


def merge(  # noqa: PLR0913 - what a file consists of
    segments: list[Segment],
    source: Source,
    path: Path,
    plans: list[StreamPlan],
    *,
    view: View = AS_CODED,
    window: Window | None = None,
    cut: bool = False,
    on_message: OnMessage = lambda _: None,
    raise_if_stopped: RaiseIfStopped = never_stopped,
) -> list[StreamPlan]:
    """Write a file from video segments and the source's other streams.

    A stream of which no packet can be used is left out.

    Args:
        segments: In order; at least one.
        source: The file whose other streams, chapters and tags are kept.
        path: File to write; its suffix names the container.
        plans: What becomes of each stream.
        view: How the picture is displayed.
        window: The part of the source that the segments contain; ``None``: the last frame keeps the duration
            that the encoder gave it.
        cut: Whether the other streams are cut to this part, too, and the output begins with it.
        on_message: Called with a warning for each stream from which packets were dropped or moved.
        raise_if_stopped: Called before each packet; if it raises, an incomplete file may remain.

    Returns:
        What became of each stream.

    Raises:
        MediaError: The container refuses a stream, or the disk failed; an incomplete file may remain.
    """
    tested = False
    lost: list[str] = []
    while True:
        try:
            kept = _merge(
                segments, source, path, plans, view, window, raise_if_stopped, cut=cut, tested=tested
            )
        except MEDIA_ERRORS as error:
            # A damaged packet that the muxer refuses as the last one takes the rest of its queue with it.
            if tested or not isinstance(error, ValueError):
                hint = "--no-audio and --no-subtitles leave them out" if isinstance(error, ValueError) else ""
                raise MediaError(f"cannot merge the video with the other streams: {error}", hint) from error
            tested = True
            continue
        unusable = {stream.plan.index for stream in kept if stream.is_lost}
        if not unusable:
            break
        lost += [
            f"{each.plan.kind} {each.plan.index}: left out, {_UNUSABLE}" for each in kept if each.is_lost
        ]
        plans = [
            replace(plan, action="drop", encoder="", reason=_UNUSABLE) if plan.index in unusable else plan
            for plan in plans
        ]
    for text in (*lost, *(line for stream in kept for line in _losses(stream, path.suffix))):
        on_message(Message("warning", text))
    for stream in kept:
        if merged := stream.track.merged:
            lines = "1 line is" if merged == 1 else f"{merged} lines are"
            text = f"{lines} shown below an earlier one: lines cannot overlap in {path.suffix}"
            on_message(Message("info", f"subtitle {stream.plan.index}: {text}"))
    return plans


def _merge(  # noqa: PLR0913 - as above
    segments: list[Segment],
    source: Source,
    path: Path,
    plans: list[StreamPlan],
    view: View,
    window: Window | None,
    raise_if_stopped: RaiseIfStopped,
    *,
    cut: bool,
    tested: bool,
) -> list[_Kept]:
    """``merge`` once; ``tested``: copy only audio packets that can be decoded."""
    container = container_of(path.suffix)
    os.close(own_files.create(path))  # FFmpeg would follow a link of this name
    with (
        open_source(source) as original,
        open_input(segments[0].path) as first,
        av.open(
            ffmpeg_path(path),
            "w",
            format=container.muxer,
            options=_mp4_options(segments, original) if container.is_mp4 else {},
        ) as output,
    ):
        start_s = Fraction(original.start_time or 0, 1_000_000)
        main_video = main_video_stream(original, source)
        begin_s = window.output_start_s(cut=cut) if window else Fraction(0)
        stop_s = start_s + window.stop_s if window and cut else None
        start_s += begin_s
        video = _add_video(
            output,
            container,
            segments,
            first.streams.video[0],
            main_video,
            view,
        )
        output.metadata.update(kept_tags(original.metadata, container))
        kept = _add_others(main_video, output, plans, start_s, container, tested=tested)
        output.set_chapters(kept_chapters(original.chapters(), start_s, stop_s))
        if cut:  # the timecode is that of the first frame
            for tags in (video.metadata, output.metadata):
                tags.update(timecode.advanced(tags, begin_s, frame_rate(main_video)))
        video_packets = segment_packets(segments, video, begin_s, allows_negative_dts=container.is_mp4)
        if window:
            video_packets = extend_last(video_packets, window.stop_s - begin_s)
        between_s = (start_s, stop_s) if cut else None
        others = _other_packets(original, kept, between_s, raise_if_stopped) if kept else iter(())
        _mux(output, heapq.merge(video_packets, others, key=_dts_s), kept, raise_if_stopped)
        canvases_px = {each.track.target.index: each.canvas_px for each in kept.values() if each.canvas_px}
    if canvases_px:
        write_track_sizes(path, canvases_px)
    if timed := [plan.index for plan in plans if (plan.kind, plan.action) == ("data", "copy")]:
        timed_metadata.add(path, source, timed, start_s, stop_s)
    return list(kept.values())


def _add_video(
    output: av.container.OutputContainer,
    container: Container,
    segments: list[Segment],
    encoded: VideoStream,
    original: VideoStream,
    view: View,
) -> Stream:
    """Add the stream for the upscaled video.

    Args:
        output: Its header must not be written yet.
        container: Of the output.
        segments: Of the whole video.
        encoded: The stream of the first one.
        original: The source's stream, for its tags.
        view: How the picture is displayed.
    """
    video = output.add_stream_from_template(encoded, opaque=True)
    video.time_base = segments[0].time_base
    # Otherwise Matroska declares one frame per tick; in mp4, a timecode track fails when the file is closed.
    rate = _declared_rate(original, segments)
    video.codec_context.framerate = min(rate, _TIMECODE_RATE_MAX) if container.is_mp4 else rate
    if encoded.sample_aspect_ratio:  # a template does not include it
        video.codec_context.sample_aspect_ratio = encoded.sample_aspect_ratio
    if container.is_mp4:
        video.codec_context.codec_tag = encoded.codec_context.codec_tag  # hvc1 plays where hev1 does not
    video.metadata.update(kept_tags(original.metadata, container))
    if has_alpha_packets(encoded):  # without the tag, players ignore the alpha packets
        video.metadata["alpha_mode"] = "1"
    video.disposition = original.disposition
    if view.stereo_mode and not container.is_mp4:
        video.metadata["stereo_mode"] = view.stereo_mode  # Matroska's muxer writes the element from this tag
    if view.has_projection and not container.is_mp4:
        video.metadata["title"] = video.metadata.get("title", "") + matroska_projection.ROOM
    if view.rotation or view.mirrored:
        video.set_display_rotation(view.rotation, hflip=view.mirrored)
    return video


def _mux(
    output: av.container.OutputContainer,
    packets: Iterable["Packet[Stream]"],
    kept: dict[int, _Kept],
    raise_if_stopped: RaiseIfStopped,
) -> None:
    """Write the header and all packets; a damaged packet that the muxer refuses costs only itself.

    FFmpeg may report a packet that waited in its queue while it takes another one, even one of the video.
    Whether all frames are there is checked afterwards (``verify``), so no packet is lost without a word.
    """
    output.start_encoding()  # here, so that refusing a stream as a whole stays an error
    by_target = {stream.track.target.index: stream for stream in kept.values()}
    for packet in packets:
        raise_if_stopped()
        stream = by_target.get(packet.stream.index)
        try:
            output.mux(packet)
        except ValueError:  # what FFmpeg calls invalid data or an invalid argument; not a full disk
            if stream is not None:
                stream.refused += 1
        else:
            if stream is not None:
                stream.written += 1


def _declared_rate(original: VideoStream, segments: list[Segment]) -> Fraction:
    """Frames per second for the header: the source's rate if the frames agree with it, else their average."""
    claimed = frame_rate(original)
    frames = sum(segment.frames for segment in segments)
    duration_s = (segments[-1].last_pts - segments[0].first_pts) * segments[0].time_base
    average = (frames - 1) / duration_s if frames > 1 else claimed
    if abs(claimed / average - 1) < _SAME_RATE:
        return claimed
    return max(average.limit_denominator(1001), Fraction(1, 1001))


def _mp4_options(segments: list[Segment], original: av.container.InputContainer) -> dict[str, str]:
    options = {"movie_timescale": _movie_timescale(segments[0].time_base)}
    if any(key.startswith("com.apple.quicktime.") for key in original.metadata):
        options["movflags"] = "use_metadata_tags"  # by default the muxer drops them, such as the location
    return options


def _movie_timescale(time_base: Fraction) -> str:
    """Ticks per second for a late start such that the video's start is exact; 31 bits at most."""
    exact = math.lcm(90_000, time_base.denominator)
    return str(exact if exact < 2**31 else time_base.denominator)


def _add_others(
    main_video: VideoStream,
    output: av.container.OutputContainer,
    plans: list[StreamPlan],
    start_s: Fraction,
    container: Container,
    *,
    tested: bool,
) -> dict[int, _Kept]:
    """Add a stream for every other stream that is kept; by index of the source's stream."""
    kept: dict[int, _Kept] = {}
    original = cast(av.container.InputContainer, main_video.container)
    for plan in plans:
        stream = original.streams[plan.index]
        if plan.action == "drop" or plan.kind == "data":  # timed metadata are added to the finished file
            continue
        if plan.kind == "attachment":
            attached = cast(AttachmentStream, stream)
            output.add_attachment(attached.name or "file", attached.mimetype or "", attached.data or b"")
            continue
        if plan.kind == "cover" and container.attachments:  # players would show a track as a second video
            suffix, subtype = {"mjpeg": ("jpg", "jpeg")}.get(plan.codec, (plan.codec, plan.codec))
            output.add_attachment(f"cover.{suffix}", f"image/{subtype}", _first_packet(original, stream))
            continue
        track = open_track(stream, output, plan, start_s, tested=tested)
        canvas_px = None
        if plan.action == "copy":
            canvas_px = keep_canvas(stream, track.target, main_video, is_mp4=container.is_mp4)
        track.target.metadata.update(kept_tags(stream.metadata, container))
        track.target.disposition = stream.disposition
        strict = container.is_mp4 and track.target.type == "audio"
        kept[plan.index] = _Kept(plan, track, MonotonicDts(strict=strict), canvas_px)
    return kept


def _first_packet(original: av.container.InputContainer, stream: Stream) -> bytes:
    with open_input(Path(original.name)) as container:
        found = (bytes(packet) for packet in container.demux(container.streams[stream.index]) if packet.size)
        return next(found, b"")


def _other_packets(
    original: av.container.InputContainer,
    kept: dict[int, _Kept],
    between_s: tuple[Fraction, Fraction | None] | None,
    raise_if_stopped: RaiseIfStopped,
) -> Iterator["Packet[Stream]"]:
    """Packets of the other streams, copied or converted, roughly in DTS order.

    Args:
        original: The source.
        kept: The streams to keep.
        between_s: Keep only packets that begin in this span of the source; ``None``: keep all.
        raise_if_stopped: Called for those that are not kept, too: there may be many of them in a row.
    """
    timeline = Timeline(original)
    streams = None if timeline.needs_every_packet else [original.streams[index] for index in kept]
    for packet in _until_unreadable(demux(original, streams)):
        raise_if_stopped()
        timeline.shift(packet)
        if packet.stream.index not in kept:
            continue
        if between_s and packet.size and not _begins_between(packet, *between_s):
            continue
        stream = kept[packet.stream.index]
        yield from map(stream.order.enforce, stream.track.packets(packet))
    for stream in kept.values():
        yield from map(stream.order.enforce, stream.track.flush())


def _until_unreadable(packets: Iterator["Packet[Stream]"]) -> Iterator["Packet[Stream]"]:
    """Packets up to the point from which a damaged file cannot be read; the reader reported that already."""
    with suppress(*MEDIA_ERRORS):
        yield from packets


def _begins_between(packet: "Packet[Stream]", start_s: Fraction, stop_s: Fraction | None) -> bool:
    if packet.pts is None or Disposition.attached_pic & packet.stream.disposition:
        return True
    time_s = packet.pts * packet.time_base
    return time_s >= start_s and (stop_s is None or time_s < stop_s)


def _dts_s(packet: "Packet[Stream]") -> Fraction:
    assert packet.dts is not None, "a retargeted packet has both timestamps"
    return packet.dts * packet.time_base


def _losses(stream: _Kept, suffix: str) -> Iterator[str]:
    """What was dropped or moved in a stream, one line each."""
    name = f"{stream.plan.kind} {stream.plan.index}"
    if (damaged := stream.track.damaged) and (stream.plan.kind, stream.plan.action) == ("audio", "convert"):
        yield f"{name}: {_count(damaged)} could not be decoded and became silence"
    elif damaged:
        hint = "; .mkv keeps them as they are" if stream.plan.kind == "subtitle" else ""
        yield f"{name}: dropped {_count(damaged)} that could not be decoded{hint}"
    if refused := stream.refused:
        yield f"{name}: dropped {_count(refused)} that {suffix} refused as damaged"
    if moved := stream.order.moved:
        yield f"{name}: non-monotonic timestamps; moved {_count(moved)} after their predecessor"


def _count(packets: int) -> str:
    return "1 packet" if packets == 1 else f"{packets} packets"
