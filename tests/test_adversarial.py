"""Stage two as a whole; the losses have tests of their own."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MakePhotos
from safetensors.torch import save_file
from torch import Tensor

from upscaler.errors import TrainingError, UsageError, WeightsError
from upscaler.models import checkpoint, perceptual
from upscaler.trainer import state
from upscaler.trainer.config import GanConfig, TrainConfig
from upscaler.trainer.loops import train
from upscaler.trainer.presets import PRESETS
from upscaler.trainer.settings import settle
from upscaler.trainer.work import Report

Prepare = Callable[..., dict[str, Any]]


def random_vgg(path: Path, deepest: str) -> Path:
    """A seeded random VGG19 to a layer, under torchvision's names; variance is kept from layer to layer."""
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for name, (number, before, after) in perceptual.LAYERS.items():
        weight = torch.randn(after, before, 3, 3, generator=generator) * (2 / (9 * before)) ** 0.5
        tensors[f"features.{number}.weight"] = weight.half()
        tensors[f"features.{number}.bias"] = torch.zeros(after).half()
        if name == deepest:
            break
    save_file(tensors, path)
    return path


@pytest.fixture(scope="session")
def shallow_vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_vgg(tmp_path_factory.mktemp("vgg") / "to_conv2_2.safetensors", "conv2_2")


@pytest.fixture(scope="session")
def whole_vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_vgg(tmp_path_factory.mktemp("vgg") / "whole.safetensors", "conv5_4")


@pytest.fixture
def prepare(tmp_path: Path, make_photos: MakePhotos, shallow_vgg: Path) -> Prepare:
    """Maker of settings for a short run of both stages; keyword arguments replace them, also in ``gan``."""
    make_photos(tmp_path / "photos", 4)
    known_gan = {field.name for field in dataclasses.fields(GanConfig)} - {"batch", "patch_px"}

    def make(name: str = "weights", **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - settings of any type
        gan = {key: settings.pop(key) for key in list(settings) if key in known_gan and key != "pixel_loss"}
        return {
            "photos": [str(tmp_path / "photos")],
            "output": str(tmp_path / f"{name}.safetensors"),
            "network": "fast",
            "scale": 2,
            "start_from": "none",
            "steps": 8,
            "batch": 2,
            "patch_px": 10,
            "late_batch": 2,
            "late_patch_px": 12,
            "device": "cpu",
            "threads": 1,
            "compiled": False,
            "gan": {
                "vgg": str(shallow_vgg),
                "vgg_layers": {"conv1_2": 0.5, "conv2_2": 1.0},
                "batch": 2,
                "patch_px": 12,
                "discriminator_channels": 8,
            }
            | gan,
        } | settings

    return make


def settled(settings: dict[str, Any]) -> TrainConfig:
    return settle(settings)[0]


def silent(_report: Report) -> None:
    """For runs whose reports do not matter."""


def stop_after(steps: int) -> Callable[[], bool]:
    """A question that is answered with yes from the (steps + 1)th time on; it is asked before each step."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= steps


def saved_state(config: TrainConfig) -> dict[str, Any]:
    return state.load(Path(config.output).with_suffix(".run") / "state.pt")


def tensors_of(saved: object, where: str = "") -> dict[str, Tensor]:
    """Every tensor of a state by its place."""
    if isinstance(saved, Tensor):
        return {where: saved}
    if isinstance(saved, dict):
        pairs = saved.items()
    elif isinstance(saved, list | tuple):
        pairs = dict(enumerate(saved)).items()
    else:
        return {}
    return {
        place: tensor for key, value in pairs for place, tensor in tensors_of(value, f"{where}.{key}").items()
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_runs_both_stages(prepare: Prepare, whole_vgg: Path, preset: str) -> None:
    small = prepare(steps=20, batch=2, patch_px=8, late_batch=2, late_patch_px=8, preset=preset)
    small["gan"] = {"vgg": str(whole_vgg), "batch": 2, "patch_px": 8, "discriminator_channels": 4}
    for setting in ("network", "start_from"):
        small.pop(setting)
    if preset not in ("paper", "tutorial"):
        small |= {"network": "fast", "start_from": "none"}
    config = settled(small | {"stage_one_share": 0.5})
    reports: list[Report] = []
    outcome = train(config, reports.append)
    assert (outcome.finished, outcome.steps) == (True, 20)
    assert [path.name for path in outcome.weights] == ["weights-stage1.safetensors", "weights.safetensors"]
    first, second = (checkpoint.load(path) for path in outcome.weights)
    assert (first.training["stage"], first.training["steps"]) == (1, 10)
    assert (second.training["stage"], second.training["steps"]) == (2, 20)
    assert any(not torch.equal(tensor, second.state[name]) for name, tensor in first.state.items())
    assert second.network()(torch.rand(1, 3, 6, 6)).isfinite().all()
    means = {name for report in reports for name in report.means if report.stage == 2}
    assert {"vgg", "adversarial", "discriminator", "real_score", "fake_score"} <= means


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"discriminator": "srgan", "label_noise": 0.2},
        {"adversarial": "relativistic", "feature_weight": 1.0, "ldl_weight": 1.0},
        {"network": "srresnet-paper", "adversarial": "hinge", "tv_weight": 0.1, "fft_weight": 1.0},
    ],
    ids=["balanced", "srgan with noise", "relativistic with all", "batch norm"],
)
def test_a_continued_run_equals_a_straight_one_bit_for_bit(prepare: Prepare, changes: dict[str, Any]) -> None:
    """Stopped in both stages; in the second one the discriminator must go on as well."""
    straight, split = settled(prepare("straight", **changes)), settled(prepare(**changes))
    train(straight, silent)
    for stop in (stop_after(3), stop_after(4)):  # asked once more where the stages meet
        torch.manual_seed(12345)  # another process would not have this one's generators
        assert not train(split, silent, stop).finished
    assert (saved_state(split)["stage"], saved_state(split)["step"]) == (2, 6)
    assert train(split, silent).finished
    one, other = tensors_of(saved_state(straight)), tensors_of(saved_state(split))
    assert {place.split(".")[1] for place in one} >= {"discriminator", "discriminator_optimizer", "labels"}
    assert one.keys() == other.keys()
    assert [place for place in one if not torch.equal(one[place], other[place])] == []


def test_a_vgg_without_the_layers_is_refused_before_anything_is_written(
    prepare: Prepare, shallow_vgg: Path
) -> None:
    config = settled(prepare(vgg_layers={"conv3_4": 1.0}))
    with pytest.raises(WeightsError, match=r"hold conv1_1 to conv2_2, but conv3_4 needs conv3_1"):
        train(config, silent)
    assert not Path(config.output).with_suffix(".run").exists()


def test_a_vgg_that_cannot_be_downloaded_names_the_option(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import VGG19_Weights

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(VGG19_Weights, "get_state_dict", unreachable)
    settings = prepare()
    del settings["gan"]["vgg"]
    with pytest.raises(TrainingError, match=r"no route to host \(.*--vgg FILE"):
        train(settled(settings), silent)
    assert not Path(settings["output"]).with_suffix(".run").exists()


def test_stage_two_alone_starts_from_weights(prepare: Prepare) -> None:
    with pytest.raises(UsageError, match="stage two starts from trained weights"):
        train(settled(prepare(stages="2")), silent)
    first = train(settled(prepare("first", stages="1")), silent)
    second = train(settled(prepare("second", stages="2", start_from=str(first.weights[0]))), silent)
    assert second.finished
    assert [path.name for path in second.weights] == ["second.safetensors"]
