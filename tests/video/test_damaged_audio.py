"""A damaged audio packet costs only itself: the video is still written, and the loss is reported."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext
from av.packet import Packet
from numpy.typing import NDArray
from support.media import clip, frame_times, identity, run_video

from upscaler.inference.engine import Upscaler

TS_PACKET = 188


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def audio_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_recording_with_a_lost_transport_packet(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    """The demuxer yields a damaged AAC packet, which the muxer cannot convert from ADTS."""
    source = clip(tmp_path / "in.ts", frames=25, audio=["aac"])
    with av.open(str(source)) as container:
        pid = container.streams.audio[0].id
    content, whole = source.read_bytes(), len(audio_packets(source))
    pieces = [content[at : at + TS_PACKET] for at in range(0, len(content), TS_PACKET)]
    inside = [
        number
        for number, piece in enumerate(pieces)
        if int.from_bytes(piece[1:3], "big") & 0x1FFF == pid and not piece[1] & 0x40  # starts no packet
    ]
    del pieces[inside[len(inside) // 2]]
    source.write_bytes(b"".join(pieces))
    done, messages = run_video(engine, source, tmp_path / f"out{suffix}")
    assert done.frames == len(frame_times(tmp_path / f"out{suffix}")) == 25
    assert len(audio_packets(tmp_path / f"out{suffix}")) >= whole - 2
    assert sum("audio 1" in line and "dropped 1 packet" in line for line in messages.warnings) == 1


@pytest.mark.parametrize(("codec", "suffix"), [("ac3", ".mp4"), ("ac3", ".webm"), ("flac", ".webm")])
def test_last_packet_that_cannot_be_used(engine: Upscaler, tmp_path: Path, codec: str, suffix: str) -> None:
    """It fails when the file is closed if it is copied, and in the decoder if it is converted."""
    source = clip(tmp_path / "in.mkv", frames=25, audio=[codec])
    last = audio_packets(source)[-1]
    source.write_bytes(source.read_bytes().replace(last, bytes(len(last))))
    done, messages = run_video(engine, source, tmp_path / f"out{suffix}")
    assert done.frames == len(frame_times(tmp_path / f"out{suffix}")) == 25
    assert sum("audio 1" in line and "1 packet" in line for line in messages.warnings) == 1


def blank(source: Path, numbers: slice) -> int:
    """Fill audio packets with zeros; the number of them."""
    content, damaged = source.read_bytes(), audio_packets(source)[numbers]
    for packet in damaged:
        content = content.replace(packet, bytes(len(packet)))
    source.write_bytes(content)
    return len(damaged)


def sound(path: Path) -> NDArray[np.float32]:
    """The first channel, each sample at its time from 0 on."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    rate = frames[0].sample_rate
    result = np.zeros(round(frames[-1].time * rate) + frames[-1].samples, np.float32)
    for frame in frames:
        begin = max(0, round(frame.time * rate))
        samples = frame.to_ndarray()[0, :: 1 if frame.format.is_planar else 2]
        result[begin : begin + frame.samples] = samples[: len(result) - begin]
    return result


@pytest.mark.parametrize("lost", [slice(5, 7), slice(0, 2), slice(-2, None)], ids=["middle", "start", "end"])
def test_what_cannot_be_decoded_becomes_silence(engine: Upscaler, tmp_path: Path, lost: slice) -> None:
    """Only where the sound is converted. The codec of the source has no gaps, and packets of equal length."""
    source = clip(tmp_path / "in.mkv", frames=25, audio=["flac"])
    whole = tmp_path / "whole.webm"
    run_video(engine, source, whole)
    count = blank(source, lost)
    done, messages = run_video(engine, source, tmp_path / "out.webm")
    assert done.frames == 25
    assert messages.warnings == [f"audio 1: {count} packets could not be decoded and became silence"]
    before, after = sound(whole), sound(tmp_path / "out.webm")
    assert len(before) - 960 <= len(after) <= len(before) + 4608  # the last packet is shorter than declared
    first, end = (4608 * number for number in lost.indices(11)[:2])  # packets have 4608 samples
    end = min(end, len(before))
    assert np.abs(after[first + 960 : end - 960]).max() < 0.01
    for part in (slice(0, first), slice(end, len(before))):
        difference = np.abs(after[part] - before[part])[960:-960]
        assert difference.max(initial=0) < 0.05


