"""Size, pixel aspect, rotation and mirroring of the displayed picture."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from support.media import (
    clip,
    frame_times,
    identity,
    run,
    run_video,
    turned_clip,
)
from support.messages import Messages
from support.pictures import photograph

from upscaler import pipeline
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.video import (
    codecs,
    geometry,
    matroska_projection,
)
from upscaler.video.projections import Projection
from upscaler.video.reader import VideoReader


def test_odd_sizes_are_rounded_to_even(tiny_weights: Path, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", height=45, width=63, encoder="ffv1", frames=2)
    notes = Messages()
    pipeline.upscale_video(
        Job(source, tmp_path / "out.mp4", "video"),
        Upscaler(tiny_weights, 3, precision="fp32"),
        VideoOptions(preset="ultrafast"),
        lambda _: None,
        notes,
    )
    with av.open(str(tmp_path / "out.mp4")) as result:
        assert (result.streams.video[0].width, result.streams.video[0].height) == (188, 134)
    assert "63x45 -> 188x134" in notes[0] and "rounded to even from 189x135" in notes[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_and_pixel_aspect_are_kept(
    engine: Upscaler, tmp_path: Path, rotation: int, suffix: str
) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(12, 11)
        stream.set_display_rotation(rotation)
        for _ in range(3):
            output.mux(stream.encode(VideoFrame.from_ndarray(photograph(48, 64), format="rgb24")))
        output.mux(stream.encode(None))
    run(engine, source, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as result:
        frame = next(result.decode(video=0))
        assert frame.rotation % 360 == rotation
        shown = Fraction(frame.width, frame.height) * result.streams.video[0].sample_aspect_ratio
        assert abs(shown / (Fraction(64, 48) * Fraction(12, 11)) - 1) < (0.01 if suffix == ".webm" else 1e-9)


@pytest.mark.parametrize("codec", sorted(codecs.CODECS))
@pytest.mark.parametrize("aspect", [Fraction(12, 11), Fraction(8, 9)])
def test_every_codec_keeps_the_display_aspect(
    engine: Upscaler, tmp_path: Path, codec: str, aspect: Fraction
) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        output.mux(stream.encode(VideoFrame.from_ndarray(photograph(96, 96), format="rgb24")))
        output.mux(stream.encode(None))
    for suffix in codecs.CODECS[codec].containers:
        run(engine, source, tmp_path / f"out{suffix}", codec=codec)
        with av.open(str(tmp_path / f"out{suffix}")) as result:
            frame = next(result.decode(video=0))
            pixels = result.streams.video[0].sample_aspect_ratio or 1
            assert abs(Fraction(frame.width, frame.height) * pixels / aspect - 1) < 0.02, suffix


@pytest.mark.parametrize("interlaced", [False, True])
def test_size_that_changes_in_mid_stream(engine: Upscaler, tmp_path: Path, interlaced: bool) -> None:
    source = tmp_path / "in.ts"
    parts = b""
    options = {"flags": "+ilme+ildct", "x264-params": "tff=1"} if interlaced else {}
    for number, (width, height) in enumerate(((64, 48), (96, 64), (64, 48))):
        with av.open(str(tmp_path / "part.ts"), "w") as output:
            stream = output.add_stream("libx264", rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for index in range(6):
                view = np.ascontiguousarray(
                    photograph(48, 64, number).repeat(2, 0).repeat(2, 1)[:height, :width]
                )
                frame = VideoFrame.from_ndarray(view, format="rgb24")
                frame.pts, frame.time_base = 6 * number + index, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        parts += (tmp_path / "part.ts").read_bytes()
    source.write_bytes(parts)
    messages = Messages()
    done = run(engine, source, tmp_path / "out.mp4", messages)
    with av.open(str(tmp_path / "out.mp4")) as result:
        sizes = {(frame.width, frame.height) for frame in result.decode(video=0)}
    assert done.frames == len(frame_times(tmp_path / "out.mp4")) == 18
    assert sizes == {(192, 128)}  # of the larger shape, which lasts for a third
    assert any(
        "12 frames have another shape than 96x64 and were fitted into it, 12 of them with bars" in note
        for note in messages
    )


def marked_clip(path: Path, rotation: int, *, mirrored: bool, aspect: Fraction = Fraction(1)) -> Path:
    """Two frames of 160x96 with a bright corner at the upper left, to be shown as said."""
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[:48, :80] = 200
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        stream.set_display_rotation(rotation, hflip=mirrored)
        for _ in range(2):
            output.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def display_matrix(path: Path) -> bytes:
    with av.open(str(path)) as result:
        return bytes(next(result.decode(video=0)).side_data["DISPLAYMATRIX"])


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_mirrored_videos_stay_mirrored(tmp_path: Path, suffix: str) -> None:
    same = identity(tmp_path)
    for rotation in (0, 90, 180, 270):
        source = marked_clip(tmp_path / f"{rotation}.mp4", rotation, mirrored=True)
        run(same, source, tmp_path / f"{rotation}-out{suffix}")
        assert display_matrix(tmp_path / f"{rotation}-out{suffix}") == display_matrix(source)


def test_other_display_matrices_are_ignored(tmp_path: Path) -> None:
    source = turned_clip(tmp_path / "in.mp4", 45)
    with VideoReader(source) as reader:
        assert (reader.info.rotation, reader.info.mirrored) == (0, False)


@pytest.mark.parametrize(
    ("aspect", "rotation", "size_px", "suffix", "coded"),
    [
        (Fraction(2), 0, (320, 192), ".webm", (320, 96)),  # whose pixels are made square
        (Fraction(2), 0, (320, 192), ".mp4", (160, 96)),
        (Fraction(1), 90, (384, 640), ".mp4", (640, 384)),
        (Fraction(1), 90, (1300, 780), ".mp4", (780, 468)),  # without the rotation more than 8 times
        (Fraction(1), 180, (640, 384), ".mp4", (640, 384)),
        (Fraction(1, 2), 270, (384, 320), ".mp4", (320, 192)),
        (Fraction(1, 2), 270, (384, 320), ".webm", (320, 384)),
        (Fraction(16, 15), 0, (333, 222), ".webm", (332, 186)),
    ],
)
def test_size_applies_to_the_displayed_picture(
    tiny_weights: Path,
    tmp_path: Path,
    aspect: Fraction,
    rotation: int,
    size_px: tuple[int, int],
    suffix: str,
    coded: tuple[int, int],
) -> None:
    source = marked_clip(tmp_path / "in.mp4", rotation, mirrored=False, aspect=aspect)
    engine = Upscaler(tiny_weights, size_px=size_px, precision="fp32")
    run(engine, source, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as result:
        stream = result.streams.video[0]
        assert (stream.width, stream.height) == coded
        pixel = stream.sample_aspect_ratio or 1
        width, height = coded[0] * max(1, pixel), coded[1] / min(1, pixel)
        most_width, most_height = size_px[::-1] if rotation % 180 else size_px
        assert width <= most_width and height <= most_height


def test_rotation_is_read_despite_unknown_side_data() -> None:
    class Stereo:
        rotation = -90

        @property
        def side_data(self) -> None:
            raise ValueError("31 is not a valid Type")

    assert geometry.orientation(Stereo()) == (270, False)


def spherical_clip(path: Path) -> Path:
    """With the box that Google's "Spherical Video V1" puts into a track."""
    source = clip(path, frames=2)
    marks = {"Spherical": "true", "Stitched": "true", "ProjectionType": "equirectangular"}
    marks |= {"StitchingSoftware": "none", "StereoMode": "top-bottom"}
    text = "".join(f"<GSpherical:{name}>{value}</GSpherical:{name}>" for name, value in marks.items())
    box = bytes.fromhex("ffcc8263f8554a938814587a02521fdd") + f"<rdf:SphericalVideo>{text}".encode()
    box = struct.pack(">I4s", 8 + len(box), b"uuid") + box
    content = source.read_bytes()
    for name, more in ((b"trak", box), (b"moov", b"")):
        begin = content.rindex(name) - 4
        (size,) = struct.unpack(">I", content[begin : begin + 4])
        grown = struct.pack(">I", size + len(box)) + content[begin + 4 : begin + size]
        content = content[:begin] + grown + more + content[begin + size :]
    source.write_bytes(content)
    return source


