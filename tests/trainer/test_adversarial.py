"""Stage two as a whole; the losses have tests of their own."""

import csv
import dataclasses
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.makers import MakePhotos
from support.networks import random_vgg
from torch import Tensor
from typer.testing import CliRunner

from upscaler.cli.app import app as upscale
from upscaler.errors import TrainingError, UsageError, WeightsError
from upscaler.models import discriminator, perceptual, weight_file
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.config.gan import GanConfig
from upscaler.trainer.config.presets import PRESETS
from upscaler.trainer.config.resolve import as_toml, resolve_config
from upscaler.trainer.loops import train
from upscaler.trainer.run import state_file
from upscaler.trainer.run.report import TrainingReport
from upscaler.trainer.stages import adversarial, losses
from upscaler.trainer.stages.distributed import World

Prepare = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def shallow_vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_vgg(tmp_path_factory.mktemp("vgg") / "to_conv2_2.safetensors", "conv2_2")


@pytest.fixture(scope="session")
def whole_vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_vgg(tmp_path_factory.mktemp("vgg") / "whole.safetensors", "conv5_4")


@pytest.fixture
def prepare(tmp_path: Path, make_photos: MakePhotos, shallow_vgg: Path) -> Prepare:
    """Maker of settings for a short run of both stages; keyword arguments replace them, also in ``gan``."""
    make_photos(tmp_path / "photos", 4, height=64, width=72)
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
            "phase2_batch": 2,
            "phase2_patch_px": 12,
            "device": "cpu",
            "threads": 1,
            "compiled": False,
            "keep": "last",
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
    return resolve_config(settings)[0]


def silent(_report: TrainingReport) -> None:
    """For runs whose reports do not matter."""


def stop_after(steps: int) -> Callable[[], bool]:
    """A question that is answered with yes from the (steps + 1)th time on; it is asked before each step."""
    asked = iter(range(10**6))
    return lambda: next(asked) >= steps


def saved_state(config: TrainConfig) -> dict[str, Any]:
    return state_file.load(Path(config.output).with_suffix(".run") / "state.pt")


def tensors_of(saved: object, where: str = "") -> dict[str, Tensor]:
    """Every tensor of a state by its path in it."""
    if isinstance(saved, Tensor):
        return {where: saved}
    if isinstance(saved, dict):
        pairs = saved.items()
    elif isinstance(saved, list | tuple):
        pairs = dict(enumerate(saved)).items()
    else:
        return {}
    return {
        path: tensor for key, value in pairs for path, tensor in tensors_of(value, f"{where}.{key}").items()
    }


def test_vgg_crops_start_anywhere_in_the_grid_period_and_small_crops_stay_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = {adversarial._draw_vgg_offset(96, generator) for _ in range(400)}
    assert corners == {(down, right) for down in range(6) for right in range(6)}
    # VGG's four poolings leave nothing of less than 16 pixels.
    assert {adversarial._draw_vgg_offset(16, generator) for _ in range(50)} == {(0, 0)}


def test_targets_are_sharpened_by_the_detail_that_a_blur_removes() -> None:
    images = torch.full((1, 3, 9, 12), 0.25)
    images[..., 6:] = 0.75
    result = adversarial.sharpened(images, 0.4)
    # The blur of the step is 5/16 of it at its first pixel and 1/16 at the second.
    row = torch.tensor([0.25] * 4 + [0.2375, 0.1875, 0.8125, 0.7625] + [0.75] * 4)
    assert torch.allclose(result, row.expand_as(images), atol=1e-6)


