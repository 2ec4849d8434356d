import os
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.makers import MakePhotos
from support.pictures import photograph
from torch import Tensor

from upscaler.errors import TrainingError
from upscaler.system import memory
from upscaler.trainer.data import crop_side, file_names
from upscaler.trainer.data.crop_side import Gain
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.held_out import held_out_indices
from upscaler.trainer.data.photos import load_photos
from upscaler.trainer.data.sources import Folders, images_below
from upscaler.trainer.degrade.degradations import downscale


@pytest.fixture
def folder(tmp_path: Path, make_photos: MakePhotos) -> Path:
    make_photos(tmp_path / "photos", 5)
    return tmp_path / "photos"


def colored(folder: Path, count: int) -> None:
    """Write images that differ in their red channel."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        pixels[..., 0] = index
        Image.fromarray(pixels).save(folder / f"{index:03}.png")


def as_batch(pixels: Tensor) -> Tensor:
    return pixels.permute(2, 0, 1).unsqueeze(0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_pairs_are_the_photograph_and_its_downscaled_version(folder: Path, scale: int) -> None:
    photos = load_photos((str(folder),), scale, 8)
    assert len(photos.training) + len(photos.held_out) == 5
    assert photos.left_out == []
    for pair in photos.training + photos.held_out:
        with Image.open(folder / pair.name) as picture:
            original = np.asarray(picture)
        height, width = (side - side % scale for side in original.shape[:2])
        assert np.array_equal(pair.hr.numpy(), original[:height, :width])
        assert torch.equal(as_batch(pair.lr), downscale(as_batch(pair.hr), scale))
        assert pair.lr.shape == (height // scale, width // scale, 3)


def test_downscaling_by_1_changes_nothing() -> None:
    picture = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(downscale(picture, 1), picture)


def test_downscaling_keeps_flat_areas_and_does_not_wrap() -> None:
    """White beside black overshoots with a cubic kernel; an unclamped 257 would become 1."""
    picture = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    picture[..., 16:] = 255
    lr = downscale(picture, 4)
    assert lr[..., :2].max() == 0
    assert lr[..., -2:].min() == 255


def test_unusable_files_are_reported_and_left_out(folder: Path) -> None:
    (folder / "text.png").write_text("no picture")
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("not even named like one")
    whole = (folder / "photo00.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (40, 20)).save(folder / "tiny.png")
    photos = load_photos((str(folder),), 4, 8)
    names = sorted(line.split(":")[0] for line in photos.left_out)
    assert names == ["empty.jpg", "text.png", "tiny.png", "truncated.png"]
    assert "40x20 is smaller than a crop" in " ".join(photos.left_out)
    assert len(photos.training) + len(photos.held_out) == 5
    assert photos.not_images == {".txt": 1}


def test_folders_that_cannot_be_listed_are_left_out(
    folder: Path, make_photos: MakePhotos, lock_folder: Callable[[Path], None]
) -> None:
    make_photos(folder / "locked", 1)
    lock_folder(folder / "locked")
    (single,) = sorted(folder.glob("photo00.png"))
    photos = load_photos((str(folder), str(single)), 4, 8)
    assert photos.left_out == [f"{folder / 'locked'}: Permission denied"]
    assert len(photos.training) + len(photos.held_out) == 5
    photos = load_photos((str(single.parent / "photo01.png"), str(single)), 1, 8, lr_dirs=(str(folder),))
    assert photos.left_out[-1] == f"{folder / 'locked'}: Permission denied"


def test_too_few_photographs(folder: Path, tmp_path: Path, make_photos: MakePhotos) -> None:
    make_photos(tmp_path / "small", 3, height=40)
    with pytest.raises(TrainingError, match=r"only 0 photographs are .*3 left out.*smaller than a crop"):
        load_photos((str(tmp_path / "small"),), 4, 100)
    with pytest.raises(TrainingError, match="only 1 photograph is usable"):
        load_photos((str(folder / "photo00.png"),), 4, 8)


def test_missing_folder() -> None:
    with pytest.raises(TrainingError, match="no folder 'nowhere'"):
        load_photos(("nowhere",), 4, 8)


@pytest.mark.parametrize("count", [2, 3, 7, 60, 120])
def test_held_out_photographs_are_never_drawn(tmp_path: Path, count: int) -> None:
    colored(tmp_path, count)
    photos = load_photos((str(tmp_path),), 2, 8)
    held_out = {int(pair.name[:3]) for pair in photos.held_out}
    training = {int(pair.name[:3]) for pair in photos.training}
    assert held_out
    assert held_out | training == set(range(count))
    assert not held_out & training
    _, hr = Crops(photos.training, 2, 0).draw(1200, 8)
    reds = hr[:, 0].mul(255).round()
    assert torch.equal(reds.amin((1, 2)), reds.amax((1, 2)))
    assert set(reds[:, 0, 0].int().tolist()) == training


def test_validation_images_of_ones_own(folder: Path, tmp_path: Path, make_photos: MakePhotos) -> None:
    """All photographs are trained on, but for one that is also named for validation."""
    make_photos(tmp_path / "mine", 2, height=60)
    valid = (str(tmp_path / "mine"), str(folder / "photo01.png"))
    photos = load_photos((str(folder),), 2, 40, valid=valid)
    assert [pair.name for pair in photos.held_out] == ["photo00.png", "photo01.png", "photo01.png"]
    assert [pair.hr.shape[0] for pair in photos.held_out] == [60, 60, 112]
    assert [pair.name for pair in photos.training] == [f"photo0{number}.png" for number in (0, 2, 3, 4)]
    (tmp_path / "low").mkdir()
    for path in (tmp_path / "mine").iterdir():
        reduced(path, blue=7).save(tmp_path / "low" / path.name)
    photos = load_photos(
        (str(folder),), 2, 40, valid=valid[:1], valid_lr_dirs=(str(tmp_path / "low"),), degradation="mild"
    )
    assert all(int(pair.lr[..., 2].max()) == 7 for pair in photos.held_out)


@pytest.mark.parametrize(("count", "expected"), [(2, 1), (39, 4), (40, 8), (48, 8), (200, 25), (9000, 32)])
def test_an_eighth_is_held_out_within_limits(count: int, expected: int) -> None:
    chosen = held_out_indices(count)
    assert len(set(chosen)) == expected
    assert set(chosen) <= set(range(count))
    assert max(np.diff([-1, *chosen])) - min(np.diff([-1, *chosen])) <= 1


def test_large_validation_images_are_scored_in_their_centre(tmp_path: Path) -> None:
    sized(tmp_path, [(700, 524), (64, 64)])
    (pair,) = load_photos((str(tmp_path),), 4, 8, valid=(str(tmp_path / "000.png"),)).held_out
    assert (pair.hr.shape, pair.lr.shape) == ((512, 512, 3), (128, 128, 3))
    assert np.array_equal(pair.hr.numpy(), photograph(700, 524, 0)[92:604, 4:516])


def test_a_photograph_found_twice_counts_once(folder: Path) -> None:
    once = load_photos((str(folder),), 4, 8)
    twice = load_photos((str(folder), str(folder / ".." / "photos"), str(folder / "photo01.png")), 4, 8)
    assert [pair.name for pair in twice.training] == [pair.name for pair in once.training]
    assert [pair.name for pair in twice.held_out] == [pair.name for pair in once.held_out]


def test_images_of_a_run_folder_are_not_photographs(folder: Path) -> None:
    once = load_photos((str(folder),), 4, 8)
    run, album = folder / "deep" / "weights.run", folder / "trail.run"
    for path in (run / "samples", album):
        path.mkdir(parents=True)
        Image.fromarray(photograph(112, 128, 9)).save(path / "picture.png")
    (run / "config.toml").touch()
    names = [path.name for path in images_below(folder)]
    assert names == [f"photo0{number}.png" for number in range(5)] + ["picture.png"]  # the album's
    assert images_below(run) == [run / "samples" / "picture.png"]  # if that is what is asked for
    (album / "picture.png").unlink()
    assert load_photos((str(folder),), 4, 8).fingerprint() == once.fingerprint()


def test_each_folder_is_listed_once_and_no_file_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of 70,000 files on a slow disk must not be gone through for every question."""
    inner = tmp_path / "photos" / "more"
    inner.mkdir(parents=True)
    for name in ("a.png", "b.mp4", "c.txt"):
        (tmp_path / "photos" / name).touch()
        (inner / name).touch()
    (tmp_path / "elsewhere.png").touch()
    (inner / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (inner / "circle.png").symlink_to("circle.png")
    listed, resolved = list[str](), list[str]()
    scandir, resolve = os.scandir, Path.resolve
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path).name) or scandir(path))
    monkeypatch.setattr(Path, "resolve", lambda path: resolved.append(path.name) or resolve(path))
    found = Folders((str(tmp_path / "photos"),))
    assert [source.path.relative_to(tmp_path).as_posix() for source in found.images()] == [
        "photos/a.png",
        "photos/more/a.png",
        "elsewhere.png",
    ]
    assert [source.relative for source in found.videos()] == [Path("b.mp4"), Path("more", "b.mp4")]
    assert found.others() == {".mp4": 2, ".txt": 2}
    assert sorted(listed) == ["more", "photos"]
    assert resolved == ["photos", "link.png"]


