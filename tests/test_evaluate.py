import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import MakePhotos
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from upscaler.errors import UsageError
from upscaler.models import checkpoint
from upscaler.models.registry import build
from upscaler.trainer import metrics
from upscaler.trainer.evaluate import Enlarger, Evaluation, Score, app, bicubic, enlarger, evaluate

Rgb = NDArray[np.uint8]


@pytest.fixture
def folder(tmp_path: Path, make_photos: MakePhotos) -> Path:
    """Two pictures whose sides are no multiples of anything."""
    make_photos(tmp_path / "hr", 2, height=61, width=75)
    return tmp_path / "hr"


def nearest(scale: int) -> Enlarger:
    """Repeats pixels: an enlarger that anyone can check."""
    return Enlarger(scale, lambda low: low.repeat(scale, 0).repeat(scale, 1))


def pixels_of(path: Path) -> Rgb:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_protocol_against_a_plain_one(folder: Path, tmp_path: Path, scale: int) -> None:
    """LR by Pillow's reduction, which is torch's but for its fixed-point rounding."""
    (tmp_path / "lr").mkdir()
    wanted = {}
    for path in sorted(folder.iterdir()):
        high = pixels_of(path)
        high = high[: len(high) // scale * scale, : high.shape[1] // scale * scale]
        small = (high.shape[1] // scale, high.shape[0] // scale)
        low = np.asarray(Image.fromarray(high).resize(small, Image.Resampling.BICUBIC))
        Image.fromarray(low).save(tmp_path / "lr" / f"{path.stem}x{scale}.png")
        made = low.repeat(scale, 0).repeat(scale, 1)
        pair = metrics.luma(made), metrics.luma(high)
        wanted[path.name] = metrics.psnr_db(*pair, scale), metrics.ssim(*pair, scale)
    given = evaluate(nearest(scale), folder, low_folder=tmp_path / "lr")
    assert {score.name: (score.psnr_db, score.ssim) for score in given.scores} == wanted
    own = evaluate(nearest(scale), folder)
    assert own.mean.psnr_db == pytest.approx(given.mean.psnr_db, abs=0.02)
    assert given.failures == own.failures == []


def test_single_channel_is_compared_raw(folder: Path) -> None:
    path = folder / "photo00.png"
    raw = pixels_of(path)[:60, :72, 1]
    Image.fromarray(raw).save(path)
    (folder / "photo01.png").unlink()
    made = np.zeros((60, 72, 3), dtype=np.uint8)
    made[..., 1] = 100  # raw gray 59; luma would be 66
    (score,) = evaluate(Enlarger(4, lambda low: made), folder).scores
    error = np.square(raw[4:-4, 4:-4].astype(float) - 59).mean()
    assert score.psnr_db == pytest.approx(10 * math.log10(255**2 / error))


def test_mean_is_of_the_pictures() -> None:
    result = Evaluation([Score("a", 20, 0.5), Score("b", 30, 0.7)], [])
    assert (result.mean.psnr_db, result.mean.ssim) == (25, pytest.approx(0.6))
    assert math.isnan(Evaluation([], ["all bad"]).mean.psnr_db)


def test_bicubic_keeps_flat_pictures_and_enlarges_ramps() -> None:
    assert (bicubic(np.full((5, 7, 3), 130, dtype=np.uint8), 3) == 130).all()
    ramp = np.repeat(np.arange(0, 240, 8, dtype=np.uint8)[None, :, None], 6, axis=0).repeat(3, 2)
    made = bicubic(ramp, 4)
    assert made.shape == (24, 120, 3)
    inside = made[12, 12:-12, 0].astype(int)
    assert np.abs(np.diff(inside) - 2).max() <= 1


def test_saved_pictures_are_those_compared(folder: Path, tmp_path: Path) -> None:
    evaluate(nearest(4), folder, save_folder=tmp_path / "deep" / "out")
    saved = sorted((tmp_path / "deep" / "out").iterdir())
    assert [path.name for path in saved] == ["photo00.png", "photo01.png"]
    made = pixels_of(saved[0])
    assert made.shape == (60, 72, 3)
    assert np.array_equal(made[::4, ::4].repeat(4, 0).repeat(4, 1), made)


def test_weights_are_run_as_upscale_runs_them(folder: Path, tmp_path: Path) -> None:
    """A fresh network enlarges bilinearly; its file says the scale."""
    network = build("compact", {"scale": 3, "channels": 4, "depth": 1})
    path = tmp_path / "w.safetensors"
    checkpoint.save(path, network, network.state_dict(), {})
    subject = enlarger(str(path), None, "cpu", "fp32")
    assert subject.scale == 3
    made = evaluate(subject, folder)
    assert len(made.scores) == 2
    base = evaluate(enlarger("bicubic", 3, "cpu", "fp32"), folder)
    assert base.mean.psnr_db - 2 < made.mean.psnr_db < base.mean.psnr_db


@pytest.mark.parametrize("scale", [1, 5, 9, 0, -2])
def test_scales_that_no_table_has(scale: int) -> None:
    with pytest.raises(UsageError, match=f"scale {scale} cannot be measured"):
        enlarger("bicubic", scale, "cpu", "fp32")


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
        (lambda lr: (lr / "photo00x4.png").unlink(), "no LR picture of '.*photo00.png'"),
        (lambda lr: Image.new("RGB", (18, 16)).save(lr / "photo00x4.png"), "is 18x16, not 18x15"),
        (lambda lr: (lr / "photo00x4.png").write_bytes(b""), "is empty"),
        (lambda lr: (lr.parent / "hr" / "photo00.png").write_text("x"), "is not a picture"),
        (lambda lr: Image.new("RGB", (18, 15)).save(lr.parent / "hr" / "photo00.png"), "is too small"),
        (
            lambda lr: Image.fromarray(np.zeros((61, 75), np.uint16)).save(lr.parent / "hr" / "photo00.png"),
            "has 16-bit samples",
        ),
    ],
    ids=["missing", "other size", "empty", "no picture", "small", "deep"],
)
def test_one_bad_file_is_named_and_the_rest_goes_on(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    lr = folder.parent / "lr"
    lr.mkdir()
    for path in folder.iterdir():
        Image.open(path).crop((0, 0, 72, 60)).resize((18, 15)).save(lr / f"{path.stem}x4.png")
    spoil(lr)
    code, rows, errors = run("bicubic", folder, "--lr", lr)
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
    assert run("bicubic", folder, "--lr", lr)[0] == 0


def test_wrong_commands_give_one_line(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for code, message, arguments in [
        (2, "no folder 'nowhere'", ("bicubic", "nowhere")),
        (2, "no pictures in", ("bicubic", empty)),
        (2, "no folder 'nowhere'", ("bicubic", folder, "--lr", "nowhere")),
        (2, "would replace what is compared", ("bicubic", folder, "--save", folder)),
        (2, "scale 5 cannot be measured", ("bicubic", folder, "--scale", "5")),
        (1, "no weight file 'nothing.safetensors'", ("nothing.safetensors", folder)),
        (1, "model 'sharpest' is unknown", ("sharpest", folder)),
    ]:
        result = run(*arguments)
        assert result[:2] == (code, []), message
        (line,) = result[2]
        assert message in line


def test_two_pictures_of_one_name_are_refused(folder: Path) -> None:
    Image.open(folder / "photo00.png").save(folder / "photo00.bmp")
    assert run("bicubic", folder)[0] == 2


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys, upscaler.trainer.evaluate as e\n"
        "assert not {'torch', 'numpy', 'PIL', 'cv2', 'av'} & sys.modules.keys(), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# The published table


def test_bicubic_on_set5_is_the_published_value() -> None:
    data = os.environ.get("UPSCALER_TEST_DATA")
    if not data:
        pytest.skip(
            "needs the benchmark pictures: set UPSCALER_TEST_DATA to the folder that holds bench/Set5"
        )
    set5 = Path(data) / "bench" / "Set5"
    result = evaluate(enlarger("bicubic", 4, "cpu", "fp32"), set5 / "HR", low_folder=set5 / "LRbicx4")
    assert len(result.scores) == 5
    assert result.mean.psnr_db == pytest.approx(28.42, abs=0.01)
    assert result.mean.ssim == pytest.approx(0.8104, abs=0.001)
