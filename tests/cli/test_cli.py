"""The ``upscale`` command: what it writes, what it prints, its exit codes."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import files_below, run
from support.makers import Ship
from support.media import audio_packets, clip, frame_times, save
from support.pictures import photograph

from upscaler.models.shipped import installed_models
from upscaler.options import DEFAULT_MODEL

UPSCALE = [sys.executable, "-m", "upscaler"]


def test_an_image_is_written_next_to_its_source(tmp_path: Path) -> None:
    source = save(tmp_path / "photo.jpg", 24, 32)
    before = source.read_bytes()
    said = run(source)
    assert files_below(tmp_path) == ["photo.jpg", "photo_x4.jpg"]
    assert source.read_bytes() == before
    with Image.open(tmp_path / "photo_x4.jpg") as result:
        assert (result.format, result.size) == ("JPEG", (128, 96))
    assert "1 of 1 files" in said


def test_ignored_video_options_are_reported(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png")
    said = run(source, "--scale", 1, "--crf", 20, "--start", 1, "--no-audio", "--encoder-option", "a=b")
    assert "--crf, --encoder-option, --no-audio, --start ignored: no video among the inputs" in said
    assert "ignored:" not in run(source, "--scale", 1, "--overwrite")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has such a device")
def test_a_full_stderr_does_not_end_the_batch(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / "p" / name)
    with Path("/dev/full").open("w") as full:  # as does `| head -1`, and a terminal that is gone
        done = subprocess.run([*UPSCALE, str(tmp_path / "p"), "--scale", "1"], stderr=full, check=False)
    assert done.returncode == 0
    assert files_below(tmp_path / "p_x1") == ["a.png", "b.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
def test_a_long_file_name_leaves_room_for_the_bar() -> None:
    import pty

    program = """
from upscaler.cli.display import Display
from upscaler.results import Progress
with Display(1) as display:
    display.begin("a/very/long/way/to/a/film/that/is/in/no/hurry/and/so/on/and/so/on/and/so/on/film.mp4")
    display.advance(Progress(50, 100, "frames"))
