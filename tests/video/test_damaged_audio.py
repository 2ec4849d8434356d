"""A damaged audio packet costs only itself: the video is still written, and the loss is reported."""

from pathlib import Path

import av
import numpy as np
import pytest
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
