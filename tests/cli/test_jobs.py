import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from upscaler.errors import UsageError
from upscaler.images.formats import IMAGE_SUFFIXES, READ_ONLY_SUFFIXES
from upscaler.jobs import plan
from upscaler.options import Options


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def targets(root: Path, inputs: list[str], **options: object) -> list[str]:
    jobs = plan([root / name for name in inputs], Options(**options)).jobs
    return [str(job.target.relative_to(root)) for job in jobs]


def test_targets_next_to_the_input(tmp_path: Path) -> None:
    touch(tmp_path, "a.JPG", "b.mp4", "c.avi")
    assert targets(tmp_path, ["a.JPG", "b.mp4", "c.avi"]) == ["a_x4.JPG", "b_x4.mp4", "c_x4.mkv"]
    assert targets(tmp_path, ["a.JPG"], scale=2.5) == ["a_x2.5.JPG"]
    assert targets(tmp_path, ["a.JPG"], size_px=(640, 480)) == ["a_640x480.JPG"]


def test_videos_that_differ_in_their_suffix_have_distinct_targets(tmp_path: Path) -> None:
    names = ["a.avi", "a.mkv", "a.ts", "b.avi"]
    touch(tmp_path, *names, *(f"p/{name}" for name in names))
    expected = ["a.avi_x4.mkv", "a_x4.mkv", "a.ts_x4.mkv", "b_x4.mkv"]
    assert targets(tmp_path, names) == expected
    assert targets(tmp_path, ["p"]) == ["p_x4/a.avi.mkv", "p_x4/a.mkv", "p_x4/a.ts.mkv", "p_x4/b.mkv"]
    assert targets(tmp_path, ["a.ts", "a.avi"], output=tmp_path / "o") == ["o/a.mkv", "o/a.avi.mkv"]
    previews = targets(tmp_path, ["a.avi", "a.mkv"], preview=True)
    assert previews == ["a_x4.preview.png", "a.mkv_x4.preview.png"]


def test_a_format_for_images(tmp_path: Path) -> None:
    touch(tmp_path, "p/a.JPG", "p/b.webp", "p/b.png", "p/v.mp4")
    expected = ["p_x4/a.png", "p_x4/b.png", "p_x4/b.webp.png", "p_x4/v.mp4"]
    assert targets(tmp_path, ["p"], format="png") == expected
    assert targets(tmp_path, ["p/a.JPG"], format="tiff") == ["p/a_x4.tiff"]
    assert targets(tmp_path, ["p/a.JPG"], format="jpg", output=tmp_path / "o.jpeg") == ["o.jpeg"]
    assert targets(tmp_path, ["p/v.mp4"], format="jpg", output=tmp_path / "o.mkv") == ["o.mkv"]
    with pytest.raises(UsageError, match=r"--format png and '-o .*o\.jpg' exclude each other"):
        targets(tmp_path, ["p/a.JPG"], format="png", output=tmp_path / "o.jpg")
    with pytest.raises(UsageError, match=r"'png2' must be .*did you mean 'png'"):
        Options(format="png2")


def test_a_pattern_names_the_targets(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "v.avi", "v.mkv", "p/b.png", "p/c.d.png")
    names = {"name": "big_{stem}_x{scale}-{model}"}
    assert targets(tmp_path, ["a.jpg"], **names) == ["big_a_x4-real-fast.jpg"]
    assert targets(tmp_path, ["v.mkv"], scale=2.5, model=["x/y.pth", "fast"], **names) == [
        "big_v_x2.5-y+fast.mkv"
    ]
    assert targets(tmp_path, ["p"], **names)[1] == "p_x4/big_c.d_x4-real-fast.png"
    assert targets(tmp_path, ["p"], name="{stem} {size}", size_px=(64, 48))[0] == "p_64x48/b 64x48.png"
    assert targets(tmp_path, ["p"], name="{stem}@4", output=tmp_path / "p")[0] == "p/b@4.png"
    assert targets(tmp_path, ["v.avi", "v.mkv"], name="_{stem}") == ["_v.avi.mkv", "_v.mkv"]
    assert targets(tmp_path, ["v.mkv"], name="{stem}.4", preview=True) == ["v.4.preview.png"]
    with pytest.raises(UsageError, match="would both be written"):
        targets(tmp_path, ["p"], name="same")
    with pytest.raises(UsageError, match=r"'o\.jpg' exclude each other"):
        targets(tmp_path, ["a.jpg"], name="{stem}", output=tmp_path / "o.jpg")


