"""Colours and bit depth of AVIF, which Pillow ignores."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image
from support.media import identity
from support.pictures import photograph

from upscaler import pipeline
from upscaler.errors import MediaError, UsageError
from upscaler.images import avif, cicp, losses, stills
from upscaler.images.avif import AvifColor
from upscaler.images.cicp import CodePoints
from upscaler.images.formats import format_of
from upscaler.images.still import Still
from upscaler.jobs import Job
from upscaler.options import ImageOptions

COLOR = (200, 100, 50)
# Chromaticities of red, green and blue (H.273, table 2); white is D65 for all.
PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}


def write_avif(path: Path, primaries: int, transfer: int) -> None:
    """A still of one colour, tagged with codes of H.273."""
    Image.new("RGB", (32, 24), COLOR).save(path, quality=100, subsampling="4:4:4")
    content = path.read_bytes()
    at = content.index(b"colrnclx") + 8
    path.write_bytes(content[:at] + struct.pack(">HH", primaries, transfer) + content[at + 4 :])


def to_xyz(primaries: int) -> NDArray[np.float64]:
    """Linear RGB -> XYZ."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[primaries]]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return columns * np.linalg.solve(columns, white)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("primaries", PRIMARIES)
def test_wide_gamut_is_converted_to_srgb_where_it_cannot_be_stated(primaries: int, kind: type) -> None:
    codes = np.array(COLOR) / 255
    light = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    srgb = (np.linalg.inv(to_xyz(1)) @ to_xyz(primaries) @ light).clip(0, 1)
    expected = np.where(srgb <= 0.0031308, 12.92 * srgb, 1.055 * srgb ** (1 / 2.4) - 0.055)
    white = np.iinfo(kind).max
    pixels = np.full((4, 5, 3), COLOR).astype(kind) * (white // 255)
    converted = cicp.to_srgb(pixels, CodePoints(primaries, 13))
    assert converted.dtype == kind and np.abs(converted / white - expected).max() < 1 / 255


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".webp", ".avif", ".bmp"])
def test_display_p3_is_kept_in_png_and_converted_elsewhere(tmp_path: Path, suffix: str) -> None:
    write_avif(tmp_path / "a.avif", 12, 13)
    still = stills.read(tmp_path / "a.avif")
    stills.write(tmp_path / "b.png", still)
    kept = stills.read(tmp_path / "b.png")
    assert np.array_equal(kept.pixels, still.pixels)
    assert kept.metadata.chunks == ((b"cICP", bytes([12, 13, 0, 1])),)
    for number, source in enumerate((still, kept)):
        stills.write(tmp_path / f"{number}{suffix}", source)
        written = stills.read(tmp_path / f"{number}{suffix}")
        expected = cicp.to_srgb(still.pixels, CodePoints(12, 13)).astype(int)
        assert np.abs(written.pixels - expected).mean() < 3 < np.abs(still.pixels - expected).mean()
        assert said(source, suffix) == f"not kept in {suffix}: Display P3 colours (converted to sRGB)"
    assert said(still, ".png") == ""
    assert np.abs(stills.read_rgb8(tmp_path / "a.avif") - expected).max() <= 1  # for training


def said(still: Still, suffix: str) -> str:
    image_format = format_of(Path(f"a{suffix}"))
    assert image_format is not None
    return losses.describe_still(still, image_format)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_goes_into_png_only(tmp_path: Path, transfer: int, name: str) -> None:
    write_avif(tmp_path / "a.avif", 9, transfer)
    engine = identity(tmp_path)
    pipeline.upscale_still(
        Job(tmp_path / "a.avif", tmp_path / "b.png", "still"), engine, ImageOptions(), noop, noop
    )
    assert stills.read(tmp_path / "b.png").metadata.codes == CodePoints(9, transfer)
    for source in ("a.avif", "b.png"):
        with pytest.raises(UsageError, match=f"HDR \\({name}\\)"):
            pipeline.upscale_still(
                Job(tmp_path / source, tmp_path / "c.jpg", "still"), engine, ImageOptions(), noop, noop
            )
    with pytest.raises(MediaError, match="HDR image"):
        stills.read_rgb8(tmp_path / "a.avif")


