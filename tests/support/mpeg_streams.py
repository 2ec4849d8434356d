"""Makers of small transport and program streams, to be joined by appending them."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

_TS_PACKET = 188


@dataclass(frozen=True)
class AudioTrack:
    """An audio stream of a recording.

    Attributes:
        codec: FFmpeg's name of the encoder.
        layout: FFmpeg's name of the channel layout.
        rate: Hertz.
    """

    codec: str = "mp2"
    layout: str = "stereo"
    rate: int = 48_000


def recording(
    path: Path, audio: list[AudioTrack], begin_s: int = 0, *, program: int | None = None, width: int = 64
) -> bytes:
    """One second of a transport or program stream: 25 frames that get brighter, and tones of 440 Hz.

    Args:
        path: File to write; its suffix names the container.
        audio: The audio streams.
        begin_s: Time of the first frame, seconds.
        program: Its number, from 1 on; streams of other programs have other PIDs.
        width: Of the picture, pixels.

    Returns:
        The content of the file.
    """
    options = {}
    if program is not None:
        first_pid = {"mpegts_start_pid": 256 * program, "mpegts_pmt_start_pid": 4096 + 16 * program}
        options = {name: str(pid) for name, pid in first_pid.items()} | {"mpegts_service_id": str(program)}
    with av.open(str(path), "w", options=options) as output:
        video = output.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = width, 48, "yuv420p"
        streams = [output.add_stream(track.codec, rate=track.rate, layout=track.layout) for track in audio]
        packets = []
        for index in range(25):
            frame = VideoFrame.from_ndarray(np.full((72, width), 30 + 8 * index, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = begin_s * 25 + index, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None)
        for track, stream in zip(audio, streams, strict=True):
            wave = 0.3 * np.sin(np.arange(track.rate) * 2 * np.pi * 440 / track.rate)
            samples = np.stack([wave.astype(np.float32)] * stream.layout.nb_channels)
            frame = AudioFrame.from_ndarray(samples, format="fltp", layout=track.layout)
            frame.sample_rate, frame.time_base = track.rate, Fraction(1, track.rate)
            frame.pts = begin_s * track.rate
            packets += [*stream.encode(frame), *stream.encode(None)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return path.read_bytes()


def joined_programs(*streams: bytes) -> bytes:
    """One transport stream with the programs of several, as broadcasters send them.

    Args:
        streams: One program each, with its own PIDs.
    """
    tables, packets = [], []
    for stream in streams:
        parts = [stream[first : first + _TS_PACKET] for first in range(0, len(stream), _TS_PACKET)]
        tables.append(next(part for part in parts if _pid(part) == 0))
        packets.append([part for part in parts if _pid(part) != 0])
    # Of each table: header and pointer (5 bytes), table header (8), one program (4), checksum (4).
    section = tables[0][5:13] + b"".join(table[13:17] for table in tables)
    section = section[:1] + (0xB000 | len(section) + 1).to_bytes(2, "big") + section[3:]
    table = tables[0][:5] + section + _crc32(section).to_bytes(4, "big")
    table = table.ljust(_TS_PACKET, b"\xff")
    longest = max(len(own) for own in packets)
    mixed = [table]
    taken = [0] * len(packets)
    for part in range(1, longest + 1):
        for index, own in enumerate(packets):
            upto = len(own) * part // longest
            mixed += own[taken[index] : upto]
            taken[index] = upto
    return b"".join(mixed)


def _pid(packet: bytes) -> int:
    return int.from_bytes(packet[1:3], "big") & 0x1FFF


def _crc32(data: bytes) -> int:
    """The checksum of tables in transport streams."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value