@pytest.mark.parametrize(
    "wrong", ["", "a/{stem}", "a\\b", "{stem", "{nothing}", "{}", "{stem:>9}", "{stem!r}"]
)
def test_a_pattern_that_is_none(wrong: str) -> None:
    with pytest.raises(
        UsageError, match=r"--name .* must be a file name without folders.*\{stem\}, \{scale\}"
    ):
        Options(name=wrong)


def test_a_pattern_of_the_other_measure() -> None:
    with pytest.raises(UsageError, match="needs --scale"):
        Options(name="{stem}{scale}", size_px=(9, 9))
    with pytest.raises(UsageError, match="needs --size"):
        Options(name="{stem}{size}")


@pytest.mark.parametrize("suffix", ["jpg", "avif", "gif"])
def test_what_cannot_be_lossless_is_refused(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"p/a.{suffix}", "p/v.mp4")
    with pytest.raises(UsageError, match=rf"--lossless: '.*a\.{suffix}' would not be.*png"):
        targets(tmp_path, ["p"], lossless=True)
    assert targets(tmp_path, ["p"], lossless=True, format="webp")[0] == "p_x4/a.webp"


def test_a_folder_is_mirrored(tmp_path: Path) -> None:
    touch(tmp_path, "p/b.png", "p/sub/a.png", "p/sub/v.mov", "p/notes.txt", "p/.hidden.png", "p/.git/x.png")
    found = plan([tmp_path / "p"], Options(scale=2))
    assert [job.kind for job in found.jobs] == ["still", "still", "video"]
    names = [str(job.target.relative_to(tmp_path)) for job in found.jobs]
    assert names == ["p_x2/b.png", "p_x2/sub/a.png", "p_x2/sub/v.mov"]
    assert [path.name for path in found.ignored] == ["notes.txt"]


def test_links_that_are_not_followed_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "p/a.png", "p/notes.txt", "far/b.png")
    (tmp_path / "p/far").symlink_to(tmp_path / "far")
    (tmp_path / "p/gone.png").symlink_to("nowhere.png")
    (tmp_path / "p/b.png").symlink_to(tmp_path / "far/b.png")
    found = plan([tmp_path / "p"], Options())
    assert [job.source.name for job in found.jobs] == ["a.png", "b.png"]
    assert found.ignored_kinds() == "1 .txt, 2 linked"


@pytest.mark.parametrize("folder", ["@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", "lost+found"])
def test_folders_of_the_system_are_left_out(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, "p/a.jpg", "p/._a.jpg", f"p/{folder}/a.jpg", f"p/sub/{folder}/a.jpg/THUMB.jpg")
    found = plan([tmp_path / "p"], Options())
    assert [job.source for job in found.jobs] == [tmp_path / "p/a.jpg"] and not found.ignored


def test_a_link_to_a_folder_has_its_result_beside_itself(tmp_path: Path) -> None:
    touch(tmp_path, "far/album/b.png")
    (tmp_path / "holiday").symlink_to(tmp_path / "far/album")
    assert plan([tmp_path / "holiday"], Options()).jobs[0].target == tmp_path / "holiday_x4/b.png"
    touch(tmp_path, "c.png")
    both = plan([tmp_path / "holiday", tmp_path / "c.png"], Options(output=tmp_path / "out"))
    assert both.jobs[0].target == tmp_path / "out/holiday/b.png"


