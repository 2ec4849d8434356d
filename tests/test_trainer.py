import csv
import dataclasses
import itertools
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakePhotos, photograph
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from upscaler.errors import TrainingError, UsageError, WeightsError
from upscaler.models import checkpoint
from upscaler.models.perceptual import VGGFeatures
from upscaler.models.registry import PRESETS, build
from upscaler.trainer import losses, state, validation
from upscaler.trainer.cli import app
from upscaler.trainer.config import TrainConfig
from upscaler.trainer.data import Pair, load_photos
from upscaler.trainer.loops import train
from upscaler.trainer.work import Report, rate_factor

Configure = Callable[..., TrainConfig]


@pytest.fixture
def configure(tmp_path: Path, make_photos: MakePhotos) -> Configure:
    """Maker of settings for a short run; keyword arguments replace settings."""
    make_photos(tmp_path / "photos", 4)

    def make(name: str = "weights", **settings: Any) -> TrainConfig:  # noqa: ANN401 - settings of any type
        known: dict[str, Any] = {
            "photos": (str(tmp_path / "photos"),),
            "output": str(tmp_path / f"{name}.safetensors"),
            "network": "fast",
            "scale": 2,
            "batch": 4,
            "patch_px": 12,
            "late_batch": 3,
            "late_patch_px": 16,
            "warmup_steps": 4,
            "device": "cpu",
            "threads": 1,
            "compiled": False,
        }
        if "minutes" not in settings:
            known["steps"] = 8
        return TrainConfig(**known | settings)

    return make


def silent(_report: Report) -> None:
    """For runs whose reports do not matter."""


def stop_after(steps: int) -> Callable[[], bool]:
    """A question that is answered with yes after so many steps; it is asked before each step."""
    asked = iter(range(steps + 1))
    return lambda: next(asked) >= steps


def run_folder(config: TrainConfig) -> Path:
    return Path(config.output).with_suffix(".run")


def saved_state(config: TrainConfig) -> dict[str, Any]:
    return state.load(run_folder(config) / "state.pt")


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


# Learning


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_training_improves_on_the_start(configure: Configure, optimizer: str) -> None:
    config = configure(steps=80, optimizer=optimizer, warmup_steps=10, learning_rate=None)
    reports: list[Report] = []
    outcome = train(config, reports.append)
    pairs = load_photos(config.photos, 2, 16).held_out
    before = validation.validate(build("compact", PRESETS["fast"][1] | {"scale": 2}), pairs).psnr_db
    assert outcome.finished
    assert outcome.steps == 80
    assert outcome.psnr_db > before + 0.5
    written = checkpoint.load(outcome.weights[-1])
    # What is reported is what the file does: the averaged weights, rounded to fp16.
    assert validation.validate(written.network(), pairs).psnr_db == pytest.approx(outcome.psnr_db, abs=1e-3)
    assert written.training["steps"] == 80
    assert written.training["settings"]["photos"] == ["photos"]  # no folders of this machine
    assert reports[-1].scores is not None
    assert reports[-1].scores.psnr_db == outcome.psnr_db
    assert reports[-1].share == 1
    assert any("3 photographs to train on, 1 held out" in (report.message or "") for report in reports)


def test_a_run_leaves_a_table_and_pictures(configure: Configure) -> None:
    config = configure(steps=3)
    outcome = train(config, silent)
    (row,) = table(config)
    assert (row["step"], row["stage"], row["share"]) == ("3", "1", "1")
    assert float(row["held_out_psnr_db"]) == pytest.approx(outcome.psnr_db, rel=1e-5)
    assert 0 < float(row["pixel"]) < float(row["fft"])
    assert 0 <= float(row["data_wait"]) <= 1
    assert row["vgg"] == ""
    assert len(list((run_folder(config) / "samples").iterdir())) == 1
    assert (run_folder(config) / "samples" / "step_000003.png").stat().st_size > 10_000
    with Image.open(run_folder(config) / "progress.png") as picture:
        assert picture.width == 900
    with Image.open(run_folder(config) / "samples.png") as picture:
        assert picture.size == (4 * 192, 192)
        assert np.asarray(picture).std() > 10


