from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from support.media import clip
from support.messages import Messages

from upscaler import pipeline
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.video import hdr
from upscaler.video.hdr import Hdr
from upscaler.video.reader import VideoReader

# The primaries of BT.2020 and its white, as in SMPTE ST 2086.
BT2020 = tuple(
    (Fraction(x, 50_000), Fraction(y, 50_000))
    for x, y in ((35_400, 14_600), (8_500, 39_850), (6_550, 2_300), (15_635, 16_450))
)
HDR10 = Hdr(BT2020, (Fraction(1, 200), Fraction(1000)), (1000, 400))


def run(engine: Upscaler, source: Path, target: Path, **options: object) -> Messages:
    notes = Messages()
    options = {"preset": "ultrafast"} | options
    job = Job(source, target, "video")
    pipeline.upscale_video(job, engine, VideoOptions(**options), lambda _: None, notes)
    return notes


def hdr_clip(path: Path) -> Path:
    """Three 10-bit frames of a ramp in PQ, with HDR10 metadata, chroma sited top left."""
    options = {"preset": "ultrafast", "chroma_sample_location": "topleft"}
    options |= hdr.encoder_options(HDR10, "libx265")
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx265", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, 16, 1
        for number in range(3):
            frame = VideoFrame(64, 64, "yuv420p10le")
            ramp = np.tile(np.linspace(64, 940, 64).astype(np.uint16) + number, (64, 1))
            for plane, values in zip(
                frame.planes, (ramp, ramp[:32, :32] // 4 + 400, ramp[:32, :32]), strict=True
            ):
                rows = np.frombuffer(plane, np.uint16).reshape(-1, plane.line_size // 2)
                rows[: values.shape[0], : values.shape[1]] = values
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("codec", "preset"), [(None, "ultrafast"), ("av1", "12")])
def test_hdr10_metadata_is_kept(engine: Upscaler, tmp_path: Path, codec: str | None, preset: str) -> None:
    source = hdr_clip(tmp_path / "in.mp4")
    with VideoReader(source) as reader:
        assert reader.info.hdr == HDR10
        assert reader.info.layout.siting == "topleft"
    notes = run(engine, source, tmp_path / "out.mp4", codec=codec, preset=preset)
    with VideoReader(tmp_path / "out.mp4") as reader:
        result = reader.info
    assert result.layout.bits == 10
    assert (result.colors.matrix, result.colors.primaries, result.colors.transfer) == (9, 9, 16)
    assert result.hdr is not None and result.hdr.light_level == (1000, 400)
    for expected, found in zip(BT2020, result.hdr.primaries, strict=True):
        assert all(abs(a - b) < Fraction(1, 10_000) for a, b in zip(expected, found, strict=True))
    assert result.hdr.luminance[1] == 1000
    if codec is None:
        assert result.layout.siting == "topleft"
        assert "hevc" in notes[0]


def test_ten_bits_never_pass_through_eight(engine: Upscaler, tmp_path: Path) -> None:
    run(engine, hdr_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4", crf=0)
    luma = []
    for name in ("in.mp4", "out.mp4"):
        with av.open(str(tmp_path / name)) as container:
            plane = next(container.decode(video=0)).planes[0]
            luma.append(np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : plane.width])
    small, large = luma
    reduced = large.reshape(64, 2, 64, 2).mean((1, 3))
    assert np.abs(reduced - small)[4:-4, 4:-4].mean() < 4  # of 1023
    assert len(np.unique(large)) > 256  # a stop at 8 bits leaves at most that many, and multiples of 4
    assert (np.bincount(large.ravel() % 4, minlength=4) > large.size // 8).all()


def test_dynamic_metadata_is_reported_as_lost() -> None:
    class Item(bytearray):
        def __init__(self, name: str) -> None:
            super().__init__(8)
            self.type = type("Type", (), {"name": name})()

    class Frame:
        color_trc = hdr.PQ
        side_data = (Item("DOVI_METADATA"), Item("DOVI_RPU_BUFFER"), Item("DYNAMIC_HDR_PLUS"))

    found = hdr.read(Frame())  # type: ignore[arg-type]
    assert found is not None and found.lost == ("Dolby Vision", "HDR10+")


def bits_of(*fields: tuple[int, int]) -> bytes:
    """Numbers of the given widths in bits, concatenated."""
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[index : index + 8], 2) for index in range(0, len(text), 8))


