"""Models of the user are found by name."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.command import run
from support.community import save_pth, state_of
from support.networks import weights

from upscaler import Upscaler
from upscaler.errors import WeightsError
from upscaler.models import find_weights, model_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder, and a user without another one."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("UPSCALER_MODELS", str(tmp_path / "models"))
    (tmp_path / "models" / "deep").mkdir(parents=True)
    return tmp_path / "models"


def test_models_are_found_by_name_below_the_folders(folder: Path, tmp_path: Path) -> None:
    path = save_pth(folder / "deep" / "4x-Nice.pth", "Compact")
    own = tmp_path / "data" / "upscaler" / "models"
    own.mkdir(parents=True)
    mine = weights(own / "mine.safetensors")
    assert model_folder.installed() == {"4x-Nice": path, "mine": mine}
    assert find_weights.weight_files("4x-Nice") == {2: path}
    assert find_weights.weight_files("4x-Nice.pth") == {2: path}
    assert Upscaler("mine", device="cpu").scale == 2


def test_first_folder_and_safetensors_come_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for place in (other, folder):
        save_pth(place / "a.pth", "Compact")
    save_file(state_of("Compact"), folder / "a.safetensors")
    assert model_folder.find("a") == folder / "a.safetensors"
    monkeypatch.setenv("UPSCALER_MODELS", os.pathsep.join([str(other), str(folder)]))
    assert model_folder.find("a") == other / "a.pth"


def test_a_shipped_name_stays_the_shipped_model(folder: Path) -> None:
    save_pth(folder / "fast.pth", "Compact")
    assert find_weights.weight_files("fast")[2].name == "fast-x2.safetensors"


def test_an_unknown_name_is_compared_with_those_in_the_folder(folder: Path) -> None:
    save_pth(folder / "UltraSharp.pth", "Compact")
    with pytest.raises(WeightsError, match=r"'UltraShap' is unknown \(did you mean 'UltraSharp'"):
        find_weights.weight_files("UltraShap")
    with pytest.raises(WeightsError, match=r"no weight file 'gone\.pth'"):
        find_weights.weight_files("gone.pth")


def test_list_of_models_names_scale_architecture_size_and_licence(folder: Path) -> None:
    save_file(state_of("Compact"), folder / "one.safetensors", {"license": "CC-BY-4.0"})
    save_pth(folder / "two.pth", "RRDB")
    torch.save({"unknown": torch.zeros(1)}, folder / "three.pth")
    rows = {line.split("  ")[0]: line for line in run("--list-models").splitlines()}
    assert "x2, x3, x4, x8" in rows["fast"]
    assert "x2, x4" in rows["fast --denoise 1"]
    assert "Apache-2.0" in rows["fast"]
    assert "RealESRGAN Compact (8nf, 3nc)" in rows["one"]
    assert "CC-BY-4.0" in rows["one"]
    assert "x4" in rows["two"]
    assert rows["two"].endswith("not stated")
    assert "cannot be used" in rows["three"]
