"""Going on with a run, from its state or from weights."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from support.makers import Configure, MakePhotos
from support.training import assert_equal, run_folder, saved_state, silent, stop_after, table

from upscaler.errors import TrainingError, UsageError, WeightsError
from upscaler.models import weight_file
from upscaler.trainer.loops import train
from upscaler.trainer.run.report import TrainingReport
from upscaler.trainer.run.run_folder import RunFolder
from upscaler.trainer.stages.distributed import World, join_world


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "adamw"},
        {"network": "srresnet", "batch": 1, "patch_px": 8, "phase2_batch": 1, "phase2_patch_px": 12},
        {
            "network": "film",
            "network_size": {"channels": 4, "depth": 1},
            "clip_frames": 3,
            "calm_weight": 1.0,
            "degradation": "film",
        },
    ],
    ids=["muon", "adamw", "srresnet", "film"],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    configure: Configure, settings: dict[str, Any]
) -> None:
    """Stopped twice, once before and once after the crops become larger."""
    settings = settings | {"phase2_share": 0.5, "keep": "last"}
    straight, split = configure("straight", **settings), configure(**settings)
    train(straight, silent)
    for stop in (stop_after(3), stop_after(2)):
        torch.manual_seed(12345)  # another process would not have this one's generators
        assert not train(split, silent, stop).finished
    assert saved_state(split)["step"] == 5
    reports: list[TrainingReport] = []
    assert train(split, reports.append).finished
    assert reports[0].message == "resuming at step 5"
    one, other = saved_state(straight), saved_state(split)
    for saved in (one, other):
        del saved["config"], saved["elapsed_s"]
    # The split run has been validated where it stopped, too, and may have been better there.
    assert other.pop("best")["psnr_db"] >= one.pop("best")["psnr_db"]
    assert other.pop("validations_without_gain") >= one.pop("validations_without_gain")
    assert one["step"] == 8
    assert_equal(one, other)
    assert_equal(weight_file.load(Path(straight.output)).state, weight_file.load(Path(split.output)).state)


def test_training_changes_the_weights(configure: Configure) -> None:
    """Else equality above would be cheap."""
    config = configure()
    train(config, silent, stop_after(3))
    early = saved_state(config)
    train(config, silent)
    late = saved_state(config)
    for part in ("network", "ema"):
        assert all(not torch.equal(tensor, late[part][name]) for name, tensor in early[part].items())


def test_a_resumed_timed_run_continues_its_schedule(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock of one second a look: where the run is, is the training time that the state holds."""
    seconds = itertools.count()
    monkeypatch.setattr("upscaler.trainer.run.session.time.monotonic", lambda: float(next(seconds)))
    config = configure(minutes=2.0)
    train(config, silent, stop_after(12))
    halfway = saved_state(config)["elapsed_s"]
    assert 30 < halfway < 90
    next(itertools.islice(seconds, 10_000, None))  # hours between the two parts
    reports: list[TrainingReport] = []
    assert train(config, reports.append).finished
    first, last = (next(report for report in each if report.means) for each in (reports, reports[::-1]))
    assert halfway < first.elapsed_s < halfway + 10
    assert first.progress == pytest.approx(first.elapsed_s / 120)
    assert 120 <= last.elapsed_s < 130


def test_a_finished_run_stays_as_it_is(configure: Configure) -> None:
    config = configure()
    first = train(config, silent)
    before = Path(config.output).read_bytes()
    reports: list[TrainingReport] = []
    assert train(config, reports.append) == dataclasses.replace(
        first, psnr_db=pytest.approx(first.psnr_db, abs=1e-3)
    )
    (report,) = reports
    assert report.message is not None
    assert report.message.startswith("already finished at step 8")
    assert Path(config.output).read_bytes() == before


def test_other_settings_are_rejected(configure: Configure) -> None:
    config = configure()
    train(config, silent, stop_after(2))
    before = (run_folder(config) / "state.pt").read_bytes()
    changed = "batch = 5, was 4; seed = 3, was 0; weight_decay = 0.1, was not set"
    with pytest.raises(UsageError, match=rf"other settings \({changed}\).*--restart"):
        train(dataclasses.replace(config, batch=5, seed=3, weight_decay=0.1), silent)
    assert (run_folder(config) / "state.pt").read_bytes() == before


def test_length_and_speed_may_change(configure: Configure) -> None:
    config = configure()
    train(config, silent, stop_after(2))
    longer = dataclasses.replace(config, steps=10, checkpoint_every_s=99)
    assert train(longer, silent).steps == 10


