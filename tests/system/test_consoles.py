"""Consoles and pipes whose encoding lacks characters: nothing raises, nothing arrives as other characters."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from support.command import printed
from support.makers import Configure, MakePhotos
from support.training import arguments

from upscaler.cli.app import app as upscale
from upscaler.models import model_folder
from upscaler.system import console
from upscaler.trainer.cli import app as train
from upscaler.trainer.eval_cli import app as evaluate

NAME = "café 4× → \N{SNOWMAN}"
# What each encoding makes of the name: PowerShell and pipes, cmd, the C locale.
SHOWN = {
    "cp1252": r"café 4× -> \u2603",
    "cp437": r"café 4x -> \u2603",
    "ascii": r"caf\xe9 4x -> \u2603",
}
BAR_HAS = "…━"  # where the encoding has them
HELP = """
import sys
from upscaler.__main__ import main
from upscaler.trainer.__main__ import evaluate, train
sys.argv[1:] = ["--help"]
for command in (main, train, evaluate):
    sys.stdout.reconfigure(errors="strict")  # each has to set it itself
    try:
        command()
    except SystemExit as end:
        assert not end.code
    print("\\N{SNOWMAN}")
"""
BAR = """
from upscaler.__main__ import console
console.let_streams_print_all()
from upscaler.cli.display import Display
from upscaler.results import Progress
with Display(2) as display:
    display.begin("{name}" * 9)
    display.advance(Progress(done=1, total=2, unit="frames"))
    display._bar.refresh()
    display.end("wrote {name}")
"""


def only_shown(text: str, encoding: str) -> bool:
    """Whether all characters are ASCII or the name's: those of UTF-8 in another encoding are not."""
    return {each for each in text if not each.isascii()} <= set(SHOWN[encoding]) | set(BAR_HAS)


@pytest.fixture(params=list(SHOWN))
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def environment(encoding: str) -> dict[str, str]:
    if encoding == "ascii":
        return os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return os.environ | {"PYTHONIOENCODING": encoding}


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
def test_what_a_console_lacks_is_written_in_ascii(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    console.let_streams_print_all()
    stream.write("4→8 ≥ 2 − 1 \N{ROCKET} \udc80")
    assert written.getvalue().decode(encoding).replace("≥", ">=") == r"4->8 >= 2 - 1 \U0001f680 \udc80"


def test_help_prints_in_every_encoding(encoding: str) -> None:
    command = [sys.executable, "-c", HELP]
    done = subprocess.run(command, env=environment(encoding), capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode(encoding)
    assert (done.returncode, said.count("Usage:")) == (0, 3), said
    assert said.isascii()


def test_tables_errors_and_lines_print_in_every_encoding(
    encoding: str,
    tmp_path: Path,
    tiny_weights: Path,
    configure: Configure,
    make_photos: MakePhotos,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def said(app: typer.Typer, *given: object, fails: bool = False) -> str:
        code, output, errors = printed(app, *given, encoding=encoding)
        text = output + errors
        assert bool(code) is fails, text
        assert "Traceback" not in text and "internal error" not in text
        assert only_shown(text, encoding), text
        return text

    (photo,) = make_photos(tmp_path / NAME, 1, height=24, width=32)
    photo = photo.rename(photo.with_stem(NAME))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / f"{NAME}.safetensors").write_bytes(b"nothing")
    monkeypatch.setattr(model_folder, "folders", lambda: [tmp_path / "models"])
    shown = SHOWN[encoding]
    assert f"wrote {tmp_path / shown}" in said(upscale, photo, "--model", tiny_weights)
    assert f"{shown}.jpg" in said(upscale, tmp_path / f"{NAME}.jpg", fails=True)
    assert shown in said(upscale, photo, "--device", NAME, fails=True)
    assert shown in said(upscale, f"--no-{NAME}", fails=True)
    assert shown in said(upscale, "--list-models")
    assert f"{shown}.png" in said(evaluate, "bicubic", photo.parent)
    assert shown in said(evaluate, NAME, photo.parent, fails=True)
    assert "forecast of stage 1" in said(train, *arguments(configure(), "--minutes=60", "--dry-run"))
    assert shown in said(train, *arguments(configure(), f"--set={NAME}=1"), fails=True)


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
def test_the_bar_prints_in_every_encoding(encoding: str) -> None:
    import pty

    parent, child = pty.openpty()
    code = BAR.replace("{name}", ascii(NAME)[1:-1])
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(
        command, env=environment(encoding) | {"TERM": "xterm"}, stdout=child, stderr=child
    )
    os.close(child)
    written = b""
    try:
        while part := os.read(parent, 1 << 16):
            written += part
    except OSError:  # the other end is closed
        pass
    assert process.wait() == 0, written
    os.close(parent)
    text = written.decode(encoding)
    assert f"wrote {SHOWN[encoding]}" in text and "50%" in text
    assert only_shown(text, encoding), text
