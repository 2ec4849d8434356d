"""The forecast for slow work, with a clock that the tests set."""

from pathlib import Path

import pytest
from support.command import run
from support.makers import Ship
from support.media import clip, save
from support.messages import Messages

from upscaler import Upscaler, pipeline
from upscaler.cli.forecast import Forecast, _span, fastest
from upscaler.jobs import Job
from upscaler.models import shipped, weight_file
from upscaler.options import VideoOptions
from upscaler.results import Message, Progress


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def large(ship: Ship) -> Upscaler:
    """An engine with the larger of two installed models."""
    ship("fast", 4)
    ship("srresnet", 4, channels=24, blocks=4)
    return Upscaler("srresnet", 4, precision="fp32")


def watched(
    engine: Upscaler, clock: Clock, seconds_each: float, frames: int, rate: float = 25.0
) -> list[str]:
    """What is said over the frames of a video, 64x48, each of which takes so long; the first one longer."""
    said = [""] * frames
    done = 0

    def on_message(message: Message) -> None:
        said[done - 1] += message.text

    watch = Forecast(clock=clock).watch(Path("in.mp4"), engine, ignored, on_message)
    clock.now_s += 30 * seconds_each
    for done in range(1, frames + 1):
        watch(Progress(done, frames, "frames", source_px=(48, 64), factor=engine.scale, rate=rate))
        clock.now_s += seconds_each
    return said


def test_pages_have_no_playing_time(large: Upscaler, clock: Clock) -> None:
    messages = Messages()
    watch = Forecast(clock=clock).watch(Path("in.tif"), large, ignored, messages)
    for done in range(5):
        watch(Progress(done, 100, "pages", source_px=(48, 64), factor=4))
        clock.now_s += 30
    assert len(messages) == 1 and "left at 0.033 pages/s" in messages[0]


def ignored(_progress: Progress) -> None:
    """What the display does with it is another matter."""


def test_a_slow_video_is_announced_once_after_measuring(large: Upscaler, clock: Clock) -> None:
    said = watched(large, clock, seconds_each=2.0, frames=6006)
    assert [number for number, line in enumerate(said) if line] == [
        5
    ]  # after 10 s, of which the first frame is none
    name, share = fastest(large, 4) or ("", 1.0)
    assert name == "fast" and share < 0.5
    assert (
        said[5]
        == f"about 3 h 20 min left at 0.5 frames/s; --model fast would take about {_span(12000 * share)}"
    )


@pytest.mark.parametrize(
    ("seconds_each", "frames", "rate"),
    [
        (0.1, 5000, 25.0),  # 8 minutes
        (0.1, 60_000, 25.0),  # 100 minutes, but only 2.5 times as long as it plays
    ],
)
def test_fast_work_is_not_announced(
    large: Upscaler, clock: Clock, seconds_each: float, frames: int, rate: float
) -> None:
    assert not any(watched(large, clock, seconds_each, frames, rate))


def test_slow_work_is_announced_even_if_no_model_is_faster(ship: Ship, clock: Clock) -> None:
    ship("fast", 4)
    ship("srresnet", 4, channels=24, blocks=4)
    expected = ["about 3 h 20 min left at 0.5 frames/s; no installed model is faster"]
    assert [line for line in watched(Upscaler("fast", 4), clock, 2.0, 6006) if line] == expected
    ship("restore", 1, channels=24)
    assert [
        line for line in watched(Upscaler("restore"), clock, 2.0, 6006) if line
    ] == expected  # none restores


def test_frames_of_an_earlier_run_do_not_count(large: Upscaler, clock: Clock) -> None:
    said = Messages()
    watch = Forecast(clock=clock).watch(Path("in.mp4"), large, ignored, said)
    watch(Progress(5001, 6000, "frames", 5000, (48, 64), 4.0, 25.0))
    clock.now_s += 12
    assert said == []
    watch(Progress(5007, 6007, "frames", 5000, (48, 64), 4.0, 25.0))
    assert said[0].startswith("about 33 min left at 0.5 frames/s")


def test_the_time_ratio_is_that_of_multiply_adds_and_output(ship: Ship) -> None:
    ship("fast", 2, 4)
    ship("srresnet", 4, channels=24, blocks=4)
    pixel = {
        name: weight_file.load(shipped.weight_files(name)[4]).network().contract.macs_per_pixel + 16 * 2000
        for name in ("fast", "srresnet")
    }
    for scale in (3, 4):
        name, share = fastest(Upscaler("srresnet", scale), scale) or ("", 0.0)
        assert name == "fast"
        assert share == pytest.approx(pixel["fast"] / pixel["srresnet"])
    small = weight_file.load(shipped.weight_files("fast")[2]).network().contract.macs_per_pixel + 4 * 2000
    _, share = fastest(Upscaler("srresnet", 2), 2) or ("", 0.0)
    assert share == pytest.approx(small / pixel["srresnet"])
    _, share = fastest(Upscaler("srresnet", 8), 8) or ("", 0.0)
    assert share == pytest.approx((pixel["fast"] + 16 * small) / (17 * pixel["srresnet"]))


