"""A file on which FFmpeg would end the process fails alone, and is named."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.media import clip, save

from upscaler import upscale, video_pipeline
from upscaler.errors import MediaError
from upscaler.options import VideoOptions
from upscaler.video import probe
from upscaler.video.survey import survey


def test_a_file_that_ends_the_process_fails_alone(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "MODULE", "support.doomed")
    sources = [clip(tmp_path / f"{name}.mp4", frames=3) for name in ("a", "doomed", "z")]
    sources.append(save(tmp_path / "doomed.png", 16, 16))  # images are not tried
    results = upscale(sources, output=tmp_path / "out", model=tiny_weights, precision="fp32")
    assert [result.outcome for result in results] == ["done", "failed", "done", "done"]
    line = f"FFmpeg crashes on '{sources[1]}' (SIGABRT)"
    assert results[1].error_line.startswith(line)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "doomed.png", "z.mp4"]


def test_a_preview_is_tried_too(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "MODULE", "support.doomed")
    (result,) = upscale(clip(tmp_path / "doomed.mp4", frames=3), model=tiny_weights, preview=True)
    assert "FFmpeg crashes" in result.error_line


def test_without_helper_processes_files_are_opened_untried(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    (result,) = upscale(clip(tmp_path / "a.mp4", frames=3), model=tiny_weights, precision="fp32")
    assert result.outcome == "done"


@pytest.mark.parametrize("content", [b"", b"no video", None], ids=["empty", "text", "missing"])
def test_what_else_is_wrong_with_a_file_is_left_to_its_reader(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.mp4").write_bytes(content)
    with probe.Prober() as prober:
        prober.check(tmp_path / "a.mp4", VideoOptions(), ".mkv")
        assert prober.survey(tmp_path / "a.mp4", VideoOptions(), ".mkv") is None


def test_the_helper_finds_black_bars_as_this_process_does(tmp_path: Path) -> None:
    source, options = clip(tmp_path / "a.mp4", frames=3), VideoOptions(crop="auto")
    with probe.Prober() as prober:
        surveyed = prober.survey(source, options, ".mkv")
    here = survey(source, options)
    assert surveyed is not None and surveyed.bars is not None and here.bars is not None
    assert surveyed.bars.seen == here.bars.seen != {}


@pytest.mark.parametrize("options", [VideoOptions(), VideoOptions(start_s=0.3, end_s=0.5, frames=2)])
def test_the_helper_surveys_as_this_process_does(tmp_path: Path, options: VideoOptions) -> None:
    source = clip(tmp_path / "a.ts", frames=25, audio=["aac"])
    with probe.Prober() as prober:
        surveyed = prober.survey(source, options, ".mkv")
    assert surveyed == survey(source, options)
    assert surveyed is not None and surveyed.shape is not None


@pytest.mark.parametrize("answer", [{"shape": 7}, {"shape": [1, 2], "probe_bytes": 0}, {"probe_bytes": 0}])
def test_an_answer_of_another_form_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, object]
) -> None:
    with probe.Prober() as prober:
        monkeypatch.setattr(prober._helper, "ask", lambda *_: answer)
        with pytest.raises(MediaError, match="wrong answer"):
            prober.survey(tmp_path / "a.mp4", VideoOptions(), ".mkv")


def test_a_film_is_surveyed_in_the_helper_only(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_pipeline, "survey", lambda *_: pytest.fail("surveyed here"))
    (result,) = upscale(clip(tmp_path / "a.mp4", frames=3), model=tiny_weights, precision="fp32")
    assert result.outcome == "done"


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be suspended")
def test_a_file_that_never_answers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = clip(tmp_path / "a.mp4", frames=2)
    with probe.Prober() as prober:
        prober.check(source, VideoOptions(), ".mkv")
        process = prober._helper._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(probe, "_TIMEOUT_S", 0.1)
        with pytest.raises(MediaError, match=r"FFmpeg crashes on '.*a\.mp4' \(no answer in 0\.1 s\)"):
            prober.check(source, VideoOptions(), ".mkv")


def test_the_helper_does_not_load_torch() -> None:
    code = "import sys, upscaler.video.probe; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"