def test_sharpening_changes_what_is_learnt(prepare: Prepare, tmp_path: Path) -> None:
    start = settled(prepare(output=str(tmp_path / "start.safetensors"), stages="1", steps=1))
    train(start, silent)
    learnt = []
    for amount in (0.0, 0.5):
        config = settled(prepare(stages="2", start_from=start.output, steps=1, sharpening=amount))
        train(config, silent, restart=True)
        learnt.append(tensors_of(saved_state(config)["network"]))
    assert any(not torch.equal(learnt[0][name], learnt[1][name]) for name in learnt[0])


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("paper", "tutorial") else name
        for name in PRESETS
    ],
)
def test_every_preset_runs_both_stages(prepare: Prepare, whole_vgg: Path, preset: str) -> None:
    small = prepare(steps=20, batch=2, patch_px=8, phase2_batch=2, phase2_patch_px=8, preset=preset)
    small["gan"] = {"vgg": str(whole_vgg), "batch": 2, "patch_px": 8, "discriminator_channels": 4}
    for setting in ("network", "start_from"):
        small.pop(setting)
    if preset not in ("paper", "tutorial"):
        small |= {"network": "fast", "start_from": "none"}
    config = settled(small | {"stage_one_share": 0.5})
    reports: list[TrainingReport] = []
    outcome = train(config, reports.append)
    assert (outcome.finished, outcome.steps) == (True, 20)
    assert [path.name for path in outcome.weights] == ["weights-stage1.safetensors", "weights.safetensors"]
    first, second = (weight_file.load(path) for path in outcome.weights)
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
        pytest.param({"discriminator": "srgan", "label_noise": 0.2}, marks=pytest.mark.slow),
        {"discriminator": "patch-input", "adversarial": "paired"},
        pytest.param(
            {"adversarial": "relativistic", "feature_weight": 1.0, "ldl_weight": 1.0}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"network": "srresnet-paper", "adversarial": "hinge", "tv_weight": 0.1, "fft_weight": 1.0},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["balanced", "srgan with noise", "sees the input", "relativistic with all", "batch norm"],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    prepare: Prepare, changes: dict[str, Any]
) -> None:
    """Stopped in both stages; in the second one the discriminator must go on as well."""
    straight, split = settled(prepare("straight", **changes)), settled(prepare(**changes))
    train(straight, silent)
    for stop in (stop_after(3), stop_after(4)):  # asked once more where the stages meet
        torch.manual_seed(12345)  # another process would not have this one's generators
        assert not train(split, silent, stop).finished
    assert (saved_state(split)["stage"], saved_state(split)["step"]) == (2, 6)
    assert train(split, silent).finished
    one, other = tensors_of(saved_state(straight)), tensors_of(saved_state(split))
    assert {path.split(".")[1] for path in one} >= {"discriminator", "discriminator_optimizer", "labels"}
    assert one.keys() == other.keys()
    assert [path for path in one if not torch.equal(one[path], other[path])] == []


def test_the_small_encoder_is_there_without_a_network(prepare: Prepare) -> None:
    settings = prepare(discriminator="patch")
    del settings["gan"]["vgg"], settings["gan"]["vgg_layers"]
    seen: list[TrainingReport] = []
    assert train(settled(settings), seen.append).finished
    terms = [report.means["vgg"] for report in seen if "vgg" in report.means]
    assert terms
    assert all(term > 0 for term in terms)


def test_only_the_discriminator_learns_during_its_warmup(prepare: Prepare, tmp_path: Path) -> None:
    start = settled(prepare(output=str(tmp_path / "start.safetensors"), stages="1"))
    train(start, silent)
    warming = prepare(
        output=str(tmp_path / "warming.safetensors"),
        stages="2",
        start_from=start.output,
        steps=5,
        discriminator_warmup_steps=3,
    )
    states = []
    for steps in (0, 1, 3, 4):
        config = settled(warming)
        train(config, silent, stop_after(steps), restart=True)
        states.append(saved_state(config))
    networks = [tensors_of(state["network"]) for state in states]
    opponents = [tensors_of(state["discriminator"]) for state in states]
    for one, other, moved in ((0, 1, False), (0, 2, False), (0, 3, True)):
        same = all(torch.equal(networks[one][name], networks[other][name]) for name in networks[one])
        assert same != moved
        assert any(not torch.equal(opponents[one][name], opponents[other][name]) for name in opponents[one])


def test_a_vgg_without_the_layers_is_rejected_before_anything_is_written(
    prepare: Prepare, shallow_vgg: Path
) -> None:
    config = settled(prepare(vgg_layers={"conv3_4": 1.0}))
    with pytest.raises(WeightsError, match=r"hold conv1_1 to conv2_2, but conv3_4 needs conv3_1"):
        train(config, silent)
    assert not Path(config.output).with_suffix(".run").exists()


