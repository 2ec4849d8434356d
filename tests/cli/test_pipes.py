"""``-`` as input and output."""

import io
import json
import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from support.command import files_below
from support.media import clip
from support.pictures import photograph
from typer.testing import CliRunner

from upscaler.cli.app import app
from upscaler.cli.pipes import Pipes
from upscaler.errors import MediaError
from upscaler.options import Options


def encoded(name: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(photograph(24, 32)).save(file, name)
    return file.getvalue()


def piped(content: bytes, *arguments: object, code: int = 0) -> tuple[bytes, str]:
    """What the command writes to standard output and to standard error."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=content)
    assert result.exit_code == code, result.stderr
    return result.stdout_bytes, result.stderr


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "GIF"])
def test_a_picture_through_pipes(tiny_weights: Path, name: str) -> None:
    sent, said = piped(encoded(name), "-", "-o", "-", "--model", tiny_weights)
    with Image.open(io.BytesIO(sent)) as result:
        assert (result.format, result.size) == (name, (64, 48))
    assert said.startswith("standard input: 32x24 -> 64x48") and "wrote standard output (" in said
    assert "upscale-" not in said  # the temporary folder


def test_another_format_through_pipes(tmp_path: Path, tiny_weights: Path) -> None:
    sent, _ = piped(encoded(), "-", "-o", "-", "--format", "webp", "--lossless", "--model", tiny_weights)
    (tmp_path / "a.png").write_bytes(encoded())
    from_file, _ = piped(b"", tmp_path / "a.png", "-o", "-", "--model", tiny_weights)
    with Image.open(io.BytesIO(sent)) as one, Image.open(io.BytesIO(from_file)) as other:
        assert (one.format, other.format) == ("WEBP", "PNG")
        assert np.array_equal(np.asarray(one), np.asarray(other))
    assert files_below(tmp_path) == ["a.png"]


def test_standard_input_into_a_file(tmp_path: Path, tiny_weights: Path) -> None:
    report = tmp_path / "report.jsonl"
    target = tmp_path / "b.jpg"
    sent, said = piped(encoded(), "-", "-o", target, "--model", tiny_weights, "--json", report)
    assert sent == b"" and f"wrote {target}" in said
    line = json.loads(report.read_text())
    assert (line["source"], line["target"], line["outcome"]) == ("-", str(target), "done")
    piped(encoded(), "-", "-o", tmp_path / "folder", "--model", tiny_weights)
    assert files_below(tmp_path) == ["b.jpg", "folder/stdin.png", "report.jsonl"]


def test_a_video_from_standard_input(tmp_path: Path) -> None:
    content = clip(tmp_path / "a.mkv", frames=2).read_bytes()
    piped(content, "-", "-o", tmp_path / "b.mkv", "--scale", 1, "--model", "restore")
    assert (tmp_path / "b.mkv").stat().st_size > 0


def test_a_video_through_pipes_as_y4m(tmp_path: Path, tiny_weights: Path) -> None:
    """Two commands in a row, the second with y4m on both sides."""
    content = clip(tmp_path / "a.mkv", frames=3, audio=["aac"]).read_bytes()
    first, said = piped(content, "-", "-o", "-", "--model", tiny_weights)
    assert first.startswith(b"YUV4MPEG2 W128 H96 F25:1 ") and "wrote standard output (" in said
    assert "y4m keeps no audio, subtitles and chapters" in said
    second, said = piped(first, "-", "-o", "-", "--model", tiny_weights, "--crop", "32:24:0:0")
    with av.open(io.BytesIO(second), format="yuv4mpegpipe") as container:
        frames = [*container.decode(video=0)]
    assert [(frame.width, frame.height, frame.time) for frame in frames] == [
        (64, 48, 0), (64, 48, 0.04), (64, 48, 0.08)
    ]  # fmt: skip
    assert files_below(tmp_path) == ["a.mkv"]


@pytest.mark.parametrize(
    ("content", "arguments", "line"),
    [
        (b"", ["-", "-o", "-"], "error: standard input is empty"),
        (b"hello", ["-", "-o", "-"], "error: standard input is neither an image nor a video"),
        (b"", ["-"], "error: standard input needs -o (-o FILE, or -o - for standard output)"),
        (b"", ["-", "-", "-o", "b.png"], "error: standard input is given twice"),
        (b"", ["-", "a.png", "-o", "-"], "error: standard output takes one result"),
        (b"", ["-", "-o", "-", "--json", "-"], "error: -o - and --json - exclude each other"),
        (b"", ["-", "-o", "-", "--name", "{stem}"], "error: --name and -o - exclude each other"),
    ],
)
def test_what_cannot_go_through_a_pipe(content: bytes, arguments: list[str], line: str) -> None:
    sent, said = piped(content, *arguments, code=2)
    assert sent == b"" and said.startswith(line) and said.count("\n") == 1


def test_a_damaged_picture_sends_nothing(tiny_weights: Path) -> None:
    sent, said = piped(encoded()[:300], "-", "-o", "-", "--model", tiny_weights, code=1)
    assert sent == b"" and "error: standard input is damaged or truncated" in said


def test_a_reader_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(MediaError, match="cannot write standard output: Broken pipe"):
            Pipes([], Options(), is_output=True).send(tmp_path / "a.png")
        stream.flush()  # nothing is left to write
