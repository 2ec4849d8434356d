"""The recipes of the shipped weights: complete, readable by the trainer, and runnable."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.makers import MakePhotos, Ship, network_of
from support.networks import random_vgg
from typer.testing import CliRunner

from upscaler.errors import UsageError
from upscaler.models import shipped, weight_file
from upscaler.models.registry import PRESETS
from upscaler.trainer.cli import app
from upscaler.trainer.config import resolve
from upscaler.trainer.config.resolve import resolve_config
from upscaler.trainer.degrade import degradations

GIVEN: dict[str, Any] = {"photos": ["photos"], "output": "w.safetensors", "device": "cpu"}
FILES = {
    Path(file).stem: (model, scale)
    for model, files in shipped.WEIGHTS.items()
    for scale, file in files.items()
}
RECIPES = sorted(path.stem for path in resolve._RECIPES.iterdir())


def test_every_file_that_ships_has_its_recipe() -> None:
    assert sorted(FILES) == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_the_network_of_its_name(name: str) -> None:
    config, notes = resolve_config(GIVEN, Path(name))
    model, scale = FILES[name]
    assert config.scale == scale
    assert PRESETS[config.network] == PRESETS[network_of(model, scale)]
    expected = "photo" if model.endswith(shipped.PHOTO) else "clean"
    others = {"real": "real", "real-fast": "real", "art-fast": "drawn", "film-photo": "video"}
    expected = others.get(model, expected)
    assert (
        degradations.parse(config.degradation).jpeg_quality
        if model == "restore"
        else config.degradation == expected
    )
    stages = {"srgan": "2", "real": "2", "real-fast-x4": "2", "real-fast-x2": "1,2", "art-fast": "1,2"}
    assert config.stages == stages.get(name, stages.get(model, "1"))
    # The length is the user's; nothing else is left to what happens to be installed.
    said = [line for line in notes if "its body starts the network" not in line]
    assert config.minutes == 60 and [line for line in said if "training for 60 minutes" in line] == said
    start = config.start_from
    assert start == "none" or (
        start in FILES
        and start != name
        and network_of(*FILES[start]) == network_of(model, scale).replace("film", "balanced")
    )
    comments = [line for line in (resolve._RECIPES / f"{name}.toml").read_text().splitlines() if "#" in line]
    assert len(comments) >= 2, "a recipe says why"


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_say_what_they_set_once(name: str) -> None:
    """A setting of stage one has no effect where only stage two runs, and would mislead."""
    content = tomllib.loads((resolve._RECIPES / f"{name}.toml").read_text())
    both = {"network", "scale", "start_from", "stages", "degradation"}
    if content["stages"] == "2":
        assert set(content) == both | {"gan"}
    else:
        assert both < set(content) and ("gan" in content) == (content["stages"] == "1,2")


def test_a_file_goes_before_the_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_config(GIVEN, Path("fast-x4"))[0].network == "fast"
    Path("fast-x4").write_text('network = "srresnet"\n')
    assert resolve_config(GIVEN, Path("fast-x4"))[0].network == "srresnet"
    with pytest.raises(UsageError, match=r"cannot read 'fast-x5'.*one of the recipes art-fast-x2"):
        resolve_config(GIVEN, Path("fast-x5"))


@pytest.mark.parametrize("name", ["fast-x3", "srgan-x2"])
def test_a_recipe_runs(tmp_path: Path, make_photos: MakePhotos, ship: Ship, name: str) -> None:
    """Two steps of small batches, from weights that are installed."""
    make_photos(tmp_path / "photos", 3, 160, 160)
    ship("fast", 4, channels=32, depth=5)
    ship("srresnet", 2, channels=64, blocks=16)
    vgg = random_vgg(tmp_path / "vgg.safetensors", "conv3_4")
    target = tmp_path / f"{name}.safetensors"
    small = ["--steps=2", "--batch=2", "--phase2-batch=2", "--device=cpu", "--threads=1", "--no-compile"]
    arguments = [
        str(tmp_path / "photos"),
        "-o",
        str(target),
        "--config",
        name,
        "--vgg",
        str(vgg),
        *small,
        "--set=gan.batch=1",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    model, scale = FILES[name]
    output = weight_file.load(target)
    expected = PRESETS["srresnet" if model == "srgan" else model]
    assert (output.architecture, output.scale) == (expected[0], scale)
    assert (
        output.training["settings"]["start_from"] == {"fast-x3": "fast-x4", "srgan-x2": "srresnet-x2"}[name]
    )
