import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import photograph
from media import save
from PIL import Image

from upscaler import stills
from upscaler.errors import MediaError, UsageError
from upscaler.jobs import PICTURE_SUFFIXES
from upscaler.stills import Still

LOSSLESS = [".png", ".tif", ".tiff", ".bmp"]


def test_every_suffix_that_is_taken_as_a_picture_can_be_written() -> None:
    assert set(stills.FORMATS) == PICTURE_SUFFIXES


@pytest.mark.parametrize("suffix", sorted(stills.FORMATS))
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    pixels = photograph(40, 56)
    stills.write(tmp_path / f"a{suffix}", Still(pixels))
    again = stills.read(tmp_path / f"a{suffix}")
    if suffix in LOSSLESS:
        assert np.array_equal(again.pixels, pixels)
    assert np.abs(again.pixels.astype(int) - pixels).mean() < 8
    assert again.alpha is None and not again.gray
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_jpeg_is_444_at_quality_95(tmp_path: Path) -> None:
    stills.write(tmp_path / "a.jpg", Still(photograph(40, 40)))
    save(tmp_path / "b.jpg", 40, 40, quality=95, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as ours, Image.open(tmp_path / "b.jpg") as theirs:
        assert ours.quantization == theirs.quantization
        assert all(sampling[1:3] == (1, 1) for sampling in ours.layer)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_stay_sixteen(tmp_path: Path, suffix: str, channels: int) -> None:
    generator = np.random.default_rng(0)
    dark = generator.integers(0, 200, (20, 24, channels)).astype(np.uint16)  # looks like 8 bits by value
    cv2.imwrite(str(tmp_path / f"a{suffix}"), dark)
    still = stills.read(tmp_path / f"a{suffix}")
    assert still.pixels.dtype == np.uint16
    assert still.gray == (channels == 1)
    expected = dark[:, :, [0, 0, 0]] if channels == 1 else dark[:, :, 2::-1]
    assert np.array_equal(still.pixels, expected)
    assert (still.alpha is not None) == (channels == 4)
    stills.write(tmp_path / f"b{suffix}", still)
    again = cv2.imread(str(tmp_path / f"b{suffix}"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(again.reshape(dark.shape), dark)


def test_sixteen_bits_are_rounded_where_the_format_has_eight(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    stills.write(tmp_path / "a.bmp", Still(np.repeat(values[:, :, None], 3, 2)))
    made = stills.read_rgb8(tmp_path / "a.bmp")[:, :, 0].astype(float)
    assert np.abs(made - values / 257).max() <= 0.5


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_transparency_is_kept(tmp_path: Path, suffix: str) -> None:
    alpha = np.linspace(0, 255, 30 * 20).reshape(20, 30).astype(np.uint8)
    stills.write(tmp_path / f"a{suffix}", Still(photograph(20, 30), alpha))
    again = stills.read(tmp_path / f"a{suffix}")
    assert again.alpha is not None and np.array_equal(again.alpha, alpha)


def test_transparency_is_laid_over_black_where_there_is_none(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 3), 200, np.uint8)
    alpha = np.repeat(np.array([[0], [255]] * 4, np.uint8), 8, axis=1)
    stills.write(tmp_path / "a.bmp", Still(pixels, alpha))
    made = stills.read(tmp_path / "a.bmp").pixels
    assert (made[0::2] == 0).all() and (made[1::2] == 200).all()


def test_palette_with_transparency(tmp_path: Path) -> None:
    picture = Image.fromarray(photograph(20, 20)).quantize(8)
    picture.info["transparency"] = 3
    picture.save(tmp_path / "a.png", transparency=3)
    still = stills.read(tmp_path / "a.png")
    assert still.alpha is not None
    assert np.array_equal(still.alpha == 0, np.asarray(picture) == 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
def test_gray_stays_gray(tmp_path: Path, suffix: str) -> None:
    gray = photograph(24, 24)[:, :, 0]
    Image.fromarray(gray).save(tmp_path / f"a{suffix}")
    still = stills.read(tmp_path / f"a{suffix}")
    assert still.gray
    stills.write(tmp_path / f"b{suffix}", still)
    with Image.open(tmp_path / f"b{suffix}") as picture:
        assert picture.mode == "L"


def test_orientation_is_applied(tmp_path: Path) -> None:
    picture = Image.fromarray(photograph(20, 30))
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture.save(tmp_path / "a.png", exif=exif)
    assert stills.read(tmp_path / "a.png").pixels.shape == (30, 20, 3)
    assert np.array_equal(stills.read(tmp_path / "a.png").pixels, np.rot90(photograph(20, 30), -1))


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("this is no picture")
    whole = save(tmp_path / "whole.png", 64, 64).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    whole = save(tmp_path / "whole.jpg", 64, 64).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    frames = [Image.fromarray(photograph(20, 20, seed)) for seed in range(3)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    cases = {
        "empty.png": "empty",
        "text.png": "not a picture",
        "half.png": "truncated",
        "half.jpg": "truncated",
        "moving.webp": "animated",
    }
    for name, reason in cases.items():
        with pytest.raises(MediaError, match=reason) as caught:
            stills.read(tmp_path / name)
        assert name in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_no_permission(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    path.chmod(0)
    with pytest.raises(MediaError, match="permission"):
        stills.read(path)
    tmp_path.chmod(0o500)
    with pytest.raises(MediaError, match="cannot be written"):
        stills.write(tmp_path / "b.png", Still(photograph(20, 20)))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png")
    before = path.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(MediaError, match="No space left"):
        stills.write(path, Still(photograph(30, 30)))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no suffix"):
        stills.write(tmp_path / "a.xyz", Still(photograph(20, 20)))
