"""A damaged audio packet costs only itself: the video is still written, and the loss is reported."""

from pathlib import Path

import av
import pytest
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
    assert sum("audio 1" in line and "dropped 1 packet" in line for line in messages.warnings) == 1


def test_stream_of_which_nothing_can_be_decoded(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", frames=25, audio=["flac"])
    content = source.read_bytes()
    packets = audio_packets(source)
    for packet in packets:
        content = content.replace(packet, bytes(len(packet)))
    source.write_bytes(content)
    done, messages = run_video(engine, source, tmp_path / "out.webm")
    assert done.frames == len(frame_times(tmp_path / "out.webm")) == 25
    assert sum(f"dropped {len(packets)} packets" in line for line in messages.warnings) == 1
