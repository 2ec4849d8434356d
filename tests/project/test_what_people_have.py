"""Every command of the README's table of what people have, on small files of that kind."""

import re
import shlex
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.command import run
from support.makers import MakePhotos
from support.media import clip, save
from support.pictures import photograph
from typer.testing import CliRunner

import upscaler
from upscaler.trainer.cli import app as train

ROOT = Path(__file__).parents[2]
TABLE = re.search(
    r"## What do you have\?\n(.*?)\n## ", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
)
assert TABLE
COMMANDS = sorted(set(re.findall(r"`(upscale(?:-train)? [^`]+)`", TABLE[1])))
QUICK = [
    "--steps=2",
    "--batch=2",
    "--phase2-batch=2",
    "--patch=16",
    "--device=cpu",
    "--threads=1",
    "--no-compile",
]


def test_the_table_is_found() -> None:
    assert len(COMMANDS) == 8


@pytest.mark.parametrize("command", COMMANDS)
def test_command(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_photos: MakePhotos
) -> None:
    monkeypatch.chdir(tmp_path)
    name, given, *options = shlex.split(command)
    if name == "upscale-train":
        make_photos(tmp_path / given, 4)
        result = CliRunner().invoke(train, [given, *options, *QUICK])
        assert result.exit_code == 0, result.output
    elif given.endswith("/"):
        save(tmp_path / given / "a" / "b.png", 16, 24)
        run(given, *options)
    elif given.endswith(".tif"):
        run(save(tmp_path / given, 16, 24), *options)
    else:
        encoder = "mpeg2video" if given.endswith(".vob") else "libx264"
        source = clip(tmp_path / given, frames=3, encoder=encoder, time_base=Fraction(1, 25))
        run(source, *options)
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(made) >= 2  # the source and the result
    if "-o" in options:
        assert (tmp_path / options[options.index("-o") + 1]).exists()


def test_python() -> None:
    (code,) = re.findall(r"`(Upscaler[^`]+)`", TABLE[1])
    larger = eval(code, {"Upscaler": upscaler.Upscaler, "array": photograph(16, 24)})
    assert (larger.shape, larger.dtype) == ((32, 48, 3), np.uint8)
