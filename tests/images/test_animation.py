"""Animations: every frame as displayed, with its duration."""

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image
from support.messages import Messages
from support.pictures import photograph
from support.png import chunk, encode_png
from support.profiles import exchanged, linear_gray

from upscaler import pipeline
from upscaler.errors import MediaError, UsageError
from upscaler.images import animation, apng
from upscaler.images.animation import Frame
from upscaler.images.formats import ANIMATION_SUFFIXES, format_of
from upscaler.images.metadata import Metadata
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import ImageOptions
from upscaler.results import Done, Progress

DURATIONS_MS = [50, 120, 200, 80]


def draw_frames(transparent: bool) -> list[NDArray[np.uint8]]:
    """RGBA frames of a disc that moves over a photograph, or over transparency."""
    rows, columns = np.mgrid[0:32, 0:40]
    frames = []
    for number in range(len(DURATIONS_MS)):
        disc = np.hypot(rows - 16, columns - 8 - 8 * number) < 7
        color = np.array([200, 40, 30 + 40 * number], np.uint8)
        background = np.zeros((32, 40, 3), np.uint8) if transparent else photograph(32, 40)
        rgb = np.where(disc[:, :, None], color, background)
        frames.append(np.dstack([rgb, np.where(disc | (not transparent), 255, 0).astype(np.uint8)]))
    return frames


def animated(path: Path, transparent: bool = False, **arguments: object) -> Path:
    frames = [
        Frame(f[:, :, :3], f[:, :, 3], ms)
        for f, ms in zip(draw_frames(transparent), DURATIONS_MS, strict=True)
    ]
    animation.write(path, frames, arguments.pop("plays", 0), Metadata(**arguments))  # type: ignore[arg-type]
    return path


def read(path: Path) -> tuple[list[Frame], int]:
    with animation.opened(path) as moving:
        frames = list(moving.frames())
        assert moving.count == len(frames)
        return frames, moving.plays


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("suffix", ANIMATION_SUFFIXES)
def test_round_trip(tmp_path: Path, suffix: str, transparent: bool) -> None:
    frames, _ = read(animated(tmp_path / f"a{suffix}", transparent))
    assert [frame.duration_ms for frame in frames] == DURATIONS_MS
    for frame, expected in zip(frames, draw_frames(transparent), strict=True):
        assert (frame.alpha is not None) == transparent
        visible = expected[:, :, 3] > 0
        assert frame.alpha is None or np.abs(frame.alpha.astype(int) - expected[:, :, 3]).max() < 3
        off = np.abs(frame.pixels.astype(int) - expected[:, :, :3])[visible]
        assert off.mean() < (1e-9 if suffix == ".png" else 9)


@pytest.mark.parametrize("plays", [0, 1, 3])
@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_loop_count_is_kept(tmp_path: Path, suffix: str, plays: int) -> None:
    assert read(animated(tmp_path / f"a{suffix}", plays=plays))[1] == plays


def upscaled(engine: Upscaler, source: Path, target: Path) -> tuple[Done, list[Progress], Messages]:
    messages = Messages()
    progress: list[Progress] = []
    done = pipeline.upscale_still(
        Job(source, target, "still"), engine, ImageOptions(), progress.append, messages
    )
    return done, progress, messages


