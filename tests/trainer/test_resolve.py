"""Where settings come from, and what is said about wrong ones."""

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from support.makers import Ship

from upscaler.errors import UsageError, WeightsError
from upscaler.models import shipped, weight_file
from upscaler.models.registry import PRESETS as NETWORKS
from upscaler.models.registry import build
from upscaler.options import DEFAULT_MODEL
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.config.gan import GanConfig
from upscaler.trainer.config.presets import PRESETS
from upscaler.trainer.config.resolve import as_toml, merged, parse_assignment, resolve_config

GIVEN: dict[str, Any] = {"photos": ["photos"], "output": "w.safetensors", "device": "cpu"}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def test_nothing_but_photographs_is_enough() -> None:
    config, notes = resolve_config(GIVEN)
    assert (config.network, config.scale, config.stages) == ("balanced", 4, "1,2")
    assert (config.start_from, config.minutes, config.steps) == ("balanced-photo", 60.0, None)
    assert any("shipped weights 'balanced-photo'" in line for line in notes)
    assert any("training for 60 minutes" in line for line in notes)


def test_a_gpu_takes_twenty_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("upscaler.inference.devices.select", lambda name: torch.device("cuda"))
    assert resolve_config(GIVEN)[0].minutes == 20.0


def test_a_training_starts_from_the_flavour_that_is_nearest(ship: Ship) -> None:
    ship("fast", 4, channels=32, depth=5)
    clean, photo = (GIVEN | {"network": "fast", "degradation": name} for name in ("clean", "photo"))
    assert [resolve_config(given)[0].start_from for given in (clean, photo)] == ["fast", "fast"]
    ship("fast-photo", 4, channels=32, depth=5)
    assert [resolve_config(given)[0].start_from for given in (clean, photo)] == ["fast", "fast-photo"]
    assert resolve_config(GIVEN | {"network": "fast", "degradation": "jpeg40"})[0].start_from == "fast-photo"


def test_a_network_without_shipped_weights_starts_from_nothing() -> None:
    config, notes = resolve_config(GIVEN | {"network": "srresnet-paper"})
    assert config.start_from == "none"
    assert any("from scratch" in line for line in notes)


def test_the_weights_to_start_from_name_network_and_scale(tmp_path: Path) -> None:
    architecture, arguments = NETWORKS["fast"]
    network = build(architecture, arguments | {"scale": 2})
    weight_file.save(tmp_path / "fast.safetensors", network, network.state_dict(), {})
    config, _ = resolve_config(GIVEN | {"start_from": str(tmp_path / "fast.safetensors")})
    assert (config.network, config.scale) == ("fast", 2)
    config, _ = resolve_config(GIVEN | {"start_from": str(tmp_path / "fast.safetensors"), "scale": 3})
    assert (config.network, config.scale) == ("fast", 3)
    config, _ = resolve_config(GIVEN | {"start_from": "fast"})
    assert (config.network, config.scale) == ("fast", 4)
    odd = build("compact", {"scale": 2, "gate_px": 5})
    weight_file.save(tmp_path / "odd.safetensors", odd, odd.state_dict(), {})
    with pytest.raises(WeightsError, match="is none of those that --network offers"):
        resolve_config(GIVEN | {"start_from": str(tmp_path / "odd.safetensors")})


def test_options_go_before_the_file_and_the_file_before_the_preset(tmp_path: Path) -> None:
    file = written(tmp_path, 'preset = "sharp"\nbatch = 5\nseed = 3\n[gan]\npixel_weight = 0.5\n')
    config, _ = resolve_config(GIVEN | {"seed": 4, "gan": {"batch": 3}}, file)
    assert (config.batch, config.seed) == (5, 4)
    assert (config.gan.pixel_weight, config.gan.batch) == (0.5, 3)
    assert config.gan.adversarial == "relativistic"
    assert resolve_config(GIVEN | {"preset": "balanced"}, file)[0].gan.adversarial == "vanilla"


@pytest.mark.parametrize("length", [{"minutes": 5.0}, {"steps": 7}])
def test_a_length_replaces_the_preset_s(length: dict[str, Any]) -> None:
    config, _ = resolve_config(GIVEN | {"preset": "paper"} | length)
    assert (config.minutes, config.steps) == (length.get("minutes"), length.get("steps"))


