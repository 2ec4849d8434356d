"""Command lines as people type them who come from other programs: each works, or names what does."""

from pathlib import Path

import pytest
import typer
from support.command import run
from support.media import save
from typer.testing import CliRunner

from upscaler import __version__
from upscaler.cli.app import app as upscale
from upscaler.trainer.cli import app as train
from upscaler.trainer.eval_cli import app as evaluate

# A command line, as typed after `upscale`, and what the one line of its answer contains.
ASKED = {
    "a.mp4 out.mp4": "if it is to be written: upscale a.mp4 -o out.mp4",
    "a.png out.png": "if it is to be written: upscale a.png -o out.png",
    "a.png b.png out": "upscale a.png b.png -o out",
    "a.mp4 b.mp4": "as output: upscale a.mp4 -o b.mp4 --overwrite; both as inputs: add -o FOLDER",
    "-i a.png -o b.png": "no option -i: inputs need no option: upscale INPUT -o OUTPUT",
    "-i a.png -o b.png -n realesr-animevideov3 -s 2": "no option -i",
    "a.png -n real": "no option -n: --model NAME",
    "a.png -v": "no option -v: all lines are printed",
    "a.png --verbose": "no option --verbose: all lines are printed",
    "a.png --force": "no option --force: --overwrite",
    "a.png -t 400": "no option -t: --tile PIXELS",
    "a.png -x": "no option -x: --tta",
    "a.png -g 0": "no option -g: --device cuda:1",
    "a.png -f jpg": "no option -f: --format png",
    "a.mp4 -c:v libx264": "no option -c:v: --codec",
    "a.mp4 -crf 18": "no option -crf: did you mean --crf?",
    "a.mp4 -preset slow": "no option -preset: did you mean --preset?",
    "a.png -scale 2": "no option -scale: did you mean --scale?",
    "a.png -overwrite": "no option -overwrite: did you mean --overwrite?",
    "a.png -output b.png": "no option -output: did you mean --output?",
    "a.mp4 -ss 10 -to 20": "no option -ss: --start TIME",
    "a.png --fp16": "no option --fp16: --precision fp16",
    "a.png -j 2": "no option -j: --threads COUNT",
    "a.png --threads 0": "--threads '0' must be",
    "a.png --outscale 2": "no option --outscale: --scale FACTOR",
    "a.png --sclae 2": "no option --sclae (did you mean '--scale'?)",
    "a.png --modle fast": "no option --modle (did you mean '--model'?)",
    "a.png -z": "no option -z",
    "a.png --scale": "--scale needs a value: a number from 1 to 8",
    "a.png --codec": "--codec needs a value: h264, hevc, av1, vp9, prores or ffv1",
    "a.png --scale 10": "--scale '10' must be a number from 1 to 8",
    "a.png --model fsat": "did you mean 'fast'?",
    "a.mp4 --codec x264": "--codec 'x264' must be h264",
    "a.mp4 --codec h265": "must be h264, hevc",
    "a.mp4 --preset sloow": "did you mean 'slow'?",
    "a.mp4 --preset p5": "libx264 has no preset 'p5' (use ultrafast",
    "a.png -o b.gfi": "unknown suffix (use .apng, .avif",
    "a.png -o b.heic": "cannot write 'b.heic': HEIC is only read (use .apng, .avif",
    "a.mp4 -o b.avi": "unsupported container (use .mp4, .m4v, .mov, .mkv, .webm)",
    "a.png --threads two": "--threads 'two' must be a whole number of at least 1",
    "a.png --threads=1.5": "--threads '1.5' must be a whole number of at least 1",
    "films -o out --preset slow": "'films/b.webm': libvpx-vp9 has no preset 'slow' (use 0, 1",
    "films -o out --codec prores": "'films/a.mp4': .mp4 does not support prores video (use .mov, .mkv; or",
    "films -o out --audio-codec aac": "'films/b.webm': .webm does not support aac audio",
    "a.png -o b.mp4": "use .apng, .avif",
    "a.mp4 -o b.jpg": "use .mp4, .m4v, .mov, .mkv",
    "": "missing argument 'INPUT' (--help shows what it takes)",
}
# Those that work as they are.
WORK = [
    "a.png -s 2",
    "a.png -m fast -s 2",
    "a.png -y -s 2",
    "-q a.png -s 2",
    "a.png -s2",
    "a.png -s 2 --threads 1",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        save(tmp_path / name, 16, 16)
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"....ftypisom")
    (tmp_path / "films").mkdir()
    for name in ("a.mp4", "b.webm"):
        (tmp_path / "films" / name).write_bytes(b"....ftypisom")
    return tmp_path


@pytest.mark.parametrize("typed", ASKED)
def test_what_does_not_work_is_answered_in_one_line(typed: str, folder: Path) -> None:
    before = sorted(folder.iterdir())
    said = run(*typed.split(), code=2)
    assert ASKED[typed] in said
    assert said.startswith("error: ") and said.count("\n") == 1
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("typed", WORK)
def test_short_forms_work(typed: str, folder: Path) -> None:
    said = run(*typed.split())
    assert (folder / "a_x2.png").exists()
    assert said.count("\n") == (0 if "-q" in typed.split() else 3)


def test_quiet_keeps_errors(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    said = run("a.png", "b.png", "-q", "-s", 2, code=1)
    assert said.startswith("error: 'a.png'") and said.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "answer"),
    {
        "--scale 5": "--scale '5' must be 1, 2, 3, 4 or 8",
        "--scale two": "--scale 'two' must be 1, 2, 3, 4 or 8",
        "--frames 0": "--frames '0' must be a whole number of at least 1",
        "--perceptual x": "--perceptual 'x' must be a number from 0 to 1",
        "--size 2 --clips": "--size '2' must be a number above 0, at most 1",
        "--degradation jpg": "(known are clean,",
        "--precision fp8": "--precision 'fp8' must be auto, fp32",
        "--lpips foo": "use one of squeeze, alex, vgg",
    }.items(),
)
def test_upscale_eval_names_what_is_possible(folder: Path, typed: str, answer: str) -> None:
    result = CliRunner().invoke(evaluate, ["fast", str(folder / "films"), *typed.split()])
    assert result.exit_code == 2 and result.output.count("\n") == 1
    assert result.output.startswith("error: ") and answer in result.output


@pytest.mark.parametrize("app", [upscale, train, evaluate])
def test_all_commands_answer_alike(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Looked for among the parents of this process, which need not have a shell.
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))

    def said(*given: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, given, prog_name="upscale")
        assert result.exit_code == code, result.output
        return result.output

    assert said("--version") == f"{__version__}\n"
    assert said("-h") == said("--help")
    assert "--install-completion" in said("--help")
    assert "no option --scael (did you mean '--scale'?)" in said("--scael", "2", code=2)
    assert "_UPSCALE_COMPLETE" in said("--show-completion", "bash")
