"""Inverse telecine: film telecined for good or by flags comes out at 24 frames/s, every frame once."""

from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from support.media import FieldOrder, identity, run_video
from support.pictures import photograph

from upscaler.inference.engine import Upscaler
from upscaler.video.reader import VideoReader

FILM_STEP = Fraction(1001, 24000)
FRAMES = 17  # four cycles of film and one frame


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def film(count: int = FRAMES) -> list[NDArray[np.uint8]]:
    """A pan, each frame 4 pixels further, ``(64, 96, 3)`` RGB."""
    picture = photograph(64, 96 + 4 * count)
    return [picture[:, 4 * index : 4 * index + 96] for index in range(count)]


def pulldown(frames: list[NDArray[np.uint8]], *, top_first: bool) -> list[NDArray[np.uint8]]:
    """The frames over three, two, three, ... fields, woven two by two into frames."""
    shown = [frame for frame, fields in zip(frames, cycle((2, 3)), strict=False) for _ in range(fields)]
    woven = []
    for first, second in zip(shown[::2], shown[1::2], strict=False):
        whole, other = (first, second) if top_first else (second, first)
        both = whole.copy()
        both[1::2] = other[1::2]
        woven.append(both)
    return woven


def encoded(path: Path, frames: list[NDArray[np.uint8]], stamps: list[int], *, order: str) -> Path:
    """H.264 with stamps in 1/60000 s."""
    options = {"crf": "8"} | ({} if order == "prog" else {"flags": "+ilme+ildct"})
    fields = FieldOrder(order)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=Fraction(30000, 1001), options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 60000)
        for picture, stamp in zip(frames, stamps, strict=True):
            frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = stamp, Fraction(1, 60000)
            output.mux(stream.encode(fields.flagged(frame)))
        output.mux(stream.encode(None))
    return path


def hard(path: Path, *, order: str = "tff", count: int = FRAMES) -> Path:
    woven = pulldown(film(count), top_first=order != "bff")
    return encoded(path, woven, [2002 * index for index in range(len(woven))], order=order)


def soft(path: Path) -> Path:
    """MPEG-2 whose flags tell players to show every other frame for three fields, as on DVDs."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(
            "mpeg2video", rate=Fraction(24000, 1001), options={"qscale": "2", "bf": "0"}
        )
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.codec_context.bit_rate = 4_000_000
        stamps = islice(cycle((3, 2)), FRAMES)
        shown = 0
        packets = []
        for picture in film():
            packets += stream.encode(VideoFrame.from_ndarray(picture, format="rgb24"))
        packets += stream.encode(None)
        for packet, fields in zip(packets, stamps, strict=True):
            flagged = Packet(with_repeat_flags(bytes(packet), three=fields == 3, top_first=shown % 2 == 0))
            flagged.stream, flagged.time_base = stream, Fraction(1, 90000)
            flagged.pts = flagged.dts = 90000 + shown * 3003 // 2
            flagged.duration = fields * 3003 // 2
            output.mux(flagged)
            shown += fields
    return path


def with_repeat_flags(content: bytes, *, three: bool, top_first: bool) -> bytes:
    """A picture with repeat_first_field, in a sequence of 29.97 frames/s (ISO/IEC 13818-2, 6.2)."""
    data = bytearray(content)
    if (sequence := content.find(b"\0\0\1\xb3")) >= 0:
        data[sequence + 7] = data[sequence + 7] & 0xF0 | 4  # frame_rate_code
    at = content.find(b"\0\0\1\xb5")
    while at >= 0:
        if content[at + 4] >> 4 == 1:
            data[at + 5] &= ~0x08  # progressive_sequence
        if content[at + 4] >> 4 == 8:
            data[at + 7] = data[at + 7] & ~0x82 | top_first << 7 | three << 1
        at = content.find(b"\0\0\1\xb5", at + 1)
    return bytes(data)


def frame_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * stream.time_base for frame in container.decode(stream)]


def luma(frame: VideoFrame) -> NDArray[np.float64]:
    return frame.to_ndarray()[: frame.height].astype(float)


def nearest(path: Path) -> list[int]:
    """Which frame of the film each frame of a file looks like."""
    originals = [
        VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p") for frame in film()
    ]
    with av.open(str(path)) as container:
        found = [luma(frame) for frame in container.decode(video=0)]
    errors = [[np.abs(each - luma(original)).mean() for original in originals] for each in found]
    assert max(map(min, errors)) < 3, "combed, or blended"
    return [int(np.argmin(each)) for each in errors]


@pytest.mark.parametrize(
    ("order", "field_order"), [("tff", "auto"), ("bff", "auto"), ("prog", "auto"), ("bff", "bottom")]
)
def test_hard_telecine_becomes_film(engine: Upscaler, tmp_path: Path, order: str, field_order: str) -> None:
    source = hard(tmp_path / "in.mp4", order=order)
    assert len(frame_times(source)) == 21
    done, messages = run_video(
        engine, source, tmp_path / "out.mp4", crf=4, deinterlace="ivtc", field_order=field_order
    )
    assert frame_times(tmp_path / "out.mp4") == [index * FILM_STEP for index in range(FRAMES)]
    assert nearest(tmp_path / "out.mp4") == list(range(FRAMES))
    assert done.frames == FRAMES
    assert "inverse telecine left out 4 of 21 frames, which repeat another" in messages


def test_soft_telecine_becomes_film(engine: Upscaler, tmp_path: Path) -> None:
    source = soft(tmp_path / "in.ts")
    steps = np.diff([float(time) for time in frame_times(source)]) * 60000 / 1001
    assert np.allclose(steps, list(islice(cycle((3, 2)), FRAMES - 1)), atol=0.02), "the film is not even"
    run_video(engine, source, tmp_path / "out.mp4", crf=4, deinterlace="ivtc")
    times = frame_times(tmp_path / "out.mp4")
    assert len(times) == FRAMES
    assert all(abs(time - index * FILM_STEP) <= Fraction(1, 90000) for index, time in enumerate(times))
    assert nearest(tmp_path / "out.mp4") == list(range(FRAMES))


def test_what_was_no_film_is_deinterlaced(tmp_path: Path) -> None:
    """Every field of video shows another moment: no other one completes it."""
    fields = film(12)
    woven = [first.copy() for first in fields[::2]]
    for frame, second in zip(woven, fields[1::2], strict=True):
        frame[1::2] = second[1::2]
    source = encoded(tmp_path / "in.mp4", woven, [2002 * index for index in range(6)], order="tff")
    shown = []
    for mode in ("ivtc", "on"):
        with VideoReader(source, mode) as reader:
            shown.append([frame.planes[0].numpy() for frame in reader.frames()])
    assert len(shown[0]) == 6
    np.testing.assert_array_equal(shown[0], shown[1])
