"""Damaged states, full disks, divergence: a run ends with one line and the last good state."""

import itertools
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.makers import Configure
from support.training import messages, run_folder, saved_state, silent, stop_after
from torch import Tensor

from upscaler.errors import TrainingError, UpscalerError
from upscaler.trainer.loops import train
from upscaler.trainer.run import state_file
from upscaler.trainer.run.report import TrainingReport
from upscaler.trainer.run.run_folder import RunFolder
from upscaler.trainer.stages import losses


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
    state_file.save(run_folder(config) / "state.pt", saved)
    with pytest.raises(
        TrainingError, match="does not fit this network and optimizer: size mismatch for head"
    ):
        train(config, silent)


@pytest.mark.parametrize("missing", ["config", "network", "optimizer", "ema", "crops", "step"])
def test_state_without_a_part(configure: Configure, missing: str) -> None:
    config = configure()
    train(config, silent, stop_after(1))
    saved = saved_state(config)
    del saved[missing]
    state_file.save(run_folder(config) / "state.pt", saved)
    with pytest.raises(TrainingError, match=f"does not fit this network and optimizer: '{missing}'"):
        train(config, silent)


def test_full_disk_keeps_the_old_state(tmp_path: Path) -> None:
    """The limit on the size of files acts like a full disk: the write begins and then fails."""
    path = tmp_path / "state.pt"
    state_file.save(path, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match="cannot write"):
            state_file.save(path, {"step": 2, "network": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert state_file.load(path) == {"step": 1}
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


def broken_loss(result: Tensor, expected: Tensor) -> Tensor:
    return (result - expected).abs().mean() * float("nan")


def broken_gradient(result: Tensor, expected: Tensor) -> Tensor:
    """Finite itself, but the derivative of a root at 0 times 0 is not a number."""
    return (result - expected).abs().mean() + (result * 0).sqrt().sum()


BROKEN = pytest.mark.parametrize(
    ("broken", "message"),
    [
        (broken_loss, "'pixel' is no longer finite at step 5"),
        (broken_gradient, "'gradient_norm' is no longer finite at step 5"),
    ],
)


@BROKEN
def test_divergence_returns_to_the_last_good_state_once(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[Tensor, Tensor], Tensor],
    message: str,
) -> None:
    config = configure(steps=7, loss_colors="rgb")  # asks for the loss once a step
    train(config, silent, stop_after(2))
    good, calls = losses.l1_loss, iter(range(99))
    monkeypatch.setitem(
        losses.PIXEL_LOSSES,
        "l1",
        lambda result, expected: (broken if next(calls) == 2 else good)(result, expected),
    )
    said = messages(config)
    assert [line for line in said if "returning to" in line] == [
        f"{message}: returning to step 2 with half the learning rate"
    ]
    state = saved_state(config)
    assert (state["step"], state["rate_scale"]) == (7, 0.5)
    assert all(tensor.isfinite().all() for tensor in state["network"].values())


@BROKEN
def test_divergence_never_replaces_the_last_good_state(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    broken: Callable[[Tensor, Tensor], Tensor],
    message: str,
) -> None:
    config = configure(steps=5, loss_colors="rgb")
    train(config, silent, stop_after(2))
    files = [run_folder(config) / "state.pt", Path(config.output)]
    before = [path.read_bytes() for path in files]
    good, calls = losses.l1_loss, iter(range(99))
    monkeypatch.setitem(
        losses.PIXEL_LOSSES,
        "l1",
        lambda result, expected: (broken if next(calls) % 3 == 2 else good)(result, expected),
    )
    with pytest.raises(TrainingError, match=message):
        train(config, silent)
    assert [path.read_bytes() for path in files] == before


def test_the_wait_for_crops_is_a_share_also_after_going_back(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock of one second a look, so that losses are looked at after every step."""
    config = configure(steps=9, loss_colors="rgb")
    train(config, silent, stop_after(2))
    seconds, good, calls = itertools.count(), losses.l1_loss, iter(range(99))
    monkeypatch.setattr("upscaler.trainer.run.session.time.monotonic", lambda: float(next(seconds)))
    monkeypatch.setitem(
        losses.PIXEL_LOSSES,
        "l1",
        lambda result, expected: (broken_loss if next(calls) == 4 else good)(result, expected),
    )
    reports: list[TrainingReport] = []
    assert train(config, reports.append).finished
    assert any("returning to step 2" in (report.message or "") for report in reports)
    shares = [report.means["data_wait"] for report in reports if report.means]
    assert len(shares) > 8
    assert all(0 < share < 1 for share in shares)


def test_a_state_never_names_missing_best_weights(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_folder: RunFolder, path: Path, *_: object) -> None:
        raise TrainingError(f"cannot write '{path}'")

    config = configure()
    with monkeypatch.context() as patched, pytest.raises(TrainingError, match="cannot write"):
        patched.setattr(RunFolder, "write_weights", full)
        train(config, silent, stop_after(2))
    assert not (run_folder(config) / "state.pt").exists()
    assert train(config, silent).finished
    assert (run_folder(config) / "best-stage1.safetensors").is_file()


@pytest.mark.parametrize("name", ["batch", "phase2_batch"])
def test_a_batch_that_no_memory_holds(configure: Configure, name: str) -> None:
    config = configure(**{name: 10**12})
    with pytest.raises(UpscalerError, match=rf"a batch of 1000000000000 crops takes .* GB.*smaller {name}"):
        train(config, silent)
    assert not run_folder(config).exists()


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
