"""A run of training: what it learns, says and leaves."""

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.command import printed
from support.makers import Configure, Ship
from support.training import arguments, messages, run_folder, saved_state, silent, stop_after, table
from torch import nn
from typer.testing import CliRunner

from upscaler import process_settings
from upscaler.errors import WeightsError
from upscaler.inference import devices
from upscaler.models import shipped, weight_file
from upscaler.models.registry import PRESETS, build
from upscaler.trainer.cli import app
from upscaler.trainer.data.photos import load_photos
from upscaler.trainer.loops import train
from upscaler.trainer.run import validation
from upscaler.trainer.run.report import TrainingReport
from upscaler.trainer.stages.ema import Ema
from upscaler.trainer.stages.forward import fast_forward
from upscaler.trainer.stages.optimizer import rate_factor


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_training_improves_on_the_start(configure: Configure, optimizer: str) -> None:
    config = configure(
        steps=80, optimizer=optimizer, warmup_steps=10, learning_rate=None, degradation="clean"
    )
    reports: list[TrainingReport] = []
    outcome = train(config, reports.append)
    pairs = load_photos(config.photos, 2, 16).held_out
    before = validation.validate(build("compact", PRESETS["fast"][1] | {"scale": 2}), pairs).psnr_db
    assert outcome.finished
    assert outcome.steps == 80
    assert outcome.psnr_db > before + 0.5
    written = weight_file.load(outcome.weights[-1])
    # What is reported is what the file does: the averaged weights, rounded to fp16.
    assert validation.validate(written.network(), pairs).psnr_db == pytest.approx(outcome.psnr_db, abs=1e-3)
    assert written.training["steps"] == 80
    assert written.training["settings"]["photos"] == ["photos"]  # no folders of this machine
    scores = [report.scores for report in reports if report.scores is not None]
    assert [scores[0].psnr_db, scores[-1].psnr_db] == pytest.approx([before, outcome.psnr_db], abs=1e-3)
    assert reports[-1].progress == 1
    said = [report.message for report in reports if report.message]
    ending = next(line for line in said if line.startswith("stage 1:"))
    numbers = re.findall(r"[\d.]+(?= dB)|(?<=started at )[\d.]+|(?<=best )[\d.]+", ending)
    bicubic = validation.bicubic_scores(pairs, 2).psnr_db
    expected = [outcome.psnr_db, bicubic, before, outcome.psnr_db]
    assert [float(number) for number in numbers] == pytest.approx(expected, abs=0.006)
    assert ending.endswith(f"in {config.output}), 80 steps")
    assert any(
        "3 photographs to train on, 1 held out for validation" in (report.message or "") for report in reports
    )


def test_named_weights_of_another_depth_are_passed_over(configure: Configure, ship: Ship) -> None:
    ship("fast", 3, channels=32, depth=10)  # the nearest scale
    ship("fast", 4, channels=32, depth=5)
    outcome = train(configure(start_from="fast", steps=1, learning_rate=1e-9), silent)
    initial, output = (
        weight_file.load(path) for path in (shipped.weight_files("fast")[4], outcome.weights[0])
    )
    assert torch.equal(output.state["body.0.weight"], initial.state["body.0.weight"])
    with pytest.raises(WeightsError, match="another width, depth"):
        train(configure("deeper", start_from="fast-x3", steps=1), silent)


def test_a_run_leaves_a_table_and_pictures(configure: Configure) -> None:
    config = configure(steps=3)
    outcome = train(config, silent)
    first, row = table(config)
    assert first["step"] == "0"
    pairs = load_photos(config.photos, 2, 16, degradation="photo").held_out
    bicubic = validation.bicubic_scores(pairs, 2)
    assert float(first["bicubic_psnr_db"]) == pytest.approx(bicubic.psnr_db, rel=1e-5)
    assert (float(row["epoch"]), row["bicubic_psnr_db"]) == (4, "")
    assert (row["step"], row["stage"], row["progress"]) == ("3", "1", "1")
    assert float(row["psnr_db"]) == pytest.approx(outcome.psnr_db, rel=1e-5)
    assert 0 < float(row["pixel"]) < float(row["fft"])
    assert 0 <= float(row["data_wait"]) <= 1
    assert row["vgg"] == ""
    assert len(list((run_folder(config) / "samples").iterdir())) == 2
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


def test_rate_rises_then_falls_to_zero() -> None:
    rates = [rate_factor(step, step / 1000, warmup_steps=100) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1, abs=0.03)
    assert 90 < rates.index(max(rates)) < 110
    assert rates[1000] == 0
    assert rates[550] == pytest.approx(0.42, abs=0.01)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[110:]))
    assert rate_factor(0, 0, warmup_steps=0) == 1


