"""The command on the GPUs of a Ray cluster: declared ones, whose work the processor does; and real ones."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.command import LENGTH, run
from support.declared_gpu_worker import declare
from support.interrupted import moving_clip
from support.media import save
from support.ray_nodes import TwoNodes, like_their_workers, two_nodes

pytestmark = pytest.mark.slow
_FRAMES = 12 * LENGTH + 2


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with two_nodes(gpus=1) as cluster:
        yield cluster


@pytest.fixture
def _as_the_workers() -> Iterator[None]:
    with like_their_workers("support.declared_gpu_worker"):
        yield


def made_by(report: Path) -> dict[str, int]:
    """Who made how many frames of the last file of a report."""
    made: dict[str, int] = json.loads(report.read_text().splitlines()[-1])["made_by"]
    return made


@pytest.mark.usefixtures("_as_the_workers")
def test_a_video_is_cut_and_both_gpus_make_frames(
    nodes: TwoNodes, tmp_path: Path, tiny_weights: Path
) -> None:
    source = moving_clip(tmp_path / "in.mp4", frames=_FRAMES)
    options = (source, "--model", tiny_weights, "--precision", "fp32", "--preset", "veryslow", "--threads", 1)
    run(*options, "-o", tmp_path / "local.mp4")
    report = tmp_path / "report.jsonl"
    declare("H200", "H200")
    on_cluster = ("--cluster", nodes.address, "--strict-plan", "--json", report)
    said = run(*options, "-o", tmp_path / "out.mp4", *on_cluster)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "local.mp4").read_bytes()
    made = made_by(report)
    assert len(made) == 2 and sum(made.values()) == _FRAMES and all("(cuda, " in name for name in made)
    assert json.loads(report.read_text())["settings"]["device"] == "H200"
    assert "differ" not in said and "ignored" not in said and "one worker makes it" not in said


@pytest.mark.usefixtures("_as_the_workers")
def test_gpus_that_differ_are_named_or_refused(nodes: TwoNodes, tmp_path: Path, tiny_weights: Path) -> None:
    for number in range(9):
        save(tmp_path / "in" / f"{number}.png", 16, 24, seed=number)
    moving_clip(tmp_path / "in" / "film.mp4", frames=_FRAMES)
    options = (tmp_path / "in", "--model", tiny_weights, "--precision", "fp32", "--threads", 1)
    options = (*options, "--preset", "veryslow", "--cluster", nodes.address)
    declare("A100", "H200")
    said = run(*options, "-o", tmp_path / "out")
    assert "10 of 10 files" in said and said.count("the devices differ (") == 1
    assert said.count("on a worker, and") == 1  # of the film
    declare("A100", "H200")
    said = run(*options, "-o", tmp_path / "strict", "--strict-plan", code=2)
    assert "error: --strict-plan: the devices differ (" in said and "name equal devices" in said


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_video_on_real_gpus(nodes: TwoNodes, tmp_path: Path) -> None:
    """Both nodes use the first one of this machine."""
    source = moving_clip(tmp_path / "in.mp4", frames=400)
    options = (source, "--batch", 4, "--threads", 1)
    run(*options, "-o", tmp_path / "local.mp4", "--device", "cuda")
    report = tmp_path / "report.jsonl"
    on_cluster = ("--cluster", nodes.address, "--strict-plan", "--json", report)
    said = run(*options, "-o", tmp_path / "out.mp4", *on_cluster)
    assert "one worker makes it" not in said
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "local.mp4").read_bytes()
    assert sum(made_by(report).values()) == 400