def test_minutes_end_a_run(configure: Configure) -> None:
    outcome = train(configure(minutes=0.01), silent)
    assert outcome.finished
    assert outcome.steps >= 1


def test_checkpoints_come_during_the_run(configure: Configure) -> None:
    config = configure(steps=4, checkpoint_every_s=1e-9)
    train(config, silent)
    assert [row["step"] for row in table(config)] == ["0", "1", "2", "3", "4"]


def test_a_blank_photograph_does_not_hide_the_others(configure: Configure) -> None:
    blank = Pair("b", torch.zeros(20, 20, 3, dtype=torch.uint8), torch.zeros(40, 40, 3, dtype=torch.uint8))
    low = torch.randint(256, (20, 20, 3), dtype=torch.uint8)
    other = Pair("o", low, torch.randint(256, (40, 40, 3), dtype=torch.uint8))
    network = build("compact", {"scale": 2, "channels": 4, "depth": 1})

    def psnr_db(*pairs: Pair) -> float:
        return validation.validate(network, list(pairs)).psnr_db

    assert psnr_db(blank) == 100
    assert psnr_db(blank, other) == (100 + psnr_db(other)) / 2


def test_rate_rises_then_falls_to_zero() -> None:
    rates = [rate_factor(step, step / 1000, 100) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1, abs=0.03)
    assert 90 < rates.index(max(rates)) < 110
    assert rates[1000] == 0
    assert rates[550] == pytest.approx(0.42, abs=0.01)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[110:]))
    assert rate_factor(0, 0, 0) == 1


def test_averaged_weights_follow_weights_buffers_and_counters() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
    convolution = network.get_parameter("0.weight")
    nn.init.constant_(convolution, 0)
    average = state.AveragedWeights(network, 0.7)
    wanted = 0.0
    for step in range(40):
        nn.init.constant_(convolution, float(step % 7))
        network(torch.full((2, 1, 2, 2), 3.0))
        average.follow(network, step)
        decay = min(0.7, (1 + step) / (10 + step))  # the first 20 steps forget faster
        wanted = decay * wanted + (1 - decay) * (step % 7)
        assert float(average.values["0.weight"]) == pytest.approx(wanted, rel=1e-4)
    assert int(average.values["1.num_batches_tracked"]) == 40
    assert float(average.values["1.running_mean"]) > 1


def test_training_at_scale_1_restores_what_jpeg_took(configure: Configure) -> None:
    config = configure(steps=60, scale=1, degradation="jpeg15", warmup_steps=10, patch_px=24)
    outcome = train(config, silent)
    pairs = load_photos(config.photos, 1, 16, degradation="jpeg15").held_out
    before = validation.validate(build("compact", PRESETS["fast"][1] | {"scale": 1}), pairs).psnr_db
    assert outcome.psnr_db > before + 0.3
    written = checkpoint.load(outcome.weights[-1])
    assert written.scale == 1
    assert written.training["degradation"] == "jpeg15"


def test_a_page_shows_what_the_network_is_given(configure: Configure) -> None:
    for scale, degradation, columns in ((1, "jpeg5", 8), (2, "clean", 2), (4, "video", 4)):
        config = configure(degradation, steps=1, scale=scale, degradation=degradation, show_degraded=True)
        said = messages(config)
        page = run_folder(config) / "degraded.png"
        assert f"what LR pictures look like: {page}" in said
        with Image.open(page) as picture:
            side = 112 // scale * scale
            assert picture.size == (columns * side, 3 * side)
            pixels = np.asarray(picture).astype(int)
        original, first = pixels[:side, :side], pixels[:side, side : 2 * side]
        assert 1 < np.abs(original - first).mean() < 40


def test_what_is_left_out_is_listed_and_crops_fit(configure: Configure) -> None:
    config = configure(steps=1, patch_px=40, late_patch_px=500)
    (Path(config.photos[0]) / "broken.png").write_text("no picture")
    said = messages(config)
    assert "crops have at most 56 LR pixels a side: too few photographs hold 500" in said  # 112 x 128 pixels
    listing = run_folder(config) / "left-out.txt"
    assert f"what is left out, and why: {listing}" in said
    (line,) = listing.read_text().splitlines()
    assert line.startswith("broken.png: ")


