import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from support.media import save
from support.pictures import photograph

from upscaler.errors import MediaError, UsageError
from upscaler.images import stills
from upscaler.images.formats import WRITABLE_SUFFIXES
from upscaler.images.still import Still

LOSSLESS = [".png", ".tif", ".tiff", ".bmp"]


@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    pixels = photograph(40, 56)
    stills.write(tmp_path / f"a{suffix}", Still(pixels))
    again = stills.read(tmp_path / f"a{suffix}")
    if suffix in LOSSLESS:
        assert np.array_equal(again.pixels, pixels)
    codes = again.pixels.astype(float) / (257 if again.pixels.dtype == np.uint16 else 1)  # EXR
    assert np.abs(codes - pixels).mean() < 8
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


def test_16_bits_are_rounded_in_8_bit_formats(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    stills.write(tmp_path / "a.bmp", Still(np.repeat(values[:, :, None], 3, 2)))
    written = stills.read_rgb8(tmp_path / "a.bmp")[:, :, 0].astype(float)
    assert np.abs(written - values / 257).max() <= 0.5


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_transparency_is_kept(tmp_path: Path, suffix: str) -> None:
    alpha = np.linspace(0, 255, 30 * 20).reshape(20, 30).astype(np.uint8)
    stills.write(tmp_path / f"a{suffix}", Still(photograph(20, 30), alpha))
    again = stills.read(tmp_path / f"a{suffix}")
    assert again.alpha is not None and np.array_equal(again.alpha, alpha)


def test_formats_without_alpha_get_the_image_over_black(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 3), 200, np.uint8)
    alpha = np.repeat(np.array([[0], [255]] * 4, np.uint8), 8, axis=1)
    stills.write(tmp_path / "a.bmp", Still(pixels, alpha))
    written = stills.read(tmp_path / "a.bmp").pixels
    assert (written[0::2] == 0).all() and (written[1::2] == 200).all()


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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grayscale_is_the_mean_of_the_channels(tmp_path: Path, dtype: type) -> None:
    red, green, blue = (np.full((6, 6), value, dtype) for value in (90, 110, 150))
    stills.write(tmp_path / "a.png", Still(np.dstack([red, green, blue]), gray=True))
    with Image.open(tmp_path / "a.png") as picture:
        assert set(np.unique(np.asarray(picture))) == {117}


def test_bilevel_with_transparency_is_grayscale(tmp_path: Path) -> None:
    Image.fromarray(photograph(24, 24)).convert("1").save(tmp_path / "a.png", transparency=0)
    still = stills.read(tmp_path / "a.png")
    assert still.gray and still.alpha is not None
    assert np.array_equal(still.alpha, still.pixels[:, :, 0])


def test_orientation_is_applied(tmp_path: Path) -> None:
    picture = Image.fromarray(photograph(20, 30))
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture.save(tmp_path / "a.png", exif=exif)
    assert stills.read(tmp_path / "a.png").pixels.shape == (30, 20, 3)
    assert np.array_equal(stills.read(tmp_path / "a.png").pixels, np.rot90(photograph(20, 30), -1))