@pytest.mark.parametrize("suffix", ANIMATION_SUFFIXES)
def test_every_frame_is_upscaled(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    plays_before = 0 if suffix == ".avif" else 2
    source = animated(tmp_path / f"a{suffix}", plays=plays_before)
    done, progress, _ = upscaled(engine, source, tmp_path / f"b{suffix}")
    assert done.frames == 4 and (progress[-1].done, progress[-1].total, progress[-1].unit) == (4, 4, "frames")
    written, plays = read(tmp_path / f"b{suffix}")
    assert plays == plays_before and [frame.duration_ms for frame in written] == DURATIONS_MS
    for frame, original in zip(written, read(source)[0], strict=True):
        expected = engine.image(original.pixels).astype(int)
        assert np.abs(frame.pixels - expected).mean() < (1e-9 if suffix == ".png" else 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_transparent_regions_stay_transparent_without_a_fringe(engine: Upscaler, tmp_path: Path) -> None:
    upscaled(engine, animated(tmp_path / "a.gif", transparent=True), tmp_path / "b.webp")
    for frame, expected in zip(read(tmp_path / "b.webp")[0], draw_frames(True), strict=True):
        assert frame.alpha is not None
        assert np.abs(frame.alpha[::2, ::2].astype(int) - expected[:, :, 3]).mean() < 12
        assert frame.pixels[frame.alpha > 100].astype(int)[:, 0].min() > 150  # red of the disc, not black


def test_the_profile_is_kept(engine: Upscaler, tmp_path: Path) -> None:
    source = animated(tmp_path / "a.webp", profile=b"\0" * 16 + b"RGB " + b"\0" * 108)
    upscaled(engine, source, tmp_path / "b.png")
    with animation.opened(tmp_path / "b.png") as moving:
        assert moving.metadata.profile == b"\0" * 16 + b"RGB " + b"\0" * 108


def test_the_default_image_of_an_apng_is_not_a_frame(engine: Upscaler, tmp_path: Path) -> None:
    pictures: list[Any] = [Image.fromarray(photograph(24, 24, seed)) for seed in range(3)]
    pictures[0].save(
        tmp_path / "a.png", save_all=True, append_images=pictures[1:], default_image=True, duration=[70, 90]
    )
    assert upscaled(engine, tmp_path / "a.png", tmp_path / "b.png")[0].frames == 2
    frames, _ = read(tmp_path / "b.png")
    assert np.array_equal(frames[0].pixels, engine.image(photograph(24, 24, 1)))
    assert [frame.duration_ms for frame in frames] == [70, 90]


def test_formats_without_animation_are_rejected_before_any_work(engine: Upscaler, tmp_path: Path) -> None:
    source = animated(tmp_path / "a.gif")
    with pytest.raises(UsageError, match="only one frame"):
        upscaled(engine, source, tmp_path / "b.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


def test_a_truncated_animation_leaves_no_output(engine: Upscaler, tmp_path: Path) -> None:
    source = animated(tmp_path / "a.gif")
    source.write_bytes(source.read_bytes()[:-400])
    assert animation.is_animated(source)
    with pytest.raises(MediaError, match="damaged"):
        upscaled(engine, source, tmp_path / "b.webp")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.parametrize("behind", [b"", b"\0\0", b"more"])
def test_a_gif_that_ends_between_two_frames_is_a_warning(
    engine: Upscaler, tmp_path: Path, behind: bytes
) -> None:
    source = animated(tmp_path / "a.gif")
    whole = source.read_bytes()
    source.write_bytes(whole + behind)
    assert not upscaled(engine, source, tmp_path / "b.gif")[2].warnings
    frame = whole.rindex(b"!\xf9")  # the last one's control block
    for end, frames in ((len(whole) - 1, 4), (frame, 3)):
        source.write_bytes(whole[:end])
        done, _, messages = upscaled(engine, source, tmp_path / "b.gif")
        assert done.frames == frames and "more frames may have followed" in messages.warnings[0]


def test_a_gif_with_one_frame_is_a_still(engine: Upscaler, tmp_path: Path) -> None:
    Image.fromarray(photograph(24, 32)).save(tmp_path / "a.gif")
    assert not animation.is_animated(tmp_path / "a.gif")
    assert not upscaled(engine, tmp_path / "a.gif", tmp_path / "b.gif")[2].warnings
    with Image.open(tmp_path / "b.gif") as picture:
        assert picture.size == (64, 48) and getattr(picture, "n_frames", 1) == 1


@pytest.mark.parametrize("suffix", ANIMATION_SUFFIXES)
def test_rounding_errors_of_durations_do_not_add_up(tmp_path: Path, suffix: str) -> None:
    frames = [Frame(photograph(16, 20, seed), None, 1000 / 60) for seed in range(60)]
    animation.write(tmp_path / f"a{suffix}", frames, 0, Metadata())
    again, _ = read(tmp_path / f"a{suffix}")
    assert len(again) == 60 and abs(sum(frame.duration_ms for frame in again) - 1000) <= 5


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        ("a.gif", 500, ", 500 frames, 2.1 GB of memory until the file is written"),
        ("a.PNG", 50, ", 50 frames"),
    ],
)
def test_large_memory_use_is_announced(name: str, count: int, expected: str) -> None:
    image_format = format_of(Path(name))
    assert image_format is not None
    assert animation.describe_size(image_format, count, 1080, 1920) == expected


def test_the_longest_duration_of_gif(tmp_path: Path) -> None:
    frames = [Frame(photograph(16, 20, seed), None, 1e6) for seed in range(2)]
    animation.write(tmp_path / "a.gif", frames, 0, Metadata())
    assert [frame.duration_ms for frame in read(tmp_path / "a.gif")[0]] == [655_350, 655_350]


def test_a_gif_in_which_only_some_frames_have_transparency(tmp_path: Path) -> None:
    """A hole after an opaque frame, and opaque black rows at the border."""
    frames = []
    for number in range(4):
        pixels, alpha = photograph(24, 30, number), np.full((24, 30), 255, np.uint8)
        pixels[:3] = 0
        if number % 2:
            alpha[8:16, 9:20] = 0
        frames.append(Frame(pixels, alpha if number % 2 else None, 100))
    animation.write(tmp_path / "a.gif", frames, 0, Metadata())
    for frame, expected in zip(read(tmp_path / "a.gif")[0], frames, strict=True):
        assert (frame.alpha is None) == (expected.alpha is None)
        assert frame.alpha is None or np.array_equal(frame.alpha, expected.alpha)
        assert (frame.pixels[:3] < 30).all()


def test_pixels_become_srgb_if_the_profile_cannot_be_embedded(tmp_path: Path) -> None:
    pixels = [np.full((16, 16, 3), (200, 50, 10 + 40 * number), np.uint8) for number in range(2)]
    animation.write(tmp_path / "a.gif", [Frame(p, None, 100) for p in pixels], 0, Metadata(exchanged()))
    first = read(tmp_path / "a.gif")[0][0].pixels
    assert np.abs(first.astype(int) - (50, 200, 10)).max() < 4
    gray = [np.full((16, 16, 3), 128 + 40 * number, np.uint8) for number in range(2)]
    animation.write(tmp_path / "b.png", [Frame(p, None, 100) for p in gray], 0, Metadata(linear_gray()))
    with animation.opened(tmp_path / "b.png") as moving:
        assert moving.metadata.profile is None and abs(int(next(moving.frames()).pixels[0, 0, 0]) - 188) < 2


def test_frames_are_rotated_upright(engine: Upscaler, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    pictures = [Image.fromarray(photograph(24, 32, seed)) for seed in range(2)]
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:], duration=90, exif=exif)
    upscaled(engine, tmp_path / "a.png", tmp_path / "b.png")
    expected = engine.image(np.rot90(photograph(24, 32, 0), -1))
    assert np.array_equal(read(tmp_path / "b.png")[0][0].pixels, expected)


