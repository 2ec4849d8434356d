"""What gets installed: the commands, the version, and weights that are small and described."""

import importlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import upscaler
from upscaler.models import encoder, weight_file
from upscaler.models.shipped import WEIGHTS, installed_scales

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "models" / "weights"
SHIPPED = [(model, scale) for model in WEIGHTS for scale in installed_scales(model)]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", ["upscale", "upscale-train", "upscale-eval"])
def test_command_names_a_function(project: dict[str, Any], command: str) -> None:
    module, _, function = project["project"]["scripts"][command].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_version_is_defined_once(project: dict[str, Any]) -> None:
    assert upscaler.__version__ == project["project"]["version"]


def test_every_package_has_its_folder(project: dict[str, Any]) -> None:
    setuptools = project["tool"]["setuptools"]
    for package in setuptools["packages"]:
        # Without an __init__.py an editable install of a mapped folder cannot be imported.
        assert (ROOT / setuptools["package-dir"][package] / "__init__.py").is_file(), package


def test_every_folder_of_code_is_packed(project: dict[str, Any]) -> None:
    packed = {ROOT / folder for folder in project["tool"]["setuptools"]["package-dir"].values()}
    tops = [ROOT / name for name in ("upscaler", "models", "trainer")]
    ours = {path.parent for top in tops for path in (top / "__init__.py", *top.glob("*/__init__.py"))}
    assert ours - {ROOT / "upscaler" / "models", ROOT / "upscaler" / "trainer"} == packed


@pytest.mark.parametrize(("model", "scale"), SHIPPED)
def test_weights_are_small_and_described(model: str, scale: int) -> None:
    path = FOLDER / WEIGHTS[model][scale]
    assert path.stat().st_size <= 4_000_000
    weights = weight_file.load(path)
    assert weights.scale == scale
    floating = {tensor.dtype for tensor in weights.state.values() if tensor.is_floating_point()}
    assert floating == {torch.float16}
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert len(card.split()) > 30, f"{path.stem}.md is not a model card"


def test_all_weights_together_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.safetensors")) <= 25_000_000


def test_no_weights_without_a_name() -> None:
    named = {file for files in WEIGHTS.values() for file in files.values()}
    assert {path.name for path in FOLDER.glob("*.safetensors")} - {encoder.SHIPPED.name} <= named
