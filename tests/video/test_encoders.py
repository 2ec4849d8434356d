"""Encoders, pixel formats and decoders: what is asked for is used, or refused before work starts."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.codec.context import CodecContext
from av.video.frame import VideoFrame
from support.media import clip, frame_times, run_video
from support.pictures import photograph
from typer.testing import CliRunner

from upscaler.cli.app import app
from upscaler.errors import MediaError, UsageError
from upscaler.inference.engine import Upscaler
from upscaler.options import VideoOptions
from upscaler.video import codecs, pixel_formats, reader, segment_writer, yuv
from upscaler.video.codecs import CODECS, Encoder
from upscaler.video.demux import MEDIA_ERRORS, Source
from upscaler.video.encoders import choose
from upscaler.video.formats import CONTAINERS
from upscaler.video.reader import VideoReader


def alpha_clip(path: Path, encoder: str, pixel_format: str, pts: list[int] | None = None) -> Path:
    """A clip whose opacity rises from left to right, and falls from frame to frame."""
    pts = [3600 * index for index in range(6)] if pts is None else pts
    with av.open(str(path), "w") as output:
        stream = output.add_stream(
            encoder, rate=25, options={"auto-alt-ref": "0"} if "vpx" in encoder else {}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        stream.time_base = stream.codec_context.time_base = Fraction(1, 90000)
        for index, stamp in enumerate(pts):
            opacity = np.linspace(250 - 10 * index, 5, 64).round().astype(np.uint8)
            rgba = np.dstack([photograph(48, 64), np.tile(opacity, (48, 1))])
            frame = VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=pixel_format)
            frame.pts, frame.time_base = stamp, Fraction(1, 90000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def opacities(path: Path) -> list[np.ndarray]:
    """Alpha of every frame, 0 to 1; empty where there is none."""
    with VideoReader(path) as reader:
        frames = [
            yuv.to_alpha(frame.planes, frame.layout).numpy()
            for frame in reader.frames()
            if frame.layout.alpha
        ]
    return frames


def test_tables_agree() -> None:
    assert all("software" in codec.encoders for codec in codecs.CODECS.values())
    assert {suffix for codec in codecs.CODECS.values() for suffix in codec.containers} == set(CONTAINERS)
    assert all(set(codec.stores_alpha_in) <= set(codec.containers) for codec in codecs.CODECS.values())
    assert all(av.ContainerFormat(container.muxer).is_output for container in CONTAINERS.values())


@pytest.mark.parametrize(
    ("codec", "source", "output"),
    [
        ("prores", "yuv420p", "yuv422p10le"),
        ("prores", "yuv444p", "yuv444p12le"),  # as FFmpeg reads all ProRes 4444
        ("ffv1", "yuv422p10le", "yuv422p10le"),
        ("ffv1", "yuv444p", "yuv444p"),
        ("ffv1", "gray", "gray"),
        ("ffv1", "yuv420p16le", "yuv420p16le"),
        ("ffv1", "gbrp10le", "gbrp10le"),
        ("h264", "yuv444p12le", "yuv420p10le"),
        ("h264", "gray", "yuv420p"),
        ("vp9", "yuv420p10le", "yuv420p"),
        ("av1", "yuv420p10le", "yuv420p10le"),
    ],
)
def test_default_codec_and_pixel_format(
    engine: Upscaler, tmp_path: Path, codec: str, source: str, output: str
) -> None:
    path = clip(tmp_path / "in.mkv", encoder="ffv1", pixel_format=source, frames=3)
    suffix = ".mov" if codec == "prores" else ".mkv"
    done, _ = run_video(engine, path, tmp_path / f"out{suffix}", codec=codec)
    assert done.frames == 3
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == output
        assert frame.color_range == (2 if output.startswith("gbr") else 1)
        assert frame.colorspace == (0 if output.startswith("gbr") else 6)
    with VideoReader(path) as before, VideoReader(tmp_path / f"out{suffix}") as after:
        small, large = (next(clip.frames()) for clip in (before, after))
        means = [yuv.to_rgb(each.planes, each.layout).mean((1, 2)) for each in (small, large)]
    assert torch.allclose(*means, atol=0.02)  # not of the frame before, nor in other colours


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("h264", "yuv444p"),
        ("h264", "yuv422p10le"),
        ("hevc", "yuv420p12le"),  # of two frames, for which x265 leaves decoding stamps unset
        ("hevc", "gbrp"),
        ("vp9", "yuv444p"),
        ("ffv1", "gbrp16le"),
        ("ffv1", "yuva420p"),
        ("prores", "yuv422p10le"),
    ],
)
def test_requested_pixel_format_is_used(engine: Upscaler, tmp_path: Path, codec: str, name: str) -> None:
    source = clip(tmp_path / "in.mp4", frames=2)
    run_video(engine, source, tmp_path / "out.mkv", codec=codec, pixel_format=name)
    with VideoReader(tmp_path / "out.mkv") as reader:
        frame = next(reader.frames())
        assert pixel_formats.pixel_format(frame.layout) == name
        output = yuv.to_rgb(frame.planes, frame.layout).mean((1, 2))
    with VideoReader(source) as reader:
        frame = next(reader.frames())
        assert torch.allclose(output, yuv.to_rgb(frame.planes, frame.layout).mean((1, 2)), atol=0.02)


def test_pixel_formats_and_options_are_checked_before_work() -> None:
    for wrong, reason in (
        ({"pixel_format": "yuv999p"}, "unknown pixel format"),
        ({"pixel_format": "yuvj420p"}, "unknown pixel format"),
        ({"pixel_format": "yuv420p16le"}, "libx264 cannot be opened with these options"),
        ({"codec": "av1", "pixel_format": "yuv444p"}, "libsvtav1 cannot be opened with these options"),
        ({"codec": "vp9", "pixel_format": "yuva420p"}, "does not support vp9 video with alpha"),
        ({"encoder_options": (("tune", "nothing"),)}, "libx264 cannot be opened with these options"),
        ({"encoder_options": (("tuna", "film"),)}, "it has no option tuna"),
        ({"encoder_options": (("x264-params", "tuna=1"),)}, "tuna"),
        ({"codec": "hevc", "encoder_options": (("x265-params", "tuna=1"),)}, "tuna"),
        ({"codec": "ffv1", "crf": 3}, "ffv1 has no CRF"),
        ({"codec": "ffv1", "preset": "slow"}, "no preset 'slow'"),
        ({"codec": "vp9", "pixel_format": "yuv440p"}, "4:4:0"),
    ):
        with pytest.raises(UsageError, match=reason):
            choose(".mkv" if wrong.get("codec") == "ffv1" else ".mp4", VideoOptions(**wrong))
    with pytest.raises(UsageError, match=r"\.mp4 does not support prores") as caught:
        choose(".mp4", VideoOptions(codec="prores"))
    assert ".mov" in caught.value.hint


def test_size_that_an_encoder_rejects_gives_one_clear_line(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", frames=1, encoder="ffv1", height=6, width=26)
    with pytest.raises(MediaError, match=r"libx265 cannot be opened for 52x12 pixels: .*too small"):
        run_video(engine, source, tmp_path / "out.mp4", codec="hevc")


def test_a_width_at_which_x265_writes_beyond_its_buffers_is_refused(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", frames=1, encoder="ffv1", height=40, width=24)
    said = r"hevc pictures \(libx265\) have at least 50x1 pixels, not 48x80 \(use --codec h264 or "
    with pytest.raises(UsageError, match=said):
        run_video(engine, source, tmp_path / "out.mp4", codec="hevc")


@pytest.mark.parametrize("codec", ["h264", "av1"])
@pytest.mark.parametrize("side", ["width", "height"])
def test_limits_of_encoders_are_as_in_the_table(codec: str, side: str) -> None:
    encoder = CODECS[codec].encoders["software"]
    assert encoder.largest_px is not None
    width, height = encoder.largest_px
    for excess, opens in ((0, True), (2, False)):
        context = CodecContext.create(encoder.name, "w")
        context.width, context.height = (width + excess, 64) if side == "width" else (64, height + excess)
        context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
        context.thread_count = 1
        if opens:
            context.open()
        else:
            with pytest.raises(MEDIA_ERRORS):
                context.open()


@pytest.mark.parametrize(
    ("suffix", "codec", "said"),
    [
        (".mp4", None, r"h264 pictures \(libx264\) have at most 16384x16384 pixels, not 16400x64 "),
        (".mp4", "av1", r"\(use --codec hevc or vp9, or a smaller --scale or --size\)"),
        (".webm", "av1", r"\(use --codec vp9, or a smaller"),
        (".mov", "h264", r"\(use --codec hevc or prores, or a smaller"),
    ],
)
def test_a_picture_too_large_for_an_encoder_is_refused_before_work(
    engine: Upscaler,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    codec: str | None,
    said: str,
) -> None:
    monkeypatch.setattr("upscaler.video_pipeline.JobFolder", lambda *_: pytest.fail("the work began"))
    source = clip(tmp_path / "in.mkv", frames=1, encoder="ffv1", height=32, width=8200)
    with pytest.raises(UsageError, match=said):
        run_video(engine, source, tmp_path / f"out{suffix}", codec=codec)


def test_encoder_options_reach_the_encoder(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=3)
    given = (("x264-params", "keyint=7"), ("bf", "1"), ("crf", "31"))
    run_video(engine, source, tmp_path / "out.mp4", encoder_options=given)
    output = (tmp_path / "out.mp4").read_bytes()
    assert b"keyint=7 " in output and b"bframes=1" in output and b"crf=31.0" in output


def test_losses_of_the_layout_are_reported() -> None:
    deep = yuv.Layout(bits=12, horizontal=1, vertical=1)
    notes = choose(".mp4", VideoOptions(), deep).notes
    assert notes[0] == "reducing 12 bits to 10"
    assert "4:2:0; --pixel-format yuv444p10le keeps 4:4:4" in notes[1]
    assert choose(".mp4", VideoOptions(pixel_format="yuv444p12le", codec="hevc"), deep).notes == ()
    assert "alpha channel is lost" in choose(".mp4", VideoOptions(), yuv.Layout(alpha=True)).notes[0]
    assert choose(".mkv", VideoOptions(codec="ffv1"), deep).notes == ()
    assert "reducing chroma to 4:2:0" in choose(".mp4", VideoOptions(codec="av1"), deep).notes


def test_prores_profile_determines_chroma(engine: Upscaler, tmp_path: Path) -> None:
    source = alpha_clip(tmp_path / "in.mkv", "ffv1", "yuva420p")
    for profile, output in (("proxy", "yuv422p10le"), ("4444xq", "yuva444p12le")):
        target = tmp_path / f"{profile}.mov"
        _, notes = run_video(engine, source, target, codec="prores", preset=profile)
        assert any("alpha channel is lost" in note for note in notes) == (profile == "proxy")
        with av.open(str(target)) as container:
            assert next(container.decode(video=0)).format.name == output


@pytest.mark.parametrize(
    ("encoder", "pixel_format", "source_suffix", "suffix", "codec"),
    [
        ("libvpx-vp9", "yuva420p", ".webm", ".webm", None),
        ("libvpx", "yuva420p", ".mkv", ".mkv", "vp9"),
        ("prores_ks", "yuva444p10le", ".mov", ".mov", "prores"),
        ("prores_ks", "yuva444p10le", ".mov", ".webm", None),
        ("ffv1", "yuva420p", ".mkv", ".mkv", "ffv1"),
        ("qtrle", "argb", ".mov", ".mov", "prores"),
    ],
)
def test_alpha_is_kept(
    engine: Upscaler,
    tmp_path: Path,
    encoder: str,
    pixel_format: str,
    source_suffix: str,
    suffix: str,
    codec: str | None,
) -> None:
    pts = [0, 3003, 6006, 9010, 30000, 33003]
    source = alpha_clip(tmp_path / f"in{source_suffix}", encoder, pixel_format, pts)
    target = tmp_path / f"out{suffix}"
    done, notes = run_video(engine, source, target, codec=codec)
    assert not any("alpha" in note for note in notes)
    small, large = opacities(source), opacities(target)
    assert done.frames == len(small) == len(large) == 6
    for before, after in zip(small, large, strict=True):
        reduced = after.reshape(48, 2, 64, 2).mean((1, 3))
        assert np.abs(reduced - before)[:, 2:-2].max() < (0.05 if suffix == ".webm" else 0.02)
    tolerance = Fraction(1, 1000) if suffix in (".webm", ".mkv") or source_suffix == ".webm" else 0
    for output, stamp in zip(frame_times(target), pts, strict=True):
        assert abs(output - Fraction(stamp, 90000)) <= tolerance


def test_requested_alpha_is_opaque_and_lost_alpha_is_reported(engine: Upscaler, tmp_path: Path) -> None:
    run_video(engine, clip(tmp_path / "plain.mp4", frames=2), tmp_path / "a.webm", pixel_format="yuva420p")
    output = opacities(tmp_path / "a.webm")
    assert len(output) == 2 and all((opacity == 1).all() for opacity in output)
    source = alpha_clip(tmp_path / "in.webm", "libvpx-vp9", "yuva420p")
    _, notes = run_video(engine, source, tmp_path / "b.mkv")
    assert any("alpha channel is lost" in note for note in notes)
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert "ALPHA_MODE" not in container.streams.video[0].metadata  # which would be a lie


@pytest.mark.parametrize(("name", "layout_name"), [("nv12", "yuv420p"), ("p010le", "yuv420p10le")])
def test_semi_planar_frames_hold_the_same_samples(name: str, layout_name: str) -> None:
    """Against FFmpeg's own rearrangement of the same planes."""
    planar = VideoFrame.from_ndarray(photograph(48, 64), format="rgb24").reformat(format=layout_name)
    planes = [torch.from_dlpack(plane) for plane in planar.planes]
    planes = [plane if name == "nv12" else plane.view(torch.int16) for plane in planes]
    output = segment_writer._semi_planar([plane.clone() for plane in planes])
    expected = planar.reformat(format=name)
    for plane, ours in zip(expected.planes, output, strict=True):
        theirs = torch.from_dlpack(plane)
        assert torch.equal(theirs if name == "nv12" else theirs.view(torch.int16), ours)