DEEP = np.random.default_rng(0).integers(0, 65_536, (3, 24, 32, 4)).astype(np.uint16)


@pytest.mark.parametrize("with_alpha", [False, True])
def test_16_bits_of_an_animated_png_stay_16(engine: Upscaler, tmp_path: Path, with_alpha: bool) -> None:
    frames = [
        Frame(f[:, :, :3], f[:, :, 3] if with_alpha else None, ms)
        for f, ms in zip(DEEP, (50, 120, 90), strict=True)
    ]
    source = Metadata(exchanged(), dpi=(300, 300), chunks=((b"tEXt", b"a\0b"),))
    animation.write(tmp_path / "a.png", frames, 3, source)
    again, plays = read(tmp_path / "a.png")
    assert plays == 3 and [frame.duration_ms for frame in again] == [50, 120, 90]
    for frame, expected in zip(again, frames, strict=True):
        assert np.array_equal(frame.pixels, expected.pixels)
        assert (frame.alpha is None) == (expected.alpha is None)
        assert frame.alpha is None or np.array_equal(frame.alpha, expected.alpha)
    with Image.open(tmp_path / "a.png") as image:  # what others see
        assert getattr(image, "n_frames", 1) == 3 and image.info["icc_profile"] == exchanged()
        assert image.info["a"] == "b"
    assert "16 bits" not in " ".join(upscaled(engine, tmp_path / "a.png", tmp_path / "b.png")[2])
    assert read(tmp_path / "b.png")[0][2].pixels.dtype == np.uint16
    said = upscaled(engine, tmp_path / "a.png", tmp_path / "b.webp")[2]
    assert any("16 bits per sample (rounded to 8)" in line for line in said)