def test_hdr10_plus_in_a_real_stream_is_reported_as_lost(engine: Upscaler, tmp_path: Path) -> None:
    """HEVC with an SEI message as SMPTE ST 2094-40 has it, inserted before every coded picture."""
    with (
        av.open(str(hdr_clip(tmp_path / "plain.mp4"))) as container,
        av.open(str(tmp_path / "plain.hevc"), "w", format="hevc") as output,
    ):
        copy = output.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    window = [(100, 17)] * 4 + [(0, 4), (0, 10)]
    metadata = bits_of((1, 2), (1000, 27), (0, 1), *window, (0, 1), (0, 1), (0, 1))
    message = bytes([0xB5, 0x00, 0x3C, 0x00, 0x01, 4, 1]) + metadata
    sei = bytes([0x4E, 0x01, 4, len(message)]) + message + b"\x80"
    escaped = sei.replace(b"\0\0\0", b"\0\0\3\0").replace(b"\0\0\1", b"\0\0\3\1")
    stream = (tmp_path / "plain.hevc").read_bytes()
    pictures = [
        index
        for index in range(len(stream) - 4)
        if stream[index : index + 3] == b"\0\0\1" and (stream[index + 3] >> 1) & 0x3F < 32
    ]
    for index in reversed(pictures):
        stream = stream[:index] + b"\0\0\1" + escaped + stream[index:]
    (tmp_path / "in.hevc").write_bytes(stream)
    notes = run(engine, tmp_path / "in.hevc", tmp_path / "out.mp4")
    assert any(note == "HDR10+ metadata is lost: libx265 does not write it" for note in notes)
    assert not any("HDR10 metadata" in note for note in notes)


def test_hlg_stays_hlg(engine: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx265", rate=25, options={"x265-params": "log-level=error"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, 18, 1
        for _ in range(3):
            output.mux(stream.encode(VideoFrame(64, 64, "yuv420p10le")))
        output.mux(stream.encode(None))
    for suffix in (".mp4", ".mkv", ".webm"):
        run(engine, source, tmp_path / f"out{suffix}", **({"preset": "12"} if suffix == ".webm" else {}))
        with VideoReader(tmp_path / f"out{suffix}") as reader:
            assert reader.info.layout.bits == 10
            colors = reader.info.colors
        assert (colors.matrix, colors.primaries, colors.transfer) == (9, 9, hdr.HLG)


@pytest.mark.parametrize("codec", ["vp9", "ffv1"])
def test_hdr10_that_the_encoder_cannot_write_is_reported_as_lost(
    engine: Upscaler, tmp_path: Path, codec: str
) -> None:
    source = hdr_clip(tmp_path / "in.mp4")
    notes = run(engine, source, tmp_path / "out.mkv", codec=codec, preset=None)
    assert any(note.startswith("HDR10 metadata is lost") for note in notes)


@pytest.mark.parametrize(("code", "name"), [(4, "fcc"), (5, "bt601"), (7, "smpte240m"), (10, "bt2020")])
def test_rarer_matrices_are_used_and_tagged(engine: Upscaler, tmp_path: Path, code: int, name: str) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        stream.codec_context.colorspace = code
        output.mux(stream.encode(VideoFrame(64, 64, "yuv444p")))
        output.mux(stream.encode(None))
    run(engine, source, tmp_path / "out.mp4")
    for path in (source, tmp_path / "out.mp4"):
        with VideoReader(path) as reader:
            assert (reader.info.layout.matrix, reader.info.colors.matrix) == (name, code)


def test_ordinary_clip_has_no_hdr(tmp_path: Path) -> None:
    with VideoReader(clip(tmp_path / "in.mp4", frames=2)) as reader:
        assert reader.info.hdr is None
        assert reader.info.layout.siting == "left"


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
def test_siting_is_read_and_kept(engine: Upscaler, tmp_path: Path, siting: str) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"chroma_sample_location": siting})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.mux(stream.encode(VideoFrame(64, 48, "yuv420p")))
        output.mux(stream.encode(None))
    run(engine, source, tmp_path / "out.mp4")
    for path in (source, tmp_path / "out.mp4"):
        with VideoReader(path) as reader:
            assert reader.info.layout.siting == siting