def test_averaged_weights_follow_weights_buffers_and_counters() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
    convolution = network.get_parameter("0.weight")
    nn.init.constant_(convolution, 0)
    average = Ema(network, 0.7)
    expected = 0.0
    for step in range(40):
        nn.init.constant_(convolution, float(step % 7))
        network(torch.full((2, 1, 2, 2), 3.0))
        average.update(network, step)
        decay = min(0.7, (1 + step) / (10 + step))  # the first 20 steps forget faster
        expected = decay * expected + (1 - decay) * (step % 7)
        assert float(average.values["0.weight"]) == pytest.approx(expected, rel=1e-4)
    assert int(average.values["1.num_batches_tracked"]) == 40
    assert float(average.values["1.running_mean"]) > 1


def test_training_at_scale_1_removes_jpeg_artifacts(configure: Configure) -> None:
    config = configure(steps=60, scale=1, degradation="jpeg15", warmup_steps=10, patch_px=24)
    outcome = train(config, silent)
    pairs = load_photos(config.photos, 1, 16, degradation="jpeg15").held_out
    before = validation.validate(build("compact", PRESETS["fast"][1] | {"scale": 1}), pairs).psnr_db
    assert outcome.psnr_db > before + 0.3
    written = weight_file.load(outcome.weights[-1])
    assert written.scale == 1
    assert written.training["degradation"] == "jpeg15"


def test_a_page_shows_what_the_network_is_given(configure: Configure) -> None:
    for scale, degradation, columns in ((1, "jpeg5", 8), (2, "clean", 2), (4, "video", 4)):
        config = configure(degradation, steps=1, scale=scale, degradation=degradation, show_degraded=True)
        said = messages(config)
        page = run_folder(config) / "degraded.png"
        assert f"examples of LR images: {page}" in said
        with Image.open(page) as picture:
            side = 112 // scale * scale
            assert picture.size == (columns * side, 3 * side)
            pixels = np.asarray(picture).astype(int)
        original, first = pixels[:side, :side], pixels[:side, side : 2 * side]
        assert 1 < np.abs(original - first).mean() < 40


