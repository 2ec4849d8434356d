"""Options that decide how images are written."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import files_below, run
from support.kept import XMP, exif
from support.media import clip
from support.pictures import photograph
from support.profiles import exchanged

from upscaler.images import stills


def ours(*arguments: object, tiny: Path) -> str:
    return run(*arguments, "--model", tiny, "--precision", "fp32")


def test_a_folder_becomes_one_format(tmp_path: Path, tiny_weights: Path) -> None:
    (tmp_path / "p/sub").mkdir(parents=True)
    Image.fromarray(photograph(24, 32)).save(tmp_path / "p/a.bmp")
    Image.fromarray(photograph(24, 32)).save(tmp_path / "p/sub/b.gif")
    said = ours(
        tmp_path / "p", "--format", "jpg", "--quality", 60, "--name", "{stem}@{scale}", tiny=tiny_weights
    )
    assert files_below(tmp_path / "p_x2") == ["a@2.jpg", "sub/b@2.jpg"]
    assert "ignored" not in said


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
def test_quality(tmp_path: Path, tiny_weights: Path, suffix: str) -> None:
    Image.fromarray(photograph(48, 64)).save(tmp_path / "a.png")
    sizes = []
    for quality in (10, 60, 99):
        target = tmp_path / f"{quality}.{suffix}"
        ours(tmp_path / "a.png", "-o", target, "--quality", quality, tiny=tiny_weights)
        sizes.append(target.stat().st_size)
    usual = tmp_path / f"usual.{suffix}"
    ours(tmp_path / "a.png", "-o", usual, tiny=tiny_weights)
    assert sizes[0] < sizes[1] < usual.stat().st_size < sizes[2]


def test_quality_of_formats_that_have_none(tmp_path: Path, tiny_weights: Path) -> None:
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.png")
    said = ours(tmp_path / "a.png", "--quality", 60, tiny=tiny_weights)
    assert "--quality ignored: no image is written as AVIF, JPEG or WebP" in said
    assert "exclude each other" in run(tmp_path / "a.png", "--quality", 60, "--lossless", code=2)


def test_lossless_webp(tmp_path: Path, tiny_weights: Path) -> None:
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.png")
    ours(tmp_path / "a.png", "-o", tmp_path / "b.png", tiny=tiny_weights)
    ours(tmp_path / "a.png", "-o", tmp_path / "b.webp", "--lossless", tiny=tiny_weights)
    assert np.array_equal(stills.read(tmp_path / "b.webp").pixels, stills.read(tmp_path / "b.png").pixels)
    ours(tmp_path / "b.webp", "-o", tmp_path / "c.webp", tiny=tiny_weights)  # stays lossless
    ours(tmp_path / "b.webp", "-o", tmp_path / "d.webp", "--quality", 80, tiny=tiny_weights)
    kinds = [b"VP8L" in (tmp_path / name).read_bytes() for name in ("c.webp", "d.webp")]
    assert kinds == [True, False]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_stripped_images_keep_their_colours_only(tmp_path: Path, tiny_weights: Path, suffix: str) -> None:
    source = tmp_path / "a.jpg"
    block = exif()
    block[0x0112] = 6  # turned
    Image.fromarray(photograph(24, 32)).save(
        source, exif=block, xmp=XMP, icc_profile=exchanged(), comment=b"hello", dpi=(300, 300)
    )
    said = ours(source, "-o", tmp_path / f"b.{suffix}", "--strip", tiny=tiny_weights)
    assert "not kept" not in said
    still = stills.read(tmp_path / f"b.{suffix}")
    assert still.pixels.shape[:2] == (64, 48)
    found = still.metadata
    assert found.profile == exchanged()
    assert (found.exif, found.xmp, found.iptc, found.comment, found.dpi) == (None,) * 5
    assert b"Maker" not in (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_hidden_colours_are_kept(tmp_path: Path, tiny_weights: Path, suffix: str) -> None:
    photo = photograph(24, 32)
    Image.fromarray(photo).save(tmp_path / "opaque.png")
    Image.fromarray(np.dstack([photo, np.zeros((24, 32), np.uint8)])).save(tmp_path / "a.png")
    ours(tmp_path / "opaque.png", "-o", tmp_path / "b.png", tiny=tiny_weights)
    lossless = ["--lossless"] if suffix == "webp" else []
    hidden = tmp_path / f"c.{suffix}"
    ours(tmp_path / "a.png", "-o", hidden, "--keep-hidden", *lossless, tiny=tiny_weights)
    still = stills.read(hidden)
    assert still.alpha is not None and not still.alpha.any()
    assert np.array_equal(still.pixels, stills.read(tmp_path / "b.png").pixels)


def test_hidden_colours_of_an_animation(tmp_path: Path, tiny_weights: Path) -> None:
    photo = photograph(24, 32)
    alpha = np.zeros((24, 32), np.uint8)
    alpha[:, :8] = 255
    frames = [Image.fromarray(np.dstack([np.roll(photo, shift, 0), alpha])) for shift in (0, 9)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=90)
    shown = []
    for name, option in (("b.png", ["--keep-hidden"]), ("c.png", [])):
        ours(tmp_path / "a.png", "-o", tmp_path / name, *option, tiny=tiny_weights)
        with Image.open(tmp_path / name) as result:
            shown.append(np.asarray(result.convert("RGBA")).astype(int))
    larger = photo.repeat(2, 0).repeat(2, 1)
    kept, bled = (np.abs(each[:, 40:, :3] - larger[:, 40:]).mean() for each in shown)
    assert kept < 10 < bled


def test_dates_are_kept(tmp_path: Path, tiny_weights: Path) -> None:
    Image.fromarray(photograph(24, 32)).save(tmp_path / "p.png")
    clip(tmp_path / "v.mkv", frames=2)
    for name in ("p.png", "v.mkv"):
        os.utime(tmp_path / name, (1_000_000_000, 1_100_000_000.5))
    ours(tmp_path / "p.png", tmp_path / "v.mkv", "--keep-dates", "--name", "{stem}_", tiny=tiny_weights)
    dates = {(tmp_path / name).stat().st_mtime for name in ("p_.png", "v_.mkv")}
    assert dates == {1_100_000_000.5}
    ours(tmp_path / "p.png", tiny=tiny_weights)
    assert (tmp_path / "p_x2.png").stat().st_mtime > 1_700_000_000


def test_image_options_without_images_are_reported(tmp_path: Path) -> None:
    said = run(
        clip(tmp_path / "a.mp4", frames=1), "--scale", 1, "--model", "restore", "--strip", "--quality", 9
    )
    assert "--quality, --strip ignored: no image among the inputs" in said
