"""The final merge: encoded video segments and the source's streams, in the order of their decoding time."""

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import av.container
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream

from upscaler.errors import MediaError
from upscaler.results import StreamPlan
from upscaler.video.demux import (
    MEDIA_ERRORS,
    Timeline,
    address,
    demuxed,
    frame_rate,
    has_alpha_packets,
    main_video_stream,
    open_input,
)
from upscaler.video.segments import REORDERED_MOST, Segment
from upscaler.video.stream_plan import MUXERS
from upscaler.video.tracks import Order, Track, move, open_track

if TYPE_CHECKING:
    from av.container.core import Chapter  # only in av's stub file


@dataclass(frozen=True)
class Window:
    """The part of the source that is made, seconds from the start of the file.

    Attributes:
        start_s: Time of the first frame.
        stop_s: End of the last frame.
    """

    start_s: Fraction
    stop_s: Fraction


@dataclass(frozen=True)
class Merged:
    """What stands in the finished file.

    Attributes:
        frames: Video packets, one a frame.
        packets: Packets of the other streams, by index of the source's stream.
        faults: What of them is left out or at another time, one line each.
    """

    frames: int
    packets: dict[int, int]
    faults: list[str]


def merge(
    segments: list[Segment],
    source: Path,
    path: Path,
    plans: list[StreamPlan],
    *,
    rotation: int = 0,
    mirrored: bool = False,
    window: Window | None = None,
    cut: bool = False,
) -> Merged:
    """Write a file from encoded segments and the source's other streams.

    Args:
        segments: In order; at least one.
        source: File whose other streams, chapters and metadata are taken.
        path: File to write; its suffix names the container.
        plans: What becomes of each stream.
        rotation: Degrees counter-clockwise by which it is turned to be shown.
        mirrored: Whether it is mirrored left to right after that.
        window: The part that the segments hold; ``None``: the last frame is as long as the encoder has it.
        cut: Whether the output begins with that part and nothing else is kept of the other streams.

    Raises:
        MediaError: The container refuses a stream, or the disk failed; the file may be there, half-written.
    """
    try:
        return _write(segments, source, path, plans, (rotation, mirrored), window, cut=cut)
    except MEDIA_ERRORS as error:
        raise MediaError(f"the streams cannot be put together: {error}") from error


def _write(
    segments: list[Segment],
    source: Path,
    partial: Path,
    plans: list[StreamPlan],
    orientation: tuple[int, bool],
    window: Window | None,
    *,
    cut: bool,
) -> Merged:
    muxer = MUXERS[partial.suffix.lower()]  # by name: FFmpeg's own guess for .m4v refuses HEVC
    options = {"movie_timescale": _movie_timescale(segments[0].time_base)} if muxer in ("mp4", "mov") else {}
    with (
        open_input(source) as original,
        open_input(segments[0].path) as first,
        av.open(address(partial), "w", format=muxer, options=options) as output,
    ):
        described = main_video_stream(original, source)
        video = output.add_stream_from_template(first.streams.video[0], opaque=True)
        video.time_base = segments[0].time_base
        tag = first.streams.video[0].codec_context.codec_tag
        aspect = first.streams.video[0].sample_aspect_ratio
        if aspect:  # stands beside what a template copies
            video.codec_context.sample_aspect_ratio = aspect
        if muxer in ("mp4", "mov"):
            video.codec_context.codec_tag = tag  # hvc1 plays where hev1 does not
            # Time code counts frames, 255 a second at most; without a rate the muxer refuses it at the end.
            video.codec_context.framerate = min(frame_rate(described), Fraction(255))
        video.metadata.update(_kept(described.metadata, muxer))
        if has_alpha_packets(first.streams.video[0]):  # without the tag, players look at no alpha
            video.metadata["alpha_mode"] = "1"
        video.disposition = described.disposition
        if any(orientation):
            rotation, mirrored = orientation
            video.set_display_rotation(rotation, hflip=mirrored)
        start_s = Fraction(original.start_time or 0, 1_000_000)
        stop_s, begin_s = None, Fraction(0)
        if window and cut:
            begin_s = window.start_s
            start_s, stop_s = start_s + window.start_s, start_s + window.stop_s
        tracks = _tracks(original, output, plans, start_s, muxer)
        output.set_chapters(_kept_chapters(original.chapters(), start_s, stop_s))
        output.metadata.update(_kept(original.metadata, muxer))
        entries = [_video_packets(segments, video, begin_s, keeps_negative=muxer in ("mp4", "mov"))]
        if window:
            entries = [_lasting(entries[0], window.stop_s - begin_s)]
        strict = muxer in ("mp4", "mov")
        orders = {
            index: Order(strict=strict and track.target.type == "audio") for index, track in tracks.items()
        }
        if tracks:
            entries.append(_other_packets(original, tracks, orders, (start_s, stop_s) if cut else None))
        index_of = {track.target.index: index for index, track in tracks.items()}
        frames, packets = 0, dict.fromkeys(tracks, 0)
        for _, packet in heapq.merge(*entries, key=lambda entry: entry[0]):
            if packet.stream is video:
                frames += 1
            else:
                packets[index_of[packet.stream.index]] += 1
            output.mux(packet)
    faults = [
        line for plan in plans if plan.index in tracks for line in _faults(plan, tracks, orders, source)
    ]
    return Merged(frames, packets, faults)


