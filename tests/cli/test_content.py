"""What a file is, is decided by its content: real files of every format, under every name."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from support import kept
from support.media import clip, save

from upscaler.content import content_of
from upscaler.errors import UsageError
from upscaler.images.formats import FORMATS
from upscaler.jobs import plan
from upscaler.options import Options
from upscaler.video.formats import SIGNATURES, VIDEO_SUFFIXES
from upscaler.video.reader import VideoReader

# Suffix that the signature stands for -> muxer, encoder.
WRITTEN = {
    ".mov": ("mov", "mpeg4"),
    ".mp4": ("mp4", "mpeg4"),
    ".webm": ("webm", "libvpx"),
    ".mkv": ("matroska", "mpeg4"),
    ".avi": ("avi", "mpeg4"),
    ".amv": ("amv", "amv"),
    ".flv": ("flv", "flv"),
    ".wmv": ("asf", "msmpeg4"),
    ".ogv": ("ogg", "libvpx"),
    ".rm": ("rm", "rv20"),
    ".mpg": ("mpeg", "mpeg1video"),
    ".m2v": ("mpeg2video", "mpeg2video"),
    ".h264": ("h264", "libx264"),
    ".hevc": ("hevc", "libx265"),
    ".y4m": ("yuv4mpegpipe", "wrapped_avframe"),
    ".ivf": ("ivf", "libvpx"),
    ".dv": ("dv", "dvvideo"),
    ".mxf": ("mxf", "mpeg2video"),
    ".wtv": ("wtv", "mpeg2video"),
    ".ts": ("mpegts", "mpeg2video"),
    ".m2ts": ("mpegts", "mpeg2video"),
}


def written(path: Path, suffix: str, frames: int = 4) -> Path:
    muxer, encoder = WRITTEN[suffix]
    options = {"mpegts_m2ts_mode": "1"} if suffix == ".m2ts" else {}
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", format=muxer, options=options) as output:
        stream = output.add_stream(encoder, rate=25)
        stream.width, stream.height = (720, 576) if encoder == "dvvideo" else (64, 48)
        stream.pix_fmt = "yuvj420p" if encoder == "amv" else "yuv420p"
        if encoder == "amv":
            output.add_stream("adpcm_ima_amv", rate=22050, layout="mono").codec_context.options = {
                "block_size": "882"
            }
        for index in range(frames):
            frame = VideoFrame(stream.width, stream.height, stream.pix_fmt)
            for plane in frame.planes:  # noise, because FFmpeg does not recognise files of a kilobyte
                plane.update(noise.bytes(plane.buffer_size))
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def test_every_signature_has_a_file() -> None:
    assert set(WRITTEN) == {each.suffix for each in SIGNATURES} <= set(VIDEO_SUFFIXES)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_named_video_is_taken_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / "first", suffix)
    for name in ("download", "film.bin", "film.jpg"):
        path = path.rename(tmp_path / name)
        [job] = plan([path], Options()).jobs
        expected = suffix if suffix in (".mp4", ".mov", ".mkv", ".webm") else ".mkv"
        assert (job.kind, job.target.name) == ("video", f"{path.stem}_x4{expected}")
    with VideoReader(path) as reader:
        assert reader.info.width >= 64


@pytest.mark.parametrize("image_format", [row for row in FORMATS if row.signature], ids=lambda row: row.name)
def test_a_named_image_is_taken_whatever_its_name(tmp_path: Path, image_format: object) -> None:
    suffix = image_format.suffixes[0]
    first = tmp_path / f"a{suffix}"
    (kept.with_light("float32") if suffix == ".exr" else save)(first)  # Pillow writes no EXR
    image = first.read_bytes()
    for name in ("download", "photo.bin", "photo.mp4"):
        (tmp_path / name).write_bytes(image)
        [job] = plan([tmp_path / name], Options()).jobs
        assert (job.kind, job.target.name) == ("still", f"{Path(name).stem}_x4{suffix}")


def test_a_file_with_a_suffix_of_its_kind_keeps_it(tmp_path: Path) -> None:
    written(tmp_path / "a.m4v", ".mp4")
    written(tmp_path / "b.mp4", ".mkv")
    (tmp_path / "c.png").write_bytes(save(tmp_path / "c.jpg").read_bytes())
    (tmp_path / "d.mjpeg").write_bytes((tmp_path / "c.jpg").read_bytes() * 3)
    jobs = plan([tmp_path / name for name in ("a.m4v", "b.mp4", "c.png", "d.mjpeg")], Options()).jobs
    names = [(job.kind, job.target.name) for job in jobs]
    assert names == [
        ("video", "a_x4.m4v"),
        ("video", "b_x4.mp4"),
        ("still", "c_x4.png"),
        ("video", "d_x4.mkv"),
    ]


def test_source_code_is_not_video(tmp_path: Path) -> None:
    code = "// Grüße\nexport const film: string = 'G';\n" * 40
    for name in ("p/a.ts", "p/b.mts", "p/go.mod"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code, encoding="utf-8")
        with pytest.raises(UsageError, match="neither an image nor a video"):
            plan([tmp_path / name], Options())
    cut = written(tmp_path / "c.ts", ".ts").read_bytes()[50:]  # not from the start of a packet
    (tmp_path / "p/c.ts").write_bytes(cut)
    (tmp_path / "p/d.ts").write_bytes(b"\0" * 2000 + cut)
    found = plan([tmp_path / "p"], Options())
    assert [job.source.name for job in found.jobs] == ["c.ts", "d.ts"]
    assert found.ignored_kinds() == "1 .mod, 1 .mts, 1 .ts"


def test_folders_are_searched_by_suffix(tmp_path: Path) -> None:
    suffixes = [
        ".mxf", ".dv", ".m2v", ".asf", ".divx", ".rm", ".rmvb", ".ogm", ".ogg", ".y4m", ".h264", ".hevc",
        ".3g2", ".mjpeg", ".ivf", ".m2t", ".mod", ".tod", ".f4v", ".mpe", ".tp", ".trp", ".insv", ".wtv",
        ".vob", ".amv",
    ]  # fmt: skip
    (tmp_path / "p").mkdir()
    for suffix in [*suffixes, ".bin"]:
        (tmp_path / f"p/{suffix[1:]}{suffix}").write_bytes(b"\0" * 100)
    found = plan([tmp_path / "p"], Options())
    assert sorted(job.source.suffix for job in found.jobs) == sorted(suffixes)
    assert {job.target.suffix for job in found.jobs} == {".mkv"} and found.ignored_kinds() == "1 .bin"


def test_an_mp4_is_upscaled_under_the_name_of_an_image(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", frames=2).rename(tmp_path / "a.jpg")
    assert content_of(path).kind == "video"
    with VideoReader(path) as reader:
        assert len(list(reader.frames())) == 2


def test_a_heic_whose_first_brand_is_damaged_is_no_video(tmp_path: Path) -> None:
    ftyp = b"\0\0\0\x18ftyp%s\0\0\0\0mif1heic"
    for brand in (b"heic", b"he\x80\0"):
        (tmp_path / "a.heic").write_bytes(ftyp % brand + bytes(100))
        assert content_of(tmp_path / "a.heic").kind == "still"
