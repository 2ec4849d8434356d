"""Frames of videos as photographs to train on."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from support.makers import MakePhotos
from support.media import turned_clip
from support.pictures import photograph

from upscaler.errors import MediaError
from upscaler.trainer.data import sampled_frames
from upscaler.trainer.data.photos import load_photos

Picture = NDArray[np.uint8]


def write(path: Path, pictures: list[Picture], rate: int = 10) -> Path:
    """Write a clip of these pictures, BT.601, nearly lossless."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=rate, options={"crf": "8", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for picture in pictures:
            output.mux(stream.encode(VideoFrame.from_ndarray(picture, "rgb24")))
        output.mux(stream.encode(None))
    return path


def scene(seed: int, frames: int) -> list[Picture]:
    """A standing picture with the noise of a camera."""
    random = np.random.default_rng(seed)
    picture = photograph(72, 96, seed).astype(np.int16)
    return [
        np.clip(picture + random.normal(0, 3, picture.shape), 0, 255).astype(np.uint8) for _ in range(frames)
    ]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Three scenes, black, and the first scene again; one second each."""
    black = [np.zeros((72, 96, 3), np.uint8)] * 10
    return write(tmp_path / "film.mp4", [*scene(0, 10), *scene(1, 10), *scene(2, 10), *black, *scene(0, 10)])


def test_one_frame_of_every_scene(film: Path) -> None:
    frames = sampled_frames.sampled(film, 8)
    assert [int(frame.time_s) for frame in frames] == [0, 1, 2]
    for seed, frame in enumerate(frames):
        error = frame.pixels.numpy().astype(int) - photograph(72, 96, seed)
        assert np.abs(error.mean((0, 1))).max() < 2  # the colours of the picture
        assert np.abs(error).mean() < 8


def test_scenes_stay_when_there_are_too_many_frames(tmp_path: Path) -> None:
    """A pan of 40 frames, and a scene of two: the latter is not lost, and the pan is thinned evenly."""
    wide = photograph(72, 96 + 40 * 16, 5)
    pan = [wide[:, 16 * step : 16 * step + 96] for step in range(40)]
    frames = sampled_frames.sampled(write(tmp_path / "pan.mp4", [*pan, *scene(1, 2)]), 6)
    times = [frame.time_s for frame in frames]
    assert len(times) == 6
    assert times[-1] >= 4
    assert times[0] < 1
    assert max(np.diff(times[:-1])) < 2


def test_long_films_are_sought(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found is every scene that has a frame to start decoding with."""
    monkeypatch.setattr(sampled_frames, "_LONGEST_DECODED_S", 2)
    assert 1 <= len(sampled_frames.sampled(film, 8)) <= 3


def test_rotated_clips_stand_upright(tmp_path: Path) -> None:
    path = turned_clip(tmp_path / "phone.mp4", 90)
    assert sampled_frames.size_of(path) == (64, 48)


def test_a_clip_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="all its frames are empty"):
        sampled_frames.sampled(write(tmp_path / "black.mp4", [np.zeros((48, 64, 3), np.uint8)] * 3), 8)


def test_clips_among_photographs(tmp_path: Path, make_photos: MakePhotos, film: Path) -> None:
    folder = tmp_path / "photos"
    make_photos(folder, 5)
    film.rename(folder / "a film.mp4")
    (folder / "broken.webm").write_bytes(b"no video")
    photos = load_photos((str(folder),), 2, 16, frames_per_video=8)
    assert (photos.frames, photos.videos) == (3, 1)
    assert isinstance(photos.training, list)
    names = [pair.name for pair in photos.training]
    assert [name for name in names if "film" in name] == [
        f"a film.mp4 at {second}.00 s" for second in (0, 1, 2)
    ]
    assert photos.photographs == len(names) == 7
    assert [line.split(":")[0] for line in photos.left_out] == ["broken.webm"]
    assert not load_photos((str(folder),), 1, 16, degradation="given", lr_dirs=(str(folder),)).videos


def test_a_single_clip_is_enough_and_frames_of_a_held_out_one_are_not_trained_on(film: Path) -> None:
    photos = load_photos((str(film),), 2, 16, frames_per_video=8)
    assert (photos.photographs, len(photos.held_out)) == (2, 1)
    write(film.with_name("other.mp4"), [*scene(3, 5), *scene(4, 5)])
    photos = load_photos((str(film.parent),), 2, 16, frames_per_video=8)
    assert isinstance(photos.training, list)
    clips = [{pair.name.split(" at ")[0] for pair in pairs} for pairs in (photos.training, photos.held_out)]
    assert not clips[0] & clips[1]


def test_frames_of_clips_among_photographs_that_are_read_later(
    tmp_path: Path, make_photos: MakePhotos, film: Path
) -> None:
    make_photos(tmp_path, 4)
    photos = load_photos((str(tmp_path),), 2, 16, frames_per_video=8, cache_gb=0.0002, workers=1)
    assert not isinstance(photos.training, list)
    try:
        names = {pair.name for pair in photos.training.window(0).pairs}
    finally:
        photos.close()
    assert "film.mp4 at 1.00 s" in names
