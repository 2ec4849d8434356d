"""The command on a Ray cluster of two nodes: the bytes of a local run, whatever is killed meanwhile."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.command import LENGTH, UPSCALE, files_below, run
from support.interrupted import moving_clip
from support.media import clip, save
from support.ray_nodes import TwoNodes, like_their_workers, two_nodes
from support.troubled_worker import attempts_file, trouble_file

from upscaler import upscale
from upscaler.batch import batch
from upscaler.batch.result import Result

pytestmark = pytest.mark.slow
_FRAMES = 24


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture(scope="module", autouse=True)
def _as_the_workers() -> Iterator[None]:
    with like_their_workers("support.troubled_worker"):
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 pictures and 3 clips."""
    folder = tmp_path_factory.mktemp("in")
    for number in range(50):
        save(folder / f"{number:02}.png", 16 + number % 3, 24, seed=number)
    for number in range(2):
        moving_clip(folder / f"film{number}.mp4", frames=_FRAMES + number)
    clip(folder / "clip.mp4", frames=12, audio=["aac"])  # with one key frame, it cannot be cut
    return folder


@pytest.fixture(scope="module")
def few(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of them."""
    folder = tmp_path_factory.mktemp("few")
    for name in (*(f"{number:02}.png" for number in range(8)), "film0.mp4"):
        shutil.copyfile(source / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def local(source: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a local run makes of them."""
    target = tmp_path_factory.mktemp("local")
    run(source, "-o", target, "--model", tiny_weights, "--precision", "fp32", "--threads", 1, "--overwrite")
    return content(target)


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


def part(local: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    """What is made of the files of a folder."""
    return {name: local[name] for name in files_below(folder)}


def workers() -> list[psutil.Process]:
    """Processes that work, on either node."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended meanwhile
            if "WorkerActor.run" in " ".join(process.cmdline()):
                found.append(process)
    return found


def on_cluster(
    nodes: TwoNodes, source: Path, target: Path, weights: Path, during: Callable[[], None] | None = None
) -> list[Result]:
    """Run on the cluster; ``during`` is called once, when a film is in the middle.

    The film comes first, for it is heard of in its turn, and would be made before that.
    """
    inputs = sorted(source.iterdir(), key=lambda path: path.suffix != ".mp4")
    called: list[bool] = []

    def on_progress(job: object, progress: object) -> None:
        if during and not called and getattr(job, "kind", "") == "video":
            called.append(True)
            during()

    return upscale(
        inputs, target, model=weights, precision="fp32", cluster=nodes.address, on_progress=on_progress
    )


def test_the_bytes_of_a_local_run(
    nodes: TwoNodes, source: Path, local: dict[str, bytes], tiny_weights: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    options = ("--model", tiny_weights, "--precision", "fp32", "--threads", 1, "--json", report)
    said = run(source, "-o", tmp_path / "out", *options, "--cluster", nodes.address)
    assert "53 of 53 files" in said
    assert content(tmp_path / "out") == local
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert len({name for line in lines for name in line["made_by"]}) == 2


def kill_a_worker() -> None:
    workers()[0].kill()


@pytest.mark.parametrize("lost", ["worker", "node"])
def test_what_is_lost_is_made_by_others(
    nodes: TwoNodes, few: Path, local: dict[str, bytes], tiny_weights: Path, tmp_path: Path, lost: str
) -> None:
    during = kill_a_worker if lost == "worker" else nodes.lose_other
    attempts_file().unlink(missing_ok=True)
    results = on_cluster(nodes, few, tmp_path, tiny_weights, during)
    if lost == "node":
        nodes.replace_other()
    assert [result.outcome for result in results] == ["done"] * 9
    assert content(tmp_path) == part(local, few)
    attempts = Counter(attempts_file().read_text().splitlines())
    assert len(attempts) >= _FRAMES // LENGTH and max(attempts.values()) <= 2  # one worker was lost


@pytest.mark.parametrize("trouble", ["slow", "full"])
def test_a_worker_in_trouble(
    nodes: TwoNodes,
    few: Path,
    local: dict[str, bytes],
    tiny_weights: Path,
    tmp_path: Path,
    trouble: str,
) -> None:
    """A slow one changes nothing; one whose disk is full costs what it has tried, with one line each."""
    trouble_file().write_text(trouble)
    results = on_cluster(nodes, few, tmp_path / "out", tiny_weights)
    failed = [result for result in results if result.outcome == "failed"]
    assert bool(failed) == (trouble == "full")
    for result in failed:
        assert "File too large" in result.error_line and "\n" not in result.error_line
    made = {name: each for name, each in content(tmp_path / "out").items() if ".upscaling/" not in name}
    expected = {result.target.name for result in results if result.done and result.target}
    assert made == {name: local[name] for name in expected}


def test_a_killed_driver_is_started_again(
    nodes: TwoNodes, few: Path, local: dict[str, bytes], tiny_weights: Path, tmp_path: Path
) -> None:
    workers_too = f"from upscaler.batch import batch; batch._TASK_RUNNER = '{batch._TASK_RUNNER}'; main()"
    program = UPSCALE.removesuffix("main()") + workers_too
    command = [sys.executable, "-c", program, str(few), "-o", str(tmp_path), "--model", str(tiny_weights)]
    command += ["--precision", "fp32", "--threads", "1", "--skip-existing", "--cluster", nodes.address]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        while not list(tmp_path.glob("*.upscaling/segment-*.json")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    while workers():  # Ray ends them as soon as it notices
        time.sleep(0.05)
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert content(tmp_path) == part(local, few)
    assert "of an earlier run" in said.stderr
