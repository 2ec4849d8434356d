"""What a run will take, said before it starts."""

from pathlib import Path

import pytest
import torch
from support.makers import Configure
from support.training import arguments, assert_equal, run_folder, saved_state, silent
from typer.testing import CliRunner

from upscaler.trainer.cli import app
from upscaler.trainer.loops import train
from upscaler.trainer.run import forecast
from upscaler.trainer.run.crop_shapes import CropShape


def test_steps_and_epochs_of_each_stage(configure: Configure) -> None:
    early, late, second = CropShape(1, 16, 32), CropShape(1, 12, 48), CropShape(2, 8, 32)
    step_s = {early: 0.5, late: 1.0, second: 2.0}
    timed = configure(minutes=10.0, stages="1,2", phase2_share=0.4)
    one, two = forecast.stages(timed, step_s, photographs=100, processes=2)
    assert one.steps == pytest.approx(0.6 * 300 / 0.5 + 0.4 * 300)  # 300 s
    assert one.steps * one.step_s == pytest.approx(300)
    assert one.crops == pytest.approx(2 * (0.6 * 300 / 0.5 * 16 + 0.4 * 300 * 12))
    assert (two.steps, two.step_s) == pytest.approx((150, 2.0))
    counted = configure(epochs=4.0, steps=None, stages="2")
    (only,) = forecast.stages(counted, {second: 2.0}, photographs=100, processes=1)
    assert (only.steps, only.crops) == (50, 400)
    text = forecast.lines(
        timed, [one, two], photographs=100, device=torch.device("cpu"), state_bytes=10_000_000
    )
    assert text[1] == "forecast of stage 2: 2 s per step, 150 steps, 24.0 epochs, 5 min"
    assert "GB of memory and 0.04 GB on disk" in text[2]


def test_a_dry_run_leaves_nothing(configure: Configure) -> None:
    config = configure()
    before = sorted(Path(config.output).parent.rglob("*"))
    result = CliRunner().invoke(app, arguments(config, "--minutes=60", "--dry-run"))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-2].startswith("forecast of stage 1: ")
    assert " epochs, 60 min" in result.stdout
    assert " of memory and " in result.stdout.splitlines()[-1]
    assert sorted(Path(config.output).parent.rglob("*")) == before


def test_a_forecast_changes_nothing(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, forecasted = configure("plain", keep="last"), configure("forecasted", keep="last")
    train(plain, silent)
    monkeypatch.setattr(forecast, "is_worthwhile", lambda _: True)
    said: list[str] = []
    train(forecasted, lambda report: said.append(report.message or ""))
    assert any(line.startswith("forecast of stage 1") for line in said)
    one, other = saved_state(plain), saved_state(forecasted)
    for saved in (one, other):
        del saved["config"], saved["elapsed_s"]
    assert_equal(one, other)
    assert (run_folder(forecasted) / "metrics.csv").exists()