def noop(_: object) -> None:
    pass


def encode_avif(path: Path, frame: VideoFrame, matrix: int, color_range: int) -> None:
    with av.open(str(path), "w", format="avif") as output:
        stream = output.add_stream("libsvtav1", rate=1, options={"crf": "2", "preset": "8"})
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        stream.time_base = Fraction(1)
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = 9, 16, matrix
        context.color_range = color_range
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("color_range", [1, 2])
def test_10_bits_stay_more_than_8(tmp_path: Path, matrix: int, color_range: int) -> None:
    """A gradient finer than 8 bits, converted to YCbCr here by the formulas of H.273."""
    ramp = np.linspace(0.3, 0.4, 64 * 64).reshape(64, 64)  # 26 levels of 8 bits
    rgb = np.dstack([ramp, ramp[::-1], 0.5 * ramp + 0.1])
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    luma = rgb @ [kr, 1 - kr - kb, kb]
    chroma = [(rgb[:, :, 2] - luma) / (2 - 2 * kb), (rgb[:, :, 0] - luma) / (2 - 2 * kr)]
    chroma = [plane.reshape(32, 2, 32, 2).mean((1, 3)) for plane in chroma]
    offset, span, chroma_span = (0, 1023, 1023) if color_range == 2 else (64, 876, 896)
    frame = VideoFrame(64, 64, "yuv420p10le")
    for plane, values in zip(
        frame.planes, [luma * span + offset, *(each * chroma_span + 512 for each in chroma)], strict=True
    ):
        codes = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        codes[:, : plane.width] = np.rint(values)
        plane.update(codes.tobytes())
    encode_avif(tmp_path / "a.avif", frame, matrix, color_range)
    still = stills.read(tmp_path / "a.avif")
    assert still.pixels.dtype == np.uint16 and not still.metadata.dropped
    assert np.abs(still.pixels / 65_535 - rgb).mean() < 0.002
    assert len(np.unique(still.pixels[:, :, 0])) > 60
    stills.write(tmp_path / "b.png", still)
    assert np.array_equal(stills.read(tmp_path / "b.png").pixels, still.pixels)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_deep_avif_is_turned(tmp_path: Path, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    alpha = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    rgba = np.dstack([photograph(48, 64), alpha])
    Image.fromarray(rgba).save(tmp_path / "a.avif", quality=100, subsampling="4:4:4", exif=exif)
    expected = stills.read(tmp_path / "a.avif")
    monkeypatch.setattr(avif, "read_color", lambda _: AvifColor(bits=10))  # decode it as if it were deep
    still = stills.read(tmp_path / "a.avif")
    assert still.alpha is not None and expected.alpha is not None and still.pixels.dtype == np.uint16
    assert np.abs(still.pixels / 257 - expected.pixels).mean() < 1
    assert np.abs(still.alpha / 257 - expected.alpha).max() <= 1


def test_what_ffmpeg_cannot_decode_is_decoded_to_8_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_avif(tmp_path / "a.avif", 1, 13)
    monkeypatch.setattr(avif, "read_color", lambda _: AvifColor(bits=12))
    monkeypatch.setattr(avif, "decode_deep", lambda *_: None)
    assert stills.read(tmp_path / "a.avif").metadata.dropped == ("12 bits per sample (decoded to 8)",)


def test_damaged_boxes_are_ignored(tmp_path: Path) -> None:
    write_avif(tmp_path / "a.avif", 12, 13)
    content = (tmp_path / "a.avif").read_bytes()
    for end in range(0, content.index(b"mdat"), 7):
        (tmp_path / "b.avif").write_bytes(content[:end])
        assert avif.read_color(tmp_path / "b.avif").codes.primaries in (2, 12)