def test_a_photo_model_names_a_photo_model_and_a_clean_model_a_clean_one(ship: Ship) -> None:
    for model in ("balanced", "balanced-photo", "real-fast"):
        ship(model, 4, channels=24, depth=4)
    for model in ("fast", "fast-photo"):
        ship(model, 4)
    for engine, expected in (
        (Upscaler("balanced", 4), "fast"),
        (Upscaler("balanced", 4, denoise=1), "fast --denoise 1"),
        (Upscaler("balanced-photo", 4), "fast --denoise 1"),
        (Upscaler("real-fast", 4), "fast --denoise 1"),
    ):
        name, _ = fastest(engine, 4) or ("", 0.0)
        assert name == expected


def test_all_stills_of_a_batch_are_forecast_together(large: Upscaler, clock: Clock, tmp_path: Path) -> None:
    """Each of 99 equal images has four tiles that take 2 s; another one cannot be read."""
    sources = [save(tmp_path / f"{number}.png", 24, 32) for number in range(99)]
    (tmp_path / "bad.png").write_text("no picture")
    forecast = Forecast([*sources, tmp_path / "bad.png"], clock)
    said = Messages()
    tiles = []
    for source in sources[:2]:
        watch = forecast.watch(source, large, ignored, said)
        watch(Progress(0, 0, "tiles", source_px=(24, 32), factor=4.0))
        for tile in range(1, 5):
            clock.now_s += 2
            watch(Progress(tile, 4, "tiles", source_px=(24, 32), factor=4.0))
            tiles.append(len(said))
    _, share = fastest(large, 4) or ("", 0.0)
    # After five tiles 10 s are measured: 3 tiles of this image and 97 images are left, 2 s a tile.
    expected = f"about 13 min left; --model fast would take about {_span(share * (3 + 4 * 97) * 2)}"
    assert said == [expected] and tiles == [0, 0, 0, 0, 1, 1, 1, 1]


def test_two_networks_in_a_row_are_weighted_by_their_cost(ship: Ship, clock: Clock, tmp_path: Path) -> None:
    ship("fast", 2)
    ship("srresnet", 2, 4, channels=24, blocks=4)
    engine = Upscaler("srresnet", 8, precision="fp32")
    source = save(tmp_path / "a.png", 24, 32)
    said = Messages()
    forecast = Forecast([source], clock)
    watch = forecast.watch(source, engine, ignored, said)
    watch(Progress(0, 0, "tiles", source_px=(24, 32), factor=4.0))
    first, second = engine.macs_per_network(engine.plan(24, 32), 24, 32)
    assert 5 < second / first < 16
    clock.now_s += 60
    watch(
        Progress(1, 1, "tiles", source_px=(24, 32), factor=4.0)
    )  # the first network is done; the second takes as much longer as it costs
    assert said[0].startswith(f"about {_span(60 * second / first)} left; --model fast")


def test_pipeline_progress_drives_a_forecast(large: Upscaler, clock: Clock, tmp_path: Path) -> None:
    source, target = clip(tmp_path / "in.mp4", frames=12), tmp_path / "out.mp4"
    notes = Messages()

    def slow(_progress: object) -> None:
        clock.now_s += 100

    job = Job(source, target, "video")
    watch = Forecast(clock=clock).watch(source, large, slow, notes)
    pipeline.upscale_video(job, large, VideoOptions(), watch, notes)
    assert [note for note in notes if "left" in note] == [
        next(note for note in notes if note.startswith("about 17 min left at 0.01 frames/s; --model fast"))
    ]


def test_the_command_prints_a_forecast(
    large: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upscaler.cli.forecast._MEASURED_S", 0.0)
    monkeypatch.setattr("upscaler.cli.forecast._SLOW_S", 0.0)
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", 24, 32)
    said = run(tmp_path / "in", "--model", "srresnet")
    assert said.count("about 1 min left; --model fast would take about 1 min") == 1
    assert run(tmp_path / "in", "--model", "fast", "--overwrite").count("no installed model is faster") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(20, "1 min"), (3000, "50 min"), (3600, "1 h"), (12000, "3 h 20 min"), (86400 * 3, "3 days")],
)
def test_spans(seconds: float, text: str) -> None:
    assert _span(seconds) == text
