"""Subtitles that are pictures stay at their place in the enlarged film."""

import re
from pathlib import Path

import av
import pytest
from support.bitmap_subtitles import dvd_film
from support.media import run_video

from upscaler.inference.engine import Upscaler
from upscaler.models import weight_file
from upscaler.models.compact import Compact
from upscaler.video.subtitle_canvas import header_with_canvas

TIMES_S = [0.2, 0.6, 0.8]


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    folder = tmp_path_factory.mktemp("weights")
    network = Compact(scale=2, channels=4, depth=1)
    weight_file.save(folder / "a.safetensors", network, network.state_dict(), {})
    return Upscaler(folder / "a.safetensors", precision="fp32")


def subtitles(path: Path) -> tuple[bytes, list[tuple[float, int, int]]]:
    """Header of the subtitle stream; time (seconds), left and top of every subtitle."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        for packet in container.demux(stream):
            for picture in packet.decode() if packet.size else ():
                found.append((float(packet.pts * packet.time_base), picture.x, picture.y))
        return stream.codec_context.extradata or b"", found


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_subtitles_of_a_dvd_keep_their_place(doubling: Upscaler, tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "in.vob", tmp_path / f"out{suffix}"
    dvd_film(source, TIMES_S, width=320, height=240)
    assert b"size" not in subtitles(source)[0]
    done, messages = run_video(doubling, source, target)
    assert not messages.warnings and done.frames == 25
    with av.open(str(target)) as container:
        assert container.streams.video[0].width == 640
    header, found = subtitles(target)
    assert header.startswith(b"size: 320x240\n")
    assert [(x, y) for _, x, y in found] == [(80, 120)] * 3
    assert [round(time_s, 1) for time_s, *_ in found] == TIMES_S
    content = target.read_bytes()  # as other readers find it
    if suffix == ".mkv":
        assert re.search(rb"\x63\xa2.size: 320x240\n", content, re.DOTALL)  # Matroska's CodecPrivate
    else:
        sizes = [content[match.end() + 76 :][:8] for match in re.finditer(b"tkhd", content)]
        assert sizes[1] == (320 << 16).to_bytes(4, "big") + (240 << 16).to_bytes(4, "big")


def test_a_canvas_of_the_source_is_kept(doubling: Upscaler, tmp_path: Path) -> None:
    dvd_film(tmp_path / "in.vob", TIMES_S, width=64, height=48)
    run_video(doubling, tmp_path / "in.vob", tmp_path / "a.mkv")
    run_video(doubling, tmp_path / "a.mkv", tmp_path / "b.mp4")
    run_video(doubling, tmp_path / "b.mp4", tmp_path / "c.mkv")
    assert subtitles(tmp_path / "c.mkv")[0].startswith(b"size: 64x48\n")


def test_cropping_says_that_they_are_placed_for_the_whole_picture(doubling: Upscaler, tmp_path: Path) -> None:
    dvd_film(tmp_path / "in.vob", [0.02], width=64, height=48)
    line = "subtitles that are pictures are placed for the whole picture, not for what --crop keeps"
    _, messages = run_video(doubling, tmp_path / "in.vob", tmp_path / "a.mkv", crop=(32, 24, 0, 0), frames=2)
    assert line in messages
    _, messages = run_video(doubling, tmp_path / "in.vob", tmp_path / "b.mkv", frames=2)
    assert line not in messages


def test_colours_of_a_palette_are_kept(doubling: Upscaler, tmp_path: Path) -> None:
    colours = [f"{index * 16:02x}{255 - index * 16:02x}{index * 8:02x}" for index in range(16)]
    header = f"size: 64x48\npalette: {', '.join(colours)}\n".encode()
    dvd_film(tmp_path / "in.vob", TIMES_S, width=64, height=48)
    with av.open(str(tmp_path / "in.vob")) as source, av.open(str(tmp_path / "a.mkv"), "w") as output:
        targets = [output.add_stream_from_template(stream) for stream in source.streams]
        targets[1].codec_context.extradata = header
        for packet in source.demux():
            if packet.size:
                packet.stream, packet.dts = targets[packet.stream.index], packet.dts or packet.pts
                output.mux(packet)
    run_video(doubling, tmp_path / "a.mkv", tmp_path / "b.mp4")
    found = re.findall(r"[0-9a-f]{6}", subtitles(tmp_path / "b.mp4")[0].decode())
    assert found == colours


def test_the_rest_of_the_header_is_kept() -> None:
    palette = b"palette: 000000, ffffff\n"
    assert header_with_canvas(palette, 720, 576) == b"size: 720x576\n" + palette
    assert header_with_canvas(b"size: 0x0\n" + palette, 720, 576) == b"size: 720x576\n" + palette
    assert header_with_canvas(b"size: 720x480\n" + palette, 720, 576) == b"size: 720x480\n" + palette