@pytest.mark.parametrize("blend", [0, 1])
@pytest.mark.parametrize("disposal", [0, 1, 2])
def test_partial_frames_are_drawn_as_ffmpeg_draws_them(tmp_path: Path, disposal: int, blend: int) -> None:
    """FFmpeg draws 8 bits only; those of 16 are the same times 257. Pillow draws translucent ones wrongly."""
    parts = [(frame >> 8).astype(np.uint8) for frame in DEEP]
    stored = [(parts[0], (0, 0)), (parts[1][:18, :22], (5, 3)), (parts[2][:10, :14], (9, 11))]
    for deep in (False, True):
        (tmp_path / f"{deep}.png").write_bytes(partial_frames(stored, deep, disposal, blend))
    with av.open(str(tmp_path / "False.png"), format="apng") as container:
        expected = [frame.to_ndarray(format="rgba").astype(float) for frame in container.decode(video=0)]
    for deep, white in ((False, 1), (True, 257)):
        for frame, correct in zip(read(tmp_path / f"{deep}.png")[0], expected, strict=True):
            assert frame.alpha is not None
            assert np.abs(frame.alpha / white - correct[:, :, 3]).max() <= 2
            weighted = np.abs(frame.pixels / white - correct[:, :, :3]) * correct[:, :, 3:] / 255
            assert weighted.max() <= 3  # FFmpeg rounds differently


def partial_frames(
    stored: list[tuple[NDArray[np.uint8], tuple[int, int]]], deep: bool, disposal: int, blend: int
) -> bytes:
    """An animated PNG of RGBA frames at places of their own."""
    content, sequence = b"", 0
    for number, (part, (left, top)) in enumerate(stored):
        codes = part.astype(np.uint16) * 257 if deep else part
        encoded = list(apng._chunks(encode_png(codes, 16 if deep else 8)))
        height, width = part.shape[:2]
        control = struct.pack(">IIIIIHHBB", sequence, width, height, left, top, 9, 100, disposal, blend)
        if number == 0:
            content = (
                b"\x89PNG\r\n\x1a\n" + chunk(*encoded[0]) + chunk(b"acTL", struct.pack(">II", len(stored), 0))
            )
            content += chunk(b"fcTL", control) + chunk(*encoded[1])
        else:
            content += chunk(b"fcTL", control) + chunk(
                b"fdAT", struct.pack(">I", sequence + 1) + encoded[1][1]
            )
        sequence += 1 if number == 0 else 2
    return content + chunk(b"IEND", b"")


def test_a_truncated_16_bit_animation_is_an_error(tmp_path: Path) -> None:
    frames = [Frame(frame[:, :, :3], None, 90) for frame in DEEP]
    animation.write(tmp_path / "a.png", frames, 0, Metadata())
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(MediaError, match="damaged or truncated"):
        read(tmp_path / "a.png")


def test_an_animated_png_with_a_damaged_text(engine: Upscaler, tmp_path: Path) -> None:
    whole = animated(tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[:33] + chunk(b"tEXt", b"Title\0x")[:-4] + bytes(4) + whole[33:])
    done, _, messages = upscaled(engine, tmp_path / "b.png", tmp_path / "c.png")
    assert done.frames == 4 and messages.warnings == ["damaged metadata of the PNG was left out"]


def test_gray_frames_get_no_tint(engine: Upscaler, tmp_path: Path) -> None:
    gray = photograph(24, 32)[:, :, :1].repeat(3, axis=2)
    animation.write(tmp_path / "a.png", [Frame(gray, None, 100), Frame(gray[::-1], None, 100)], 0, Metadata())
    assert np.ptp(engine.image(gray), axis=2).any()
    upscaled(engine, tmp_path / "a.png", tmp_path / "b.png")
    assert not any(np.ptp(frame.pixels, axis=2).any() for frame in read(tmp_path / "b.png")[0])


def test_what_a_gif_keeps_of_an_animation_is_said_once(engine: Upscaler, tmp_path: Path) -> None:
    _, _, messages = upscaled(engine, animated(tmp_path / "a.png"), tmp_path / "a.gif")
    assert messages[1:] == ["not kept in .gif: more than 256 colours"]
    _, _, messages = upscaled(engine, animated(tmp_path / "b.png", transparent=True), tmp_path / "b.gif")
    assert not messages[1:]


@pytest.mark.parametrize("lossless", [False, True])
def test_an_animated_lossless_webp_stays_lossless(tmp_path: Path, lossless: bool) -> None:
    pictures = [Image.fromarray(photograph(24, 32, seed)) for seed in range(2)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], lossless=lossless)
    with animation.opened(tmp_path / "a.webp") as moving:
        animation.write(tmp_path / "b.webp", moving.frames(), 0, moving.metadata)
    for frame, expected in zip(read(tmp_path / "b.webp")[0], read(tmp_path / "a.webp")[0], strict=True):
        assert np.array_equal(frame.pixels, expected.pixels) == lossless