def test_all_unknown_names_are_reported_with_the_nearest_name(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        'batchsize = 5\npatch = 32\nsteps = "many"\nphotos = "one"\nadversarial = "hinge"\n'
        "[gan]\nlabel_nois = 0.1\nvgg_layers = 3\nzzzz = 1\n",
    )
    with pytest.raises(UsageError) as caught:
        resolve_config(GIVEN, file)
    message = str(caught.value)
    for part in (
        "unknown setting 'batchsize' (did you mean 'batch'?)",
        "unknown setting 'patch' (did you mean 'patch_px'?)",
        "steps = 'many' is not an integer",
        "photos = 'one' is not a list",
        "unknown setting 'adversarial' (did you mean 'gan.adversarial'?)",
        "unknown setting 'gan.label_nois' (did you mean 'gan.label_noise'?)",
        "gan.vgg_layers = 3 is not a table of numbers",
        "unknown setting 'gan.zzzz'",
    ):
        assert part in message, part


def test_all_wrong_values_are_reported_with_their_table() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_config(
            GIVEN
            | {"schedule": "linear", "stage_one_share": 1.5, "steps": 3}
            | {"gan": {"discriminator": "conv", "label_noise": -1.0, "vgg_layers": {"conv9_1": 1.0}}}
            | {"betas": [0.9]}
        )
    for part in (
        "schedule must be one of cosine, constant, tenth",
        "stage_one_share must be above 0 and below 1",
        "gan.discriminator must be one of patch, patch-input, srgan, unet",
        "gan.label_noise must be at least 0",
        "gan.vgg_layers has no layer conv9_1",
        "betas must be two numbers",
    ):
        assert part in str(caught.value), part


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "papper"}, r"unknown preset 'papper' \(did you mean 'paper'\?\)"),
        ({"gan": {"pixel_weight": 0.0, "vgg_weight": 0.0}}, "nothing ties SR to the input"),
        ({"pixel_weight": 0.0, "fft_weight": 0.0}, "nothing to learn"),
        ({"gan": {"vgg_layers": {}}}, "vgg_layers must name a layer"),
        (
            {"gan": {"vgg_layers": {"conv4_4": 1}}},
            "gan.vgg_layers conv4_4 needs the whole VGG19: --vgg torch",
        ),
        ({"gan": {"vgg_layers": {"conv4_4": 1}, "vgg_factor": 2.0}}, "conv4_4 and vgg_factor need the whole"),
        ({"given_share": 1.0}, "given_share must be above 0 and below 1"),
        ({"lr_dirs": ["lr"], "degradation": "clean"}, "clean cannot be mixed with the LR images"),
        ({"degradation": "given"}, "degradation 'given' needs LR images"),
        ({"gan": {"adversarial": "hinge", "real_label": 0.9}}, "no effect with adversarial = hinge"),
        ({"preset": "mae-noise", "gan": {"adversarial": "hinge"}}, "no effect with adversarial = hinge"),
        ({"sizes": [1, 1.5]}, "sizes must be fractions"),
        ({"sizes": []}, "sizes must be fractions"),
        ({"sizes": [1, 0.5], "lr_dirs": ["lr"]}, "sizes cannot be combined"),
        ({"seed": 2**63}, "seed must be below 9223372036854775808"),
        ({"seed": 10**400}, "seed must be below"),
        ({"stages": "2", "teacher": "srresnet"}, "teacher is for stage one, which stages = 2 skips"),
        ({"scale": 1, "stages": "1,2", "gan": {"patch_px": 7}}, "patch needs crops of at least 8 HR pixels"),
        (
            {"gan": {"patch_px": 4, "batch": 1, "discriminator": "srgan"}},
            "srgan with single crops needs crops of at least 17",
        ),
        (
            {"micro_batch": 2, "gan": {"patch_px": 4, "batch": 5, "discriminator": "srgan"}},
            "srgan with single crops needs crops of at least 17",
        ),
        (
            {
                "scale": 2,
                "gan": {"patch_px": 7, "vgg": "torchvision", "vgg_layers": {"conv1_1": 1.0, "conv5_4": 1.0}},
            },
            "gan.vgg_layers conv5_4 needs crops of at least 16",
        ),
    ],
)
def test_other_impossible_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_config(GIVEN | settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": 1, "stages": "1", "gan": {"patch_px": 4}},
        {"scale": 1, "stages": "1,2", "gan": {"patch_px": 4, "adversarial_weight": 0.0}},
        {"scale": 1, "stages": "1,2", "gan": {"patch_px": 8}},
        {"micro_batch": 2, "gan": {"patch_px": 4, "batch": 4, "discriminator": "srgan"}},
        {"gan": {"patch_px": 5, "batch": 1, "discriminator": "srgan"}},
    ],
)
def test_small_crops_that_are_large_enough(settings: dict[str, Any]) -> None:
    assert resolve_config(GIVEN | settings)[0].gan.patch_px == settings["gan"]["patch_px"]


