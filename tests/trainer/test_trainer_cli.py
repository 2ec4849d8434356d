"""``upscale-train``: its settings and its command line."""

import dataclasses
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.community import save_pth
from support.makers import Configure
from support.training import arguments, run_folder, saved_state
from typer.testing import CliRunner

from upscaler.errors import UsageError
from upscaler.models import registry, weight_file
from upscaler.option_fields import options_of
from upscaler.trainer.cli import app
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.config.options import TrainOptions
from upscaler.trainer.config.presets import PRESETS
from upscaler.trainer.degrade import degradations


def test_all_wrong_settings_are_reported_together(configure: Configure) -> None:
    with pytest.raises(UsageError) as caught:
        configure(
            output="weights.pth",
            network="edsr",
            scale=5,
            steps=0,
            batch=0,
            patch_px=2,
            optimizer="sgd",
            phase2_share=2,
            flat_crop_drop_ratio=1,
            ema_decay=1.0,
            learning_rate=-1.0,
            fft_weight=float("nan"),
            warmup_steps=-1,
        )
    message = str(caught.value)
    for part in (
        "suffix .safetensors",
        "unknown network 'edsr'",
        "scale must be",
        "steps must be above 0",
        "batch must be above 0",
        "patch_px",
        "optimizer",
        "phase2_share",
        "flat_crop_drop_ratio",
        "ema_decay",
        "learning_rate must be above 0",
        "fft_weight must be at least 0",
        "warmup_steps must be at least 0",
    ):
        assert part in message


@pytest.mark.parametrize(
    "length",
    [
        {"steps": None},
        {"steps": -1},
        {"steps": 3, "minutes": 1.0},
        {"minutes": 0.0},
        {"minutes": -1.0},
        {"minutes": float("nan")},
        {"minutes": float("inf")},
    ],
)
def test_a_run_needs_one_length(configure: Configure, length: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"minutes|steps"):
        configure(**length)


def test_default_learning_rates_depend_on_the_network(configure: Configure) -> None:
    assert configure().matrix_step() == (0.02, 0.1)
    assert configure(network="srresnet").matrix_step() == (0.01, 0.1)
    assert configure(optimizer="adamw").matrix_step() == (1e-3, 0.0)
    assert configure(learning_rate=0.5, weight_decay=0.25).matrix_step() == (0.5, 0.25)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--scale", "5", "--steps", "4"], 2, "scale must be one of"),
        (["--steps", "3", "--minutes", "1"], 2, "set one of minutes, steps and epochs"),
        (["--epochs", "3", "--minutes", "1"], 2, "set one of minutes, steps and epochs"),
        (["--steps", "4", "--threads", "6000"], 2, "threads must be at most"),
        (["--steps", "4", "--preset", "sharper"], 2, "known are paper, balanced, sharp"),
        (["--steps", "4", "--valid-lr-dir", "lr"], 2, "valid_lr_dirs belong to the images of valid"),
        (["--steps", "4", "--pairs", "left-hr", "--lr-dir", "lr"], 2, "pairs cannot be combined"),
        (["--minutes", "0"], 2, "minutes must be above 0"),
        (["--steps", "4", "--network", "edsr"], 2, "unknown network 'edsr'"),
        (["--steps", "4", "--optimizer", "sgd"], 2, "optimizer must be one of muon, adamw"),
        (["--steps", "4", "-o", "weights.pth"], 2, "must have the suffix .safetensors"),
        (["--steps", "4", "--degradation", "rain"], 2, "unknown degradation 'rain'"),
        (
            ["--steps", "4", "--scale", "1", "--degradation", "clean"],
            2,
            "leaves nothing to restore at scale 1",
        ),
        (["--steps", "4", "nowhere"], 1, "no folder 'nowhere'"),
        (["--steps", "4", "--from", "nothing.safetensors"], 2, "no weight file 'nothing.safetensors'"),
        (["--steps", "4", "--device", "abacus"], 2, "unknown device 'abacus'"),
        (["--steps", "4", "--lr-dir", "nowhere"], 1, "no folder 'nowhere'"),
        (["--steps", "4", "--lr-dir", "lr", "--degradation", "clean"], 2, "cannot be mixed"),
        (["--steps", "4", "--degradation", "given"], 2, "needs LR images"),
        (["--steps", "1", "--set", "steps.x=1"], 2, "steps = {'x': 1} is not an integer"),
        (["--steps", "4", "--seed", "18446744073709551616"], 2, "seed must be below"),
        (["--steps", "4", "--set", "gan.vgg_layers.conv9_9=1"], 2, "gan.vgg_layers has no layer conv9_9"),
    ],
)
def test_wrong_commands_give_one_line(configure: Configure, more: list[str], code: int, message: str) -> None:
    config = configure()
    result = CliRunner().invoke(app, arguments(config, *more))
    assert result.exit_code == code
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    assert not run_folder(config).exists()


