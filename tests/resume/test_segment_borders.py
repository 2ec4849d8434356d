"""What happens at the borders of segments, in encoding and in merging."""

from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from support.command import LENGTH
from support.interrupted import FRAMES, cut, run
from support.media import audio_packets, clip, frame_times
from support.pictures import photograph
from torch import Tensor

from upscaler.inference.engine import Upscaler
from upscaler.resume import job_folder


def test_decoding_times_rise_where_frame_durations_change(engine: Upscaler, tmp_path: Path) -> None:
    """The decoding times of a segment's start would fall behind those of the end before it."""
    steps = [1] * LENGTH + [90_000] * LENGTH + [1] * 3
    source = clip(tmp_path / "in.mp4", pts=list(accumulate(steps)))
    for suffix in (".mp4", ".mkv"):
        for codec in ("h264", "hevc"):
            target = tmp_path / f"{codec}{suffix}"
            run(engine, source, target, codec=codec)
            if suffix == ".mp4":
                with av.open(str(target)) as container:
                    dts = [packet.dts for packet in container.demux(video=0) if packet.size]
                assert all(earlier < later for earlier, later in pairwise(dts))
    assert frame_times(tmp_path / "h264.mp4") == [Fraction(pts - 1, 90_000) for pts in accumulate(steps)]


def test_merged_frames_decode_as_in_their_segments(engine: Upscaler, tmp_path: Path) -> None:
    """Every frame decodes to what its segment alone decodes to, and audio is untouched."""
    source = clip(tmp_path / "in.mp4", frames=FRAMES, audio=["aac"])
    cut(engine, source, tmp_path / "out.mp4", 21)
    alone = []
    for path in sorted(job_folder.folder_of(tmp_path / "out.mp4").glob("segment-*.mp4")):
        with av.open(str(path)) as container:
            alone += [frame.to_ndarray() for frame in container.decode(video=0)]
    run(engine, source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        joined = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert len(alone) == 21 and len(joined) == FRAMES
    assert all(np.array_equal(one, other) for one, other in zip(alone, joined[:21], strict=True))
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(source)


def test_no_batch_crosses_the_border_of_a_segment(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    engine = Upscaler(tiny_weights, precision="fp32", batch=4)
    whole, sizes = engine.upscale_flagged, []

    def noted(rgb: Tensor, *rest: object, **named: object) -> tuple[Tensor, Tensor]:
        sizes.append(len(rgb))
        return whole(rgb, *rest, **named)

    monkeypatch.setattr(engine, "upscale_flagged", noted)
    run(engine, source, tmp_path / "whole.mp4")
    assert sizes == [4, 3, 4, 3, 4, 3, 3]
    cut(engine, source, tmp_path / "out.mp4", 2 * LENGTH)
    sizes.clear()
    run(engine, source, tmp_path / "out.mp4")
    assert sizes == [4, 3, 3]
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_nothing_is_reused_across_the_border_of_a_segment(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = still_clip(tmp_path / "in.mkv")
    engine = Upscaler(tiny_weights, precision="fp32")
    whole, calls = engine.upscale_flagged, []

    def noted(*arguments: object, **named: object) -> object:
        calls.append(1)
        return whole(*arguments, **named)

    monkeypatch.setattr(engine, "upscale_flagged", noted)
    done, said, _ = run(engine, source, tmp_path / "whole.mp4")
    assert len(calls) == -(-FRAMES // LENGTH)  # one for each segment
    assert "83% of the picture did not change from frame to frame, and was not computed again" in said
    assert done.video.reused_share == pytest.approx(1 - len(calls) / FRAMES)
    cut(engine, source, tmp_path / "out.mp4", 2 * LENGTH)
    calls.clear()
    run(engine, source, tmp_path / "out.mp4")
    assert len(calls) == -(-FRAMES // LENGTH) - 2
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def still_clip(path: Path) -> Path:
    """The same frame again and again, stored without loss."""
    frame = av.VideoFrame.from_ndarray(photograph(48, 64), format="rgb24").reformat(format="yuv420p")
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(FRAMES):
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path