def test_restart_forgets_the_earlier_run(configure: Configure) -> None:
    config, fresh = configure(steps=9), configure("fresh", seed=1)
    train(config, silent)
    again = dataclasses.replace(config, seed=1, steps=8)
    train(again, silent, restart=True)
    train(fresh, silent)
    assert_equal(weight_file.load(Path(fresh.output)).state, weight_file.load(Path(again.output)).state)
    assert len(table(config)) == 2
    samples = sorted(path.name for path in (run_folder(config) / "samples").iterdir())
    assert samples == ["step_000000.png", "step_000008.png"]


def test_restart_leaves_nothing_of_the_earlier_run(configure: Configure) -> None:
    config = configure(steps=2)
    train(config, silent)
    folder = run_folder(config)
    old = (
        "best-stage1.md",
        "best-stage2.md",
        "left-out.txt",
        "degraded.png",
        "events.out.tfevents.1.host.2.0",
    )
    for name in old:
        (folder / name).write_text("of the earlier run")
    train(config, silent, restart=True)
    left = [path.name for path in folder.glob("*.*") if path.read_bytes() == b"of the earlier run"]
    assert left == []
    assert (folder / "best-stage1.md").is_file()  # the new one's


def test_only_the_first_process_deletes_and_the_others_wait_for_it(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure()
    train(config, silent, stop_after(2))
    broadcast: list[object] = []

    def broadcast_object(_world: World, value: object) -> object:
        broadcast.append(value)
        return ("planted by the first", "a hint")

    monkeypatch.setattr(World, "broadcast_object", broadcast_object)
    second = RunFolder(config, World(torch.device("cpu"), rank=1, size=2))
    planted = pytest.raises(TrainingError, match="planted by the first")  # they end together, too
    with planted, second.locked(restart=True):
        pass
    assert broadcast == [None]
    assert saved_state(config)["step"] == 2


def test_a_run_that_torchrun_may_start_again_is_not_to_start_over(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(UsageError, match="--restart would start over after every lost process"):
        train(configure(), silent, restart=True)


def test_a_process_of_several_needs_to_know_the_others(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="WORLD_SIZE=2, but no RANK, MASTER_ADDR, MASTER_PORT"):
        train(configure(), silent)
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(UsageError, match="the environment has RANK=first, not a number"):
        train(configure(), silent)
    monkeypatch.delenv("WORLD_SIZE")
    with join_world("cpu") as world:  # a single process has no rank to know
        assert world.size == 1


def test_one_run_at_a_time(configure: Configure) -> None:
    config = configure()
    train(config, silent, stop_after(2))
    with RunFolder(config, World(torch.device("cpu"))).locked(restart=False):
        for restart in (False, True):
            with pytest.raises(TrainingError, match="another upscale-train is writing"):
                train(config, silent, restart=restart)
    assert saved_state(config)["step"] == 2  # nor did --restart delete what the other writes
    train(config, silent)


def test_a_run_among_its_photographs_does_not_learn_from_itself(configure: Configure, tmp_path: Path) -> None:
    config = configure(output=str(tmp_path / "photos" / "weights.safetensors"), show_degraded=True)
    train(config, silent, stop_after(2))
    assert train(config, silent).finished
    outcome = train(config, silent, restart=True)
    history = weight_file.load(outcome.weights[-1]).training
    assert (history["photographs"], history["held_out"]) == (3, 1)


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
    trained, started = (
        weight_file.load(Path(source.output)).state,
        weight_file.load(outcome.weights[-1]).state,
    )
    assert not started["tail.weight"].any()
    body = [name for name in trained if not name.startswith("tail.")]
    assert body
    assert all(torch.equal(trained[name], started[name]) for name in body)
    # Going on needs the state alone.
    Path(source.output).unlink()
    assert train(config, silent).finished


def test_from_weights_of_another_network_is_rejected(configure: Configure) -> None:
    source = configure("source")
    train(source, silent, stop_after(0))
    config = configure(network="balanced", start_from=source.output)
    with pytest.raises(WeightsError, match="another width"):
        train(config, silent)
    assert not run_folder(config).exists()


def test_other_photographs_are_rejected_on_resume(configure: Configure, make_photos: MakePhotos) -> None:
    config = configure(steps=4)
    train(config, lambda _: None, should_stop=lambda: True)
    make_photos(Path(config.photos[0]), 6)
    with pytest.raises(UsageError, match="photographs are not those"):
        train(config, lambda _: None)
    assert train(config, lambda _: None, restart=True).finished