def declared(path: Path) -> tuple[dict[str, bytes], list[bytes]]:
    """What FFmpeg reads of projection and 3D, and the luma of all frames."""
    with av.open(str(path)) as container:
        frames = [*container.decode(video=0)]
        data = frames[0].side_data
        found = {kind: bytes(memoryview(data[kind])) for kind in ("SPHERICAL", "STEREO3D") if data.get(kind)}
        return found, [bytes(frame.planes[0]) for frame in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_360_degrees_and_3d_are_written_into_mp4(tmp_path: Path, suffix: str) -> None:
    source = spherical_clip(tmp_path / "in.mp4")
    before, _ = declared(source)
    assert set(before) == {"SPHERICAL", "STEREO3D"}
    engine = identity(tmp_path)
    _, messages = run_video(engine, source, tmp_path / f"out{suffix}", codec="hevc")
    after, frames = declared(tmp_path / f"out{suffix}")
    assert after["SPHERICAL"] == before["SPHERICAL"]
    assert after["STEREO3D"][:8] == before["STEREO3D"][:8]  # the kind, and which eye is first
    assert len(frames) == 2 and not any("lost" in line for line in messages)
    run_video(engine, tmp_path / f"out{suffix}", tmp_path / "again.mp4")
    assert declared(tmp_path / "again.mp4")[0] == after


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_360_degrees_and_3d_are_written_into_matroska(tmp_path: Path, suffix: str) -> None:
    source, engine = spherical_clip(tmp_path / "in.mp4"), identity(tmp_path)
    before, _ = declared(source)
    _, messages = run_video(engine, source, tmp_path / f"out{suffix}")
    after, frames = declared(tmp_path / f"out{suffix}")
    assert after["SPHERICAL"] == before["SPHERICAL"] and after["STEREO3D"][:8] == before["STEREO3D"][:8]
    assert len(frames) == 2 and not any("lost" in line for line in messages)
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert container.streams.video[0].metadata["stereo_mode"] == "top_bottom"
        assert "title" not in container.streams.video[0].metadata
    assert b"-----" not in (tmp_path / f"out{suffix}").read_bytes()
    run_video(engine, tmp_path / f"out{suffix}", tmp_path / "back.mp4")
    assert declared(tmp_path / "back.mp4")[0]["SPHERICAL"] == before["SPHERICAL"]


def test_a_title_gives_the_room_back(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.metadata["title"] = "Up there" + matroska_projection.ROOM
        output.mux(video.encode(VideoFrame(64, 48, "yuv420p")))
        output.mux(video.encode(None))
    size = (tmp_path / "a.mkv").stat().st_size
    element = matroska_projection.element(matroska_projection.EQUIRECTANGULAR, b"", (90, 0, 0))
    matroska_projection.write(tmp_path / "a.mkv", element)
    content = (tmp_path / "a.mkv").read_bytes()
    assert len(content) == size and element in content
    tracks_id = bytes.fromhex("1654ae6b")
    at = content.index(tracks_id, content.index(tracks_id) + 1)  # after the entry in the table of contents
    start = content.index(b"\xbf\x84", at)  # the checksum of all tracks
    length = 9 - content[at + 4].bit_length()
    tracks = int.from_bytes(content[at + 4 : at + 4 + length]) & ((1 << 7 * length) - 1)
    assert zlib.crc32(content[start + 6 : at + 4 + length + tracks]) == int.from_bytes(
        content[start + 2 : start + 6], "little"
    )
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert container.streams.video[0].metadata["title"] == "Up there"
    assert "SPHERICAL" in declared(tmp_path / "a.mkv")[0]
    with pytest.raises(OSError, match="no room"):
        matroska_projection.write(tmp_path / "a.mkv", element)


def test_elements_of_a_projection() -> None:
    """Of a cube map and of a tile that are turned: each number as the standard has it."""
    cube = Projection(spherical=1, rotation=(90 << 16, -(30 << 16), 0), padding_px=4)
    assert cube.element(2.5, is_cropped=False) == bytes.fromhex(
        "7670 10000035 7671 10000001 02 7672 1000000c 00000000 00000000 0000000a"
        "7673 10000008 4056800000000000 7674 10000008 c03e000000000000"
    )
    tile = Projection(spherical=2, bounds=(1, 2, 3, 4))
    assert tile.element(2, is_cropped=False) == bytes.fromhex(
        "7670 10000021 7671 10000001 01 7672 10000014 00000000 00000002 00000004 00000001 00000003"
    )
    assert tile.element(2, is_cropped=True) == b""


def test_a_cropped_sphere_is_none(tmp_path: Path) -> None:
    source = spherical_clip(tmp_path / "in.mp4")
    _, messages = run_video(identity(tmp_path), source, tmp_path / "out.mp4", crop="32:24:0:0")
    assert "360 degree metadata is lost: the picture is cropped" in messages
    assert set(declared(tmp_path / "out.mp4")[0]) == {"STEREO3D"}
