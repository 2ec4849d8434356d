"""``upscale-eval`` on clips."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support import media
from support.pictures import photograph
from typer.testing import CliRunner

from upscaler.errors import UsageError
from upscaler.trainer.data.clips import Clip, clips_below
from upscaler.trainer.eval_cli import app
from upscaler.trainer.evaluation import flow
from upscaler.trainer.evaluation.clip_protocol import Selection, evaluate_clips
from upscaler.trainer.evaluation.lr_images import LrSource
from upscaler.trainer.evaluation.protocol import evaluate
from upscaler.trainer.evaluation.subject import Method, SrFolder, resolve_subject

Rgb = NDArray[np.uint8]


def panning(frames: int, step_px: int, side_px: int = 64) -> list[Rgb]:
    """A photograph that the camera pans over."""
    large = photograph(side_px, side_px + frames * step_px)
    return [large[:, index * step_px :][:, :side_px].copy() for index in range(frames)]


def write_frames(folder: Path, frames: list[Rgb]) -> Path:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame {number}.png")
    return folder


def repeating(lr: Rgb) -> Rgb:
    return lr.repeat(4, 0).repeat(4, 1)


class Jittering:
    """Repeats pixels, and moves every second result by two pixels."""

    def __init__(self) -> None:
        self._odd = False

    def __call__(self, lr: Rgb) -> Rgb:
        self._odd = not self._odd
        return np.roll(repeating(lr), 2 * self._odd, axis=1)


def test_flow_finds_a_pan() -> None:
    first, second = panning(2, step_px=3)
    inner = flow.flow(first, second)[16:-16, 16:-16]
    assert np.median(inner, axis=(0, 1)) == pytest.approx([-3, 0], abs=0.2)
    assert flow.flow_distance((first, first), (first, second)) > 1.5
    assert flow.flow_distance((first, second), (first, second)) == 0


def test_a_still_clip_is_calm_and_a_jittering_result_is_not(tmp_path: Path) -> None:
    write_frames(tmp_path / "still", panning(3, step_px=0))
    calm, jittering = (
        evaluate_clips(Method(4, upscale), tmp_path, LrSource(), Selection()).mean
        for upscale in (repeating, Jittering())
    )
    assert calm.tof == pytest.approx(0, abs=0.02)  # what Farneback's flow is of two equal frames
    assert jittering.tof is not None and jittering.tof > 0.5
    assert calm.lpips is None and calm.tlp100 is None


def test_scores_of_frames_are_those_of_pictures(tmp_path: Path) -> None:
    """The clip's score is the mean over its frames, whatever their number in other clips."""
    write_frames(tmp_path / "clips" / "pan", panning(3, step_px=2))
    write_frames(tmp_path / "clips" / "one" / "still", panning(2, step_px=0, side_px=48))
    method = Method(4, repeating)
    clips = evaluate_clips(method, tmp_path / "clips", LrSource(), Selection())
    assert [score.name for score in clips.scores] == ["one/still", "pan"]
    for score in clips.scores:
        pictures = evaluate(method, tmp_path / "clips" / score.name)
        assert score.psnr_db == pytest.approx(pictures.mean.psnr_db)
        assert score.ssim == pytest.approx(pictures.mean.ssim)
    assert clips.mean.psnr_db == pytest.approx(sum(score.psnr_db for score in clips.scores) / 2)


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    levels = [np.full((8, 8, 3), level, np.uint8) for level in range(12)]
    clip = Clip("levels", write_frames(tmp_path / "levels", levels))
    assert [int(frame[0, 0, 0]) for frame in clip.frames()] == list(range(12))
    assert [frame.shape for frame in clip.frames(count=2, size=0.5)] == [(4, 4, 3)] * 2


def test_given_lr_and_sr_clips(tmp_path: Path) -> None:
    hr = panning(3, step_px=2)
    write_frames(tmp_path / "hr" / "pan", hr)
    lr = [frame[::4, ::4].copy() for frame in hr]
    write_frames(tmp_path / "lr" / "pan", lr)
    write_frames(tmp_path / "sr" / "pan", [repeating(frame) for frame in lr])
    given = LrSource(tmp_path / "lr")
    made = evaluate_clips(
        Method(4, repeating), tmp_path / "hr", given, Selection(), save_folder=tmp_path / "x"
    )
    read = evaluate_clips(SrFolder(4, tmp_path / "sr"), tmp_path / "hr", given, Selection())
    assert made.mean == read.mean
    assert sorted(path.name for path in (tmp_path / "x" / "pan").iterdir())[-1] == "00002.png"
    (tmp_path / "sr" / "pan" / "frame 2.png").unlink()
    (failure,) = evaluate_clips(SrFolder(4, tmp_path / "sr"), tmp_path / "hr", given, Selection()).failures
    assert "has only 2 frames, not 3" in str(failure)


def test_encoded_clips_are_worse_and_repeat(tmp_path: Path) -> None:
    write_frames(tmp_path / "pan", panning(4, step_px=2, side_px=96))
    clean, encoded, again, any_codec = (
        evaluate_clips(Method(4, repeating), tmp_path, LrSource(degradation=name), Selection()).mean
        for name in ("clean", "video40", "video40", "video")
    )
    assert encoded == again
    assert encoded.psnr_db < clean.psnr_db - 0.3
    assert any_codec.psnr_db < clean.psnr_db


def test_degradations_that_would_flicker_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="clips cannot be degraded by 'mild'"):
        evaluate_clips(Method(4, repeating), tmp_path, LrSource(degradation="mild"), Selection())


def test_a_network_sees_the_frames_of_a_video_file(tmp_path: Path) -> None:
    media.clip(tmp_path / "moving.mp4", frames=3, height=64, width=64)
    assert [clip.name for clip in clips_below(tmp_path)] == ["moving"]
    subject = resolve_subject("fast", 4, LrSource(), "cpu", "fp32")
    (score,) = evaluate_clips(subject, tmp_path, LrSource(), Selection(frames=2)).scores
    (bicubic,) = evaluate_clips(
        resolve_subject("bicubic", 4, LrSource()), tmp_path, LrSource(), Selection(frames=2)
    ).scores
    assert score.psnr_db > bicubic.psnr_db


def test_command_writes_scores_over_time(tmp_path: Path) -> None:
    (tmp_path / "hr").mkdir()
    media.clip(tmp_path / "hr" / "moving.mkv", frames=3, height=64, width=64)
    options = ["--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")]
    page = ["--html", str(tmp_path / "a.html")]
    result = CliRunner().invoke(app, ["bicubic", str(tmp_path / "hr"), *options, *page])
    assert result.exit_code == 0, result.output
    assert "moving" in result.output and "tOF" in result.output
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["moving", "average of 1"]
    assert float(rows[0]["tof"]) > 0 and rows[0]["tlp100"] == ""
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["clips"][0]["tof"] == pytest.approx(float(rows[0]["tof"]), abs=1e-5)
    assert "tOF" in (tmp_path / "a.html").read_text()


def test_selections_are_for_clips(tmp_path: Path) -> None:
    write_frames(tmp_path / "pan", panning(2, step_px=2))
    result = CliRunner().invoke(app, ["bicubic", str(tmp_path), "--frames", "1"])
    assert result.exit_code == 2 and "--frames and --size are for clips" in result.stderr
    result = CliRunner().invoke(app, ["bicubic", str(tmp_path), "--clips", "--size", "2"])
    assert result.exit_code == 2 and "--size '2' must be a number above 0" in result.stderr