@pytest.mark.parametrize("more", [["--steps", "many"], ["--wings", "2"]])
def test_unparsable_arguments_are_usage_errors(configure: Configure, more: list[str]) -> None:
    result = CliRunner().invoke(app, arguments(configure(), *more))
    assert result.exit_code == 2
    assert more[0] in result.stderr


def test_command_trains_and_says_where_to(configure: Configure) -> None:
    config = configure()
    earlier = signal.getsignal(signal.SIGINT)
    result = CliRunner().invoke(app, arguments(config, "--steps", "2"))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].startswith(f"ready: {config.output} (PSNR ")
    assert weight_file.load(Path(config.output)).scale == 2
    assert signal.getsignal(signal.SIGINT) is earlier


@pytest.mark.slow
def test_interrupt_saves_and_the_same_command_continues(configure: Configure) -> None:
    config = configure()
    program = "from upscaler.trainer.__main__ import train; train()"
    command = [sys.executable, "-c", program, *arguments(config, "--steps", "400")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "photographs to train on" in process.stdout.readline()
        time.sleep(0.3)  # some steps; the test holds for none as well
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, "")
    step = saved_state(config)["step"]
    assert step < 400
    assert output.splitlines()[-1] == f"stopped at step {step}; run the same command to resume"
    assert weight_file.load(Path(config.output)).training["steps"] == step
    shorter = [*command[:-1], str(step + 3)]
    done = subprocess.run(shorter, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert saved_state(config)["step"] == step + 3
    assert ("resuming at step" in done.stdout) == (step > 0)
    assert list(Path(config.output).parent.rglob("*.part*")) == []


def test_settings_file_and_single_settings(configure: Configure, tmp_path: Path) -> None:
    config = configure()
    file = tmp_path / "settings.toml"
    file.write_text(
        f'photos = {list(config.photos)}\nbatch = 2\nstages = "1"\nstart_from = "none"\nscale = 2\n'
    )
    options = ["-o", config.output, "--config", str(file), "--set", "phase2_share=0.0", "--set=patch_px=12"]
    more = ["--network=fast", "--steps=2", "--no-compile", "--device=cpu", "--threads=1"]
    result = CliRunner().invoke(app, [*options, *more])
    assert result.exit_code == 0, result.output
    settings = weight_file.load(Path(config.output)).training["settings"]
    assert (settings["batch"], settings["phase2_share"], settings["patch_px"]) == (2, 0.0, 12)


def test_choices_are_reported_before_training(configure: Configure) -> None:
    config = configure()
    result = CliRunner().invoke(app, ["nowhere", "-o", config.output, "--device=cpu", "--stages=1"])
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "network balanced, from the shipped weights 'balanced-photo'",
        "training for 60 minutes; change it with --minutes, --steps or --epochs",
    ]


def test_wrong_settings_in_a_file_give_one_line(configure: Configure, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[gan]\nlabelnoise = 0.1\n")
    result = CliRunner().invoke(app, arguments(configure(), "--steps=4", f"--config={file}", "--set", "x=1"))
    assert result.exit_code == 2
    assert "'gan.labelnoise' (did you mean 'gan.label_noise'?)" in result.stderr
    assert "unknown setting 'x'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_help_names_every_network_and_preset_and_options_are_settings() -> None:
    help_text = {each.name: each.help for each in options_of(TrainOptions)}
    assert re.findall(r"[\w-]+", help_text["network"].replace(" or ", " ")) == list(registry.PRESETS)
    assert set(re.findall(r"[\w-]+", help_text["preset"].replace(" or ", " "))) == set(PRESETS)
    settings = {field.name for field in dataclasses.fields(TrainConfig)} | {
        "preset",
        "vgg",
        "from_discriminator",
    }
    assert set(help_text) <= settings


def test_help_names_every_degradation_and_scale() -> None:
    help_text = {each.name: each.help for each in options_of(TrainOptions)}
    named = set(re.findall(r"[\w-]+", help_text["degradation"]))
    assert {"clean", "film", "video", "videoN", "jpegN", *degradations._DEGRADATIONS} <= named
    assert [int(number) for number in re.findall(r"\d", help_text["scale"])] == list(registry.SCALES)


def test_precision_is_an_option(configure: Configure) -> None:
    config = configure()
    result = CliRunner().invoke(app, arguments(config, "--steps=1", "--precision=fp32"))
    assert result.exit_code == 0, result.output
    assert weight_file.load(Path(config.output)).training["settings"]["precision"] == "fp32"


def test_a_model_of_another_project_cannot_be_trained_on(configure: Configure, tmp_path: Path) -> None:
    foreign = save_pth(tmp_path / "realesrgan.pth", "RRDB")
    config = configure()
    for more in ([], ["--network=fast", "--scale=2"]):
        arguments_ = [*config.photos, "-o", config.output, "--steps=1", f"--from={foreign}", *more]
        result = CliRunner().invoke(app, arguments_)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: '{foreign}' is a ESRGAN model, which upscale-train cannot")
        assert len(result.stderr.splitlines()) == 1
