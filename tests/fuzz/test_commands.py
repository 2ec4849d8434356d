"""Random command lines, and signals at random moments."""

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command import files_below
from support.media import clip, save
from typer.testing import CliRunner

from upscaler.cli.app import app

pytestmark = pytest.mark.slow
UPSCALE = [sys.executable, "-m", "upscaler"]

OPTIONS = [
    *[
        "--scale",
        "--size",
        "--model",
        "--perceptual",
        "--denoise",
        "--output",
        "--device",
        "--precision",
        "--tile",
        "--batch",
    ],
    *[
        "--memory-limit",
        "--threads",
        "--runtime",
        "--codec",
        "--crf",
        "--preset",
        "--pixel-format",
        "--start",
    ],
    *["--end", "--frames", "--audio-codec", "--encoder-option", "--json", "--deinterlace", "--decoder"],
]
FLAGS = [
    *["--overwrite", "--skip-existing", "--tta", "--preview", "--no-audio", "--no-subtitles", "--no-resume"],
    *["--list-models", "--version", "--help", "--nonsense", "-", "--", ""],
]
VALUES = [
    *["", "0", "1", "2", "-1", "4.5", "1e9", "nan", "inf", "1/0", "auto", "cpu", "cuda:7", "fp32", "int4"],
    *["h264", "av1", "a=b", "=", "8x8", "0x0", "99999x1", "x", "12:34", "-0:01", "99:99:99", "../..", "/"],
    *["/dev/null", "-", "\u00fc", "\U0001f600", "a\nb", "out.png", "out.mp4", "out.xyz", "fast", "real"],
    *["software", "veryfast"],
]


def test_command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ends with a documented exit code and, unless it succeeds, with a line that says why."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png", 20, 24)
    clip(tmp_path / "b.mp4", frames=1)
    (tmp_path / "empty").mkdir()
    chance = random.Random(0)
    ends = set()
    deadline = time.monotonic() + 20
    for _ in range(250):
        inputs = chance.sample(
            ["a.png", "b.mp4", "empty", "missing.png", "/dev/null", "."], chance.randint(0, 2)
        )
        given = [
            word
            for _ in range(chance.randint(0, 3))
            for word in (chance.choice(OPTIONS), chance.choice(VALUES))
        ]
        flags = chance.sample(FLAGS, chance.randint(0, 2))
        arguments = [*inputs, *given, *flags, "--model", "fast"]
        result = CliRunner().invoke(app, arguments)
        ends.add(result.exit_code)
        said = result.output + (result.stderr or "")
        assert result.exit_code in (0, 1, 2, 3), (arguments, said)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            arguments,
            result.exception,
        )
        assert "Traceback" not in said and "internal error" not in said, (arguments, said)
        assert result.exit_code == 0 or said.strip(), arguments
        assert not [name for name in files_below(tmp_path) if ".part" in name or ".upscaling" in name], (
            arguments
        )
        if time.monotonic() > deadline:
            break
    assert {0, 2} <= ends


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_signals(tmp_path: Path, tiny_weights: Path) -> None:
    """At any moment: the whole result or none, and no traceback; the same command then finishes."""
    source = clip(tmp_path / "in.mp4", frames=24, height=48, width=64, audio=["aac"])
    target, job = tmp_path / "out.mp4", tmp_path / "out.mp4.upscaling"
    command = [*UPSCALE, str(source), "-o", str(target), "--model", str(tiny_weights), "--overwrite"]
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole, whole_s = target.read_bytes(), time.monotonic() - start
    chance = random.Random(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        target.unlink()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        _wait_for_handlers(process)
        time.sleep(chance.uniform(0, whole_s))
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode in (0, 130, -number), said
        assert "Traceback" not in said and "Exception ignored" not in said, said
        assert not target.exists() or target.read_bytes() == whole
        if number != signal.SIGKILL:
            assert set(files_below(tmp_path)) <= {"in.mp4", "out.mp4", *_kept(tmp_path)}
        subprocess.run(command, check=True, capture_output=True)
        assert target.read_bytes() == whole
        assert not job.exists()


def _wait_for_handlers(process: subprocess.Popen[str]) -> None:
    """Wait until the command handles SIGTERM: while Python itself starts, it cannot."""
    status = Path(f"/proc/{process.pid}/status")
    while sys.platform == "linux" and process.poll() is None:
        caught = re.search(r"^SigCgt:\s*(\w+)", status.read_text(), re.MULTILINE)
        if caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)


def _kept(folder: Path) -> list[str]:
    """Names of complete segments and of the manifest."""
    names = files_below(folder)
    return [name for name in names if name.startswith("out.mp4.upscaling/") and ".part" not in name]