def test_every_suffix_of_an_image_is_found(tmp_path: Path) -> None:
    names = [f"{suffix[1:]}{suffix.upper()}" for suffix in IMAGE_SUFFIXES]
    assert {"jpe.JPE", "jfif.JFIF", "dib.DIB", "mpo.MPO", "apng.APNG"} < set(names)
    touch(tmp_path, *(f"p/{name}" for name in names))
    found = {job.source.name: job.target.name for job in plan([tmp_path / "p"], Options()).jobs}
    instead = {
        f"{suffix[1:]}{suffix.upper()}": suffix[1:] + new for suffix, new in READ_ONLY_SUFFIXES.items()
    }
    assert found == {name: name for name in names} | instead
    assert instead["mpo.MPO"] == "mpo.jpg" and instead["heic.HEIC"] == "heic.jpg"
    touch(tmp_path, "a.mpo")
    with pytest.raises(UsageError, match="MPO is only read"):
        plan([tmp_path / "a.mpo"], Options(output=tmp_path / "b.mpo"))


def test_the_current_folder_is_named_in_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "p/b.png")
    monkeypatch.chdir(tmp_path / "p")
    assert plan([Path()], Options()).jobs[0].target == tmp_path / "p_x4" / "b.png"


def test_results_inside_the_input_folder_are_not_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "p/b.png", "p/out/b.png")
    found = plan([tmp_path / "p"], Options(output=tmp_path / "p" / "out", overwrite=True))
    assert [job.source.name for job in found.jobs] == ["b.png"]
    assert found.jobs[0].target == tmp_path / "p" / "out" / "b.png"


def test_output_as_file_and_as_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.png", "v.mp4", "q/c.png")
    assert targets(tmp_path, ["a.jpg"], output=tmp_path / "o.png") == ["o.png"]
    assert targets(tmp_path, ["a.jpg"], output=tmp_path / "o") == ["o/a.jpg"]
    assert targets(tmp_path, ["v.mp4"], output=tmp_path / "o.mkv") == ["o.mkv"]
    many = targets(tmp_path, ["a.jpg", "b.png", "q"], output=tmp_path / "o")
    assert many == ["o/a.jpg", "o/b.png", "o/q/c.png"]
    (tmp_path / "folder.png").mkdir()
    assert targets(tmp_path, ["a.jpg"], output=tmp_path / "folder.png") == ["folder.png/a.jpg"]


@pytest.mark.parametrize(
    ("inputs", "output", "message"),
    [
        (["missing.jpg"], None, "does not exist"),
        (["notes.txt"], None, "neither an image nor a video"),
        (["empty"], None, "no images or videos in '.*empty'"),
        ([], None, "no images or videos were given"),
        (["a.jpg"], "o.mp4", "cannot write an image"),
        (["v.mp4"], "o.avi", "unsupported container"),
        (["v.mp4"], "o.jpg", "cannot write a video"),
        (["a.jpg"], "o.xyz", "unknown suffix"),
        (["a.jpg"], "a.jpg", "is an input"),
        (["a.jpg"], ".", "is an input"),
        (["a.jpg", "sub/a.jpg"], "o", "would both be written"),
        (["a.jpg"], "taken.jpg", "exists"),
        (["sub"], "o.jpg", "is a file name"),
        (["a.jpg"], "-", "standard output"),
    ],
)
def test_impossible_plans(tmp_path: Path, inputs: list[str], output: str | None, message: str) -> None:
    touch(tmp_path, "a.jpg", "sub/a.jpg", "v.mp4", "v.avi", "v.ts", "notes.txt", "taken.jpg")
    (tmp_path / "empty").mkdir()
    options = Options(output=None if output is None else Path(output) if output == "-" else tmp_path / output)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=message):
        plan([tmp_path / name for name in inputs], options)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_existing_target_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a_x4.jpg")
    assert targets(tmp_path, ["a.jpg"], overwrite=True) == ["a_x4.jpg"]


def test_skip_existing_plans_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a_x4.jpg", "b.jpg", "c.mp4", "c_x4.mp4")
    sources = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.mp4")]
    found = plan(sources, Options(skip_existing=True))
    assert [job.source.name for job in found.jobs] == ["b.jpg"]
    assert [job.source.name for job in found.skipped] == ["a.jpg", "c.mp4"]
    assert plan([sources[0]], Options(skip_existing=True)).jobs == []