def test_the_page_shows_given_lr_versions(configure: Configure, tmp_path: Path) -> None:
    make_marked(tmp_path, [10 * index for index in range(4)])
    config = configure(steps=1, lr_dirs=(str(tmp_path / "lr"),), show_degraded=True)
    train(config, silent)
    with Image.open(run_folder(config) / "degraded.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (3 * 112, 2 * 112, 3)
    assert [set(row[:, 112:, 2].flatten().tolist()) for row in np.split(pixels, 3)] == [{0}, {10}, {20}]


def make_marked(folder: Path, blues: list[int]) -> None:
    """LR versions of the photographs of ``configure`` in ``lr``, each with one level of blue."""
    (folder / "lr").mkdir()
    for index, blue in enumerate(blues):
        with Image.open(folder / "photos" / f"photo{index:02}.png") as photo:
            pixels = np.array(photo.reduce(2))
        pixels[..., 2] = blue
        Image.fromarray(pixels).save(folder / "lr" / f"photo{index:02}x2.png")


def test_names_that_are_no_utf_8_stop_nothing(configure: Configure, tmp_path: Path) -> None:
    """In what is read, written and printed."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    config = configure(photos=(str(folder),))
    (tmp_path / "photos").rename(folder)
    (folder / os.fsdecode(b"bad\xe9.png")).touch()
    (folder / "photo03.png").rename(folder / os.fsdecode(b"photo03\xe9.png"))  # is held out
    code, output, said = printed(app, *arguments(config, "--steps", "2"))
    assert code == 0, said
    assert "1 file left out: bad\\udce9.png" in output
    assert "bad\\udce9.png" in (run_folder(config) / "left-out.txt").read_text(encoding="utf-8")
    assert '/caf\\udce9"]' in (run_folder(config) / "config.toml").read_text(encoding="utf-8")
    assert "caf\\udce9" in Path(config.output).with_suffix(".md").read_text(encoding="utf-8")
    assert weight_file.load(Path(config.output)).training["settings"]["photos"] == [folder.name]


def test_what_is_left_out_is_listed_and_crops_fit(configure: Configure) -> None:
    config = configure(steps=1, patch_px=40, phase2_patch_px=500)
    (Path(config.photos[0]) / "broken.png").write_text("no picture")
    said = messages(config)
    assert "crops are at most 56 LR pixels wide: too few photographs hold 500" in said  # 112 x 128 pixels
    listing = run_folder(config) / "left-out.txt"
    assert f"files left out, with reasons: {listing}" in said
    (line,) = listing.read_text().splitlines()
    assert line.startswith("broken.png: ")


def test_training_from_given_lr_versions(configure: Configure, tmp_path: Path) -> None:
    """Of which none has blue: the network learns to add it, or it was given others."""
    lr = tmp_path / "lr"
    make_marked(tmp_path, [0] * 4)
    config = configure(steps=30, lr_dirs=(str(lr),), warmup_steps=4)
    outcome = train(config, silent)
    output = validation.run_network(
        weight_file.load(outcome.weights[-1]).network(), torch.zeros(8, 8, 3).byte()
    )
    assert output[..., 2].mean() > output[..., :2].mean() + 5
    written = weight_file.load(outcome.weights[-1]).training
    assert written["degradation"] == "given"
    assert written["settings"]["lr_dirs"] == ["lr"]
    result = CliRunner().invoke(app, arguments(config, "--steps", "30", "--lr-dir", str(lr), "--warmup", "4"))
    assert result.exit_code == 0, result.output  # the same run, which is finished


def test_reports_tell_how_long_training_waits_for_crops(configure: Configure) -> None:
    reports: list[TrainingReport] = []
    train(configure(steps=3, checkpoint_every_s=1e-9), reports.append)
    shares = [report.means["data_wait"] for report in reports if report.means]
    assert len(shares) == 3
    assert all(0 < share < 1 for share in shares)


def test_without_a_compiler_training_runs_uncompiled_and_says_so_once(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upscaler.inference.devices.has_compiler", lambda: False)
    said = messages(configure(steps=2, compiled=True))
    assert sum("no C++ compiler" in line for line in said) == 1


def test_compiled_code_comes_from_the_private_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not from a folder in /tmp whose name others can guess."""
    seen: list[str | None] = []
    variables = ("TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS")

    def compile_nothing(module: nn.Module, dynamic: bool) -> nn.Module:
        seen.extend(os.environ.get(name) for name in variables)
        return module

    for name in variables:
        monkeypatch.setenv(name, "")  # restored afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(process_settings, "_CACHE_OF_COMPILER", None)
    monkeypatch.setenv("UPSCALER_CACHE", str(tmp_path))
    monkeypatch.setattr(devices, "has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", compile_nothing)
    _, note = fast_forward(nn.Identity(), torch.device("cpu"), precision="fp32", compiled=True, shapes=[])
    assert note is None
    assert seen == [str(tmp_path / "compiled"), "0"]


def test_a_compile_that_fails_falls_back_and_changes_nothing(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(network: torch.nn.Module, **_: object) -> Callable[[torch.Tensor], torch.Tensor]:
        def call(lr: torch.Tensor) -> torch.Tensor:
            network(lr)  # as far as moving the statistics of batch norm
            raise RuntimeError("planted: no headers\nand more lines")

        return call

    plain = configure("plain", steps=2, network="srresnet-paper", compiled=False)
    fallen = configure("fallen", steps=2, network="srresnet-paper", compiled=True)
    messages(plain)
    monkeypatch.setattr("upscaler.inference.devices.has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", broken)
    said = messages(fallen)
    assert [line for line in said if "compiling failed" in line and "planted: no headers)" in line]
    expected, output = saved_state(plain)["network"], saved_state(fallen)["network"]
    assert all(torch.equal(expected[name], output[name]) for name in expected)


def test_a_process_that_was_asleep_has_not_trained(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step takes ten hours by the clock; of a run of three hours that is not the end."""
    seconds, asleep = iter(range(10**9)), iter([0.0] * 40 + [36_000.0] * 10**6)
    monkeypatch.setattr("upscaler.trainer.run.session.time.monotonic", lambda: next(seconds) + next(asleep))
    reports: list[TrainingReport] = []
    outcome = train(configure(minutes=180.0), reports.append, stop_after(20))
    assert not outcome.finished
    assert 0 < reports[-1].elapsed_s < 1000


def test_a_network_of_ones_own_size(configure: Configure) -> None:
    config = configure(steps=1, network_size={"channels": 6, "depth": 1})
    written = weight_file.load(train(config, silent).weights[-1])
    assert written.arguments == {"scale": 2, "channels": 6, "depth": 1}
    card = Path(config.output).with_suffix(".md").read_text()
    assert "Network `fast` (channels 6, depth 1): " in card
    with pytest.raises(WeightsError, match="channels 6, depth 1; the network: channels 32, depth 5"):
        train(configure("other", steps=1, start_from=config.output), silent)
