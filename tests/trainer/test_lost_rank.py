"""Several processes under torchrun: it starts all ranks again when one is lost, and ends them on Ctrl-C."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.makers import Configure
from support.training import arguments, assert_equal, run_folder, saved_state, table

from upscaler.trainer.config.config import TrainConfig

pytestmark = pytest.mark.slow

_DEADLINE_S = 600.0  # the machine may be busy
_STEPS = 60
_SETTINGS = (
    "stage_one_share=0.5",
    "gan.batch=2",
    "gan.discriminator_channels=8",
    "gan.vgg_weight=0",
    "keep=last",
)
_STAGES = ("--stages=1,2", f"--steps={_STEPS}", *(f"--set={setting}" for setting in _SETTINGS))


class Ranks:
    """Two ranks of a run on gloo, and torchrun, which has started them."""

    def __init__(self, process: subprocess.Popen[bytes], config: TrainConfig, said: Path) -> None:
        self.process, self._config, self._said = process, config, said
        self._deadline = time.monotonic() + _DEADLINE_S

    @property
    def text(self) -> str:
        """What torchrun and the ranks have written."""
        return self._said.read_text()

    def wait_for(self, *, stage: int, step: int) -> None:
        """Until a saved state is at least so far."""
        while not (run_folder(self._config) / "state.pt").exists() or (
            (state := saved_state(self._config))["stage"],
            state["step"],
        ) < (stage, step):
            assert self.process.poll() is None and time.monotonic() < self._deadline, self.text
            time.sleep(0.02)

    def signal(self, rank: int, number: signal.Signals) -> None:
        """Send a signal to the only process that has this rank now."""
        children = psutil.Process(self.process.pid).children()
        alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
        (found,) = [child for child in alive if child.environ().get("RANK") == str(rank)]
        found.send_signal(number)

    def end(self) -> int:
        """Wait for the end; torchrun's exit code."""
        return self.process.wait(_DEADLINE_S)


@contextlib.contextmanager
def started(config: TrainConfig, *more: str, max_restarts: int = 0) -> Iterator[Ranks]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, f"--max-restarts={max_restarts}", "-m", "upscaler.trainer"]
    said = Path(config.output).with_suffix(".said")
    with (
        said.open("wb") as output,
        subprocess.Popen(
            [*command, *arguments(config, "--set=checkpoint_every_s=0.05", *more)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ) as process,
    ):
        try:
            yield Ranks(process, config, said)
        finally:
            if process.poll() is None:  # a failed test leaves nothing behind
                process.terminate()


def without_times(state: dict[str, Any]) -> dict[str, Any]:
    """A saved state without what depends on when it was saved, and where."""
    varying = {"config", "elapsed_s", "stage_elapsed_s", "best", "validations_without_gain"}
    return {name: value for name, value in state.items() if name not in varying}


def test_killed_ranks_cost_what_came_after_the_last_checkpoint(configure: Configure) -> None:
    """SIGKILL for rank 1 in stage one and for rank 0 in stage two; the weights are those of a run without."""
    straight, killed = configure("straight"), configure("killed")
    with started(straight, *_STAGES, "--set=checkpoint_every_s=600") as ranks:
        assert ranks.end() == 0, ranks.text
    with started(killed, *_STAGES, max_restarts=2) as ranks:
        ranks.wait_for(stage=1, step=1)
        ranks.signal(1, signal.SIGKILL)
        ranks.wait_for(stage=2, step=_STEPS // 2)
        ranks.signal(0, signal.SIGKILL)
        assert ranks.end() == 0, ranks.text
    text = ranks.text
    first, second = (int(step) for step in re.findall(r"resuming at step (\d+)", text))
    assert 1 <= first < _STEPS // 2 <= second < _STEPS, text
    assert text.count("another process of this training has ended") == 2
    assert "internal error" not in text and text.count("ready: ") == 1
    steps = [int(row["step"]) for row in table(killed)]
    assert steps == sorted(steps) and steps[-1] == _STEPS
    one, other = (without_times(saved_state(config)) for config in (straight, killed))
    assert_equal(one, other)


def test_a_rank_that_is_asked_to_stop_stops_all_and_ctrl_c_ends_torchrun(configure: Configure) -> None:
    """All save: after the first, torchrun goes on where they stopped; after the second, one process does."""
    config = configure(steps=10_000)
    with started(config, "--steps=10000", max_restarts=1) as ranks:
        ranks.wait_for(stage=1, step=1)
        ranks.signal(1, signal.SIGTERM)
        while (found := re.search(r"resuming at step (\d+)", ranks.text)) is None:
            assert ranks.process.poll() is None, ranks.text
            time.sleep(0.05)
        ranks.wait_for(stage=1, step=int(found[1]) + 1)
        ranks.process.send_signal(signal.SIGINT)
        assert ranks.end() == 1, ranks.text
    first, second = (int(step) for step in re.findall(r"stopped at step (\d+); run the same", ranks.text))
    assert first == int(found[1]) < second == saved_state(config)["step"]
    assert "error: " not in ranks.text
    alone = [sys.executable, "-m", "upscaler.trainer", *arguments(config, f"--steps={second + 3}")]
    text = subprocess.run(alone, capture_output=True, text=True, timeout=_DEADLINE_S, check=True).stdout
    assert f"resuming at step {second}" in text and saved_state(config)["step"] == second + 3


def test_an_error_of_one_rank_ends_all_with_its_line(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "photos").rename(tmp_path / "photos-0")
    config = configure(photos=(str(tmp_path / "photos-${local_rank}"),))  # which torchrun fills in
    with started(config, "--steps=3") as ranks:
        assert ranks.end() == 1
    (ours,) = re.findall(r"^error: rank 1: .*photos-1.*$", ranks.text, re.MULTILINE)
    assert "internal error" not in ranks.text and "upscaler/trainer" not in ranks.text, ours
    assert not Path(config.output).exists()