def test_missing_hardware_falls_back_with_a_message(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=3)
    _, notes = run_video(engine, source, tmp_path / "a.mp4", encoder="nvenc", preset="p5", decoder="nvdec")
    assert any("NVDEC cannot decode it" in note and "using software" in note for note in notes)
    assert any("h264_nvenc cannot be used:" in note and "using libx264" in note for note in notes)
    _, notes = run_video(engine, source, tmp_path / "b.mp4", encoder="auto", preset="slow")
    line = next(note for note in notes if "using libx264" in note)
    assert all(name in line for name in ("h264_nvenc has no preset", "h264_qsv cannot", "h264_amf"))
    assert any("preset slow (libx264" in note for note in notes)
    with pytest.raises(UsageError, match="CRF 0 is out of range for h264_nvenc"):
        choose(".mp4", VideoOptions(encoder="nvenc", crf=0))
    with pytest.raises(UsageError, match="libx264 has no preset 'warp'"):
        choose(".mp4", VideoOptions(encoder="auto", preset="warp"))
    line = choose(".mp4", VideoOptions(encoder="auto", crf=0)).notes[0]
    assert "CRF 0 is out of range for h264_nvenc" in line and "using libx264" in line
    assert "no nvenc encoder for vp9" in choose(".webm", VideoOptions(encoder="nvenc")).notes[0]
    notes = choose(".mkv", VideoOptions(encoder="auto", codec="ffv1")).notes
    assert notes == ("there is no hardware encoder for ffv1; using ffv1",)
    for wrong in ({"encoder": "magic"}, {"decoder": "magic"}):
        with pytest.raises(UsageError, match="coder 'magic' must be"):
            VideoOptions(**wrong)