def test_training_from_given_low_versions(configure: Configure, tmp_path: Path) -> None:
    """Of which all are black: the network learns to make them brighter, or it was given others."""
    low = tmp_path / "low"
    low.mkdir()
    for index in range(4):
        Image.new("RGB", (64, 56)).save(low / f"photo{index:02}x2.png")
    config = configure(steps=30, low_folders=(str(low),), warmup_steps=4)
    outcome = train(config, silent)
    made = validation.run_network(checkpoint.load(outcome.weights[-1]).network(), torch.zeros(8, 8, 3).byte())
    assert made.mean() > 10
    written = checkpoint.load(outcome.weights[-1]).training
    assert written["degradation"] == "given"
    assert written["settings"]["low_folders"] == ["low"]
    result = CliRunner().invoke(app, arguments(config, "--steps", "30", "--lr", str(low), "--warmup", "4"))
    assert result.exit_code == 0, result.output  # the same run, which is finished


def test_reports_tell_how_long_training_waits_for_crops(configure: Configure) -> None:
    reports: list[Report] = []
    train(configure(steps=3, checkpoint_every_s=1e-9), reports.append)
    shares = [report.means["data_wait"] for report in reports if report.means]
    assert len(shares) == 3
    assert all(0 < share < 1 for share in shares)


# Going on


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "adamw"},
        {"network": "srresnet", "batch": 1, "patch_px": 8, "late_batch": 1, "late_patch_px": 12},
    ],
    ids=["muon", "adamw", "srresnet"],
)
def test_a_continued_run_equals_a_straight_one_bit_for_bit(
    configure: Configure, settings: dict[str, Any]
) -> None:
    """Stopped twice, once before and once after the crops become larger."""
    straight, split = configure("straight", late_share=0.5, **settings), configure(late_share=0.5, **settings)
    train(straight, silent)
    for stop in (stop_after(3), stop_after(2)):
        torch.manual_seed(12345)  # another process would not have this one's generators
        assert not train(split, silent, stop).finished
    assert saved_state(split)["step"] == 5
    reports: list[Report] = []
    assert train(split, reports.append).finished
    assert reports[0].message == "going on from step 5"
    one, other = saved_state(straight), saved_state(split)
    for saved in (one, other):
        del saved["config"], saved["elapsed_s"]
    assert one["step"] == 8
    assert_equal(one, other)
    assert_equal(checkpoint.load(Path(straight.output)).state, checkpoint.load(Path(split.output)).state)


def test_the_run_does_move_the_weights(configure: Configure) -> None:
    """Else equality above would be cheap."""
    config = configure()
    train(config, silent, stop_after(3))
    early = saved_state(config)
    train(config, silent)
    late = saved_state(config)
    for part in ("network", "average"):
        assert all(not torch.equal(tensor, late[part][name]) for name, tensor in early[part].items())


def test_a_finished_run_stays_as_it_is(configure: Configure) -> None:
    config = configure()
    first = train(config, silent)
    before = Path(config.output).read_bytes()
    reports: list[Report] = []
    assert train(config, reports.append) == dataclasses.replace(
        first, psnr_db=pytest.approx(first.psnr_db, abs=1e-3)
    )
    (report,) = reports
    assert report.message is not None
    assert report.message.startswith("finished at step 8 already")
    assert Path(config.output).read_bytes() == before


def test_other_settings_are_refused(configure: Configure) -> None:
    config = configure()
    train(config, silent, stop_after(2))
    before = (run_folder(config) / "state.pt").read_bytes()
    with pytest.raises(UsageError, match=r"other settings \(batch, seed\).*--restart"):
        train(dataclasses.replace(config, batch=5, seed=3), silent)
    assert (run_folder(config) / "state.pt").read_bytes() == before


def test_states_from_before_degradations_were_clean(configure: Configure) -> None:
    config = configure(degradation="clean")
    train(config, silent, stop_after(2))
    saved = saved_state(config)
    del saved["config"]["degradation"]
    state.save(run_folder(config) / "state.pt", saved)
    with pytest.raises(UsageError, match=r"other settings \(degradation\)"):
        train(dataclasses.replace(config, degradation="photo"), silent)
    assert train(config, silent).finished