def test_photographs_and_output_must_be_given_but_may_be_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"photos must be set \(a folder.*; output must be set .*-o FILE"):
        resolve_config({})
    file = written(tmp_path, 'photos = ["a", "b"]\noutput = "w.safetensors"\n')
    assert resolve_config({"device": "cpu"}, file)[0].photos == ("a", "b")


@pytest.mark.parametrize("content", [b"steps = ", b"\xff\xfe"])
def test_invalid_toml_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "settings.toml").write_bytes(content)
    with pytest.raises(UsageError, match="is not TOML"):
        resolve_config(GIVEN, tmp_path / "settings.toml")
    with pytest.raises(UsageError, match="cannot read"):
        resolve_config(GIVEN, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("batch=4", {"batch": 4}),
        ("gan.learning_rate = 2e-4", {"gan": {"learning_rate": 2e-4}}),
        ("gan.discriminator=srgan", {"gan": {"discriminator": "srgan"}}),
        ("gan.vgg_layers={conv1_2 = 1.0}", {"gan": {"vgg_layers": {"conv1_2": 1.0}}}),
        ("betas=[0.9, 0.999]", {"betas": [0.9, 0.999]}),
        ("gan.vgg_layers.conv5_4=1", {"gan": {"vgg_layers": {"conv5_4": 1}}}),
        ("steps.x=1", {"steps": {"x": 1}}),
    ],
)
def test_single_settings(text: str, expected: dict[str, Any]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["batch", "=4", "", "gan.=1", ".batch=4", "gan..batch=4"])
def test_malformed_assignments(text: str) -> None:
    with pytest.raises(UsageError, match="is not a setting"):
        parse_assignment(text)


def test_single_settings_of_one_table_come_together() -> None:
    one, other = {"seed": 1, "gan": {"vgg_layers": {"a": 1}}}, {"gan": {"batch": 2, "vgg_layers": {"b": 1}}}
    assert merged(one, other) == {"seed": 1, "gan": {"batch": 2, "vgg_layers": {"a": 1, "b": 1}}}
    assert merged({"steps": 1}, {"steps": {"x": 1}}) == {"steps": {"x": 1}}
    assert merged({"gan": {"batch": 1}}, {"gan": 3}) == {"gan": 3}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_written_settings_give_the_same_settings(tmp_path: Path, preset: str) -> None:
    config, _ = resolve_config(
        GIVEN | {"preset": preset, "photos": ['odd "name"\\', "täglich"], "gan": {"vgg": "a b.safetensors"}}
    )
    file = written(tmp_path, as_toml(config, {"torch": "2.11"}))
    assert file.read_text().startswith("# torch 2.11\n")
    assert resolve_config({}, file)[0] == config


def test_every_setting_is_in_the_written_file() -> None:
    text = as_toml(resolve_config(GIVEN)[0], {})
    for field in (*dataclasses.fields(TrainConfig), *dataclasses.fields(GanConfig)):
        assert field.name in text


def test_every_setting_is_described() -> None:
    for kind in (TrainConfig, GanConfig):
        for name in typing.get_type_hints(kind):
            assert f"        {name}: " in (kind.__doc__ or ""), name


@pytest.mark.parametrize("settings", [{"stages": "1"}, {"scale": 1, "degradation": "jpeg20"}])
def test_an_unused_vgg_is_reported(settings: dict[str, Any]) -> None:
    vgg = {"gan": {"vgg": "vgg19.safetensors"}}
    assert "--vgg has no effect" in " ".join(resolve_config(GIVEN | settings | vgg)[1])
    assert "VGG19" not in " ".join(resolve_config(GIVEN | vgg)[1])


def test_a_mark_of_the_byte_order_is_toml(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfsteps = 7\n")
    config, _ = resolve_config({"output": "w.safetensors", "photos": ["p"]}, tmp_path / "a.toml")
    assert config.steps == 7


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("flat_crop_drop_ratio = 0.9999999", "flat_crop_drop_ratio must be at least 0 and at most 0.9"),
        (f"steps = {'[' * 5000}1{']' * 5000}", "is nested too deeply"),
        (r'network = "a\u0000b"', "network holds a NUL character"),
        (r'lr_dirs = ["l", "a\u0000b"]', "lr_dirs holds a NUL character"),
        ('gan.vgg = "a\\u0000"', "vgg holds a NUL character"),
    ],
    ids=lambda text: text[:20],
)
def test_settings_that_nothing_can_be_done_with(tmp_path: Path, setting: str, said: str) -> None:
    (tmp_path / "a.toml").write_text(setting)
    with pytest.raises(UsageError) as raised:
        resolve_config({"output": "w.safetensors", "photos": ["p"]}, tmp_path / "a.toml")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_assignment_that_is_nested_too_deeply() -> None:
    with pytest.raises(UsageError, match="the value of steps is nested too deeply"):
        parse_assignment(f"steps={'[' * 5000}1{']' * 5000}")


