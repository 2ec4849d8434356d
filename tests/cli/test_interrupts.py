"""SIGINT and SIGTERM while commands load, work and exit."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command import files_below
from support.media import clip, save

UPSCALE = [sys.executable, "-m", "upscaler"]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupt_leaves_no_partial_files(tmp_path: Path, number: signal.Signals) -> None:
    source = clip(tmp_path / "in.mp4", frames=500, height=96, width=128)
    process = subprocess.Popen(
        [*UPSCALE, str(source), "-o", str(tmp_path / "out.mp4")], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.upscaling/segment*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(tmp_path.glob("*.upscaling/segment*")), "the work never began"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said and "Traceback" not in said
    assert files_below(tmp_path) == ["in.mp4"]


def test_an_interrupt_at_exit_shows_no_traceback(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    # Registered before the command runs, so the last thing that Python does before it shuts down.
    program = (
        "import atexit, os; atexit.register(lambda: os.kill(os.getpid(), 2)); "
        "from upscaler.__main__ import main; main()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.png"), "--scale", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert "Traceback" not in done.stderr and "1 of 1 files" in done.stderr
    assert files_below(tmp_path) == ["a.png", "a_x2.png"]


@pytest.mark.parametrize(
    ("entry", "arguments", "said"),
    [
        ("upscaler.__main__:main", ["a.png", "--scale", "2"], "interrupted; no partial file is left"),
        ("upscaler.trainer.__main__:train", [".", "-o", "w.safetensors"], ""),
        ("upscaler.trainer.__main__:evaluate", ["bicubic", "."], ""),
    ],
)
def test_an_interrupt_while_typer_loads_is_not_lost(
    entry: str, arguments: list[str], said: str, tmp_path: Path
) -> None:
    save(tmp_path / "a.png")
    # A stand-in for typer's place on the disk, which an interrupt meets while it is read.
    module, _, name = entry.partition(":")
    program = f"""
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), 2)
sys.meta_path.insert(0, Finder())
from {module} import {name}
{name}()
"""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr.strip()) == (130, said)
    assert files_below(tmp_path) == ["a.png"]