@pytest.mark.parametrize(
    ("codec", "family"),
    [
        (name, family)
        for name, codec in codecs.CODECS.items()
        for family in codec.encoders
        if family != "software"
    ],
)
def test_options_of_hardware_encoders_are_valid(codec: str, family: str) -> None:
    """Without the hardware, opening must fail for that and not for a value that FFmpeg does not know."""
    notes = choose(".mkv", VideoOptions(codec=codec, encoder=family)).notes
    assert "Invalid argument" not in notes[0] and "Undefined constant" not in notes[0]
    assert "Unable to parse" not in notes[0]


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Software in the place of NVENC: it takes the same formats, and can be opened."""
    for codec, name in (("h264", "libx264"), ("hevc", "libx265")):
        table = dict(codecs.CODECS[codec].encoders)
        software = table["software"]
        table["nvenc"] = Encoder(
            name, (8, 10), ("crf",), 28, 51, "preset", "ultrafast", software.presets, software.options
        )
        table["qsv"] = replace(table["nvenc"], semi_planar=True, semi_planar_8=True)
        monkeypatch.setitem(codecs.CODECS, codec, replace(codecs.CODECS[codec], encoders=table))


@pytest.mark.parametrize("asked", ["nvenc", "auto"])
@pytest.mark.usefixtures("pretended")
def test_available_hardware_encoder_is_used(engine: Upscaler, tmp_path: Path, asked: str) -> None:
    _, notes = run_video(engine, clip(tmp_path / "in.mp4", frames=3), tmp_path / "out.mp4", encoder=asked)
    assert "crf 28 preset ultrafast" in notes[0]
    assert not any("cannot be used" in note for note in notes)
    assert b"crf=28.0" in (tmp_path / "out.mp4").read_bytes()


@pytest.mark.usefixtures("pretended")
def test_semi_planar_frames_are_encoded_as_the_same_picture(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=2)
    for family, given in (("software", "yuv420p"), ("qsv", "nv12")):
        _, notes = run_video(engine, source, tmp_path / f"{family}.mp4", encoder=family, crf=10)
        assert f"{given})" in notes[0]
    with VideoReader(tmp_path / "software.mp4") as one, VideoReader(tmp_path / "qsv.mp4") as other:
        for a, b in zip(one.frames(), other.frames(), strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a.planes, b.planes, strict=True))


def test_available_hardware_decoder_is_used(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "in.mp4", frames=5)
    asked: list[object] = []
    whole = reader.open_source

    def opened(source: Source, hardware: object = None) -> av.container.InputContainer:
        asked.append(hardware)
        return whole(source)

    monkeypatch.setattr(reader, "open_source", opened)
    monkeypatch.setattr(reader, "_is_hardware", lambda _: True)
    done, notes = run_video(engine, source, tmp_path / "out.mp4", decoder="nvdec")
    assert done.frames == 5
    assert asked[0] is not None and any("decoding with NVDEC" in note for note in notes)


def test_a_hardware_decoder_that_fails_at_the_first_frame_falls_back(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "in.mp4", frames=5)
    whole, opened = reader.open_source, []

    def half_broken(source: Source, hardware: object = None) -> av.container.InputContainer:
        opened.append(hardware)
        return whole(Source(tmp_path / "broken.mkv") if hardware else source)

    with av.open(str(clip(tmp_path / "whole.mkv", frames=5, encoder="libvpx-vp9"))) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    damaged = (tmp_path / "whole.mkv").read_bytes()
    for packet in packets:
        damaged = damaged.replace(packet, bytes(len(packet)))
    (tmp_path / "broken.mkv").write_bytes(damaged)
    monkeypatch.setattr(reader, "open_source", half_broken)
    monkeypatch.setattr(reader, "_is_hardware", lambda _: True)
    done, notes = run_video(engine, source, tmp_path / "out.mp4", decoder="auto")
    assert done.frames == 5 and len(opened) >= 2
    assert any("NVDEC cannot decode it" in note for note in notes)


def test_command_accepts_all_encoder_options(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=3)
    asked = ["--pixel-format", "yuv444p", "--encoder", "auto", "--decoder", "auto"]
    asked += ["--encoder-option", "bf=1", "--encoder-option", "x264-params=qcomp=0.77:keyint=7"]
    result = CliRunner().invoke(app, [str(source), "-o", str(tmp_path / "out.mp4"), "--scale", "2", *asked])
    assert result.exit_code == 0, result.output
    output = (tmp_path / "out.mp4").read_bytes()
    assert all(text in output for text in (b"bframes=1", b"qcomp=0.77", b"keyint=7 "))
    assert "using libx264" in result.output and "NVDEC cannot decode it" in result.output
    result = CliRunner().invoke(app, [str(source), "-o", str(tmp_path / "b.mp4"), "--encoder-option", "a=b"])
    assert result.exit_code == 2
    assert "it has no option a" in result.output
    assert not (tmp_path / "b.mp4").exists()


def test_a_picture_too_small_for_hevc_is_one_line(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", frames=2, height=6, width=32, encoder="ffv1")
    with pytest.raises(MediaError) as caught:
        run_video(engine, source, tmp_path / "out.mp4", codec="hevc")
    line = "the encoder libx265 cannot be opened for 64x12 pixels: Image size is too small (64x12)."
    assert str(caught.value) == line and not (tmp_path / "out.mp4").exists()