def test_missing_photographs_are_found_before_vgg_is_fetched(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    fetched = "upscaler.trainer.loops.perceptual_network"
    monkeypatch.setattr(fetched, lambda *_: pytest.fail("VGG was fetched"))
    there = str(tmp_path / "photos")
    for name in ("empty", "missing"):
        folder = [str(tmp_path / name)]
        for given in (
            {"photos": folder},
            {"valid": folder},
            {"lr_dirs": folder},
            {"valid": [there], "lr_dirs": [there], "valid_lr_dirs": folder},
        ):
            with pytest.raises(TrainingError, match=rf"no (folder|photograph in) '?{re.escape(folder[0])}"):
                train(settled(prepare(**given)), silent)


def test_a_folder_without_validation_images_is_not_ignored(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match=r"there is no photograph in .*empty"):
        train(settled(prepare(stages="1", valid=[str(tmp_path / "empty")])), silent)


def test_a_vgg_that_cannot_be_downloaded_names_the_option(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import VGG19_Weights

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(VGG19_Weights, "get_state_dict", unreachable)
    settings = prepare()
    settings["gan"]["vgg"] = "torchvision"
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


def command(settings: dict[str, Any], *more: str) -> list[str]:
    """The settings as a command line, by way of a settings file."""
    config = settled(settings)
    file = Path(config.output).with_suffix(".toml")
    file.write_text(as_toml(config, {}))
    return ["-m", "upscaler.trainer", "--config", str(file), *more]


def table(config: TrainConfig) -> list[dict[str, str]]:
    with (Path(config.output).with_suffix(".run") / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_after_a_kill_training_continues_from_the_last_state(prepare: Prepare) -> None:
    """200 steps straight, and the same with a kill -9 in each stage: equal weights."""
    settings = {"steps": 200, "batch": 1, "phase2_batch": 1}
    straight = settled(prepare("straight", **settings))
    train(straight, silent)
    killed = prepare("killed", checkpoint_every_s=0.2, **settings)
    config = settled(killed)
    arguments = [sys.executable, *command(killed)]
    path = Path(config.output).with_suffix(".run") / "state.pt"
    for stage in (1, 2):
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
            start = time.monotonic()
            while process.poll() is None and time.monotonic() - start < 120:
                if path.exists() and (state_file.load(path)["stage"], state_file.load(path)["step"]) > (
                    stage,
                    100 * stage - 95,
                ):
                    process.kill()
                time.sleep(0.05)
        assert process.returncode == -signal.SIGKILL
    assert saved_state(config)["step"] < 200
    assert subprocess.run(arguments, stdout=subprocess.DEVNULL, check=False).returncode == 0
    one, other = tensors_of(saved_state(straight)), tensors_of(saved_state(config))
    assert [path for path in one if not torch.equal(one[path], other[path])] == []
    written = [weight_file.load(Path(each.output)).state for each in (straight, config)]
    assert all(torch.equal(tensor, written[1][name]) for name, tensor in written[0].items())
    steps = [int(row["step"]) for row in table(config)]
    assert steps == sorted(steps)


@pytest.mark.slow
def test_two_processes_do_what_one_does_with_twice_the_batch(prepare: Prepare) -> None:
    """Losses of every step, in both stages; the same crops, split in two."""
    common = {"steps": 8, "precision": "fp32", "checkpoint_every_s": 1e-9, "phase2_share": 0.0}
    alone, world = prepare("alone", batch=4, **common), prepare("world", batch=2, **common)
    alone["gan"]["batch"], world["gan"]["batch"] = 4, 2
    train(settled(alone), silent)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run(
        [*torchrun, *command(world)], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("photographs to train on") == 1  # only the first process talks
    one, other = table(settled(alone)), table(settled(world))
    assert [row["step"] for row in one] == [row["step"] for row in other]
    assert {row["stage"] for row in one} == {"1", "2"}
    terms = ("pixel", "fft", "vgg", "adversarial", "discriminator", "real_score", "fake_score")
    compared = 0
    for left, right in zip(one, other, strict=True):
        for term in terms:
            if left[term]:
                assert float(right[term]) == pytest.approx(float(left[term]), rel=1e-5), (left["step"], term)
                compared += 1
        if left["gradient_norm"]:  # Adam's steps are as large where a gradient is nothing but rounding
            assert float(right["gradient_norm"]) == pytest.approx(float(left["gradient_norm"]), rel=1e-3)
    assert compared > 30


def test_a_batch_in_parts_gives_the_same_weights(prepare: Prepare) -> None:
    """Not bit for bit: sums are taken in another order. The U-Net iterates its norms once per part."""
    outcomes = []
    for name, micro_batch in (("whole", 0), ("parts", 2)):
        settings = prepare(
            name, steps=4, batch=5, phase2_share=0.0, precision="fp32", micro_batch=micro_batch
        )
        settings["gan"] |= {"batch": 5}
        train(settled(settings), silent)
        outcomes.append(weight_file.load(Path(settings["output"])).state)
    for tensor, other in zip(outcomes[0].values(), outcomes[1].values(), strict=True):
        torch.testing.assert_close(other.float(), tensor.float(), rtol=5e-3, atol=5e-4)


def test_out_of_memory_makes_micro_batches_smaller(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five crops do not fit, nor do three; their partial gradients must not count."""
    sizes: list[int] = []
    genuine = losses.l1_loss

    def tight(sr: Tensor, hr: Tensor) -> Tensor:
        sizes.append(len(sr))
        if len(sr) > 2:
            raise torch.OutOfMemoryError("planted")
        return genuine(sr, hr)

    monkeypatch.setitem(losses.PIXEL_LOSSES, "l1", tight)
    config = settled(prepare(stages="1", steps=2, batch=5, phase2_share=0.0, loss_colors="rgb"))
    said: list[str] = []
    assert train(config, lambda report: said.append(report.message or "")).finished
    assert sizes == [5, 2, 2, 1, 2, 2, 1]
    (line,) = [line for line in said if "out of memory" in line]
    assert line == (
        "out of memory: continuing with 2 crops at a time (same result); to save more, use a smaller "
        "--patch, a smaller --batch or --checkpointing"
    )


def test_in_stage_two_less_memory_has_other_names(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    def tight(sr: Tensor, hr: Tensor) -> Tensor:
        if len(sr) > 1 and sr.shape[-1] == 24:
            raise torch.OutOfMemoryError("planted")
        return genuine(sr, hr)

    genuine = losses.l1_loss
    monkeypatch.setitem(losses.PIXEL_LOSSES, "l1", tight)
    said: list[str] = []
    config = settled(prepare(stages="1,2", steps=2, phase2_share=0.0, checkpointing=True))
    assert train(config, lambda report: said.append(report.message or "")).finished
    (line,) = [line for line in said if "out of memory" in line]
    assert line.startswith("out of memory: continuing with 1 crop at a time")
    assert line.endswith("use a smaller gan.patch_px or a smaller gan.batch")


@pytest.mark.slow
def test_memory_that_runs_out_under_the_discriminator_moves_neither_network_twice(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the step is done again with the draws of the first attempt, so that all is as without trouble."""
    more = {"stages": "1,2", "steps": 4, "label_noise": 0.2, "phase2_share": 0.0, "micro_batch": 1}
    plain, tight = settled(prepare("plain", **more)), settled(prepare("tight", **more | {"micro_batch": 0}))
    train(plain, silent)
    genuine = losses.discriminator_loss

    def full(kind: str, fake: Tensor, real: Tensor, **labels: Any) -> Tensor:  # noqa: ANN401
        if len(fake) > 1:
            raise torch.OutOfMemoryError("planted")
        return genuine(kind, fake, real, **labels)

    monkeypatch.setattr(losses, "discriminator_loss", full)
    train(tight, silent)
    saved = saved_state(tight)
    for optimizer in ("optimizer", "discriminator_optimizer"):
        assert {int(each["step"]) for each in saved[optimizer][0]["state"].values()} == {2}
    assert torch.equal(saved["labels"], saved_state(plain)["labels"])


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({}, "same result"),
        ({"adversarial": "relativistic"}, "different result because of the relativistic loss"),
        ({"adversarial": "relativistic", "adversarial_weight": 0.0}, "same result"),
        (
            {"discriminator": "srgan", "adversarial": "relativistic"},
            "different result because of the relativistic loss and the discriminator's batch norm",
        ),
        ({"network": "srresnet-paper", "stages": "1"}, "different result because of batch norm"),
    ],
)
def test_effects_of_smaller_micro_batches_are_reported(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], result: str
) -> None:
    genuine = losses.l1_loss

    def tight(sr: Tensor, hr: Tensor) -> Tensor:
        if len(sr) > 1 and (sr.shape[-1] == 24 or changes.get("stages") == "1"):
            raise torch.OutOfMemoryError("planted")
        return genuine(sr, hr)

    monkeypatch.setitem(losses.PIXEL_LOSSES, "l1", tight)
    settings = prepare(**{"stages": "1,2", "steps": 2, "phase2_share": 0.0, "loss_colors": "rgb"} | changes)
    said: list[str] = []
    assert train(settled(settings), lambda report: said.append(report.message or "")).finished
    (line,) = [line for line in said if "out of memory" in line]
    assert line.startswith(f"out of memory: continuing with 1 crop at a time ({result}); to save more")


def test_out_of_memory_for_a_single_crop_names_remedies(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_sr: Tensor, _hr: Tensor) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setitem(losses.PIXEL_LOSSES, "l1", full)
    with pytest.raises(TrainingError, match=r"too little memory for a single crop.*smaller --patch"):
        train(settled(prepare(stages="1")), silent)


def test_several_processes_out_of_memory_end_with_one_line(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes wait for each other inside a step, so none of them can repeat it alone."""

    def full(_sr: Tensor, _hr: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("planted")

    def shard(world: World, crops: Tensor) -> Tensor:
        world.size = 2  # from here on
        return crops

    monkeypatch.setitem(losses.PIXEL_LOSSES, "l1", full)
    monkeypatch.setattr(World, "shard", shard)
    with pytest.raises(TrainingError, match=r"step 0 in one of 2 processes.*micro_batch=N"):
        train(settled(prepare(stages="1")), silent)


def test_small_faces_shrink_the_patch_and_the_discriminator_s_head(
    prepare: Prepare, tmp_path: Path, make_photos: MakePhotos
) -> None:
    """Pictures of 89x72 hold 72 HR pixels, so the dense layer of `srgan` sees ceil(72 / 16) a side."""
    make_photos(tmp_path / "faces", 4, height=89, width=72)
    settings = prepare(photos=[str(tmp_path / "faces")], stages="1,2", steps=4, discriminator="srgan")
    settings["gan"] |= {"patch_px": 48}
    config = settled(settings)
    said: list[str] = []
    assert train(config, lambda report: said.append(report.message or "")).finished
    shrunk = "crops are at most 36 LR pixels wide: too few photographs hold 48"
    assert said.count(shrunk) == 1
    fresh = discriminator.build("srgan", channels=8, side_px=72)
    fresh.load_state_dict(saved_state(config)["discriminator"])


def test_other_errors_are_not_taken_for_memory(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_sr: Tensor, _hr: Tensor) -> Tensor:
        raise RuntimeError("planted")

    monkeypatch.setitem(losses.PIXEL_LOSSES, "l1", broken)
    with pytest.raises(RuntimeError, match="planted"):
        train(settled(prepare(stages="1")), silent)


def test_divergence_in_stage_two_also_rewinds_the_discriminator(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, calls = losses.generator_loss, iter(range(99))

    def broken(kind: str, fake: Tensor, real: Tensor) -> Tensor:
        return genuine(kind, fake, real) * (float("nan") if next(calls) == 2 else 1)

    config = settled(prepare())
    monkeypatch.setattr(losses, "generator_loss", broken)
    said: list[str] = []
    assert train(config, lambda report: said.append(report.message or "")).finished
    assert (
        "'adversarial' is no longer finite at step 7: returning to step 4 with half the learning rate" in said
    )
    saved = saved_state(config)
    assert saved["rate_scale"] == 0.5
    assert all(tensor.isfinite().all() for tensor in tensors_of(saved).values() if tensor.is_floating_point())


def test_a_larger_length_continues_in_stage_two(prepare: Prepare) -> None:
    config = settled(prepare())
    train(config, silent)
    outcome = train(dataclasses.replace(config, steps=12), silent)
    assert (outcome.finished, outcome.steps) == (True, 12)
    assert weight_file.load(outcome.weights[0]).training["steps"] == 4  # stage one stays as it was


@pytest.mark.slow
def test_batch_norm_keeps_the_statistics_of_stage_one(prepare: Prepare) -> None:
    outcome = train(settled(prepare(network="srresnet-paper")), silent)
    first, second = (weight_file.load(path).state for path in outcome.weights)
    names = [name for name in first if name.endswith("running_var")]
    assert names
    assert all(torch.equal(first[name], second[name]) for name in names)


def test_a_run_leaves_its_settings_and_cards(prepare: Prepare) -> None:
    config = settled(prepare())
    outcome = train(config, silent)
    folder = Path(config.output).with_suffix(".run")
    assert resolve_config({}, folder / "config.toml")[0] == config
    assert (folder / "config.toml").read_text().startswith("# upscaler ")
    for path, stage in zip(outcome.weights, ("stage 1 of 1,2", "stage 2 of 1,2"), strict=True):
        card = path.with_suffix(".md").read_text()
        assert card.startswith(f"# {path.stem}\n")
        assert stage in card
        assert "3 photographs from photos" in card
        assert str(Path(config.output).parent) not in card  # no folders of this machine
    assert "0.1 x adversarial (vanilla)" in card
    assert {path.name for path in folder.iterdir()} >= {
        *("state.pt", "config.toml", "metrics.csv", "progress.png", "samples.png", "samples"),
        *("best-stage1.safetensors", "best-stage2.safetensors"),
    }


def test_upscale_takes_the_weights(prepare: Prepare, tmp_path: Path) -> None:
    outcome = train(settled(prepare(steps=2)), silent)
    picture = next((tmp_path / "photos").iterdir())
    result = CliRunner().invoke(
        upscale, [str(picture), "-o", str(tmp_path / "large.png"), "--model", str(outcome.weights[-1])]
    )
    assert result.exit_code == 0, result.output
    with Image.open(picture) as small, Image.open(tmp_path / "large.png") as large:
        assert large.size == (2 * small.width, 2 * small.height)


def test_a_vgg_file_of_the_original_scale_is_refused_with_the_papers_factor(whole_vgg: Path) -> None:
    """Features hundreds of times as large as torchvision's made a VGG term of thousands."""
    state = perceptual.read_vgg19(whole_vgg)
    perceptual.VGGFeatures(["conv5_4"], state, after_activation=True, factor=1 / 12.75)
    state["features.0.weight"] *= 300
    with pytest.raises(WeightsError, match=r"features of conv5_4 average .* too large .*vgg_factor"):
        perceptual.VGGFeatures(["conv5_4"], state, after_activation=True, factor=1 / 12.75)
    normalised = perceptual.VGGFeatures(["conv5_4"], state, after_activation=True, factor=None)
    assert float(normalised(perceptual.chart())["conv5_4"].abs().mean()) == pytest.approx(1, rel=1e-3)


def test_a_worse_training_keeps_the_weights_it_began_with(prepare: Prepare) -> None:
    """The rate is so high that both stages do harm; ``--keep last`` has the last weights."""
    harmful = {"learning_rate": 0.5, "warmup_steps": 0, "optimizer": "adamw", "ema_decay": 0.0}
    said: list[str] = []
    Path(prepare()["output"]).with_stem("weights-stage1").write_text("of an earlier run")
    train(settled(prepare() | harmful | {"keep": "best"}), lambda report: said.append(report.message or ""))
    output = weight_file.load(Path(prepare()["output"]).with_stem("weights-stage1"))
    assert output.training["steps"] == 0
    last = settled(prepare("last") | harmful)
    train(last, silent)
    assert weight_file.load(last.stage_file(1)).training["steps"] == 4
    assert "best-stage1.safetensors" in " ".join(path.name for path in run_files(last))
    ending = next(line for line in said if line.startswith("stage 1:"))
    start, best = (re.search(rf"{name} ([\d.]+)", ending) for name in ("started at", "best"))
    assert start and best and start[1] == best[1]


def run_files(config: TrainConfig) -> list[Path]:
    return list(Path(config.output).with_suffix(".run").iterdir())


def test_patience_ends_a_stage(prepare: Prepare) -> None:
    settings = prepare(steps=1000, adversarial_weight=0, learning_rate=1e-12)
    settings |= {"learning_rate": 1e-12, "checkpoint_every_s": 1e-9, "patience": 2}
    said: list[str] = []
    outcome = train(settled(settings), lambda report: said.append(report.message or ""))
    assert outcome.finished
    assert outcome.steps < 20
    assert [line for line in said if "no gain in" in line] == [
        f"stage {stage} ends: no gain in 2 validations" for stage in (1, 2)
    ]
    assert not [line for line in said if "hardly ran" in line]  # a longer run would end here, too


def test_epochs_are_a_length(prepare: Prepare) -> None:
    """Three photographs and two crops per step: 4 epochs are 6 steps."""
    settings = prepare(epochs=4.0)
    del settings["steps"]
    reports: list[TrainingReport] = []
    outcome = train(settled(settings), reports.append)
    assert (outcome.finished, outcome.steps, reports[-1].epoch) == (True, 6, 4.0)
    assert reports[-1].progress == 1
    assert train(settled(settings), silent).steps == 6  # it is finished


def test_lpips_is_measured_from_files_and_decides_stage_two(prepare: Prepare, tmp_path: Path) -> None:
    """Random weights of SqueezeNet and of the linear layers."""
    from torchvision import models

    channels = (64, 128, 256, 384, 384, 512, 512)
    trunk = {f"features.{name}": t for name, t in models.squeezenet1_1().features.state_dict().items()}
    heads = {f"lin{index}.model.1.weight": torch.rand(1, n, 1, 1) for index, n in enumerate(channels)}
    torch.save(trunk, tmp_path / "trunk.pth")
    torch.save(heads, tmp_path / "heads.pth")
    files = {"lpips_trunk": str(tmp_path / "trunk.pth"), "lpips_heads": str(tmp_path / "heads.pth")}
    said: list[str] = []
    config = settled(prepare(steps=2, **files))
    train(config, lambda report: said.append(report.message or ""))
    assert any(line.startswith("stage 2: LPIPS ") for line in said)
    assert not any("LPIPS is not measured" in line for line in said)
    rows = (Path(config.output).with_suffix(".run") / "metrics.csv").read_text().splitlines()
    first = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert all(float(first[name]) > 0 for name in ("ssim", "lpips", "bicubic_ssim", "bicubic_lpips"))
    assert first["vgg_distance"] == ""
    history = weight_file.load(Path(config.output)).training
    assert {"psnr_db", "ssim", "lpips"} <= history.keys()
    assert "- LPIPS (squeeze) 0." in Path(config.output).with_suffix(".md").read_text()


def test_the_discriminator_is_kept_and_starts_another_stage_two(prepare: Prepare, tmp_path: Path) -> None:
    train(settled(prepare(steps=2)), silent)
    kept = tmp_path / "weights-discriminator.safetensors"
    tensors = load_file(kept)
    second = settled(
        prepare("second", steps=4, from_discriminator=str(kept), discriminator_learning_rate=1e-12)
    )
    train(second, silent)
    after = load_file(tmp_path / "second-discriminator.safetensors")
    learned = [name for name in tensors if name.endswith(("original0", "original1", "original", "bias"))]
    assert learned
    assert all(torch.allclose(tensors[name], after[name], atol=1e-6) for name in learned)
    assert (
        weight_file.load(Path(second.output)).training["settings"]["gan"]["from_discriminator"] == kept.name
    )
    (broken := tmp_path / "broken.png").write_bytes(b"")
    for changes, message in (
        ({"discriminator": "unet"}, "is a discriminator of kind patch, not unet"),
        ({"discriminator_channels": 6}, "does not fit the discriminator: size mismatch"),
        ({"from_discriminator": second.output}, "holds no discriminator"),
        ({"from_discriminator": "none.safetensors"}, "no file 'none.safetensors'"),
    ):
        settings = prepare("third", steps=2, stages="2", start_from=second.output)
        settings["gan"] |= {"from_discriminator": str(kept)} | changes
        settings["photos"] = [str(broken)]  # said before they are read
        with pytest.raises(WeightsError, match=message):
            train(settled(settings), silent)