def test_length_and_speed_may_change(configure: Configure) -> None:
    config = configure()
    train(config, silent, stop_after(2))
    longer = dataclasses.replace(config, steps=10, checkpoint_every_s=99)
    assert train(longer, silent).steps == 10


def test_restart_forgets_the_earlier_run(configure: Configure) -> None:
    config, fresh = configure(), configure("fresh", seed=1)
    train(config, silent)
    again = dataclasses.replace(config, seed=1)
    train(again, silent, restart=True)
    train(fresh, silent)
    assert_equal(checkpoint.load(Path(fresh.output)).state, checkpoint.load(Path(again.output)).state)
    assert len(table(config)) == 1


def test_restart_with_a_misspelt_folder_forgets_nothing(configure: Configure) -> None:
    config = configure()
    train(config, silent, stop_after(2))
    with pytest.raises(TrainingError, match="no folder"):
        train(dataclasses.replace(config, photos=("photso",)), silent, restart=True)
    assert saved_state(config)["step"] == 2


def test_from_weights_of_another_scale(configure: Configure) -> None:
    source = configure("source")
    train(source, silent)
    config = configure(scale=4, start_from=source.output)
    outcome = train(config, silent, stop_after(0))
    trained, started = checkpoint.load(Path(source.output)).state, checkpoint.load(outcome.weights[-1]).state
    assert not started["tail.weight"].any()
    body = [name for name in trained if not name.startswith("tail.")]
    assert body
    assert all(torch.equal(trained[name], started[name]) for name in body)
    # Going on needs the state alone.
    Path(source.output).unlink()
    assert train(config, silent).finished


def test_from_weights_of_another_network_is_refused(configure: Configure) -> None:
    source = configure("source")
    train(source, silent, stop_after(0))
    config = configure(network="balanced", start_from=source.output)
    with pytest.raises(WeightsError, match="another width"):
        train(config, silent)
    assert not run_folder(config).exists()


# Trouble


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"not a state",
        lambda content: content[: len(content) // 2],
        lambda content: content[:20_000] + bytes([content[20_000] ^ 1]) + content[20_001:],
    ],
    ids=["empty", "text", "truncated", "one bit"],
)
def test_damaged_state(configure: Configure, damage: Callable[[bytes], bytes]) -> None:
    config = configure()
    train(config, silent, stop_after(1))
    path = run_folder(config) / "state.pt"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TrainingError, match=r"state '.*' is damaged.*--restart"):
        train(config, silent)


def test_state_of_another_shape(configure: Configure) -> None:
    config = configure()
    train(config, silent, stop_after(1))
    saved = saved_state(config)
    saved["network"]["head.weight"] = torch.zeros(16, 3, 3, 3)
    state.save(run_folder(config) / "state.pt", saved)
    with pytest.raises(TrainingError, match="not of this network and optimizer: size mismatch for head"):
        train(config, silent)


@pytest.mark.parametrize("missing", ["config", "network", "optimizer", "average", "crops", "step"])
def test_state_without_a_part(configure: Configure, missing: str) -> None:
    config = configure()
    train(config, silent, stop_after(1))
    saved = saved_state(config)
    del saved[missing]
    state.save(run_folder(config) / "state.pt", saved)
    with pytest.raises(TrainingError, match=f"not of this network and optimizer: '{missing}'"):
        train(config, silent)


