import csv
import html
import io
import json
import math
import os
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.command import printed
from support.makers import MakePhotos, Ship
from typer.testing import CliRunner

from upscaler import metrics
from upscaler.errors import UsageError
from upscaler.models import weight_file
from upscaler.models.registry import build
from upscaler.trainer.eval_cli import app
from upscaler.trainer.evaluation import bicubic
from upscaler.trainer.evaluation.lr_images import LrSource
from upscaler.trainer.evaluation.protocol import Evaluation, Score, evaluate
from upscaler.trainer.evaluation.subject import Method, SrFolder, resolve_subject

Rgb = NDArray[np.uint8]


@pytest.fixture
def folder(tmp_path: Path, make_photos: MakePhotos) -> Path:
    """Two pictures whose sides are multiples of no scale."""
    make_photos(tmp_path / "hr", 2, height=61, width=75)
    return tmp_path / "hr"


def nearest(scale: int) -> Method:
    """Repeats pixels: an enlarger that anyone can check."""
    return Method(scale, lambda lr: lr.repeat(scale, 0).repeat(scale, 1))


def pixels_of(path: Path) -> Rgb:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_protocol_against_a_plain_implementation(folder: Path, tmp_path: Path, scale: int) -> None:
    """LR by Pillow's reduction, which is torch's but for its fixed-point rounding."""
    (tmp_path / "lr").mkdir()
    expected = {}
    for path in sorted(folder.iterdir()):
        hr = pixels_of(path)
        hr = hr[: len(hr) // scale * scale, : hr.shape[1] // scale * scale]
        small = (hr.shape[1] // scale, hr.shape[0] // scale)
        lr = np.asarray(Image.fromarray(hr).resize(small, Image.Resampling.BICUBIC))
        Image.fromarray(lr).save(tmp_path / "lr" / f"{path.stem}x{scale}.png")
        output = lr.repeat(scale, 0).repeat(scale, 1)
        pair = metrics.luma(output), metrics.luma(hr)
        expected[path.name] = metrics.psnr_db(*pair, scale), metrics.ssim(*pair, scale)
    given = evaluate(nearest(scale), folder, LrSource(tmp_path / "lr"))
    assert {score.name: (score.psnr_db, score.ssim) for score in given.scores} == expected
    own = evaluate(nearest(scale), folder)
    assert own.mean.psnr_db == pytest.approx(given.mean.psnr_db, abs=0.02)
    assert given.failures == own.failures == []


def test_single_channel_is_compared_raw(folder: Path) -> None:
    path = folder / "photo00.png"
    raw = pixels_of(path)[:60, :72, 1]
    Image.fromarray(raw).save(path)
    (folder / "photo01.png").unlink()
    output = np.zeros((60, 72, 3), dtype=np.uint8)
    output[..., 1] = 100  # raw gray 59; luma would be 66
    (score,) = evaluate(Method(4, lambda lr: output), folder).scores
    error = np.square(raw[4:-4, 4:-4].astype(float) - 59).mean()
    assert score.psnr_db == pytest.approx(10 * math.log10(255**2 / error))


def test_mean_is_of_the_pictures() -> None:
    result = Evaluation([Score("a", 20, 0.5, 0.25), Score("b", 30, 0.7, 0.75)], [])
    assert (result.mean.psnr_db, result.mean.ssim, result.mean.lpips) == (25, pytest.approx(0.6), 0.5)
    assert Evaluation([Score("a", 20, 0.5)], []).mean.lpips is None
    assert math.isnan(Evaluation([], ["all bad"]).mean.psnr_db)


def test_bicubic_keeps_flat_pictures_and_enlarges_ramps() -> None:
    assert (bicubic.upsample(np.full((5, 7, 3), 130, dtype=np.uint8), 3) == 130).all()
    ramp = np.repeat(np.arange(0, 240, 8, dtype=np.uint8)[None, :, None], 6, axis=0).repeat(3, 2)
    output = bicubic.upsample(ramp, 4)
    assert output.shape == (24, 120, 3)
    inside = output[12, 12:-12, 0].astype(int)
    assert np.abs(np.diff(inside) - 2).max() <= 1


def test_saved_images_are_the_compared_ones(folder: Path, tmp_path: Path) -> None:
    evaluate(nearest(4), folder, save_folder=tmp_path / "deep" / "out")
    saved = sorted((tmp_path / "deep" / "out").iterdir())
    assert [path.name for path in saved] == ["photo00.png", "photo01.png"]
    output = pixels_of(saved[0])
    assert output.shape == (60, 72, 3)
    assert np.array_equal(output[::4, ::4].repeat(4, 0).repeat(4, 1), output)


def test_weights_are_run_as_upscale_runs_them(folder: Path, tmp_path: Path) -> None:
    """A fresh network enlarges bilinearly; its file says the scale."""
    network = build("compact", {"scale": 3, "channels": 4, "depth": 1})
    path = tmp_path / "w.safetensors"
    weight_file.save(path, network, network.state_dict(), {})
    subject = resolve_subject(str(path), None, LrSource(), "cpu", "fp32")
    assert subject.scale == 3
    output = evaluate(subject, folder)
    assert len(output.scores) == 2
    base = evaluate(resolve_subject("bicubic", 3, LrSource()), folder)
    assert base.mean.psnr_db - 2 < output.mean.psnr_db < base.mean.psnr_db


@pytest.mark.parametrize("scale", [5, 9, 0, -2])
def test_scales_that_no_table_has(scale: int) -> None:
    with pytest.raises(UsageError, match=rf"--scale '{scale}' must be 1, 2, 3, 4 or 8"):
        resolve_subject("bicubic", scale, LrSource())


@pytest.mark.parametrize("degradation", ["clean", "bilinear"])
def test_scale_1_needs_a_degradation(degradation: str) -> None:
    with pytest.raises(UsageError, match="at scale 1 there is nothing to restore"):
        resolve_subject("bicubic", 1, LrSource(degradation=degradation))


# Degraded pictures


@pytest.mark.parametrize("scale", [1, 2])
def test_jpeg_is_pillow_s_own(folder: Path, scale: int) -> None:
    path = folder / "photo00.png"
    seen: list[Rgb] = []
    keeper = Method(scale, lambda lr: seen.append(lr) or lr.repeat(scale, 0).repeat(scale, 1))  # type: ignore[func-returns-value]
    first, _ = evaluate(keeper, folder, LrSource(degradation="jpeg20")).scores
    hr = pixels_of(path)[: 61 // scale * scale, : 75 // scale * scale]
    file = io.BytesIO()
    Image.fromarray(bicubic.downscale(hr, scale)).save(file, "JPEG", quality=20)
    expected = np.asarray(Image.open(file))
    assert np.array_equal(seen[0], expected)
    if scale == 1:
        assert first.psnr_db == metrics.psnr_db(metrics.luma(expected), metrics.luma(hr))  # no border


@pytest.mark.parametrize("degradation", ["jpeg10-95", "photo", "mild", "mild-combined", "strong", "video"])
def test_degradation_of_an_image_does_not_depend_on_its_neighbours(folder: Path, degradation: str) -> None:
    given = LrSource(degradation=degradation)
    both = evaluate(nearest(2), folder, given).scores
    (folder / "photo00.png").unlink()
    assert evaluate(nearest(2), folder, given).scores == both[1:]
    clean = evaluate(nearest(2), folder).scores
    assert both[1:] != clean or degradation == "photo"


# SrFolder pictures


@pytest.mark.parametrize("name", ["{}.png", "{}_x4.png", "{}x4.webp"])
@pytest.mark.parametrize("whole", [False, True])
def test_finished_images_are_scored_unchanged(folder: Path, name: str, whole: bool) -> None:
    output = folder.parent / "output"
    output.mkdir()
    expected = []
    for path in sorted(folder.iterdir()):
        pixels = pixels_of(path)
        blurred = np.asarray(Image.fromarray(pixels).resize((25, 20)).resize((75, 61)))
        picture = Image.fromarray(blurred if whole else blurred[:60, :72])
        picture.save(output / name.format(path.stem), lossless=True)
        pair = metrics.luma(blurred[:60, :72]), metrics.luma(pixels[:60, :72])
        expected.append((metrics.psnr_db(*pair, 4), metrics.ssim(*pair, 4)))
    subject = resolve_subject(str(output), None, LrSource())
    assert isinstance(subject, SrFolder)
    result = evaluate(subject, folder)
    assert result.failures == []
    assert [(score.psnr_db, score.ssim) for score in result.scores] == expected


def test_finished_images_that_are_missing_or_of_another_size(folder: Path) -> None:
    output = folder.parent / "upscaled"
    output.mkdir()
    Image.new("RGB", (80, 61)).save(output / "photo00.png")
    code, rows, errors = run(output, folder)
    assert (code, rows) == (1, [])
    assert "photo00.png' is 80x61, not 72x60" in errors[0]
    assert "has no SR image in" in errors[1]
    assert run(output, folder, "--save", output)[0] == 2


# The command


def run(*arguments: str | Path) -> tuple[int, list[str], list[str]]:
    """Exit code, lines of output, lines of errors."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout.splitlines(), result.stderr.splitlines()


def test_command_prints_a_row_each_and_the_average(folder: Path) -> None:
    code, rows, errors = run("bicubic", folder)
    assert (code, errors) == (0, [])
    assert [row.split()[0] for row in rows] == ["photo00.png", "photo01.png", "average"]
    values = [float(row.split()[-3]) for row in rows]
    assert values[2] == pytest.approx((values[0] + values[1]) / 2, abs=1e-3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lr: (lr / "photo00x4.png").unlink(), "photo00.png' has no LR image in"),
        (lambda lr: Image.new("RGB", (18, 16)).save(lr / "photo00x4.png"), "is 18x16, not 18x15"),
        (lambda lr: (lr / "photo00x4.png").write_bytes(b""), "is empty"),
        (lambda lr: (lr.parent / "hr" / "photo00.png").write_text("x"), "is not an image"),
        (lambda lr: Image.new("RGB", (18, 15)).save(lr.parent / "hr" / "photo00.png"), "is too small"),
        (
            lambda lr: Image.fromarray(np.zeros((61, 75), np.uint16)).save(lr.parent / "hr" / "photo00.png"),
            "has 16-bit samples",
        ),
    ],
    ids=["missing", "other size", "empty", "no picture", "small", "deep"],
)
def test_one_bad_file_is_named_and_the_rest_is_evaluated(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    lr = folder.parent / "lr"
    lr.mkdir()
    for path in folder.iterdir():
        Image.open(path).crop((0, 0, 72, 60)).resize((18, 15)).save(lr / f"{path.stem}x4.png")
    spoil(lr)
    code, rows, errors = run("bicubic", folder, "--lr-dir", lr)
    assert code == 1
    assert [row.split()[0] for row in rows] == ["photo01.png", "average"]
    assert rows[1].startswith("average of 1 ")
    (line,) = errors
    assert line.startswith("error: ")
    assert re.search(message, line)


def test_lr_without_the_scale_in_its_name(folder: Path) -> None:
    lr = folder.parent / "lr"
    lr.mkdir()
    for path in folder.iterdir():
        Image.open(path).crop((0, 0, 72, 60)).resize((18, 15)).save(lr / path.name)
    assert run("bicubic", folder, "--lr-dir", lr)[0] == 0


def test_wrong_commands_give_one_line(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for code, message, arguments in [
        (2, "no folder 'nowhere'", ("bicubic", "nowhere")),
        (2, "no images in", ("bicubic", empty)),
        (2, "no folder 'nowhere'", ("bicubic", folder, "--lr-dir", "nowhere")),
        (2, "would overwrite what is compared", ("bicubic", folder, "--save", folder)),
        (2, "--scale '5' must be 1, 2", ("bicubic", folder, "--scale", "5")),
        (2, "unknown degradation 'rain'", ("bicubic", folder, "--degradation", "rain")),
        (2, "unknown degradation 'rain'", (folder, folder, "--degradation", "rain")),
        (2, "'given' needs LR images", ("bicubic", folder, "--degradation", "given")),
        (2, "use one of the two", ("bicubic", folder, "--lr-dir", folder, "--degradation", "jpeg20")),
        (2, "no weight file 'nothing.safetensors'", ("nothing.safetensors", folder)),
        (2, "model 'sharpest' is unknown", ("sharpest", folder)),
    ]:
        result = run(*arguments)
        assert result[:2] == (code, []), message
        (line,) = result[2]
        assert message in line


@pytest.mark.parametrize("name", ["{}x4.png", "{}_x4.jpg", "{}.tif"])
def test_given_pictures_may_have_any_suffix_as_in_training(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "lr").mkdir()
    for path in folder.iterdir():
        Image.open(path).resize((18, 15)).save(tmp_path / "lr" / name.format(path.stem))
    assert run("bicubic", folder, "--lr-dir", tmp_path / "lr")[0] == 0


def test_two_images_of_one_name_are_rejected(folder: Path) -> None:
    Image.open(folder / "photo00.png").save(folder / "photo00.bmp")
    assert run("bicubic", folder)[0] == 2


# Files


def test_files_say_what_the_rows_say(folder: Path, tmp_path: Path) -> None:
    names = {kind: tmp_path / "deep" / f"scores.{kind}" for kind in ("csv", "json", "html")}
    (folder / "bad<b>.png").write_text("x")
    options = [part for kind, path in names.items() for part in (f"--{kind}", path)]
    code, rows, errors = run("bicubic", folder, "--scale", "2", *options)
    assert (code, len(errors)) == (1, 1)
    printed = [(row.split()[0], float(row.split()[-3]), float(row.split()[-1])) for row in rows]

    table = list(csv.DictReader(names["csv"].read_text().splitlines()))
    assert [row["name"].split()[0] for row in table] == [name for name, _, _ in printed]
    assert [float(row["psnr_db"]) for row in table] == pytest.approx([row[1] for row in printed], abs=1e-3)
    assert {row["lpips"] for row in table} == {""}

    content = json.loads(names["json"].read_text())
    assert (content["subject"], content["scale"], content["degradation"]) == ("bicubic", 2, "clean")
    assert [row["ssim"] for row in content["images"]] == pytest.approx(
        [row[2] for row in printed[:2]], abs=1e-4
    )
    assert content["average"]["psnr_db"] == pytest.approx(printed[2][1], abs=1e-3)
    assert len(content["failures"]) == 1

    page = names["html"].read_text()
    assert f"{printed[0][1]:.2f}" in page
    assert "bad&lt;b&gt;" in page
    assert "<b>" not in page
    sources = re.findall(r'img src="([^"]+)" width=(\d+) height=(\d+)', page)
    assert len(sources) == 6
    shown = [pixels_of(names["html"].parent / source) for source, _, _ in sources]
    assert [each.shape[:2] for each in shown[:3]] == [(30, 37), (60, 74), (60, 74)]
    assert {(width, height) for _, width, height in sources} == {("74", "60")}
    assert np.array_equal(shown[2], pixels_of(folder / "photo00.png")[:60, :74])
    assert np.array_equal(shown[1], bicubic.upsample(shown[0], 2))


NAMES = (b"a#1.png", b"what?.png", b"x%41.png", b"caf\xe9.png", b"a&b.png")  # the fourth is not UTF-8


def test_names_that_mean_something_in_an_address_or_are_no_utf_8(folder: Path, tmp_path: Path) -> None:
    photo = (folder / "photo00.png").read_bytes()
    for path in folder.iterdir():
        path.unlink()
    for name in NAMES:
        (folder / os.fsdecode(name)).write_bytes(photo)
    (folder / os.fsdecode(b"bad\xe9.png")).touch()
    files = {kind: tmp_path / f"scores#1.{kind}" for kind in ("csv", "json", "html")}
    options = [part for kind, path in files.items() for part in (f"--{kind}", path)]
    code, output, said = printed(app, "bicubic", folder, "--degradation", "mild", *options)
    rows, errors = output.splitlines(), said.splitlines()
    assert (code, len(rows), len(errors)) == (1, 6, 1)
    assert "bad\\udce9.png" in errors[0]
    assert any(row.startswith("caf\\udce9.png ") for row in rows)
    assert "caf\\udce9.png" in files["csv"].read_text(encoding="utf-8")
    assert "caf\udce9.png" in {row["name"] for row in json.loads(files["json"].read_text())["images"]}
    page = files["html"].read_text(encoding="utf-8")
    sources = [html.unescape(source) for source in re.findall(r'img src="([^"]+)"', page)]
    assert len(sources) == 3 * len(NAMES)
    for source in sources:
        address = urllib.parse.urlsplit(source)
        assert (address.query, address.fragment) == ("", "")
        assert (tmp_path / os.fsdecode(urllib.parse.unquote_to_bytes(address.path))).is_file()


@pytest.mark.parametrize("option", ["--csv", "--json", "--html"])
@pytest.mark.parametrize("problem", ["a folder", "below a file", "no pictures"])
def test_what_is_wrong_with_files_is_found_before_the_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, problem: str
) -> None:
    monkeypatch.setattr("upscaler.trainer.eval_cli._lpips", lambda *_: pytest.fail("weights were loaded"))
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    path = {"a folder": tmp_path, "below a file": tmp_path / "file" / "x"}.get(problem, tmp_path / "scores")
    hr = tmp_path / "empty" if problem == "no pictures" else folder
    result = CliRunner().invoke(app, ["bicubic", str(hr), option, str(path)])
    assert result.exit_code == 2
    said = f"no images in '{hr}'" if problem == "no pictures" else f"cannot write '{path}'"
    assert said in result.output


def test_equal_pictures_are_valid_json(folder: Path, tmp_path: Path) -> None:
    run(folder, folder, "--json", tmp_path / "scores.json")
    content = json.loads((tmp_path / "scores.json").read_text())
    assert [row["psnr_db"] for row in content["images"]] == [None, None]
    assert content["average"]["ssim"] == pytest.approx(1)


def test_files_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for kind in ("csv", "json", "html"):
        code, _, errors = run("bicubic", folder, f"--{kind}", tmp_path / "file" / "scores")
        assert code == 2
        assert "cannot write" in errors[0]


# The published table


def test_bicubic_on_set5_is_the_published_value() -> None:
    data = os.environ.get("UPSCALER_TEST_DATA")
    if not data:
        pytest.skip(
            "needs the benchmark pictures: set UPSCALER_TEST_DATA to the folder that holds bench/Set5"
        )
    set5 = Path(data) / "bench" / "Set5"
    result = evaluate(resolve_subject("bicubic", 4, LrSource()), set5 / "HR", LrSource(set5 / "LRbicx4"))
    assert len(result.scores) == 5
    assert result.mean.psnr_db == pytest.approx(28.42, abs=0.01)
    assert result.mean.ssim == pytest.approx(0.8104, abs=0.001)


def test_named_models_are_blended_and_ensembled(folder: Path, tmp_path: Path, ship: Ship) -> None:
    ship("srresnet", 2)
    ship("srgan", 2)
    ship("srresnet-photo", 4)
    scores = {}
    for options in ([], ["--perceptual", "0"], ["--perceptual", "1"], ["--denoise", "1"], ["--tta"]):
        report = tmp_path / "scores.json"
        subject = "srresnet" if "--denoise" in options else "srgan"
        arguments = [subject, str(folder), "--scale", "2", "--precision", "fp32", "--json", str(report)]
        result = CliRunner().invoke(app, [*arguments, *options])
        assert result.exit_code == 0, result.output
        scores[" ".join(options)] = result.output
    settings = json.loads(report.read_text())
    assert (settings["tta"], settings["denoise"], settings["perceptual"]) == (True, None, None)
    assert scores[""] == scores["--perceptual 1"]
    assert len(set(scores.values())) == 4


@pytest.mark.parametrize("options", [["--tta"], ["--denoise", "1"], ["--perceptual", "0.5"]])
def test_subjects_without_weights_are_neither_blended_nor_ensembled(folder: Path, options: list[str]) -> None:
    for subject in ("bicubic", str(folder)):
        result = CliRunner().invoke(app, [subject, str(folder), *options])
        assert result.exit_code == 2
        assert "are for weights" in result.output


def test_subfolders_are_evaluated_and_nothing_broken_ends_it(
    folder: Path, tmp_path: Path, lock_folder: Callable[[Path], None]
) -> None:
    """The LR images lie in a folder of their own inside, which is not measured."""
    (folder / "deep").mkdir()
    (folder / "photo01.png").rename(folder / "deep" / "photo00.png")
    (folder / "deep" / "broken.png").write_bytes(b"no picture")
    (folder / "locked").mkdir()
    lock_folder(folder / "locked")
    for name in ("photo00", "deep/photo00"):
        target = folder / "low" / f"{name}x2.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        hr = pixels_of(folder / f"{name}.png")[:60, :74]
        Image.fromarray(hr[::2, ::2]).save(target)
    page = tmp_path / "page.html"
    arguments = ["bicubic", str(folder), "--scale=2", "--lr-dir", str(folder / "low")]
    result = CliRunner().invoke(app, [*arguments, "--save", str(tmp_path / "sr"), "--html", str(page)])
    assert result.exit_code == 1
    assert "broken.png" in result.stderr
    assert f"cannot read folder '{folder / 'locked'}': Permission denied" in result.stderr
    names = [line.split()[0] for line in result.stdout.splitlines()]
    assert names == ["deep/photo00.png", "photo00.png", "average"]
    saved = sorted(path.relative_to(tmp_path / "sr").as_posix() for path in (tmp_path / "sr").rglob("*.png"))
    assert saved == ["deep/photo00.png", "photo00.png"]
    assert len(list((tmp_path / "page_files").iterdir())) == 6
