import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.makers import Configure
from support.training import run_folder, silent

from upscaler.errors import TrainingError
from upscaler.trainer.loops import train
from upscaler.trainer.run import plot
from upscaler.trainer.run.record import COLUMNS, Record
from upscaler.trainer.run.tracking import TensorBoard, WeightsAndBiases


def lines(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text().splitlines()


def test_rows_are_appended_under_one_header(tmp_path: Path) -> None:
    record = Record(tmp_path, 0)
    record.add({"step": 1234567, "stage": 1, "pixel": 0.25})
    record.add({"step": 1234568, "stage": 2, "vgg": 1 / 3})
    header, first, second = lines(tmp_path)
    assert header == ",".join(COLUMNS)
    assert dict(zip(COLUMNS, first.split(","), strict=True))["step"] == "1234567"
    row = dict(zip(COLUMNS, second.split(","), strict=True))
    assert (row["vgg"], row["pixel"]) == ("0.333333", "")


def test_a_continued_run_drops_what_came_after_its_state(tmp_path: Path) -> None:
    record = Record(tmp_path, 0)
    for step in (10, 20, 30):
        record.add({"step": step, "stage": 1})
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("40,1,0.5,half a li")  # killed while writing
    Record(tmp_path, 20).add({"step": 25, "stage": 1})
    assert [line.split(",")[0] for line in lines(tmp_path)] == ["step", "10", "20", "25"]


def test_damage_does_not_end_a_run(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\x00nothing")
    Record(tmp_path, 9).add({"step": 1, "stage": 1})
    assert len(lines(tmp_path)) == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot write"):
        Record(tmp_path / "none", 0)


def test_tensorboard_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r"pip install 'upscaler\[tensorboard\]'"):
        TensorBoard(tmp_path)


def test_tensorboard_gets_every_number(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra 'tensorboard' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = Record(tmp_path, 0, [TensorBoard(tmp_path)])
    record.add({"step": 7, "stage": 1, "pixel": 0.5, "lpips": 0.25, "bicubic_ssim": 0.75})
    record.draw(np.full((8, 12, 3), 200, np.uint8))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (scalar,) = events.Scalars("pixel")
    assert (scalar.step, scalar.value) == (7, 0.5)
    assert {"lpips", "bicubic_ssim"} <= set(events.Tags()["scalars"])
    (samples,) = events.Images("samples")
    assert (samples.step, samples.width, samples.height) == (7, 12, 8)


def test_wandb_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TrainingError, match=r"pip install 'upscaler\[wandb\]'"):
        WeightsAndBiases(tmp_path, {})


@pytest.mark.slow
def test_wandb_gets_everything_offline(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="the extra 'wandb' is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = configure(steps=2, wandb=True)
    train(config, silent)
    import wandb

    wandb.finish()
    wandb.teardown()  # until then its process may not have written everything
    (file,) = run_folder(config).glob("wandb/offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert all(name in content for name in (b"bicubic_psnr_db", b"ssim", b"samples", b"pixel"))
    pictures = list(run_folder(config).glob("wandb/offline-run-*/files/media/images/samples_*.png"))
    assert len(pictures) == 2  # of the start and of the end
    for picture in pictures:
        with Image.open(picture) as opened:
            assert opened.width == 4 * 192


def colors_in(path: Path, panel: int) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        pixels = np.asarray(picture)[220 * panel : 220 * (panel + 1)]
    return {tuple(int(level) for level in pixel) for pixel in np.unique(pixels.reshape(-1, 3), axis=0)}


def test_a_panel_for_everything_that_was_measured(tmp_path: Path) -> None:
    rows = [
        {
            "step": step,
            "stage": 1.0 + (step > 50),
            "pixel": 1 / (step + 1),
            "psnr_db": 20 + step / 100,
        }
        for step in range(0, 100, 10)
    ]
    plot.draw(tmp_path / "progress.png", rows)
    with Image.open(tmp_path / "progress.png") as picture:
        assert picture.size == (900, 440)  # no discriminator, no VGG
    assert (31, 119, 180) in colors_in(tmp_path / "progress.png", 0)
    assert (31, 119, 180) in colors_in(tmp_path / "progress.png", 1)


def test_a_better_value_is_drawn_higher(tmp_path: Path) -> None:
    plot.draw(
        tmp_path / "progress.png",
        [{"step": step, "stage": 1, "psnr_db": 20.0 + step} for step in range(11)],
    )
    with Image.open(tmp_path / "progress.png") as picture:
        blue = (np.asarray(picture) == (31, 119, 180)).all(-1)
    rows, columns = blue.nonzero()
    assert rows[columns.argmin()] > rows[columns.argmax()] + 100


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"step": 0, "stage": 1}],
        [{"step": 5, "stage": 2, "pixel": 0.0, "psnr_db": float("inf")}],
        [{"step": 5, "stage": 2, "psnr_db": 30.0}],
        [{"step": 5, "stage": 1, "pixel": -1.0}, {"step": 6, "stage": 1, "pixel": 1e-30}],
    ],
)
def test_short_records_can_be_plotted(tmp_path: Path, rows: list[dict[str, float]]) -> None:
    plot.draw(tmp_path / "progress.png", rows)