def test_full_disk_keeps_the_old_state(tmp_path: Path) -> None:
    """The limit on the size of files acts like a full disk: the write begins and then fails."""
    path = tmp_path / "state.pt"
    state.save(path, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match="cannot write"):
            state.save(path, {"step": 2, "network": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert state.load(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_ends_a_run_with_its_last_state(configure: Configure) -> None:
    config = configure()
    train(config, silent, stop_after(2))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match="cannot write"):
            train(config, silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved_state(config)["step"] == 2
    assert train(config, silent).finished


def test_divergence_names_the_step_and_writes_no_weights(configure: Configure) -> None:
    config = configure(learning_rate=1e30, warmup_steps=0)
    with pytest.raises(TrainingError, match=r"no longer finite at step [1-8]\b.*smaller --learning-rate"):
        train(config, silent)
    assert not Path(config.output).exists()
    assert saved_state(config)["step"] == 0


def broken_loss(made: Tensor, wanted: Tensor) -> Tensor:
    return (made - wanted).abs().mean() * float("nan")


def broken_gradient(made: Tensor, wanted: Tensor) -> Tensor:
    """Finite itself, but the derivative of a root at 0 times 0 is not a number."""
    return (made - wanted).abs().mean() + (made * 0).sqrt().sum()


BROKEN = pytest.mark.parametrize(
    ("broken", "message"),
    [
        (broken_loss, "'pixel' is no longer finite at step 5"),
        (broken_gradient, "'gradient_norm' is no longer finite at step 5"),
    ],
)


@BROKEN
def test_trouble_goes_back_to_the_last_good_state_once(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[Tensor, Tensor], Tensor],
    message: str,
) -> None:
    config = configure(steps=7)
    train(config, silent, stop_after(2))
    good, calls = losses.absolute_loss, iter(range(99))
    monkeypatch.setitem(
        losses.PIXEL_LOSSES, "l1", lambda made, wanted: (broken if next(calls) == 2 else good)(made, wanted)
    )
    said = messages(config)
    assert [line for line in said if "back to" in line] == [
        f"{message}: back to step 2, with half the learning rate"
    ]
    state = saved_state(config)
    assert (state["step"], state["rate_scale"]) == (7, 0.5)
    assert all(tensor.isfinite().all() for tensor in state["network"].values())


@BROKEN
def test_trouble_never_replaces_the_last_good_state(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[Tensor, Tensor], Tensor],
    message: str,
) -> None:
    config = configure(steps=5)
    train(config, silent, stop_after(2))
    files = [run_folder(config) / "state.pt", Path(config.output)]
    before = [path.read_bytes() for path in files]
    good, calls = losses.absolute_loss, iter(range(99))
    monkeypatch.setitem(
        losses.PIXEL_LOSSES,
        "l1",
        lambda made, wanted: (broken if next(calls) % 3 == 2 else good)(made, wanted),
    )
    with pytest.raises(TrainingError, match=message):
        train(config, silent)
    assert [path.read_bytes() for path in files] == before


def test_output_that_is_a_folder(configure: Configure) -> None:
    config = configure()
    Path(config.output).mkdir()
    with pytest.raises(TrainingError, match="is a folder"):
        train(config, silent)


def test_run_folder_that_is_a_file(configure: Configure) -> None:
    config = configure()
    run_folder(config).write_text("in the way")
    with pytest.raises(TrainingError, match=r"cannot write '.*weights\.run': File exists"):
        train(config, silent)


# Settings and command line


def test_all_wrong_settings_are_named_at_once(configure: Configure) -> None:
    with pytest.raises(UsageError) as caught:
        configure(
            output="weights.pth",
            network="edsr",
            scale=5,
            steps=0,
            batch=0,
            patch_px=2,
            optimizer="sgd",
            late_share=2,
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
        "late_share",
        "ema_decay",
        "learning_rate must be above 0",
        "fft_weight must not be negative",
        "warmup_steps must not be negative",
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


def test_default_rates_are_the_network_s_own(configure: Configure) -> None:
    assert configure().matrix_step() == (0.02, 0.0)
    assert configure(network="srresnet").matrix_step() == (0.01, 0.1)
    assert configure(optimizer="adamw").matrix_step() == (1e-3, 0.0)
    assert configure(learning_rate=0.5, weight_decay=0.25).matrix_step() == (0.5, 0.25)


def arguments(config: TrainConfig, *more: str) -> list[str]:
    text = f"-o {config.output} --network fast --scale 2 --batch 4 --patch 12 --late-batch 3 --late-patch 16"
    text += " --from none --stages 1"
    return [*config.photos, *text.split(), "--device=cpu", "--threads=1", "--no-compile", *more]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--scale", "5", "--steps", "4"], 2, "scale must be one of"),
        (["--steps", "3", "--minutes", "1"], 2, "give either minutes or steps"),
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
        (["--steps", "4", "--from", "nothing.safetensors"], 1, "no weight file 'nothing.safetensors'"),
        (["--steps", "4", "--device", "abacus"], 1, "unknown device 'abacus'"),
        (["--steps", "4", "--lr", "nowhere"], 1, "no folder 'nowhere'"),
        (["--steps", "4", "--lr", "lr", "--degradation", "photo"], 2, "exclude all others"),
        (["--steps", "4", "--degradation", "given"], 2, "exclude all others"),
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
def test_what_cannot_be_parsed_is_a_usage_error(configure: Configure, more: list[str]) -> None:
    result = CliRunner().invoke(app, arguments(configure(), *more))
    assert result.exit_code == 2
    assert more[0] in result.stderr


def test_command_trains_and_says_where_to(configure: Configure) -> None:
    config = configure()
    earlier = signal.getsignal(signal.SIGINT)
    result = CliRunner().invoke(app, arguments(config, "--steps", "2"))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].startswith(f"wrote {config.output} (held-out PSNR ")
    assert checkpoint.load(Path(config.output)).scale == 2
    assert signal.getsignal(signal.SIGINT) is earlier


def test_interrupt_saves_and_the_same_command_goes_on(configure: Configure) -> None:
    config = configure()
    program = "from upscaler.trainer.cli import main; main()"
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
    assert output.splitlines()[-1] == f"stopped at step {step}; the same command goes on from there"
    assert checkpoint.load(Path(config.output)).training["steps"] == step
    shorter = [*command[:-1], str(step + 3)]
    done = subprocess.run(shorter, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert saved_state(config)["step"] == step + 3
    assert ("going on from step" in done.stdout) == (step > 0)
    assert list(Path(config.output).parent.rglob("*.part*")) == []


def messages(config: TrainConfig) -> list[str]:
    said: list[str] = []
    train(config, lambda report: said.append(report.message) if report.message else None)
    return said


def test_without_a_compiler_training_runs_uncompiled_and_says_so_once(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upscaler.device.has_compiler", lambda: False)
    said = messages(configure(steps=2, compiled=True))
    assert sum("no C++ compiler" in line for line in said) == 1


def test_a_compile_that_fails_falls_back_and_changes_nothing(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(network: torch.nn.Module, **_: object) -> Callable[[torch.Tensor], torch.Tensor]:
        def call(low: torch.Tensor) -> torch.Tensor:
            network(low)  # as far as moving the statistics of batch norm
            raise RuntimeError("planted: no headers\nand more lines")

        return call

    plain = configure("plain", steps=2, network="srresnet-paper", compiled=False)
    fallen = configure("fallen", steps=2, network="srresnet-paper", compiled=True)
    messages(plain)
    monkeypatch.setattr("upscaler.device.has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", broken)
    said = messages(fallen)
    assert [line for line in said if "compiling failed" in line and "planted: no headers)" in line]
    wanted, made = saved_state(plain)["network"], saved_state(fallen)["network"]
    assert all(torch.equal(wanted[name], made[name]) for name in wanted)


def test_other_photographs_are_refused_on_resume(configure: Configure, make_photos: MakePhotos) -> None:
    config = configure(steps=4)
    train(config, lambda _: None, should_stop=lambda: True)
    make_photos(Path(config.photos[0]), 6)
    with pytest.raises(UsageError, match="photographs are not those"):
        train(config, lambda _: None)
    assert train(config, lambda _: None, restart=True).finished


def test_settings_file_and_single_settings(configure: Configure, tmp_path: Path) -> None:
    config = configure()
    file = tmp_path / "settings.toml"
    file.write_text(
        f'photos = {list(config.photos)}\nbatch = 2\nstages = "1"\nstart_from = "none"\nscale = 2\n'
    )
    options = ["-o", config.output, "--config", str(file), "--set", "late_share=0.0", "--set=patch_px=12"]
    more = ["--network=fast", "--steps=2", "--no-compile", "--device=cpu", "--threads=1"]
    result = CliRunner().invoke(app, [*options, *more])
    assert result.exit_code == 0, result.output
    settings = checkpoint.load(Path(config.output)).training["settings"]
    assert (settings["batch"], settings["late_share"], settings["patch_px"]) == (2, 0.0, 12)


def test_what_was_chosen_is_said_before_it_starts(configure: Configure) -> None:
    config = configure()
    result = CliRunner().invoke(app, ["nowhere", "-o", config.output, "--device=cpu", "--stages=1"])
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "network balanced, from the shipped weights 'balanced'",
        "takes 60 minutes; --minutes or --steps choose otherwise",
    ]


def test_wrong_settings_in_a_file_give_one_line(configure: Configure, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[gan]\nlabelnoise = 0.1\n")
    result = CliRunner().invoke(app, arguments(configure(), "--steps=4", f"--config={file}", "--set", "x=1"))
    assert result.exit_code == 2
    assert "'gan.labelnoise' (did you mean 'gan.label_noise'?)" in result.stderr
    assert "unknown setting 'x'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_process_that_was_asleep_has_not_trained(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step takes ten hours by the clock; of a run of three hours that is not the end."""
    seconds, asleep = iter(range(10**9)), iter([0.0] * 40 + [36_000.0] * 10**6)
    monkeypatch.setattr("upscaler.trainer.loops.time.monotonic", lambda: next(seconds) + next(asleep))
    reports: list[Report] = []
    outcome = train(configure(minutes=180.0), reports.append, stop_after(20))
    assert not outcome.finished
    assert 0 < reports[-1].elapsed_s < 1000


# What a validation tells


def noisy(picture: Tensor, sigma: float) -> Tensor:
    return (picture.float() + sigma * torch.randn(picture.shape)).round().clamp(0, 255).to(torch.uint8)


class Fixed(nn.Module):
    """A network that answers with one picture."""

    def __init__(self, picture: Tensor) -> None:
        super().__init__()
        self.contract = build("compact", {"scale": 1, "channels": 4, "depth": 1}).contract
        self.picture = nn.Parameter(picture.permute(2, 0, 1).unsqueeze(0).float() / 255)

    def forward(self, low: Tensor) -> Tensor:
        return self.picture


def test_unlikeness_is_zero_for_equals_and_grows_with_the_difference() -> None:
    state = {}
    for number, (after, before) in zip((0, 2), ((64, 3), (64, 64)), strict=True):
        state[f"features.{number}.weight"] = torch.randn(after, before, 3, 3) * (2 / (9 * before)) ** 0.5
        state[f"features.{number}.bias"] = torch.zeros(after)
    vgg = VGGFeatures(["conv1_1", "conv1_2"], state, after_activation=False, factor=None)
    picture = torch.from_numpy(photograph(300, 280))
    pair = Pair("p", picture, picture)
    scores = [
        validation.validate(Fixed(noisy(picture, sigma)), [pair], vgg)  # type: ignore[arg-type]
        for sigma in (0.0, 5.0, 20.0)
    ]
    assert scores[0].unlikeness == pytest.approx(0, abs=1e-6)
    assert scores[1].unlikeness < scores[2].unlikeness  # type: ignore[operator]
    assert scores[0].psnr_db == 100
    assert scores[0].columns().keys() == {"held_out_psnr_db", "held_out_unlikeness", "color_drift"}


def test_color_drift_is_the_largest_shift_of_a_channel() -> None:
    picture = torch.full((40, 40, 3), 100, dtype=torch.uint8)
    shifted = picture + torch.tensor([0, 3, 1], dtype=torch.uint8)
    scores = validation.validate(Fixed(shifted), [Pair("p", picture, picture)])  # type: ignore[arg-type]
    assert scores.color_drift == pytest.approx(3)
    assert scores.unlikeness is None


def test_samples_show_lr_bicubic_network_and_original(tmp_path: Path) -> None:
    high = torch.from_numpy(photograph(200, 208))
    low = high[::2, ::2].contiguous()
    network = build("compact", {"scale": 2, "channels": 4, "depth": 1})
    paths = [tmp_path / "samples.png", tmp_path / "deep" / "step.png"]
    validation.write_samples(paths, network, [Pair("p", low, high)] * 5)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (4 * 192, 4 * 192, 3)
    assert np.array_equal(pixels[:192, 3 * 192 :], high[4:196, 8:200].numpy())
    assert np.array_equal(pixels[:192:2, :192:2], low[2:98, 4:100].numpy())
