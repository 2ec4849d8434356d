"""Of a damaged image, what can be decoded is upscaled, with a warning."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from support.media import save
from support.messages import Messages
from support.networks import weights
from support.pictures import photograph
from support.png import chunk, encode_png

from upscaler import pipeline
from upscaler.errors import MediaError
from upscaler.images import stills
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import ImageOptions


def test_a_jpeg_without_its_end_marker_is_complete(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jpg", 64, 80)
    (tmp_path / "b.jpg").write_bytes(whole.read_bytes()[:-2])
    still = stills.read(tmp_path / "b.jpg", tolerant=True)
    assert np.array_equal(still.pixels, stills.read(whole).pixels)
    assert "truncated" in still.damage and not stills.read(whole).damage
    with pytest.raises(MediaError, match="damaged or truncated"):
        stills.read(tmp_path / "b.jpg")  # for training and evaluation


def test_the_upper_half_of_a_jpeg(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jpg", 256, 64)
    (tmp_path / "b.jpg").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    still = stills.read(tmp_path / "b.jpg", tolerant=True)
    assert np.array_equal(still.pixels[:56], stills.read(whole).pixels[:56])
    assert "truncated" in still.damage


def test_a_jpeg_without_any_rows_is_an_error(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jpg", 64, 64).read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[:100])
    with pytest.raises(MediaError, match=r"b\.jpg"):
        stills.read(tmp_path / "b.jpg", tolerant=True)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 2}])
@pytest.mark.parametrize("garbage", ["zeros", "noise"])
def test_garbage_in_the_lower_half_of_a_jpeg(
    tmp_path: Path, garbage: str, options: dict[str, int], capfd: pytest.CaptureFixture[str]
) -> None:
    whole = save(tmp_path / "a.jpg", 256, 64, **options).read_bytes()
    half = len(whole) // 2
    lower = np.random.default_rng(0).integers(0, 256 if garbage == "noise" else 1, len(whole) - 2 - half)
    (tmp_path / "b.jpg").write_bytes(whole[:half] + lower.astype(np.uint8).tobytes() + whole[-2:])
    try:
        still = stills.read(tmp_path / "b.jpg", tolerant=True)
    except MediaError as error:  # the tables of a progressive scan are among the garbage
        assert "progressive" in options and garbage == "noise" and "damaged" in str(error)
        return
    assert still.damage == "part of the image is damaged"
    intact = stills.read(tmp_path / "a.jpg", tolerant=True)
    assert not intact.damage
    if "progressive" not in options:  # whose first scans cover the whole image
        assert np.array_equal(still.pixels[:56], intact.pixels[:56])
    assert capfd.readouterr().err == ""


def test_some_bytes_behind_the_pixels_are_no_damage(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jpg", 64, 64).read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:-2] + b"camera" + whole[-2:])
    assert not stills.read(tmp_path / "a.jpg", tolerant=True).damage


@pytest.mark.parametrize("bits", [8, 16])
def test_a_png_with_a_damaged_text(tmp_path: Path, bits: int) -> None:
    codes = photograph(20, 24).astype(np.uint16) * (257 if bits == 16 else 1)
    text = chunk(b"tEXt", b"Comment\0hello")
    whole = encode_png(codes, bits, chunks=[(b"tEXt", b"Comment\0hello"), (b"tEXt", b"Title\0kept")])
    (tmp_path / "a.png").write_bytes(whole.replace(text, text[:-4] + struct.pack(">I", 1)))
    still = stills.read(tmp_path / "a.png", tolerant=True)
    assert np.array_equal(still.pixels, codes) and "metadata" in still.damage
    assert still.metadata.chunks == ((b"tEXt", b"Title\0kept"),)


def test_a_png_with_a_damaged_text_behind_its_pixels(tmp_path: Path) -> None:
    whole = encode_png(photograph(20, 24), 8)
    assert whole[-12:] == chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(whole[:-12] + chunk(b"tEXt", b"Title\0x")[:-4] + bytes(4) + whole[-12:])
    assert "metadata" in stills.read(tmp_path / "a.png", tolerant=True).damage


def test_libpng_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Chunks with a right checksum and wrong content."""
    codes = photograph(20, 24).astype(np.uint16) * 257
    for kind, data in ((b"iCCP", b"x\0\0no"), (b"sBIT", b"\xff" * 9), (b"pHYs", b"abc"), (b"eXIf", b"bad")):
        (tmp_path / "a.png").write_bytes(encode_png(codes, 16, chunks=[(kind, data)]))
        still = stills.read(tmp_path / "a.png", tolerant=True)
        assert np.array_equal(still.pixels, codes) and ("metadata" in still.damage) == (kind == b"pHYs")
    sys.stderr.write("still printed\n")
    assert capfd.readouterr().err == "still printed\n"


def test_damage_is_a_warning(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jpg", 32, 32).read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:-2])
    messages = Messages()
    job = Job(tmp_path / "a.jpg", tmp_path / "b.jpg", "still")
    pipeline.upscale_still(
        job,
        Upscaler(str(weights(tmp_path / "tiny.safetensors")), 2, precision="fp32"),
        ImageOptions(),
        lambda _: None,
        messages,
    )
    assert "truncated" in messages.warnings[0] and (tmp_path / "b.jpg").exists()
