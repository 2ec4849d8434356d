"""``UPSCALER_DEBUG=1`` shows where an error of any of the three commands comes from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from support.media import save
from typer.testing import CliRunner

from upscaler.cli.app import app as upscale
from upscaler.trainer.cli import app as train
from upscaler.trainer.eval_cli import app as evaluate

# What a user can fix, found before and while the work is done; each has a cause.
FIXABLE = {
    "a damaged image": (upscale, ["bad.png"], 1, "bad.png"),
    "a missing settings file": (
        train,
        ["in", "-o", "w.safetensors", "--config", "none.toml"],
        2,
        "none.toml",
    ),
    "weights that are none": (evaluate, ["bad.safetensors", "in"], 2, "bad.safetensors"),
    "a damaged HR image": (evaluate, ["bicubic", "hr"], 1, "bad.png"),
}
# Function in which a bug is planted, and a command that calls it.
BUGS = {
    "while a job runs": ("upscaler.images.stills.read", upscale, ["in/a.png"]),
    "before the jobs": ("upscaler.jobs.plan", upscale, ["in/a.png"]),
    "in the trainer": (
        "upscaler.trainer.config.resolve.resolve_config",
        train,
        ["in", "-o", "w.safetensors"],
    ),
    "in the evaluation": ("upscaler.trainer.evaluation.protocol.evaluate", evaluate, ["bicubic", "in"]),
}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "in" / "a.png")
    (tmp_path / "hr").mkdir()
    for name in ("bad.png", "hr/bad.png", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"not what it is named")


def said(app: typer.Typer, arguments: list[str], code: int, debug: str) -> str:
    result = CliRunner(env={"UPSCALER_DEBUG": debug}).invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.stderr


@pytest.mark.parametrize("case", FIXABLE)
def test_an_error_is_one_line_and_debugging_shows_its_causes(case: str) -> None:
    app, arguments, code, name = FIXABLE[case]
    lines = [line for line in said(app, arguments, code, "").splitlines() if "error" in line.lower()]
    assert len(lines) == 1 and lines[0].startswith("error: ") and name in lines[0]
    debug = said(app, arguments, code, "1")
    assert debug.count("Traceback (most recent call last)") >= 2, debug  # the error's, and its cause's
    assert "direct cause of the following exception" in debug and lines[0].split(" (")[0] in debug
    assert "Traceback" not in said(app, arguments, code, "0")


@pytest.mark.parametrize("case", BUGS)
def test_a_bug_is_one_line_and_debugging_shows_its_traceback(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, app, arguments = BUGS[case]

    def planted(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(function, planted)
    quiet = said(app, arguments, 1, "")
    assert (
        "internal error, please report it; set UPSCALER_DEBUG=1 for a traceback: ZeroDivisionError: planted"
        in quiet
    )
    assert "Traceback" not in quiet and quiet.count("error:") == 1
    assert "in planted" in said(app, arguments, 1, "1")


def test_a_closed_standard_output_is_not_an_internal_error() -> None:
    program = "from upscaler.trainer.__main__ import evaluate; evaluate()"
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", program, "bicubic", "in"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(sys.platform != "linux", reason="limits address space as no other system does")
@pytest.mark.parametrize("command", ["upscaler", "upscaler.trainer"])
def test_a_limit_that_leaves_no_room_for_torch_is_one_line(tmp_path: Path, command: str) -> None:
    save(tmp_path / "a.png", 16, 16)
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); "
        f"sys.argv[1:] = ['a.png', '-o', 'out']; runpy.run_module('{command}', run_name='__main__')"
    )
    environment = os.environ | {"UPSCALER_DEBUG": "0"}
    done = subprocess.run(
        [sys.executable, "-c", limited], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is too little memory to load lib")
    assert done.stderr.count("\n") == 1
