import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.makers import Configure, Ship
from support.networks import mean_of_eight
from support.training import arguments, messages, silent
from torch import Tensor, nn
from typer.testing import CliRunner

from upscaler.errors import UsageError, WeightsError
from upscaler.models import weight_file
from upscaler.models.registry import PRESETS, build
from upscaler.trainer.cli import app
from upscaler.trainer.config.gan import GanConfig
from upscaler.trainer.loops import train
from upscaler.trainer.run import validation
from upscaler.trainer.stages.teacher import Teacher


def brighter_by(path: Path, levels: float, scale: int = 2) -> Path:
    """A teacher that enlarges bilinearly and makes everything brighter."""
    architecture, arguments = PRESETS["fast"]
    network = build(architecture, arguments | {"scale": scale})
    nn.init.constant_(network.tail.bias, levels / 255)
    weight_file.save(path, network, network.state_dict(), {})
    return path


def test_stage_one_learns_from_the_teacher_and_stage_two_from_the_originals(
    configure: Configure, tmp_path: Path
) -> None:
    gan = GanConfig(vgg_weight=0.0, adversarial_weight=0.0, batch=2, patch_px=12, learning_rate=1e-2)
    teacher = brighter_by(tmp_path / "teacher.safetensors", 40)
    config = configure(
        teacher=str(teacher), degradation="clean", stages="1,2", steps=70, gan=gan, keep="last"
    )
    files = [weight_file.load(path) for path in train(config, silent).weights]
    grey = torch.full((16, 16, 3), 100, dtype=torch.uint8)
    after_one, after_two = (validation.run_network(file.network(), grey).mean() for file in files)
    assert after_one == pytest.approx(140, abs=8)
    assert after_two < 115
    assert files[0].training["settings"]["teacher"] == "teacher.safetensors"


def test_a_teacher_of_another_scale_is_rejected_before_reading_photographs(
    configure: Configure, tmp_path: Path
) -> None:
    teacher = brighter_by(tmp_path / "teacher.safetensors", 0, scale=4)
    with pytest.raises(WeightsError, match=r"teacher\.safetensors' is for x4, not for x2"):
        train(configure(teacher=str(teacher), photos=("nowhere",)), silent)
    with pytest.raises(WeightsError, match="nobody"):
        train(configure(teacher="nobody", photos=("nowhere",)), silent)


def test_shipped_weights_teach_by_their_name(configure: Configure, ship: Ship) -> None:
    ship("srresnet", 2)
    more = ("--steps", "2", "--degradation", "clean", "--teacher", "srresnet")
    result = CliRunner().invoke(app, arguments(configure(), *more))
    assert result.exit_code == 0, result.output


def test_a_self_ensemble_answers_with_the_mean_of_the_eight() -> None:
    network = build("compact", {"scale": 2, "channels": 8, "depth": 2}).eval()
    nn.init.normal_(network.tail.weight, std=0.1)
    lr = torch.rand(2, 3, 12, 12)
    once, mean = (
        Teacher(network, precision="fp32", compiled=False, shapes=[], tta=tta)(lr) for tta in (False, True)
    )
    with torch.no_grad():
        hr = mean_of_eight(network, lr).clamp(0, 1)
    assert float((mean - hr).abs().max()) < 1e-5
    assert float((once - hr).abs().max()) > 1e-2  # the eight differ


def test_a_teacher_short_of_memory_works_in_parts(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes: list[int] = []
    genuine = Teacher.__call__

    def tight(teacher: Teacher, lr: Tensor) -> Tensor:
        sizes.append(len(lr))
        if len(lr) > 2:
            raise torch.OutOfMemoryError("planted")
        return genuine(teacher, lr)

    monkeypatch.setattr(Teacher, "__call__", tight)
    teacher = brighter_by(tmp_path / "teacher.safetensors", 0)
    config = configure(teacher=str(teacher), degradation="clean", steps=2, batch=4, phase2_share=0.0)
    said = messages(config)
    assert sizes == [4, 2, 2, 2, 2]
    assert (
        len([line for line in said if line.startswith("out of memory: continuing with 2 crops at a time")])
        == 1
    )


def test_a_teacher_that_cannot_be_compiled_says_so(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("upscaler.inference.devices.has_compiler", lambda: False)
    teacher = brighter_by(tmp_path / "teacher.safetensors", 0)
    config = configure(teacher=str(teacher), degradation="clean", steps=1, compiled=True)
    assert any(line.startswith("teacher: no C++ compiler found") for line in messages(config))


def test_a_self_ensemble_without_a_teacher_is_rejected(configure: Configure) -> None:
    with pytest.raises(UsageError, match="teacher_tta needs a teacher"):
        configure(teacher_tta=True)


@pytest.mark.parametrize(("trained", "micro_batch"), [(True, 0), (True, 2), (False, 0), (False, 2)])
def test_the_trial_of_a_compiled_network_is_like_what_follows(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trained: bool, micro_batch: int
) -> None:
    """Anything else would have it compiled twice, which takes longer than loading the photographs."""
    seen: dict[int, set[tuple[object, ...]]] = {}

    def recording(network: nn.Module, **_: object) -> Callable[[Tensor], Any]:
        def call(lr: Tensor) -> Any:  # noqa: ANN401
            how = (lr.shape, lr.stride(), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
            seen.setdefault(id(network), set()).add(how)
            return network(lr)

        return call

    monkeypatch.setattr("upscaler.inference.devices.has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", recording)
    teacher = "none" if trained else str(brighter_by(tmp_path / "teacher.safetensors", 0))
    how = {"compiled": True, "precision": "bf16", "phase2_share": 0.0, "degradation": "clean"}
    config = configure(teacher=teacher, teacher_tta=not trained, micro_batch=micro_batch, **how)
    assert math.isfinite(train(config, silent).psnr_db)
    assert [len(ways) for ways in seen.values()] == ([1] if trained else [1, 1])