def test_paper_preset_has_the_published_parameters() -> None:
    """Section 3.2 of arXiv 1609.04802."""
    config, notes = resolve_config(GIVEN | {"preset": "paper"})
    assert (config.network, config.scale, config.start_from) == ("srresnet-paper", 4, "none")
    assert (config.batch, config.patch_px * config.scale, config.phase2_share) == (16, 96, 0)
    assert (config.steps, config.stage_one_share) == (1_200_000, pytest.approx(1e6 / 1.2e6))
    assert (config.optimizer, config.matrix_step(), config.betas[0]) == ("adamw", (1e-4, 0.0), 0.9)
    assert (config.pixel_loss, config.fft_weight, config.schedule) == ("mse", 0, "constant")
    gan = config.gan
    assert (gan.batch, gan.patch_px * 4, gan.schedule, gan.learning_rate) == (16, 96, "tenth", 1e-4)
    assert (gan.discriminator, gan.discriminator_channels) == ("srgan", 64)
    assert (dict(gan.vgg_layers), gan.vgg_after_activation, gan.vgg_loss) == ({"conv5_4": 1.0}, True, "mse")
    assert (gan.vgg_weight, gan.vgg_factor) == (1.0, pytest.approx(1 / 12.75))
    assert (gan.adversarial, gan.adversarial_weight, gan.pixel_weight) == ("vanilla", 1e-3, 0)
    assert any("1,200,000 steps" in line for line in notes)


def test_shipped_weights_are_there_for_the_default() -> None:
    assert set(DEFAULT_MODEL.values()) <= set(shipped.installed_models())


@pytest.mark.parametrize("preset", PRESETS)
def test_the_documentation_lists_every_term_of_a_preset(preset: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith(f"| `{preset}` |")]
    gan = resolve_config(GIVEN | {"preset": preset})[0].gan
    found = dataclasses.asdict(gan)
    terms = {name.removesuffix("_weight"): found[name] for name in found if name.endswith("_weight")}
    kinds = {"pixel": gan.pixel_loss, "vgg": gan.vgg_loss}
    expected = [
        f"{weight:g} {name}" + (f" ({kinds[name]}" if name in kinds else "")
        for name, weight in terms.items()
        if weight
    ]
    assert [term for term in expected if term not in row] == []
    assert len(re.findall(r"[\d.]+ (?:pixel|vgg|adversarial|features|tv|grid|power|ldl|fft)\b", row)) == len(
        expected
    )


@pytest.mark.parametrize(("scale", "said"), [(2, "with its output averaged"), (3, "whose last layer is new")])
def test_another_scale_than_that_of_the_weights_is_said(ship: Ship, scale: int, said: str) -> None:
    ship("fast", 4)
    config, notes = resolve_config(GIVEN | {"start_from": "fast-x4", "scale": scale, "network": "fast"})
    assert config.scale == scale
    assert f"'fast-x4' is for x4: its body starts the network for x{scale}, {said}" in notes


def test_sizes_of_a_network_and_files_that_have_their_own(tmp_path: Path) -> None:
    given = GIVEN | {"network": "srresnet", "steps": 1} | parse_assignment("network.channels=8")
    config, notes = resolve_config(merged(given, parse_assignment("network.blocks=2")))
    assert config.network_arguments() == {"channels": 8, "blocks": 2, "scale": 4}
    assert config.start_from == "none"
    assert "network srresnet of a size of its own, from scratch" in notes
    network = build("srresnet", config.network_arguments())
    weight_file.save(tmp_path / "own.safetensors", network, network.state_dict(), {})
    continued, _ = resolve_config(GIVEN | {"steps": 1, "start_from": str(tmp_path / "own.safetensors")})
    assert (continued.network, continued.network_arguments()) == ("srresnet", config.network_arguments())
    settings = written(tmp_path, as_toml(config, {}))
    assert resolve_config({}, settings)[0] == config
    for size, message in (("depth=3", "has no network.depth"), ("channels=0", "channels 0")):
        with pytest.raises(UsageError, match=message):
            resolve_config(merged(given, parse_assignment(f"network.{size}")))