def test_results_of_an_earlier_run_among_the_inputs_are_skipped(tmp_path: Path) -> None:
    """As in `upscale *.jpg --skip-existing` after `upscale a.jpg`."""
    names = ("a.jpg", "a_x4.jpg", "a_x4_x4.jpg", "b.jpg")
    touch(tmp_path, *names)
    sources = [tmp_path / name for name in names]
    found = plan(sources, Options(skip_existing=True))
    assert [job.source.name for job in found.jobs] == ["b.jpg"]
    assert [job.source.name for job in found.skipped] == ["a.jpg", "a_x4.jpg", "a_x4_x4.jpg"]
    with pytest.raises(UsageError, match="is an input and would be overwritten"):
        plan(sources, Options(overwrite=True))
    with pytest.raises(UsageError, match="is an input and would be overwritten"):
        plan(sources[:1], Options(output=sources[0], skip_existing=True))


def test_a_preview_is_skipped_if_either_of_its_images_exists(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a_x4.bicubic.png")
    found = plan([tmp_path / "a.mp4"], Options(skip_existing=True, preview=True))
    assert (found.jobs, len(found.skipped)) == ([], 1)


def test_a_target_reached_by_a_link_is_recognised_as_an_input(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is an input"):
        plan([tmp_path / "a.jpg"], Options(output=tmp_path / "link"))


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders called ``locked`` refuse to be looked into, for root too; ``listed`` ones only give names."""
    real_stat, real_scandir = os.stat, os.scandir

    def stat(path: str | Path, **arguments: object) -> os.stat_result:
        if {"locked", "listed"} & set(Path(path).parts[:-1]):
            raise PermissionError(13, "Permission denied", str(path))
        return real_stat(path, **arguments)

    def scandir(path: str | Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real_scandir(path)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.usefixtures("locked")
def test_folders_without_permission_are_errors_or_reported(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "p/b.png", "p/listed/c.png", "p/locked/d.png", "locked/e.png")
    for inputs, output in ((["locked/e.png"], None), (["a.png"], "locked/o.png"), (["a.png"], "locked/o")):
        with pytest.raises(UsageError, match=r"cannot use '.*locked/.*': Permission denied"):
            targets(tmp_path, inputs, output=None if output is None else tmp_path / output)
    found = plan([tmp_path / "p"], Options())
    assert [job.source.name for job in found.jobs] == ["b.png"]
    assert [each.folder.name for each in found.unreadable] == ["listed", "locked"]
    with pytest.raises(UsageError, match=r"cannot read folder '.*locked': Permission denied"):
        plan([tmp_path / "locked"], Options())


def test_names_that_are_too_long(tmp_path: Path) -> None:
    longest = "n" * 251
    touch(tmp_path, f"{longest}.png", f"{longest[:-5]}.mp4", "v.mp4", "a.png")
    for inputs, output in (
        (["n" * 300 + ".png"], None),
        ([f"{longest}.png"], None),  # the target's would be longer
        (["v.mp4"], f"{longest}.mp4"),  # and that of its job folder
        (["v.mp4"], f"new/{longest}.mp4"),
        (["a.png"], "n" * 300 + ".png"),
    ):
        with pytest.raises(UsageError, match="File name too long"):
            targets(tmp_path, inputs, output=None if output is None else tmp_path / output, overwrite=True)
    assert targets(tmp_path, ["a.png"], output=tmp_path / f"{longest}.jpg") == [f"{longest}.jpg"]


def test_the_root_folder_and_a_circular_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "walk", lambda *_args, **_more: pytest.fail("the root is searched"))
    with pytest.raises(UsageError, match="no parent folder"):
        plan([Path("/")], Options())
    touch(tmp_path, "a.png")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    assert targets(tmp_path, ["a.png"], output=tmp_path / "circle.png") == ["circle.png"]