def test_unreadable_files_give_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("this is not an image")
    whole = save(tmp_path / "whole.png", 64, 64).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    whole = save(tmp_path / "whole.jpg", 64, 64).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    frames = [Image.fromarray(photograph(20, 20, seed)) for seed in range(3)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    cases = {
        "empty.png": "empty",
        "text.png": "not an image",
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
    with pytest.raises(MediaError, match="cannot write"):
        stills.write(tmp_path / "b.png", Still(photograph(20, 20)))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.webp")
    before = path.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(MediaError, match="no space left on the disk"):
        stills.write(path, Still(photograph(30, 30)))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.webp"]


def test_an_unknown_suffix_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image suffix"):
        stills.write(tmp_path / "a.xyz", Still(photograph(20, 20)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_every_orientation(tmp_path: Path, orientation: int, deep: bool) -> None:
    """Compared with Pillow, which rotates 8-bit images only."""
    pixels = photograph(20, 30)
    plain = Image.fromarray(pixels)
    exif = plain.getexif()
    exif[0x0112] = orientation
    plain.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    if deep:
        done, encoded = cv2.imencode(".png", pixels[:, :, ::-1].astype(np.uint16) * 257)
        assert done
        with Image.open(tmp_path / "a.png") as picture:
            chunk = exif_chunk(picture.info["exif"])
        data = encoded.tobytes()
        (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])  # behind the header chunk
        expected = expected.astype(np.uint16) * 257
    assert np.array_equal(stills.read(tmp_path / "a.png").pixels, expected)


def exif_chunk(exif: bytes) -> bytes:
    """A PNG chunk with EXIF data."""
    body = b"eXIf" + exif.removeprefix(b"Exif\x00\x00")
    return (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def test_only_the_first_image_of_an_mpo_is_read(tmp_path: Path) -> None:
    views = [Image.fromarray(photograph(24, 24, seed)) for seed in range(2)]
    views[0].save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=views[1:], quality=95)
    written = stills.read(tmp_path / "phone.jpg").pixels.astype(int)
    assert (
        np.abs(written - photograph(24, 24, 0)).mean() < 14 < np.abs(written - photograph(24, 24, 1)).mean()
    )


def test_a_truncated_16_bit_image_prints_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.arange(3 * 4096, dtype=np.uint16).reshape(64, 64, 3))
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(MediaError, match="truncated"):
        stills.read(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


def test_images_of_200_megapixels_are_accepted(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for height, width, reason in (
        (12_240, 16_320, "truncated"),
        (23_200, 23_200, "more pixels than --max-pixels allows"),
    ):
        head = b"IHDR" + struct.pack(">II", width, height) + whole[24:29]
        named = whole[:12] + head + struct.pack(">I", zlib.crc32(head)) + whole[33:-30]
        (tmp_path / "b.png").write_bytes(named)
        with pytest.raises(MediaError, match=reason):
            stills.read(tmp_path / "b.png")


def test_a_size_too_large_for_the_format_is_rejected() -> None:
    with pytest.raises(UsageError, match="limited to 65500"):
        stills.check_target(Path("a.jpg"), 100, 70_000)
    stills.check_target(Path("a.png"), 100, 70_000)


def test_names_that_look_temporary_are_left_alone(tmp_path: Path) -> None:
    for name in (".a.png.part.png", "a.part.png", ".a.part.png"):
        (tmp_path / name).write_text("precious")
    stills.write(tmp_path / "a.png", Still(photograph(20, 20)))
    assert sum(path.read_bytes() == b"precious" for path in tmp_path.iterdir()) == 3


def test_a_written_file_has_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    stills.write(tmp_path / "a.png", Still(photograph(20, 20)))
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_very_long_name(tmp_path: Path) -> None:
    stills.write(tmp_path / f"{'ä' * 120}.png", Still(photograph(20, 20)))
    assert len(list(tmp_path.iterdir())) == 1


def test_the_size_is_read_from_the_header_alone(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "whole.png")
    head = (tmp_path / "whole.png").read_bytes()[:60]
    (tmp_path / "cut.png").write_bytes(head)
    assert stills.read_size(tmp_path / "whole.png") == stills.read_size(tmp_path / "cut.png") == (20, 30)
    for name, content in (("empty.png", b""), ("text.jpg", b"no picture")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError, match="is not an image"):
            stills.read_size(tmp_path / name)
    with pytest.raises(MediaError):
        stills.read_size(tmp_path / "nowhere.png")


@pytest.mark.parametrize("error", [RuntimeError, TypeError, struct.error, KeyError])
def test_any_exception_of_a_decoder_means_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    path = save(tmp_path / "a.avif", 64, 64)

    def fails(*_: object, **__: object) -> None:
        raise error("something inside")

    monkeypatch.setattr(Image, "open", fails)
    with pytest.raises(MediaError, match="damaged"):
        stills.read(path)
    with pytest.raises(MediaError, match="is not an image"):
        stills.read_size(path)
