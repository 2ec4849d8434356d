"""Closed captions inside the video, from MPEG-2 as broadcasts send them."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame
from support.media import frame_times, identity, run_video

from upscaler.inference.engine import Upscaler
from upscaler.video import segments
from upscaler.video.captions import WaitingCaptions, captions_of

FRAMES = 12


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def spoken(index: int) -> bytes:
    """Constructs of a frame: two characters of CEA-608, and zeros, which H.264 has to escape."""
    return bytes([0xFC, 0x41 + index, 0x61 + index, 0xFE, 0x00, 0x00, 0x02, 0x00, 0x00, 0x03, 0x80, 0x80])


def broadcast(path: Path, *, interlaced: bool = False, b_frames: int = 2) -> Path:
    """A clip of MPEG-2 with captions in its user data; every frame but the third has some."""
    with av.open(str(path), "w") as output:
        options = {"flags": "+ilme+ildct"} if interlaced else {}
        stream = output.add_stream("mpeg2video", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.max_b_frames = b_frames

        def write(packets: list[Packet]) -> None:
            for packet in packets:
                index = round(packet.pts * packet.time_base * 25)
                content = bytes(packet)
                at = content.index(b"\0\0\1\1")  # the first slice
                data = spoken(index)
                user_data = b"\0\0\1\xb2GA94\x03" + bytes([0xC0 | len(data) // 3, 0xFF]) + data + b"\xff"
                if index != 2:
                    content = content[:at] + user_data + content[at:]
                changed = Packet(content)
                changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
                changed.stream, changed.is_keyframe = stream, packet.is_keyframe
                output.mux(changed)

        for index in range(FRAMES):
            frame = VideoFrame.from_ndarray(np.full((72, 64), 50 + index * 9, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            write(stream.encode(frame))
        write(stream.encode(None))
    return path


def captions(path: Path) -> list[bytes]:
    """Of every frame in presentation order."""
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context.codec.canonical_name
        return [captions_of(frame, codec) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", {}),
        (".mkv", {"codec": "h264", "preset": "medium"}),  # with B-frames
        (".mp4", {"codec": "hevc", "preset": "medium"}),
    ],
)
@pytest.mark.parametrize("interlaced", [False, True])
def test_captions_stay_with_their_frames(
    engine: Upscaler,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    options: dict[str, str],
    interlaced: bool,
) -> None:
    monkeypatch.setattr(segments, "_FRAMES_MAX", 7)
    monkeypatch.setattr(segments, "_FRAMES_MIN", 7)
    source, target = broadcast(tmp_path / "in.ts", interlaced=interlaced), tmp_path / f"out{suffix}"
    expected = captions(source)
    assert expected == [spoken(index) if index != 2 else b"" for index in range(FRAMES)]
    done, messages = run_video(engine, source, target, **options)
    assert done.frames == len(frame_times(target)) == FRAMES and not messages.warnings
    assert captions(target) == expected
    assert any(re.fullmatch(r"captions +CEA-608/708 +- +copied", line) for line in messages)


def test_captions_are_named_where_the_codec_cannot_keep_them(engine: Upscaler, tmp_path: Path) -> None:
    source = broadcast(tmp_path / "in.ts")
    _, messages = run_video(engine, source, tmp_path / "out.webm")
    assert any(re.search(r"^captions .*dropped: vp9 does not carry them", line) for line in messages)
    _, messages = run_video(engine, tmp_path / "out.webm", tmp_path / "b.mp4")
    assert not any("captions" in line for line in messages)


def test_captions_come_once_where_frames_are_doubled(engine: Upscaler, tmp_path: Path) -> None:
    source = broadcast(tmp_path / "in.ts", interlaced=True)
    run_video(engine, source, tmp_path / "out.mp4", deinterlace="bob")
    doubled = captions(tmp_path / "out.mp4")
    assert doubled[::2] == captions(source) and not any(doubled[1::2])


def test_captions_of_frames_that_are_left_out_come_with_the_next() -> None:
    waiting, padding = WaitingCaptions(), bytes([0xF8, 0, 0]) * 17
    speech = [bytes([0xFC, 0x41 + index, 0x61]) * 2 for index in range(4)]
    for pts in range(3):
        waiting.add(pts, speech[pts] + padding)
    assert waiting.take(0) == speech[0] + padding, "changed without need"
    assert waiting.take(2) == speech[1] + speech[2]
    waiting.add(3, speech[3] * 20)
    first = waiting.take(3)
    assert len(first) == 31 * 3 and first + waiting.take(4) == speech[3] * 20, "more than a frame carries"
