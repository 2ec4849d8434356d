"""The final merge: encoded video segments and the copied streams, in the order of their decoding time."""

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.container
from av.packet import Packet
from av.stream import Stream

from upscaler.errors import MediaError
from upscaler.video.read import open_input
from upscaler.video.streams import MUXERS


@dataclass(frozen=True)
class Segment:
    """A closed piece of encoded video.

    Attributes:
        path: A file whose stamps start at 0.
        first_pts: Stamp of its first frame in the whole video, in units of ``time_base``.
        time_base: Of the whole video, seconds.
    """

    path: Path
    first_pts: int
    time_base: Fraction


@dataclass(frozen=True)
class Merged:
    """What stands in the finished file.

    Attributes:
        frames: Video packets, one a frame.
        copied: Packets copied, by index of the source's stream.
    """

    frames: int
    copied: dict[int, int]


def merge(segments: list[Segment], source: Path, target: Path, rotation: int) -> Merged:
    """Write the target from encoded segments and the audio of the source, copied packet by packet.

    Args:
        segments: In order; at least one.
        source: File whose audio streams are copied.
        target: File to write; its suffix names the container.
        rotation: Degrees counter-clockwise to be shown in.

    Raises:
        MediaError: The container refuses a stream, or the disk failed; the target is then not there.
    """
    partial = target.with_name(f"{target.stem}.part{target.suffix}")
    try:
        merged = _write(segments, source, partial, rotation)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    except (OSError, ValueError) as error:  # every FFmpeg error is one of the two
        raise MediaError(f"'{target.name}' cannot be put together: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return merged


def _write(segments: list[Segment], source: Path, partial: Path, rotation: int) -> Merged:
    muxer = MUXERS[partial.suffix.lower()]  # by name: FFmpeg's own guess for .m4v refuses HEVC
    options = {"movie_timescale": "90000"} if muxer in ("mp4", "mov") else {}
    copied: dict[int, int] = {}
    frames = 0
    with (
        open_input(source) as original,
        open_input(segments[0].path) as first,
        av.open(str(partial), "w", format=muxer, options=options) as output,
    ):
        video = output.add_stream_from_template(first.streams.video[0], opaque=True)
        video.time_base = segments[0].time_base
        if rotation:
            video.set_display_rotation(rotation)
        audio = {stream.index: _copy_of(stream, output) for stream in original.streams.audio}
        source_index = {target.index: index for index, target in audio.items()}
        output.metadata.update(_kept(original.metadata))
        tracks = [_video_packets(segments, video)]
        if audio:
            tracks.append(_copied_packets(original, audio))
        for _, packet in heapq.merge(*tracks, key=lambda entry: entry[0]):
            if packet.stream is video:
                frames += 1
            else:
                index = source_index[packet.stream.index]
                copied[index] = copied.get(index, 0) + 1
            output.mux(packet)
    return Merged(frames, copied)


def _copy_of(stream: Stream, output: av.container.OutputContainer) -> Stream:
    copy = output.add_stream_from_template(stream)
    copy.metadata.update(_kept(stream.metadata))
    copy.disposition = stream.disposition
    return copy


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    """Metadata without what describes the old container; the new muxer writes its own."""
    stale = {"encoder", "DURATION", "major_brand", "minor_version", "compatible_brands"}
    return {key: value for key, value in metadata.items() if key not in stale}


_Entry = tuple[Fraction, "Packet[Stream]"]  # decoding time in seconds, packet


def _video_packets(segments: list[Segment], video: Stream) -> Iterator[_Entry]:
    """Packets of all segments, moved to their place in time; ordered by decoding time."""
    for segment in segments:
        with open_input(segment.path) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size:
                    yield _moved(cast("Packet[Stream]", packet), segment.first_pts * segment.time_base, video)


def _copied_packets(original: av.container.InputContainer, targets: dict[int, Stream]) -> Iterator[_Entry]:
    """Packets of the copied streams, moved so that the file starts at 0, ordered by decoding time.

    Of the packets before an edit list's first sample exactly the last is kept: without it the decoder starts
    unprimed and late, with all of them hidden sound becomes audible.
    """
    start_s = -Fraction(original.start_time or 0, 1_000_000)
    discarded: dict[int, Packet[Stream]] = {}
    for packet in original.demux([original.streams[index] for index in targets]):
        if packet.size == 0 or (packet.pts is None and packet.dts is None):
            continue
        index = packet.stream.index
        if packet.is_discard:
            discarded[index] = packet
            continue
        if index in discarded:
            yield _moved(discarded.pop(index), start_s, targets[index])
        yield _moved(packet, start_s, targets[index])


def _moved(packet: "Packet[Stream]", by_s: Fraction, target: Stream) -> _Entry:
    """The packet shifted in time and handed to its target stream; a missing stamp is the other one."""
    assert packet.time_base, "a demuxed packet has a time base"
    pts = packet.dts if packet.pts is None else packet.pts
    assert pts is not None, "packets without any stamp are dropped before"
    by = round(by_s / packet.time_base)
    packet.pts, packet.dts = pts + by, (pts if packet.dts is None else packet.dts) + by
    packet.stream = target
    return packet.dts * packet.time_base, packet
