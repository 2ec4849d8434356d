"""Segments of a film that goes through a network which remembers: they do not depend on the run."""

from pathlib import Path

import numpy as np
import pytest
from support.command import LENGTH
from support.films import film_engine
from support.interrupted import FRAMES, cut, moving_clip, run
from support.media import clip, frame_times, pictures

from upscaler.inference import film_steps


@pytest.mark.parametrize("after", [2, 2 * LENGTH + 3])
def test_a_resumed_film_is_that_of_one_run(tmp_path: Path, after: int) -> None:
    source = moving_clip(tmp_path / "in.mp4", frames=FRAMES)  # with a key frame every 5 frames
    engine = film_engine(tmp_path)
    run(engine, source, tmp_path / "whole.mp4")
    cut(engine, source, tmp_path / "out.mp4", after)
    done, said, _ = run(film_engine(tmp_path), source, tmp_path / "out.mp4")
    assert not any("decoding from the start" in text for text in said)
    assert done.video is not None and done.video.frames_resumed == after // LENGTH * LENGTH
    if after > LENGTH:  # frames from 8 on are needed, for the state
        assert done.video.frames_decoded == FRAMES - 5
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert frame_times(tmp_path / "out.mp4") == frame_times(source)


def test_a_segment_begins_with_what_came_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the frames that warm it up, its first frame would be another."""
    source = clip(tmp_path / "in.mp4", frames=LENGTH + 2)
    engine = film_engine(tmp_path)
    run(engine, source, tmp_path / "warm.mp4", crf=0)
    monkeypatch.setattr(film_steps, "WARM_UP_FRAMES", 0)
    run(engine, source, tmp_path / "cold.mp4", crf=0)
    warm, cold = (pictures(tmp_path / f"{name}.mp4").astype(int) for name in ("warm", "cold"))
    differences = np.abs(warm - cold).max((1, 2))
    assert (differences[:LENGTH] == 0).all()
    assert differences[LENGTH] > 0
