"""Packets of all segments of a video as one stream, each at its time in the output."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

from av.packet import Packet
from av.stream import Stream

from upscaler.video.demux import open_input
from upscaler.video.segments import Segment
from upscaler.video.timestamps import MAX_REORDERED_FRAMES
from upscaler.video.tracks import retarget


def segment_packets(
    segments: list[Segment], target: Stream, begin_s: Fraction, *, allows_negative_dts: bool
) -> Iterator["Packet[Stream]"]:
    """Packets of all segments in DTS order.

    An encoder's first DTS lie before its first frame, where frames of uneven duration may place them before
    the last DTS of the previous segment; there they follow each other by one tick, which is always before
    their frames are shown.

    Args:
        segments: In order.
        target: The video stream of the output.
        begin_s: Time in the source at which the output begins, seconds.
        allows_negative_dts: Whether the output stores negative DTS. Matroska stores no DTS at all, but for
            negative ones its muxer would delay the whole file.
    """
    earliest, step = (None, 1) if allows_negative_dts else (0, 0)
    for segment in segments:
        offset_s = segment.first_pts * segment.time_base - begin_s
        exact_pts = iter(segment.pts()) if segment.path.suffix == ".mkv" else None
        with open_input(segment.path) as container:
            for packet in container.demux(container.streams.video[0]):
                if not packet.size:
                    continue
                if exact_pts:  # Matroska rounds times; none of the codecs stored in it reorders frames
                    duration_s = (packet.duration or 0) * packet.time_base
                    packet.duration = round(duration_s / segment.time_base)
                    packet.time_base = segment.time_base
                    packet.pts = packet.dts = next(exact_pts) - segment.first_pts
                moved = retarget(cast("Packet[Stream]", packet), offset_s, target)
                assert moved.dts is not None, "a retargeted packet has both timestamps"
                if earliest is not None:
                    moved.dts = max(moved.dts, earliest)
                earliest = moved.dts + step
                yield moved


def extend_last(packets: Iterator["Packet[Stream]"], end_s: Fraction) -> Iterator["Packet[Stream]"]:
    """The same packets, where the frame shown last lasts until ``end_s``.

    The packet decoded last is extended likewise, less the delay between decoding and display: mp4 stores
    differences of DTS.
    """
    held: deque[Packet[Stream]] = deque()
    delay = 0
    for packet in packets:
        delay = delay if held else _pts(packet) - (packet.dts or 0)
        held.append(packet)
        if len(held) > MAX_REORDERED_FRAMES:
            yield held.popleft()
    last_decoded, last_shown = held[-1], max(held, key=_pts)
    for packet, begin in (
        (last_decoded, max(_pts(last_decoded), (last_decoded.dts or 0) + delay)),
        (last_shown, _pts(last_shown)),
    ):
        packet.duration = max(1, round(end_s / packet.time_base) - begin)
    yield from held


def _pts(packet: "Packet[Stream]") -> int:
    assert packet.pts is not None, "a retargeted packet has both timestamps"
    return packet.pts