# Crops that fit


def sized(folder: Path, sizes: list[tuple[int, int]]) -> None:
    folder.mkdir(exist_ok=True)
    for index, (height, width) in enumerate(sizes):
        Image.fromarray(photograph(height, width, index)).save(folder / f"{index:03}.png")


@pytest.mark.parametrize(
    ("sizes", "scale", "expected", "fitting", "left_out"),
    [
        ([(218, 178)] * 8, 4, 48, 44, 0),  # aligned faces
        ([(218, 178)] * 8, 4, 32, 32, 0),
        ([(218, 178)] * 8, 2, 96, 89, 0),
        ([(50, 178)] * 2 + [(218, 178)] * 8, 4, 48, 44, 2),  # what is left out shrinks nothing
        ([(50, 178)] * 2 + [(218, 178)] * 8, 4, 12, 12, 0),  # unless that is wanted
        ([(100, 90)] + [(218, 178)] * 20, 4, 48, 44, 1),  # 95 % hold it
        ([(100, 90)] * 2 + [(218, 178)] * 20, 4, 48, 22, 0),
    ],
)
def test_crops_shrink_to_what_most_photographs_hold(
    tmp_path: Path, sizes: list[tuple[int, int]], scale: int, expected: int, fitting: int, left_out: int
) -> None:
    sized(tmp_path, sizes)
    photos = load_photos((str(tmp_path),), scale, expected)
    assert (photos.patch_px, len(photos.left_out)) == (fitting, left_out)
    lr, hr = Crops(photos.training, scale, 0, "photo").draw(4, fitting)
    assert (lr.shape[-1], hr.shape[-1]) == (fitting, fitting * scale)


