"""What is set for the whole process, and that nothing else is."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.networks import weights

from upscaler import process_settings
from upscaler.system import memory

# Prints the settings that differ, and what of a compiler is loaded, after importing everything and upscaling.
SCRIPT = """
import os, sys
import cv2, numpy, torch
from PIL import Image
import ctypes

loaded = []
real = ctypes.CDLL.__init__

def noting(self, name, *rest, **named):
    loaded.append(name)
    real(self, name, *rest, **named)

ctypes.CDLL.__init__ = noting

def settings():
    mask = os.umask(0)
    os.umask(mask)
    log_level = cv2.utils.logging.getLogLevel()
    return dict(os.environ), mask, torch.get_num_threads(), Image.MAX_IMAGE_PIXELS, log_level

before = settings()
import upscaler.batch.batch, upscaler.pipeline, upscaler.frames.preview
from upscaler import Upscaler
image = Upscaler(sys.argv[1], device="cpu").image(numpy.zeros((20, 24, 3), numpy.uint8))
print([pair for pair in zip(before, settings()) if pair[0] != pair[1]], None in loaded)
print(sorted({"torch._dynamo", "triton", "sympy"} & set(sys.modules)))  # of the compiler: 1.5 s and 156 MB
"""


def test_importing_and_constructing_set_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(weights(tmp_path / "w.safetensors"))]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["[] False", "[]"]  # and nobody asked the C library for mallopt


@pytest.mark.parametrize(("variable", "calls"), [(None, 2), ("MALLOC_ARENA_MAX", 0)])
def test_freed_memory_is_kept_unless_the_user_has_set_something(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, calls: int
) -> None:
    given: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> None:
            given.append((parameter, value))

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    if variable:
        monkeypatch.setenv(variable, "1")
    memory.keep_freed_blocks.__wrapped__()
    assert len(given) == calls


@pytest.mark.parametrize(
    ("given", "looks"), [({}, "5000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_waiting_threads_sleep_unless_the_user_has_set_something(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], looks: str | None
) -> None:
    monkeypatch.setattr("os.environ", dict(given))
    process_settings.let_waiting_threads_sleep()
    assert os.environ.get("GOMP_SPINCOUNT") == looks


def test_the_command_says_so_before_openmp_loads() -> None:
    """``sys.modules`` has torch where it is already too late."""
    script = """
import sys
from upscaler import process_settings
process_settings.let_waiting_threads_sleep = lambda: sys.exit(50 + ("torch" in sys.modules))
from upscaler.cli.app import app
app(["--dry-run", "none.png"])
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 50
