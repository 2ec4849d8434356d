"""Timed metadata of cameras in mp4 and mov: telemetry of GoPro (``gpmd``), of Apple (``mebx``) and of others.

FFmpeg's muxer refuses ``mebx``, and writes ``gpmd`` without its edit and its reference to the video. So they
are added to the finished file: samples as they are, descriptions and handlers byte for byte, with times of
their own.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path

from av.packet import Packet
from av.stream import Stream

from upscaler.video import boxes
from upscaler.video.boxes import inside, packed
from upscaler.video.demux import MEDIA_ERRORS, Source, open_with_hidden_samples

_HANDLER = b"meta"
_VIDEO_HANDLER = b"vide"
_DESCRIBES = b"cdsc"  # the kind of reference from metadata to what they describe
_SELF = packed(b"dinf", packed(b"dref", struct.pack(">II", 0, 1) + packed(b"url ", b"\0\0\0\1")))
_IDENTITY = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_EMPTY = -1  # media time of an edit in which nothing is shown
_LARGEST = (1 << 32) - 1


@dataclass(frozen=True)
class MetadataTrack:
    """A track of the source, without its samples.

    Attributes:
        name: Of the kind of its samples, such as ``gpmd``.
        flags: Of its header.
        handler: The content of its ``hdlr``.
        header: Its media header, as boxes.
        description: The content of its ``stsd``.
        language: As stored.
        describes_video: Whether it refers to the video.
    """

    name: str
    flags: int
    handler: bytes
    header: bytes
    description: bytes
    language: bytes
    describes_video: bool


@dataclass(frozen=True)
class _Sample:
    start: int  # in ticks of the track
    stop: int
    data: bytes


def tracks(path: Path) -> dict[int, MetadataTrack]:
    """The tracks of a file that can be copied, by number of the track; empty if it is no mp4 or mov."""
    try:
        movie = boxes.movie(path)
    except OSError:
        return {}
    every = [content for kind, content in inside(movie) if kind == b"trak"]
    videos = {_number(each) for each in every if _handler(each) == _VIDEO_HANDLER}
    return {_number(each): track for each in every if (track := _track(each, videos)) is not None}


def _number(track: bytes) -> int:
    header = boxes.first(track, b"tkhd")
    return int.from_bytes(header[20:24] if header[:1] == b"\1" else header[12:16])


def _handler(track: bytes) -> bytes:
    return boxes.first(track, b"mdia", b"hdlr")[8:12]


def _track(track: bytes, videos: set[int]) -> MetadataTrack | None:
    described = boxes.first(track, b"mdia", b"minf", b"stbl", b"stsd")
    if _handler(track) != _HANDLER or described[4:8] != b"\0\0\0\1":  # samples do not say which of several
        return None
    media = boxes.first(track, b"mdia")
    header = boxes.first(media, b"mdhd")
    referred = boxes.first(track, b"tref", _DESCRIBES)
    return MetadataTrack(
        name=described[12:16].decode("latin-1").strip(),
        flags=int.from_bytes(boxes.first(track, b"tkhd")[1:4]),
        handler=boxes.first(media, b"hdlr"),
        header=b"".join(
            packed(kind, content)
            for kind, content in inside(boxes.first(media, b"minf"))
            if kind not in (b"dinf", b"stbl")
        ),
        description=described,
        language=header[32:34] if header[:1] == b"\1" else header[20:22],
        describes_video=any(referred[at : at + 4] in _as_bytes(videos) for at in range(0, len(referred), 4)),
    )


def _as_bytes(numbers: Iterable[int]) -> set[bytes]:
    return {number.to_bytes(4) for number in numbers}


def add(
    path: Path, source: Source, indexes: Sequence[int], start_s: Fraction, stop_s: Fraction | None
) -> None:
    """Add tracks of the source to a finished mp4.

    A sample that begins before the part of the source and reaches into it is kept; an edit hides its
    beginning.

    Args:
        path: The file; its ``moov`` box is the last one.
        source: Where the tracks are.
        indexes: Of the streams.
        start_s: What becomes the beginning of the file, seconds of the source.
        stop_s: Its end; ``None``: all of the source.

    Raises:
        OSError: A file cannot be read or written.
    """
    found = tracks(source.path)
    with open_with_hidden_samples(source) as original:
        streams = [original.streams[index] for index in indexes]
        packets: dict[int, list[Packet[Stream]]] = {index: [] for index in indexes}
        try:
            for packet in original.demux(streams):
                if packet.size and packet.pts is not None:
                    packets[packet.stream.index].append(packet)
        except MEDIA_ERRORS:  # up to where the source is damaged, which its reader has reported
            pass
        for stream in streams:
            timescale = stream.time_base.denominator if stream.time_base else 1
            samples = _samples(packets[stream.index], timescale, start_s, stop_s)
            if samples:
                length = None if stop_s is None else round((stop_s - start_s) * timescale)
                _add_track(path, found[stream.id], samples, timescale, length)


def _samples(
    packets: Sequence["Packet[Stream]"], timescale: int, start_s: Fraction, stop_s: Fraction | None
) -> list[_Sample]:
    """The samples that reach into a part of the source, whose times begin with it."""
    shift = round(start_s * timescale)
    length = None if stop_s is None else round((stop_s - start_s) * timescale)
    starts = [(packet.pts or 0) - shift for packet in packets]
    stops = [*starts[1:], starts[-1] + max(1, packets[-1].duration or 0)] if packets else []
    return [
        _Sample(start, stop, bytes(packet))
        for start, stop, packet in zip(starts, stops, packets, strict=True)
        if stop > max(0, start) and (length is None or start < length)
    ]


def _add_track(
    path: Path, track: MetadataTrack, samples: Sequence[_Sample], timescale: int, length: int | None
) -> None:
    with path.open("r+b") as file:
        start = boxes.start_of_movie(file)
        file.seek(start)
        movie = file.read()[8:]
        file.seek(start)
        file.write(struct.pack(">I4sQ", 1, b"mdat", 16 + sum(len(each.data) for each in samples)))
        place = file.tell()
        for sample in samples:
            file.write(sample.data)
        file.write(packed(b"moov", _with_track(movie, track, samples, timescale, length, place)))


def _with_track(
    movie: bytes,
    track: MetadataTrack,
    samples: Sequence[_Sample],
    timescale: int,
    length: int | None,
    place: int,
) -> bytes:
    """The content of a ``moov`` with one more track, whose samples lie at a place of the file."""
    content = inside(movie)
    [header] = [each for kind, each in content if kind == b"mvhd"]
    numbers = [_number(each) for kind, each in content if kind == b"trak"]
    [video, *_] = [_number(each) for kind, each in content if kind == b"trak" and _handler(each) == b"vide"]
    (movie_timescale,) = struct.unpack_from(">I", header, 20 if header[:1] == b"\1" else 12)
    number = max(numbers) + 1
    edits, duration = _edits(samples, Fraction(movie_timescale, timescale), length)
    parts = [
        packed(b"tkhd", _track_header(track.flags, number, duration)),
        packed(b"edts", packed(b"elst", edits)),
        *([packed(b"tref", packed(_DESCRIBES, video.to_bytes(4)))] if track.describes_video else []),
        packed(b"mdia", _media(track, samples, timescale, place)),
    ]
    last = max(at for at, (kind, _) in enumerate(content) if kind == b"trak")
    content.insert(last + 1, (b"trak", b"".join(parts)))
    following = header[:-4] + (number + 1).to_bytes(4)
    return b"".join(packed(kind, following if kind == b"mvhd" else each) for kind, each in content)


def _edits(samples: Sequence[_Sample], per_tick: Fraction, length: int | None) -> tuple[bytes, int]:
    """The content of an ``elst``, and the duration in ticks of the movie, of which a tick is ``per_tick``."""
    first, end = samples[0].start, samples[-1].stop
    shown = (end if length is None else min(end, length)) - max(0, first)
    edits = [(round(max(0, first) * per_tick), _EMPTY)] if first > 0 else []
    edits.append((round(shown * per_tick), max(0, -first)))
    content = struct.pack(">II", 1 << 24, len(edits))
    for duration, media_time in edits:
        content += struct.pack(">QqI", duration, media_time, 1 << 16)
    return content, sum(duration for duration, _ in edits)


def _track_header(flags: int, number: int, duration: int) -> bytes:
    """The content of a ``tkhd``, version 1."""
    start = struct.pack(">IQQIIQ", (1 << 24) | flags, 0, 0, number, 0, duration)
    return start + bytes(8) + bytes(8) + _IDENTITY + bytes(8)


def _media(track: MetadataTrack, samples: Sequence[_Sample], timescale: int, place: int) -> bytes:
    """The content of an ``mdia``."""
    duration = samples[-1].stop - samples[0].start
    header = struct.pack(">IQQIQ", 1 << 24, 0, 0, timescale, duration) + track.language + bytes(2)
    durations = [
        (length, len([*group])) for length, group in groupby(each.stop - each.start for each in samples)
    ]
    table = [
        packed(b"stsd", track.description),
        packed(
            b"stts",
            struct.pack(">II", 0, len(durations))
            + b"".join(struct.pack(">II", count, length) for length, count in durations),
        ),
        packed(b"stsc", struct.pack(">5I", 0, 1, 1, len(samples), 1)),
        packed(
            b"stsz",
            struct.pack(">3I", 0, 0, len(samples))
            + b"".join(struct.pack(">I", len(each.data)) for each in samples),
        ),
        packed(b"co64", struct.pack(">IIQ", 0, 1, place)),
    ]
    information = track.header + _SELF + packed(b"stbl", b"".join(table))
    return packed(b"mdhd", header) + packed(b"hdlr", track.handler) + packed(b"minf", information)
