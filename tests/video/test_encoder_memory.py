"""What encoders take of little memory."""

from pathlib import Path

import pytest
from support.containers import limit_memory
from support.media import clip
from support.messages import Messages

from upscaler import pipeline
from upscaler.errors import MemoryNeededError
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.system import processors
from upscaler.video import encoder_memory, encoders

GIB = 1 << 30
FOUR_K = (3840, 2160)


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "count", lambda: 2)


@pytest.mark.parametrize("limit", [2 * GIB, 3 * GIB, 4 * GIB])
def test_x264_looks_less_far_ahead_within_a_small_limit(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(limit, tmp_path, monkeypatch)
    choice = encoders.choose(".mp4", VideoOptions())
    usual = encoder_memory.needed_bytes(choice, *FOUR_K)
    assert usual == pytest.approx(1.47e9, rel=0.02)  # as measured
    bounded = encoder_memory.bounded(choice, *FOUR_K)
    assert encoder_memory.needed_bytes(bounded, *FOUR_K) <= 0.3 * limit < usual
    assert "x264 looks " in bounded.notes[-1]
    assert encoder_memory.bounded(choice, 640, 480) == choice  # small frames
    own = encoders.choose(".mp4", VideoOptions(encoder_options=(("x264-params", "rc-lookahead=40"),)))
    assert encoder_memory.bounded(own, *FOUR_K) == own
    limit_memory(16 * GIB, tmp_path, monkeypatch)
    assert encoder_memory.bounded(choice, *FOUR_K) == choice


def test_a_film_that_cannot_be_encoded_is_refused_before_the_work(
    tmp_path: Path, engine: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, said = clip(tmp_path / "in.mp4", frames=4), Messages()

    def upscale(**options: object) -> None:
        job = Job(source, tmp_path / "out.mp4", "video")
        pipeline.upscale_video(job, engine, VideoOptions(**options), lambda _: None, said)

    upscale()
    (tmp_path / "out.mp4").unlink()
    monkeypatch.setattr(encoder_memory, "needed_bytes", lambda *_: 1 << 50)
    with pytest.raises(MemoryNeededError, match="encoding frames of 128x96 with libx264 takes"):
        upscale()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def test_networks_leave_room_for_the_encoder(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(GIB, tmp_path, monkeypatch)
    upscaler = Upscaler(tiny_weights, precision="fp32")
    plan = upscaler.plan(1080, 1920)
    (network,) = (upscaler._network(each) for each in plan.networks)
    alone = network.max_batch_px
    with upscaler.leaving_to_others(GIB // 2):
        assert network.max_batch_px == pytest.approx(alone / 2, rel=0.01)
    assert network.max_batch_px == alone