def _faults(plan: StreamPlan, tracks: dict[int, Track], orders: dict[int, Order], source: Path) -> list[str]:
    """What is left out of a stream that is kept or comes at another time, one line each."""
    name, lines = f"{plan.kind} {plan.index} of '{source}'", []
    if damaged := tracks[plan.index].damaged:
        hint = "; .mkv takes them undecoded" if plan.kind == "subtitle" else ""
        lines.append(f"left out of {name}, for they cannot be decoded: {_packets(damaged)}{hint}")
    if moved := orders[plan.index].moved:
        lines.append(f"later than stamped in {name}, for its time stamps go back: {_packets(moved)}")
    return lines


def _packets(count: int) -> str:
    return "1 packet" if count == 1 else f"{count} packets"


def _movie_timescale(time_base: Fraction) -> str:
    """Units per second for a late start: such that the video's is never rounded; at most 31 bits."""
    exact = math.lcm(90_000, time_base.denominator)
    return str(exact if exact < 2**31 else time_base.denominator)


def _tracks(
    original: av.container.InputContainer,
    output: av.container.OutputContainer,
    plans: list[StreamPlan],
    start_s: Fraction,
    muxer: str,
) -> dict[int, Track]:
    """Open a track in the output for every stream that is kept, by index of the source's stream."""
    tracks: dict[int, Track] = {}
    for plan in plans:
        stream = original.streams[plan.index]
        if plan.action == "drop":
            continue
        if plan.kind == "attachment":
            attached = cast(AttachmentStream, stream)
            output.add_attachment(attached.name or "file", attached.mimetype or "", attached.data or b"")
            continue
        if plan.kind == "cover" and muxer == "matroska":  # as a track it would be shown as a second film
            suffix = {"mjpeg": ("jpg", "jpeg")}.get(plan.codec, (plan.codec, plan.codec))
            output.add_attachment(f"cover.{suffix[0]}", f"image/{suffix[1]}", _first_packet(original, stream))
            continue
        track = tracks[plan.index] = open_track(stream, output, plan, start_s)
        track.target.metadata.update(_kept(stream.metadata, muxer))
        track.target.disposition = stream.disposition
    return tracks


def _first_packet(original: av.container.InputContainer, stream: Stream) -> bytes:
    with open_input(Path(original.name)) as container:
        found = (bytes(packet) for packet in container.demux(container.streams[stream.index]) if packet.size)
        return next(found, b"")


def _kept_chapters(chapters: list["Chapter"], start_s: Fraction, stop_s: Fraction | None) -> list["Chapter"]:
    """The chapters of which something is left, moved to where that begins."""
    moved = (_shifted(chapter, start_s, stop_s) for chapter in chapters)
    return [chapter for chapter in moved if chapter["end"] > chapter["start"]]


def _shifted(chapter: "Chapter", start_s: Fraction, stop_s: Fraction | None) -> "Chapter":
    """A chapter of a file of which the part from ``start_s`` on is moved to begin at 0."""
    if not chapter["time_base"]:
        return chapter
    by = round(start_s / chapter["time_base"])
    moved = chapter.copy()
    last = chapter["end"] if stop_s is None else min(chapter["end"], round(stop_s / chapter["time_base"]))
    moved["start"], moved["end"] = max(0, chapter["start"] - by), max(0, last - by)
    return moved


# Metadata that describe the old file, in lower case; the new muxer writes its own.
_STALE = {"encoder", "duration", "major_brand", "minor_version", "compatible_brands", "vendor_id"}
_STALE |= {"alpha_mode", "bps", "number_of_frames", "number_of_bytes"}
_STALE_PREFIXES = ("_statistics_", "duration-", "bps-", "number_of_frames-", "number_of_bytes-")


