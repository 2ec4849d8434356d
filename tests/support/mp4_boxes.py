"""Boxes of mp4, written and read for tests, apart from the code that they judge (ISO/IEC 14496-12)."""

import struct
from dataclasses import dataclass
from pathlib import Path


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def boxes(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        header = 8
        if size == 1:
            (size,), header = struct.unpack_from(">Q", content, at + 8), 16
        found.append((kind, content[at + header : at + size]))
        at += size
    return found


def one(content: bytes, *path: str) -> bytes:
    for name in path:
        [content] = [each for kind, each in boxes(content) if kind == name.encode()]
    return content


def metadata_track(
    number: int,
    name: bytes,
    description: bytes,
    samples: list[bytes],
    place: int,
    *,
    timescale: int = 1000,
    each: int = 100,
    skipped: int = 0,
    movie_timescale: int = 1000,
    video: int = 1,
) -> bytes:
    """A ``trak`` of samples that follow one another at ``place``; an edit skips its first ticks."""
    length = len(samples) * each
    shown = (length - skipped) * movie_timescale // timescale
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    tkhd = struct.pack(">I2I", 3, 0, 0) + struct.pack(">3I", number, 0, shown) + bytes(16) + matrix + bytes(8)
    elst = struct.pack(">2IIiI", 0, 1, shown, skipped, 65536)
    mdhd = struct.pack(">5I", 0, 0, 0, timescale, length) + struct.pack(">2H", 0x55C4, 0)
    hdlr = bytes(8) + b"meta" + bytes(12) + b"Telemetry\0"
    gmhd = box(b"gmhd", box(b"gmin", bytes(16)))
    dinf = box(b"dinf", box(b"dref", struct.pack(">2I", 0, 1), box(b"url ", b"\0\0\0\1")))
    stbl = box(
        b"stbl",
        box(b"stsd", struct.pack(">2I", 0, 1), box(name, bytes(6), b"\0\1", description)),
        box(b"stts", struct.pack(">4I", 0, 1, len(samples), each)),
        box(b"stsc", struct.pack(">5I", 0, 1, 1, len(samples), 1)),
        box(b"stsz", struct.pack(f">{3 + len(samples)}I", 0, 0, len(samples), *map(len, samples))),
        box(b"stco", struct.pack(">3I", 0, 1, place)),
    )
    return box(
        b"trak",
        box(b"tkhd", tkhd),
        box(b"edts", box(b"elst", elst)),
        box(b"tref", box(b"cdsc", struct.pack(">I", video))),
        box(b"mdia", box(b"mdhd", mdhd), box(b"hdlr", hdlr), box(b"minf", gmhd, dinf, stbl)),
    )


def with_tracks(path: Path, tracks: list[tuple[bytes, bytes, list[bytes], int]]) -> Path:
    """Add tracks of (kind, description, samples, skipped ticks) to a file whose ``moov`` is its last box."""
    content = path.read_bytes()
    start = content.rindex(b"moov") - 4
    movie = content[start + 8 :]
    (timescale,) = struct.unpack_from(">I", one(movie, "mvhd"), 12)
    content = content[:start]
    added = []
    number = 1 + sum(kind == b"trak" for kind, _ in boxes(movie))
    for kind, description, samples, skipped in tracks:
        place = len(content) + 8
        content += box(b"mdat", *samples)
        track = metadata_track(
            number, kind, description, samples, place, skipped=skipped, movie_timescale=timescale
        )
        added.append(track)
        number += 1
    path.write_bytes(content + box(b"moov", movie, *added))
    return path


@dataclass(frozen=True)
class Track:
    """What a file says of a track of metadata."""

    number: int
    refers_to: int
    handler: bytes
    description: bytes
    media_header: list[bytes]
    timescale: int
    edits: list[tuple[int, int]]
    movie_timescale: int
    samples: list[tuple[int, bytes]]


def metadata_tracks(path: Path) -> list[Track]:
    """All tracks of metadata of a file, with the durations and bytes of their samples."""
    content = path.read_bytes()
    movie = one(content, "moov")
    (movie_timescale,) = struct.unpack_from(">I", one(movie, "mvhd"), 12)
    found = []
    for kind, track in boxes(movie):
        if kind != b"trak" or one(track, "mdia", "hdlr")[8:12] != b"meta":
            continue
        header, media = one(track, "tkhd"), one(track, "mdia", "mdhd")
        table, edits = one(track, "mdia", "minf", "stbl"), one(track, "edts", "elst")
        durations = one(table, "stts")
        every = [length for count, length in struct.iter_unpack(">2I", durations[8:]) for _ in range(count)]
        sizes = [size for (size,) in struct.iter_unpack(">I", one(table, "stsz")[12:])]
        (place,) = struct.unpack(">Q", one(table, "co64")[8:])
        samples = []
        for length, size in zip(every, sizes, strict=True):
            samples.append((length, content[place : place + size]))
            place += size
        found.append(
            Track(
                number=struct.unpack_from(">I", header, 20 if header[0] else 12)[0],
                refers_to=struct.unpack(">I", one(track, "tref", "cdsc"))[0],
                handler=one(track, "mdia", "hdlr"),
                description=one(table, "stsd"),
                media_header=[kind for kind, _ in boxes(one(track, "mdia", "minf"))],
                timescale=struct.unpack_from(">I", media, 20 if media[0] else 12)[0],
                edits=[(length, at) for length, at, _ in struct.iter_unpack(">QqI", edits[8:])],
                movie_timescale=movie_timescale,
                samples=samples,
            )
        )
    return found
