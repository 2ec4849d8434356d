"""The commands at the end of docs/training.md run as they stand there, for 20 steps on made data."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.networks import random_vgg
from support.pictures import photograph
from typer.testing import CliRunner

from upscaler.models import weight_file
from upscaler.trainer.cli import app

_TEXT = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
_SECTION = _TEXT.partition("## If you come from")[2]
RECIPES = [re.findall(r"^    upscale-train (.*)$", part, re.MULTILINE) for part in _SECTION.split("\n**")[1:]]

# Small enough for a test; what the commands say themselves comes first, and is not replaced.
_SMALL = {
    "--network": "fast",
    "--from": "none",
    "--batch": "1",
    "--patch": "8",
    "--phase2-patch": "8",
    "--phase2-batch": "1",
}


def test_there_are_five() -> None:
    assert len(RECIPES) == 5
    assert all(RECIPES)


@pytest.mark.slow
@pytest.mark.parametrize("commands", RECIPES, ids=["srgan", "srcnn", "mae", "scales", "faces"])
def test_a_recipe_runs(commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "faces", "pairs"):
        Path(folder).mkdir()
        for index in range(4):
            pixels = photograph(256, 256, index)
            if folder == "pairs":
                pixels = np.concatenate([pixels // 2 + 40, pixels], axis=1)
            Image.fromarray(pixels).save(f"{folder}/{index}.png")
    vgg = random_vgg(tmp_path / "vgg.safetensors", "conv5_4")
    for command in commands:
        arguments = shlex.split(command.replace("--vgg torchvision", f"--vgg {vgg}"))
        more = ["--steps=20", "--device=cpu", "--threads=1", "--no-compile", "--set=gan.batch=1"]
        for name, value in _SMALL.items():
            named_by_others = {"--from", "tutorial"} & set(arguments)
            if name not in arguments and not (name in ("--network", "--from") and named_by_others):
                more += [name, value]
        result = CliRunner().invoke(app, [*arguments, *more])
        assert result.exit_code == 0, result.output
        output = arguments[arguments.index("-o") + 1]
        assert weight_file.load(Path(output)).training["settings"]["steps"] == 20
