"""Runs the commands in a process of another system; see ``other_system/sitecustomize.py``."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent / "other_system"
TRAIN = "from upscaler.trainer.__main__ import train; train()"
EVALUATE = "from upscaler.trainer.__main__ import evaluate; evaluate()"
# For processes that need no torch.
LIGHT = "filelock platform psutil shutil tempfile"


def environment(system: str, libraries: str = "") -> dict[str, str]:
    """Variables of a process of ``windows`` or ``macos``; with only these libraries loaded at its start."""
    paths = [str(HERE), str(HERE.parents[2]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "UPSCALER_TEST_SYSTEM": system,
        "UPSCALER_TEST_LIBRARIES": libraries,
        "OMP_NUM_THREADS": "1",
    }


def run(
    system: str,
    code: str,
    *arguments: object,
    libraries: str = "",
    expected: int = 0,
    folder: Path | None = None,
) -> str:
    """Run code in a process of that system; returns what it wrote on both streams."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, env=environment(system, libraries), cwd=folder, check=False
    )
    said = (done.stdout + done.stderr).decode("cp1252")
    assert done.returncode == expected, said
    assert "Traceback" not in said, said
    return said
