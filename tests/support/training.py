"""What tests of training share: stopping a run, and reading what it left."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.loops import train
from upscaler.trainer.run import state_file
from upscaler.trainer.run.report import TrainingReport


def silent(_report: TrainingReport) -> None:
    """For runs whose reports do not matter."""


def stop_after(steps: int) -> Callable[[], bool]:
    """A stop condition, checked before each step, that holds after this many steps."""
    asked = iter(range(steps + 1))
    return lambda: next(asked) >= steps


def run_folder(config: TrainConfig) -> Path:
    return Path(config.output).with_suffix(".run")


def saved_state(config: TrainConfig) -> dict[str, Any]:
    return state_file.load(run_folder(config) / "state.pt")


def table(config: TrainConfig) -> list[dict[str, str]]:
    with (run_folder(config) / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_equal(one: object, other: object, where: str = "state") -> None:
    """Bit for bit, through all levels."""
    if isinstance(one, Tensor):
        assert isinstance(other, Tensor), where
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert isinstance(other, dict), where
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert isinstance(other, list | tuple), where
        assert len(one) == len(other), where
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_equal(left, right, f"{where}[{index}]")
    else:
        assert one == other, where


def messages(config: TrainConfig) -> list[str]:
    said: list[str] = []
    train(config, lambda report: said.append(report.message) if report.message else None)
    return said


def arguments(config: TrainConfig, *more: str) -> list[str]:
    text = (
        f"-o {config.output} --network fast --scale 2 --batch 4 --patch 12 --phase2-batch 3 --phase2-patch 16"
    )
    text += " --from none --stages 1"
    return [*config.photos, *text.split(), "--device=cpu", "--threads=1", "--no-compile", *more]