def test_stream_of_which_nothing_can_be_decoded_is_left_out(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", frames=25, audio=["flac", "flac"])
    content = source.read_bytes()
    with av.open(str(source)) as container:
        for packet in container.demux(audio=1):
            content = content.replace(bytes(packet), bytes(packet.size)) if packet.size else content
    source.write_bytes(content)
    done, messages = run_video(engine, source, tmp_path / "out.webm")
    assert done.frames == len(frame_times(tmp_path / "out.webm")) == 25
    assert messages.warnings == ["audio 2: left out, none of it can be decoded"]
    assert [stream.action for stream in done.video.streams] == ["convert", "drop"]
    with av.open(str(tmp_path / "out.webm")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


def muxed(path: Path, encoder: str, rate: int, packets: list[bytes], samples: int) -> Path:
    """Write a clip of 25 frames with any bytes as the packets of its sound, each of so many samples."""
    video_encoder = "mpeg2video" if path.suffix == ".mpg" else "mpeg4"
    picture = path.with_suffix(".mkv")
    clip(picture, frames=25, encoder=video_encoder, time_base=Fraction(1, 25))
    with av.open(str(picture)) as source, av.open(str(path), "w") as output:
        video = output.add_stream_from_template(source.streams.video[0])
        audio = output.add_stream(encoder, rate=rate, layout="mono")
        pictures = [packet for packet in source.demux() if packet.size]
        sounds = [Packet(content) for content in packets]
        for packet in pictures:
            packet.stream = video
        for number, packet in enumerate(sounds):
            packet.pts = packet.dts = number * samples
            packet.time_base, packet.stream = Fraction(1, rate), audio
        for packet in sorted(pictures + sounds, key=lambda each: each.dts * each.time_base):
            output.mux(packet)
    return path


def realaudio(path: Path, *, whole: int, cut: int) -> Path:
    """RealAudio (sipr), which no encoder of FFmpeg makes: its packets have 20 bytes and 160 samples."""
    noise = np.random.default_rng(0)
    packets = [noise.bytes(20) for _ in range(whole)] + [noise.bytes(7) for _ in range(cut)]
    source = muxed(path.with_suffix(".avi"), "pcm_s16le", 8000, packets, samples=160)
    content = bytearray(source.read_bytes())
    header = content.index(b"auds")
    struct.pack_into("<II", content, header + 20, 160, 8000)  # rate of the packets
    struct.pack_into("<I", content, header + 44, 0)  # their sizes vary
    struct.pack_into("<HHIIHH", content, content.index(b"strf", header) + 8, 0x130, 1, 8000, 1000, 20, 16)
    source.write_bytes(content)
    return source


def adx(path: Path, *, whole: int, cut: int) -> Path:
    """ADX of video games: blocks of 18 bytes and 32 samples."""
    encoder = CodecContext.create("adpcm_adx", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, "mono", "s16"
    encoder.time_base = Fraction(1, 48000)
    wave = (10000 * np.sin(np.arange(32 * whole) / 20)).astype(np.int16)[None]
    packets: list[bytes] = []
    if whole:
        frame = AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        packets = [bytes(packet) for packet in encoder.encode(frame)]
    packets += [bytes(10)] * cut
    source = muxed(path.with_suffix(".mpg"), "mp2", 48000, packets, samples=32)
    content = source.read_bytes()
    first = content.index(b"\0\0\1", 4)
    mark = b"\0\0\1\xbf" + struct.pack(">H", 36) + b"Sofdec".ljust(36, b"\0")
    source.write_bytes(content[:first] + mark + content[first:])
    return source


@pytest.mark.parametrize("make", [realaudio, adx])
def test_codecs_without_an_encoder_lose_only_the_packet_that_is_cut(
    engine: Upscaler, tmp_path: Path, make: Callable[..., Path]
) -> None:
    source = make(tmp_path / "in", whole=40, cut=1)
    done, messages = run_video(engine, source, tmp_path / "out.mp4")
    assert done.frames == len(frame_times(tmp_path / "out.mp4")) == 25
    assert [stream.action for stream in done.video.streams] == ["convert"]
    lines = [text for text in messages.warnings if text.startswith("audio")]
    assert lines == ["audio 1: 1 packet could not be decoded and became silence"]
    samples = 40 * 160 if make is realaudio else 40 * 32
    assert abs(len(sound(tmp_path / "out.mp4")) - samples) < 3000  # packets of AAC have 1024


@pytest.mark.parametrize("make", [realaudio, adx])
def test_codecs_without_an_encoder_of_which_nothing_can_be_decoded(
    engine: Upscaler, tmp_path: Path, make: Callable[..., Path]
) -> None:
    source = make(tmp_path / "in", whole=0, cut=10)
    done, messages = run_video(engine, source, tmp_path / "out.mp4")
    assert done.frames == len(frame_times(tmp_path / "out.mp4")) == 25
    lines = [text for text in messages.warnings if text.startswith("audio")]
    assert lines == ["audio 1: left out, none of it can be decoded"]
    assert [stream.action for stream in done.video.streams] == ["drop"]


@pytest.mark.parametrize("codec", ["aac", "opus", "flac"])
def test_samples_that_are_not_numbers(engine: Upscaler, tmp_path: Path, codec: str) -> None:
    """AAC's encoder refuses them."""
    source = clip(tmp_path / "in.mkv", frames=25, audio=["pcm_f32le"])
    packet = audio_packets(source)[20]
    source.write_bytes(source.read_bytes().replace(packet, b"\x00\x00\xc0\x7f" * (len(packet) // 4)))
    done, messages = run_video(engine, source, tmp_path / "out.mkv", audio_codec=codec)
    assert done.frames == len(frame_times(tmp_path / "out.mkv")) == 25
    assert messages.warnings == ["audio 1: 1 packet could not be decoded and became silence"]
    assert np.isfinite(sound(tmp_path / "out.mkv")).all()
    assert abs(len(sound(tmp_path / "out.mkv")) - 48000) < 2400