def _kept(metadata: dict[str, str], muxer: str) -> dict[str, str]:
    """Metadata without what describes the old container; the new muxer writes its own."""
    stale = _STALE if muxer in ("mp4", "mov") else _STALE | {"handler_name", "name"}
    kept = {
        key: value
        for key, value in metadata.items()
        if key.lower() not in stale and not key.lower().startswith(_STALE_PREFIXES)
    }
    if "name" in metadata:  # a track's title, as it is read from mp4
        kept.setdefault("title", metadata["name"])
    return kept


Entry = tuple[Fraction, "Packet[Stream]"]  # decoding time in seconds, packet


def _video_packets(
    segments: list[Segment], video: Stream, begin_s: Fraction, *, keeps_negative: bool
) -> Iterator[Entry]:
    """Packets of all segments, moved to their place in time from ``begin_s`` on; ordered by decoding time.

    An encoder's first decoding times lie before its first frame, where frames of uneven length may let them
    fall behind the last ones of the segment before; there they follow each other by one tick, which is always
    before the frames are shown. Matroska stores no decoding times, but for negative ones its muxer would
    delay the whole file.
    """
    earliest, strictly = (None, 1) if keeps_negative else (0, 0)
    for segment in segments:
        by_s = segment.first_pts * segment.time_base - begin_s
        exact = iter(segment.pts()) if segment.path.suffix == ".mkv" else None
        with open_input(segment.path) as container:
            for packet in container.demux(container.streams.video[0]):
                if not packet.size:
                    continue
                if exact:  # Matroska rounds; packets come in the order of frames, for no codec there reorders
                    length_s = (packet.duration or 0) * packet.time_base
                    packet.duration = round(length_s / segment.time_base)
                    packet.time_base = segment.time_base
                    packet.pts = packet.dts = next(exact) - segment.first_pts
                moved = move(cast("Packet[Stream]", packet), by_s, video)
                assert moved.dts is not None, "a moved packet has both stamps"
                if earliest is not None:
                    moved.dts = max(moved.dts, earliest)
                earliest = moved.dts + strictly
                yield _timed(moved)


def _lasting(entries: Iterator[Entry], end_s: Fraction) -> Iterator[Entry]:
    """The same packets of video, of which the last shown lasts until ``end_s``.

    So does the last decoded, as much earlier as the first is decoded earlier: mp4 adds up the times between.
    """
    held: deque[Packet[Stream]] = deque()
    lead = 0
    for _, packet in entries:
        lead = lead if held else _shown(packet) - (packet.dts or 0)
        held.append(packet)
        if len(held) > REORDERED_MOST:
            yield _timed(held.popleft())
    last_decoded, last_shown = held[-1], max(held, key=_shown)
    for packet, begin in (
        (last_decoded, max(_shown(last_decoded), (last_decoded.dts or 0) + lead)),
        (last_shown, _shown(last_shown)),
    ):
        packet.duration = max(1, round(end_s / packet.time_base) - begin)
    yield from map(_timed, held)


def _shown(packet: "Packet[Stream]") -> int:
    assert packet.pts is not None, "a moved packet has both stamps"
    return packet.pts


def _other_packets(
    original: av.container.InputContainer,
    tracks: dict[int, Track],
    orders: dict[int, Order],
    between_s: tuple[Fraction, Fraction | None] | None,
) -> Iterator[Entry]:
    """Packets of the other streams, copied or converted, roughly in the order of their decoding time.

    With ``between_s`` only those that begin in that span of the source.
    """
    timeline = Timeline(original)
    streams = None if timeline.needs_all else [original.streams[index] for index in tracks]
    for packet in demuxed(original, streams):
        timeline.place(packet)
        if packet.stream.index not in tracks:
            continue
        if between_s and packet.size and not _begins_between(packet, *between_s):
            continue
        index = packet.stream.index
        for made in tracks[index].packets(packet):
            yield _timed(orders[index].place(made))
    for index, track in tracks.items():
        for made in track.rest():
            yield _timed(orders[index].place(made))


def _begins_between(packet: "Packet[Stream]", start_s: Fraction, stop_s: Fraction | None) -> bool:
    if packet.pts is None or Disposition.attached_pic & packet.stream.disposition:
        return True
    time_s = packet.pts * packet.time_base
    return time_s >= start_s and (stop_s is None or time_s < stop_s)


def _timed(packet: "Packet[Stream]") -> Entry:
    assert packet.dts is not None, "a packet to be written has a decoding stamp"
    return packet.dts * packet.time_base, packet
