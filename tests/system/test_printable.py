"""Control characters in names, metadata and settings reach no terminal, and a line stays a line."""

import csv
import io
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file
from support.command import run
from support.media import clip, save
from support.networks import weights

from upscaler.error_text import error_line, error_report
from upscaler.errors import UsageError
from upscaler.system.console import printable, printable_lines
from upscaler.trainer.display import TrainingDisplay
from upscaler.trainer.evaluation import report
from upscaler.trainer.evaluation.protocol import Evaluation, Score

HOSTILE = "a\x1b[31m\r\n\x07\x9b2J\u202egnp."
SHOWN = r"a\x1b[31m\r\n\x07\x9b2J\u202egnp."

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names")


def test_every_control_character_is_escaped() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable_lines("a\x1b\nb") == "a\\x1b\nb"
    assert printable("Grüße → 4×, 日本 \U0001f600") == "Grüße → 4×, 日本 \U0001f600"
    for code in (*range(32), *range(127, 160), 0x2028, 0x202E, 0x2066):
        assert printable(chr(code)).isascii() and printable(chr(code)).isprintable()


@not_on_windows
def test_names_of_files_are_escaped(tmp_path: Path, tiny_weights: Path) -> None:
    folder = tmp_path / "in"
    save(folder / f"{HOSTILE}png", 16, 16)
    (folder / f"broken{HOSTILE}png").write_text("no image")
    clip(folder / f"{HOSTILE}mp4", frames=2)
    said = run(folder, "-o", tmp_path / "out", "--model", tiny_weights, code=1)
    for character in "\x1b\r\x07\x9b\u202e":
        assert character not in said
    assert f"wrote {tmp_path}/out/{SHOWN}png" in said
    assert f"'{folder}/broken{SHOWN}png' is not an image" in said
    assert f"{folder}/{SHOWN}mp4: 64x48" in said
    assert all(
        line.startswith((str(tmp_path), "wrote ", "error: ", "2 of 3 files")) for line in said.splitlines()
    )


@not_on_windows
def test_names_in_what_a_dry_run_says_are_escaped(tmp_path: Path, tiny_weights: Path) -> None:
    source = save(tmp_path / f"{HOSTILE}png", 16, 16)
    said = run(source, "--dry-run", "--model", tiny_weights)
    assert said.splitlines()[0].startswith(f"{tmp_path}/{SHOWN}png -> {tmp_path}/{SHOWN.removesuffix('.')}")


def test_metadata_of_weights_are_escaped(tmp_path: Path, tiny_weights: Path) -> None:
    save(tmp_path / "a.png", 16, 16)
    metadata = {"format": "upscaler-1", "architecture": "x\x1b[2J\ny", "arguments": '{"scale": 2}'}
    path = weights(tmp_path / "w.safetensors", channels=4, depth=1, detail=0.02)
    save_file({}, path, metadata)
    said = run(tmp_path / "a.png", "--model", path, code=2)
    assert r"is of network 'x\x1b[2J\ny'" in said


def test_errors_are_one_line() -> None:
    assert error_line(UsageError("a\nb", "c\x1b")) == r"a\nb (c\x1b)"
    assert error_report(ValueError("a\nb\x1b")).count("\n") == 0


def test_training_lines_are_escaped() -> None:
    from rich.console import Console

    text = io.StringIO()
    TrainingDisplay(Console(file=text, soft_wrap=True)).line(HOSTILE)
    assert text.getvalue() == SHOWN + "\n"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_names_are_no_formulas(tmp_path: Path, name: str) -> None:
    report.write_csv(tmp_path / "a.csv", Evaluation([Score(name, 1.0, 1.0), Score("a=b", 1.0, 1.0)], []))
    rows = list(csv.reader((tmp_path / "a.csv").read_text().splitlines()))
    assert [row[0] for row in rows[1:3]] == [f"'{name}", "a=b"]
