"""Real clips: each is correct, or rejected with a message that says why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.networks import weights

CLIPS = Path(os.environ.get("UPSCALER_TEST_DATA", "/nowhere")) / "video"
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "clips.py"


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(
    not CLIPS.is_dir(), reason="needs real clips: set UPSCALER_TEST_DATA to what holds video/"
)
def test_every_real_clip_is_correct_or_rejected(tmp_path: Path) -> None:
    tiny = weights(
        tmp_path / "tiny.safetensors", scale=1, channels=4, depth=1
    )  # the network is not the point
    options = ["--frames", "4", "--model", str(tiny), "--scale", "1"]
    command = [sys.executable, str(SCRIPT), str(CLIPS), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line for line in result.stdout.splitlines() if " -> " in line]
    assert len(rows) >= 50
    rejected = [row for row in rows if "rejected:" in row]
    assert all("| correct |" in row or row in rejected for row in rows)
    assert all(row.startswith("| invalid") for row in rejected)
