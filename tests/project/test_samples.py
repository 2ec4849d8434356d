"""The samples of the README: there, small, and what their own README says they are."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

SAMPLES = Path(__file__).parents[2] / "samples"
PHOTOGRAPH = SAMPLES / "astronaut.png"
CLIP = SAMPLES / "clip.mp4"


@pytest.mark.parametrize(("path", "limit_bytes"), [(PHOTOGRAPH, 200_000), (CLIP, 300_000)])
def test_sample_is_small(path: Path, limit_bytes: int) -> None:
    assert 10_000 < path.stat().st_size <= limit_bytes


@pytest.mark.parametrize("name", [PHOTOGRAPH.name, CLIP.name])
def test_readme_describes_sample(name: str) -> None:
    assert (SAMPLES / name).is_file()
    assert f"`{name}`" in (SAMPLES / "README.md").read_text(encoding="utf-8")


def test_photograph_is_a_picture_in_colour() -> None:
    with Image.open(PHOTOGRAPH) as picture:
        assert (picture.mode, picture.size) == ("RGB", (256, 256))
        assert np.asarray(picture).std() > 30


def test_clip_has_every_frame_at_its_time() -> None:
    with av.open(CLIP) as container:
        video = container.streams.video[0]
        frames = list(container.decode(video))
    seconds = [frame.time for frame in frames]
    assert seconds == pytest.approx([index / 24 for index in range(72)], abs=1e-6)
    assert {(frame.width, frame.height, frame.format.name) for frame in frames} == {(160, 120, "yuv420p")}
    # BT.601 in limited range, by the numbers of H.264.
    assert {(frame.colorspace, frame.color_range) for frame in frames} == {(5, 1)}


def test_clip_moves() -> None:
    with av.open(CLIP) as container:
        luma = [frame.to_ndarray()[:120].astype(np.float32) for frame in container.decode(video=0)]
    change = np.abs(np.diff(np.stack(luma), axis=0)).mean(axis=(1, 2))
    # The camera is nearly at rest at both ends, and never jumps.
    assert change[30:40].mean() > 2
    assert change.max() < 12


def test_clip_has_a_tone_in_stereo() -> None:
    with av.open(CLIP) as container:
        audio = container.streams.audio[0]
        assert (audio.codec_context.name, audio.layout.name, audio.rate) == ("aac", "stereo", 48_000)
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio)], axis=1)
    assert samples.shape[0] == 2
    assert 3.0 <= samples.shape[1] / 48_000 < 3.1
    for channel in samples:
        loudest = int(np.argmax(np.abs(np.fft.rfft(channel))))
        assert loudest * 48_000 / samples.shape[1] == pytest.approx(440, abs=1)