@pytest.mark.parametrize(
    ("small", "chosen", "gain"),
    [
        (6, 25, Gain(6, 100, 48, 192)),  # 6 % of thumbnails hold crops of 25
        (4, 48, None),  # 95 % hold what is wanted
        (40, 25, None),  # they are what the training is about
    ],
)
def test_what_leaving_out_more_would_gain(small: int, chosen: int, gain: Gain | None) -> None:
    side = crop_side.choose([100] * small + [512] * (100 - small), 4, 48, 64)
    assert (side.patch_px, side.gain) == (chosen, gain)
    assert crop_side.choose([100] * small + [512] * (100 - small), 4, 48, 192).patch_px == 48


# Given LR pictures


def reduced(path: Path, blue: int) -> Image.Image:
    """Half the size, with a level of blue as a mark."""
    with Image.open(path) as picture:
        half = np.array(picture.crop((0, 0, *(side - side % 2 for side in picture.size))).reduce(2))
    half[..., 2] = blue
    return Image.fromarray(half)


def test_lr_versions_of_other_pictures_are_left_out(tmp_path: Path, make_photos: MakePhotos) -> None:
    """The folder is shifted by one file, but for one that is right."""
    originals = make_photos(tmp_path / "hr", 6)
    for path in originals:  # what the maker makes is alike
        cells = np.random.default_rng(int(path.stem[-2:])).integers(0, 256, (28, 32, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((128, 112), Image.Resampling.BICUBIC).save(path)
    (tmp_path / "lr").mkdir()
    for path, other in zip(originals, [*originals[1:5], originals[0], originals[5]], strict=True):
        reduced(other, 0).save(tmp_path / "lr" / path.name)
    given = {"degradation": "given", "lr_dirs": (str(tmp_path / "lr"),)}
    with pytest.raises(TrainingError, match=r"5 of 6 LR images show another picture.*\(correlation"):
        load_photos((str(tmp_path / "hr"),), 2, 8, **given)
    for index in (0, 1):
        reduced(originals[index], 0).save(tmp_path / "lr" / f"photo0{index}.png")
    photos = load_photos((str(tmp_path / "hr"),), 2, 8, **given)
    names = [pair.name for pair in photos.training + photos.held_out]
    assert names == ["photo00.png", "photo01.png", "photo05.png"]
    assert len(photos.left_out) == 3
    assert photos.shift is None


def test_a_common_shift_is_measured_and_taken_out(tmp_path: Path) -> None:
    """LR pixels are those of the originals two HR pixels up and one to the left of where they should be."""
    for folder in ("hr", "lr"):
        (tmp_path / folder).mkdir()
    for index in range(4):
        large = photograph(204, 204, index)
        Image.fromarray(large[4:204, 4:204]).save(tmp_path / "hr" / f"{index}.png")
        Image.fromarray(large[2:202, 3:203]).reduce(4).save(tmp_path / "lr" / f"{index}.png")
    given = {"degradation": "given", "lr_dirs": (str(tmp_path / "lr"),)}
    photos = load_photos((str(tmp_path / "hr"),), 4, 8, **given)
    assert photos.shift == pytest.approx((0.5, 0.25), abs=0.12)
    aligned = load_photos((str(tmp_path / "hr"),), 4, 8, **given, align_lr=True)
    for pair in aligned.training + aligned.held_out:
        assert pair.lr.shape == (49, 49, 3)
        expected = torch.from_numpy(np.array(Image.fromarray(pair.hr.numpy()).reduce(4)))
        assert torch.equal(pair.lr, expected)


@pytest.mark.parametrize("naming", ["{}.png", "{}x2.png", "{}_x2.webp"])
def test_given_lr_versions_are_used(tmp_path: Path, make_photos: MakePhotos, naming: str) -> None:
    make_photos(tmp_path / "hr" / "deep", 4, height=65, width=67)
    (tmp_path / "lr" / "deep").mkdir(parents=True)
    for index in range(4):
        original = tmp_path / "hr" / "deep" / f"photo{index:02}.png"
        target = tmp_path / "lr" / "deep" / naming.format(f"photo{index:02}")
        reduced(original, blue=40 * index).save(target, lossless=True)
    photos = load_photos((str(tmp_path / "hr"),), 2, 8, degradation="given", lr_dirs=(str(tmp_path / "lr"),))
    pairs = photos.training + photos.held_out
    assert len(pairs) == 4
    for pair in pairs:
        assert set(pair.lr[..., 2].flatten().tolist()) == {40 * int(pair.name[5:7])}
        assert pair.hr.shape == (64, 66, 3)
    lr, _ = Crops(photos.training, 2, 0, "given").draw(30, 8)
    assert {round(float(level) * 255) for level in lr[:, 2, 0, 0]} == {
        40 * int(pair.name[5:7]) for pair in photos.training
    }


def test_given_lr_versions_of_the_wrong_size_are_left_out(tmp_path: Path, make_photos: MakePhotos) -> None:
    originals = make_photos(tmp_path / "hr", 5, height=64, width=64)
    (tmp_path / "lr").mkdir()
    for path in originals[:4]:
        reduced(path, blue=0).save(tmp_path / "lr" / path.name)
    Image.new("RGB", (33, 32)).save(tmp_path / "lr" / "photo02.png")
    (tmp_path / "lr" / "photo03.png").write_text("broken")
    photos = load_photos((str(tmp_path / "hr"),), 2, 8, degradation="given", lr_dirs=(str(tmp_path / "lr"),))
    assert len(photos.training + photos.held_out) == 2
    assert photos.left_out[0] == "photo02.png: its LR image is 33x32, not 32x32"
    assert "photo03.png" in photos.left_out[1]
    assert photos.left_out[2] == "photo04.png: it has no LR image"
    with pytest.raises(TrainingError, match="no folder 'nowhere'"):
        load_photos((str(tmp_path / "hr"),), 2, 8, lr_dirs=("nowhere",))


def flat(folder: Path, level: int, count: int = 2, side_px: int = 32, suffix: str = ".png") -> str:
    """Pictures ``0``, ``1``, ... of one level of grey."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        Image.new("RGB", (side_px, side_px), (level, level, level)).save(folder / f"{index}{suffix}")
    return str(folder)


def test_each_photograph_folder_has_its_own_lr_folder(tmp_path: Path) -> None:
    highs = tuple(flat(tmp_path / f"hr{level}", level, side_px=64) for level in (50, 200))
    lows = tuple(flat(tmp_path / f"lr{level}", level) for level in (50, 200))
    photos = load_photos(highs, 2, 8, degradation="given", lr_dirs=lows)
    pairs = photos.training + photos.held_out
    assert len(pairs) == 4
    assert all(int(pair.lr[0, 0, 0]) == int(pair.hr[0, 0, 0]) for pair in pairs)


def test_given_lr_versions_are_mixed_with_generated_ones(tmp_path: Path) -> None:
    """White LR pictures are given for black originals; the others' are made, and are degraded."""
    given, others = flat(tmp_path / "given", 0, 4, 64), flat(tmp_path / "others", 100, 8, 64)
    for path in Path(given).iterdir():
        path.rename(path.with_stem(f"given-{path.stem}"))
    (tmp_path / "lr").mkdir()
    for path in Path(given).iterdir():
        Image.new("RGB", (32, 32), (255, 255, 255)).save(tmp_path / "lr" / path.name)
    photos = load_photos((given, others), 2, 8, degradation="real", lr_dirs=(str(tmp_path / "lr"),))
    assert not photos.left_out
    assert all(int(pair.lr.min()) == 255 for pair in photos.training + photos.held_out if pair.given)
    lr, hr = Crops(photos.training, 2, 0, "real", given_share=0.75).draw(400, 8)
    from_file = lr.amin((1, 2, 3)) == 1
    assert torch.equal(from_file, hr.amax((1, 2, 3)) == 0)
    assert 0.65 < float(from_file.float().mean()) < 0.85
    assert float(lr[~from_file].std()) > 0  # noise


def test_ambiguous_lr_versions_are_rejected(tmp_path: Path) -> None:
    highs = tuple(flat(tmp_path / f"hr{level}", level, side_px=64) for level in (50, 200))
    lows = tuple(flat(tmp_path / f"lr{level}", level) for level in (50, 200))
    with pytest.raises(TrainingError, match=r"photographs '.*hr50/0.png' and '.*hr200/0.png' have the same"):
        load_photos(highs, 2, 8, degradation="given", lr_dirs=lows[:1])
    with pytest.raises(TrainingError, match=r"LR images '.*lr50/0.png' and '.*lr200/0.png' have the same"):
        load_photos(highs[:1], 2, 8, degradation="given", lr_dirs=lows)
    (tmp_path / "lr200" / "0.png").unlink()
    (tmp_path / "lr50" / "1.png").unlink()
    flat(tmp_path / "lr200", 0, count=9, suffix=".webp")  # more of them, which nobody asks for, are in order
    for path in (tmp_path / "lr200").glob("[01].webp"):
        path.unlink()
    photos = load_photos(highs[:1], 2, 8, degradation="given", lr_dirs=lows)
    assert [int(pair.lr[0, 0, 0]) for pair in photos.training + photos.held_out] == [50, 200]


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("layout", ["left-hr", "right-hr"])
def test_pairs_side_by_side_in_one_image(folder: Path, scale: int, layout: str) -> None:
    """The poor version is darker."""
    for path in folder.iterdir():
        with Image.open(path) as picture:
            good = np.asarray(picture)
        halves = [good, good // 2] if layout == "left-hr" else [good // 2, good]
        Image.fromarray(np.concatenate(halves, axis=1)).save(path)
    Image.fromarray(np.zeros((112, 255, 3), np.uint8)).save(folder / "odd.png")
    photos = load_photos((str(folder),), scale, 16, degradation="given", pairs=layout)
    assert [line.split(":")[0] for line in photos.left_out] == ["odd.png"]
    for pair in photos.training + photos.held_out:
        assert pair.given
        assert pair.hr.shape == (112, 128, 3)
        assert pair.lr.shape == (112 // scale, 128 // scale, 3)
        assert float(pair.lr.float().mean() / pair.hr.float().mean()) == pytest.approx(0.5, abs=0.02)


def test_pictures_that_are_no_pairs_are_told_by_the_option(tmp_path: Path) -> None:
    for index in range(3):
        cells = np.random.default_rng(index).integers(0, 256, (28, 64, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((256, 112), Image.Resampling.BICUBIC).save(tmp_path / f"{index}.png")
    with pytest.raises(TrainingError, match=r"3 of 3 LR .*--pairs right-hr is for images that show the same"):
        load_photos((str(tmp_path),), 1, 16, degradation="given", pairs="right-hr")


def test_photographs_that_look_like_pairs(tmp_path: Path) -> None:
    sized(tmp_path, [(64, 128)] * 3 + [(64, 100)] * 2)
    assert load_photos((str(tmp_path),), 2, 8).look_like_pairs
    (tmp_path / "000.png").unlink()
    assert not load_photos((str(tmp_path),), 2, 8).look_like_pairs


# Where photographs are kept


def test_photographs_larger_than_memory_are_mapped_from_a_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for degradation, scale in (("clean", 4), ("video", 2), ("jpeg50", 1)):
        expected = load_photos((str(folder),), scale, 16, degradation=degradation)
        monkeypatch.setattr(memory, "available_bytes", lambda: 100_000)
        photos = load_photos((str(folder),), scale, 16, degradation=degradation, cache_folder=tmp_path)
        monkeypatch.undo()
        assert (expected.mapped, photos.mapped) == (False, True)
        for one, other in zip(expected.training, photos.training, strict=True):
            for first, second in zip(
                (one.lr, one.hr, *one.lr_variants), (other.lr, other.hr, *other.lr_variants), strict=True
            ):
                assert torch.equal(first, second)
        # All of them in one mapping, one after the other, and no file left in the folder.
        starts = [pair.hr.data_ptr() for pair in photos.training]
        assert starts == sorted(starts)
        assert starts[-1] - starts[0] < 5 * 112 * 128 * 3 * 6
        assert [path.name for path in tmp_path.iterdir()] == ["photos"]
        drawn = [Crops(each.training, scale, 3, degradation).draw(4, 16) for each in (expected, photos)]
        assert all(torch.equal(one, other) for one, other in zip(*drawn, strict=True))


def test_no_room_for_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(memory, "available_bytes", lambda: 100_000)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(TrainingError, match=r"0.0 GB of photographs fit neither .* No space left"):
        load_photos((str(folder),), 4, 16)


def test_photographs_at_several_sizes(folder: Path) -> None:
    """A held-out photograph is held out at every size, and is judged whole."""
    photos = load_photos((str(folder),), 2, 24, sizes=(1.0, 0.75, 0.5))
    assert [pair.name for pair in photos.held_out] == ["photo04.png"]
    names = [f"photo0{number}.png{size}" for number in range(4) for size in ("", " at 0.75", " at 0.5")]
    assert [pair.name for pair in photos.training] == names
    assert photos.photographs == 4
    whole, smaller, half = photos.training[:3]
    assert smaller.hr.shape == (84, 96, 3)
    assert torch.equal(as_batch(half.hr), downscale(as_batch(whole.hr), 2))
    for pair in photos.training:
        assert torch.equal(as_batch(pair.lr), downscale(as_batch(pair.hr), 2))


def test_sizes_that_do_not_hold_a_crop_are_passed_over(folder: Path) -> None:
    photos = load_photos((str(folder),), 2, 48, sizes=(1.0, 0.9, 0.5))
    assert {pair.hr.shape[0] for pair in photos.training} == {112, 100}
    assert photos.left_out == []


def test_crops_shrink_to_fit_the_photographs(tmp_path: Path) -> None:
    sized(tmp_path, [(136, 136)] * 4)
    photos = load_photos((str(tmp_path),), 2, 64, sizes=(0.5,))
    assert (photos.patch_px, len(photos.training), photos.left_out) == (34, 3, [])
    with pytest.raises(TrainingError, match=r"136x136 at 0.25 of its size is smaller.* 256 pixels high"):
        load_photos((str(tmp_path),), 2, 64, sizes=(0.25,))


@pytest.mark.parametrize("degradation", ["video", "mild"])
def test_names_that_are_no_utf_8(folder: Path, degradation: str) -> None:
    for path in folder.iterdir():
        path.rename(os.fsdecode(os.fsencode(path.with_suffix("")) + b"\xe9.png"))
    photos = load_photos((str(folder),), 2, 8, degradation=degradation)
    assert photos.held_out[0].name == "photo04\udce9.png"
    assert photos.fingerprint()


@pytest.mark.parametrize("name", ["photo.png", "täglich.png"])
def test_what_is_drawn_for_a_name_stays(name: str) -> None:
    assert file_names.seed_of(name) == zlib.crc32(name.encode())


def test_loading_does_not_depend_on_the_number_of_threads(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    alone = load_photos((str(folder),), 2, 8, sizes=(1.0, 0.5))
    torch.set_num_threads(3)
    filters = list(warnings.filters)
    together = load_photos((str(folder),), 2, 8, sizes=(1.0, 0.5))
    assert torch.get_num_threads() == 3
    assert warnings.filters == filters
    assert together.left_out == alone.left_out
    for one, other in zip(
        together.training + together.held_out, alone.training + alone.held_out, strict=True
    ):
        assert one.name == other.name
        assert torch.equal(one.hr, other.hr)
        assert torch.equal(one.lr, other.lr)