"""
    terminal, end = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    child = subprocess.Popen([sys.executable, "-c", program], stderr=end, env=environment)
    os.close(end)
    said = b""
    with contextlib.suppress(OSError):  # the child is gone
        while part := os.read(terminal, 4096):
            said += part
    os.close(terminal)
    assert child.wait() == 0
    assert " 50%" in said.decode() and "so/on/film.mp4" in said.decode()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
def test_formats_in_and_out(tmp_path: Path, suffix: str) -> None:
    run(save(tmp_path / f"a.{suffix}"), "-o", tmp_path / f"b.{suffix}", "--scale", 2)
    with Image.open(tmp_path / f"b.{suffix}") as result:
        assert result.size == (64, 48)


def test_transparency_and_grayscale_are_kept(tmp_path: Path) -> None:
    pixels = np.dstack([photograph(24, 32), np.full((24, 32), 128, np.uint8)])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(photograph(24, 32)[:, :, 0]).save(tmp_path / "g.png")
    run(tmp_path / "a.png", tmp_path / "g.png", "-o", tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.png") as result:
        assert result.mode == "RGBA" and np.all(np.asarray(result)[:, :, 3] == 128)
    with Image.open(tmp_path / "out" / "g.png") as result:
        assert result.mode == "L"


def test_a_folder_continues_after_a_bad_file(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    save(folder / "a.png")
    save(folder / "sub" / "c.png", seed=1)
    (folder / "b.png").write_text("not an image")
    (folder / "empty.mp4").touch()
    (folder / "notes.txt").touch()
    said = run(folder, "--scale", 2, code=1)
    assert files_below(tmp_path / "photos_x2") == ["a.png", "sub/c.png"]
    assert said.count("error:") == 2
    assert "2 of 4 files" in said and "2 failed" in said and "1 ignored (1 .txt)" in said


def test_a_video_with_sound(tmp_path: Path) -> None:
    source = clip(tmp_path / "video.mp4", audio=["aac", "aac"])
    said = run(source, "-o", tmp_path / "out.mp4", "--crf", 30, "--preset", "ultrafast")
    assert frame_times(tmp_path / "out.mp4") == frame_times(source)
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(source)
    assert "64x48 -> 256x192" in said and "h264 crf 30 preset ultrafast" in said
    assert files_below(tmp_path) == ["out.mp4", "video.mp4"]


def test_scale_and_size(tmp_path: Path, ship: Ship) -> None:
    ship("fast", 2, 4)
    for model in ("balanced", DEFAULT_MODEL["still"], "balanced-photo"):
        ship(model, 4)
    source = save(tmp_path / "a.png")
    for number, (arguments, size, plan) in enumerate(
        [
            (["--scale", 1.5, "--model", "fast"], (48, 36), "x2, then resized"),
            (["--scale", 8, "--model", "fast"], (256, 192), "x4 then x2"),
            (["--scale", 8, "--model", "balanced"], (256, 192), "x4 then x4, then resized"),
            (["--size", "100x100"], (100, 75), "x4, then resized"),
        ]
    ):
        target = tmp_path / f"{number}.png"
        assert plan in run(source, "-o", target, *arguments)
        with Image.open(target) as result:
            assert result.size == size


def test_an_existing_target_is_kept_unless_overwrite(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png")
    target = tmp_path / "a_x4.png"
    target.write_text("precious")
    said = run(source, code=2)
    assert "exists" in said and "--overwrite" in said
    assert target.read_text() == "precious"
    run(source, "--overwrite")
    assert target.read_bytes()[:4] == b"\x89PNG"


def test_skip_existing_processes_only_what_is_missing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in_x4").mkdir()
    (tmp_path / "in_x4" / "a.png").write_text("precious")
    assert "--skip-existing" in run(tmp_path / "in", code=2)
    report = tmp_path / "report.jsonl"
    said = run(tmp_path / "in", "--skip-existing", "--json", report)
    assert "1 of 1 files" in said and "1 skipped (already exist)" in said
    assert (tmp_path / "in_x4" / "a.png").read_text() == "precious"
    assert (tmp_path / "in_x4" / "b.png").read_bytes()[:4] == b"\x89PNG"
    outcomes = [json.loads(line)["outcome"] for line in report.read_text().splitlines()]
    assert outcomes == ["skipped", "done"]
    assert "0 of 0 files" in run(tmp_path / "in", "--skip-existing")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png"], "does not exist"),
        (["empty"], "no images or videos"),
        (["a.png", "--model", "no-such"], "no-such"),
        (["a.png", "--model", "missing.safetensors"], "no weight file"),
        (["a.png", "--model", "a.png"], "not a PyTorch checkpoint"),
        (["a.png", "--scale", "9"], "--scale '9' must be a number from 1 to 8"),
        (["a.png", "--size", "big"], "must be WIDTHxHEIGHT"),
        (["a.png", "--size", "9x9", "--scale", "2"], "exclude"),
        (["a.png", "--tile", "huge"], "--tile 'huge' must be auto or a whole number"),
        (["a.png", "--tile", "0"], "of at least 1"),
        (["a.png", "--batch", "0"], "--batch '0' must be"),
        (["a.png", "--memory-limit", "0"], "above 0"),
        (["a.png", "--device", "cuda:77"], "no device"),
        (["a.png", "--precision", "fp8"], "--precision 'fp8' must be"),
        (["a.png", "-o", "a.png"], "is an input"),
        (["a.png", "a.png", "-o", "out"], "is given twice"),
        (["a.png", "v.mp4", "-o", "out.png"], "there are several inputs"),
        (["a.png", "--tile", "4"], "too small"),
        (["v.mp4", "-o", "out.webm", "--codec", "h264"], "does not support h264"),
        (["v.mp4", "-o", "out.webm", "--audio-codec", "aac"], "does not support aac audio"),
        (["v.mp4", "-o", "out.mp4", "--preset", "warp"], "no preset"),
        (["v.mp4", "-o", "out.mp4", "--crf", "70"], "from 0 to 63"),
    ],
)
def test_invalid_arguments_give_one_line_and_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    save(tmp_path / "a.png")
    clip(tmp_path / "v.mp4", frames=2)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    said = run(*arguments, code=2)
    assert message in said
    assert len(said.strip().splitlines()) == 1, said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png")
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "permission" in run(source, "-o", tmp_path / "locked" / "a.png", code=1).lower()


def test_a_target_folder_that_is_a_file(tmp_path: Path) -> None:
    source = save(tmp_path / "a.png")
    video = clip(tmp_path / "v.mp4", frames=2)
    (tmp_path / "taken").write_text("precious")
    said = run(source, video, "-o", tmp_path / "taken", code=1)
    assert said.count("error:") == 2 and "internal error" not in said
    assert (tmp_path / "taken").read_text() == "precious"


def test_an_internal_error_does_not_end_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from upscaler.images import stills
    from upscaler.images.still import Still

    real = stills.read

    def failing(path: Path, *, tolerant: bool) -> Still:
        if path.name == "a.png":
            raise ZeroDivisionError("planted")
        return real(path, tolerant=tolerant)

    monkeypatch.setattr(stills, "read", failing)
    sources = [save(tmp_path / name) for name in ("a.png", "b.png")]
    said = run(*sources, code=1)
    assert "ZeroDivisionError: planted" in said and "UPSCALER_DEBUG" in said
    assert files_below(tmp_path) == ["a.png", "b.png", "b_x4.png"]


def test_help_lists_only_installed_models() -> None:
    said = " ".join(run("--help").split()).replace("- ", "-")  # however it is wrapped, also at hyphens
    assert ", ".join(installed_models()) + ", or a model file: .safetensors, " in said


def test_names_with_a_colon_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "in.mp4", frames=2).rename("Movie:Return.mp4")
    run("Movie:Return.mp4", "-o", "out:c.mp4", "--scale", 1)
    assert len(frame_times(tmp_path / "out:c.mp4")) == 2
    assert files_below(tmp_path) == ["Movie:Return.mp4", "out:c.mp4"]


def test_an_unreadable_folder_fails_and_the_rest_is_processed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "p" / "a.png")
    save(tmp_path / "p" / "locked" / "b.png")
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may read every folder
    said = run(tmp_path / "p", "--scale", 1, "--json", tmp_path / "report", code=1)
    assert said.count("error:") == 1
    assert f"cannot read folder '{tmp_path / 'p' / 'locked'}': Permission" in said
    assert "1 of 1 files" in said and "1 folders not readable" in said
    assert files_below(tmp_path / "p_x1") == ["a.png"]
    folder, image = map(json.loads, (tmp_path / "report").read_text(encoding="utf-8").splitlines())
    assert (folder["kind"], folder["outcome"], folder["target"]) == ("folder", "failed", None)
    assert image["outcome"] == "done"
