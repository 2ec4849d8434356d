"""The three commands where what Windows and macOS lack is taken away; see ``support/other_system``."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command import UPSCALE
from support.makers import MakePhotos
from support.media import clip
from support.other_system_run import EVALUATE, TRAIN, environment, run

from upscaler.resume import job_folder

SAMPLES = Path(__file__).parents[2] / "samples"
FAST = ("--scale", "2", "--model", "fast")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="takes away from Linux what other systems lack"),
]


@pytest.fixture(params=["windows", "macos"])
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_batch_with_broken_files(system: str, tmp_path: Path) -> None:
    source, target = tmp_path / "samples", tmp_path / "out"
    source.mkdir()
    shutil.copy(SAMPLES / "astronaut.png", source / "→ 4×.png")
    shutil.copy(SAMPLES / "clip.mp4", source)
    for name in ("broken.png", "broken.mp4"):
        (source / name).write_bytes(b"nothing")
    said = run(system, UPSCALE, source, "-o", target, *FAST, expected=1)
    assert "2 of 4 files" in said and "-> 4×.png" in said
    assert names(target) == ["clip.mp4", "→ 4×.png"]
    written = {path: path.stat().st_ino for path in target.iterdir()}
    run(system, UPSCALE, source / "→ 4×.png", "-o", target / "→ 4×.PNG", *FAST, expected=2)
    assert "skipped" in run(system, UPSCALE, source, "-o", target, *FAST, "--skip-existing", expected=1)
    assert {path: path.stat().st_ino for path in target.iterdir()} == written
    run(system, UPSCALE, source / "clip.mp4", "-o", target, *FAST, "--overwrite")
    assert names(target) == ["clip.mp4", "→ 4×.png"]
    assert (target / "clip.mp4").stat().st_ino != written[target / "clip.mp4"]
    run(system, UPSCALE, source / "clip.mp4", "-o", target, *FAST, "--preview")
    assert names(target) == ["clip.bicubic.png", "clip.mp4", "clip.preview.png", "→ 4×.png"]


def start(system: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", *map(str, arguments)]
    return subprocess.Popen(command, env=environment(system), stderr=subprocess.PIPE)


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not list(folder.glob(pattern)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, "it ended before"


def test_a_video_is_killed_and_resumes(system: str, tmp_path: Path) -> None:
    source, target = clip(tmp_path / "in.mp4", frames=100, audio=["aac"]), tmp_path / "out.mp4"
    run(system, UPSCALE, source, "-o", tmp_path / "whole.mp4", *FAST)
    process = start(system, UPSCALE, source, "-o", target, *FAST)
    wait_for(job_folder.folder_of(target), "segment-*.json", process)
    process.kill()
    process.communicate()
    assert names(tmp_path) == [".out.mp4.upscaling.lock", "in.mp4", "out.mp4.upscaling", "whole.mp4"]
    assert "resuming after" in run(system, UPSCALE, source, "-o", target, *FAST)
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert names(tmp_path) == ["in.mp4", "out.mp4", "whole.mp4"]


# On Windows SIGUSR2 stands for Ctrl-Break, SIGURG for a closed window.
@pytest.mark.parametrize(
    ("system", "number"),
    [("windows", signal.SIGUSR2), ("windows", signal.SIGURG), ("macos", signal.SIGHUP)],
)
def test_what_asks_to_stop_keeps_the_segments(system: str, number: signal.Signals, tmp_path: Path) -> None:
    source, target = clip(tmp_path / "in.mp4", frames=300), tmp_path / "out.mp4"
    process = start(system, UPSCALE, source, "-o", target, *FAST)
    wait_for(job_folder.folder_of(target), "segment-*.json", process)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert b"interrupted" in said and b"Traceback" not in said
    assert names(tmp_path) == ["in.mp4", "out.mp4.upscaling"]


def test_training_is_killed_resumes_and_is_evaluated(
    system: str, tmp_path: Path, make_photos: MakePhotos
) -> None:
    make_photos(tmp_path / "photos", 4)
    weights = tmp_path / "w.safetensors"
    options = "--network fast --scale 2 --batch 2 --patch 12 --phase2-batch 2 --phase2-patch 12 --from none "
    command = [
        TRAIN,
        tmp_path / "photos",
        "-o",
        weights,
        *options.split(),
        "--stages",
        "1",
        "--device",
        "cpu",
    ]
    command += ["--threads", "1", "--no-compile"]
    process = start(system, *command, "--minutes", "5")
    wait_for(tmp_path / "w.run", "state.pt", process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    run(system, *command, "--steps", "3", "--restart")
    assert "resuming" in run(system, *command, "--steps", "5")
    assert names(tmp_path) == ["photos", "w.md", "w.run", "w.safetensors"]
    scores = tmp_path / "scores.csv"
    run(system, EVALUATE, weights, tmp_path / "photos", "--csv", scores)
    assert "photo00" in scores.read_text(encoding="utf-8")
