"""Cropping in the container is applied before the network, as players apply it."""

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from support.media import clip, identity, run_video

from upscaler.inference.engine import Upscaler
from upscaler.video.cropping import Cropping
from upscaler.video.reader import VideoReader
from upscaler.video.yuv import Layout


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def cropped_mkv(path: Path) -> Path:
    """64x48 pixels, of which 6 at the left, 8 at the top and 4 at the bottom are to be cropped."""
    content = clip(path, frames=3).read_bytes()
    display_unit_and_colour = content.index(b"\x54\xb2\x81\x04\x55\xb0\x88")  # 15 bytes
    left, top, bottom = b"\x54\xcc\x81\x06", b"\x54\xbb\x81\x08", b"\x54\xaa\x81\x04"
    void = b"\xec\x81\x00"
    after = content[display_unit_and_colour + 15 :]
    path.write_bytes(content[:display_unit_and_colour] + left + top + bottom + void + after)
    return path


def cropped_mp4(path: Path) -> Path:
    """The same with a clean aperture (ISO/IEC 14496-12): 58x36, its centre 3 to the right and 2 down."""
    content = clip(path, frames=3).read_bytes()
    clap = struct.pack(">I4s8i", 40, b"clap", 58, 1, 36, 1, 3, 1, 2, 1)
    entry = content.rindex(b"avc1") - 4
    (size,) = struct.unpack(">I", content[entry : entry + 4])
    content = content[: entry + size] + clap + content[entry + size :]
    for box in (b"avc1", b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        begin = content.rindex(box) - 4
        (size,) = struct.unpack(">I", content[begin : begin + 4])
        content = content[:begin] + struct.pack(">I", size + len(clap)) + content[begin + 4 :]
    path.write_bytes(content)
    return path


def luma(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("make", [cropped_mkv, cropped_mp4])
def test_declared_cropping_is_applied(
    engine: Upscaler, tmp_path: Path, make: Callable[[Path], Path], suffix: str
) -> None:
    source = tmp_path / f"in.{make.__name__[-3:]}"
    make(source)
    with VideoReader(source) as reader:
        assert (reader.info.width, reader.info.height) == (58, 36)
        frames = [frame.planes[0].numpy() for frame in reader.frames()]
        assert reader.fitted_frames == 0
    whole = luma(source)
    assert whole.shape == (3, 48, 64)
    assert np.array_equal(np.stack(frames), whole[:, 8:44, 6:])
    run_video(engine, source, tmp_path / f"out{suffix}", crf=1)
    result = luma(tmp_path / f"out{suffix}")
    assert result.shape == (3, 36, 58)
    assert np.abs(result.astype(float) - np.stack(frames)).mean() < 2


@pytest.mark.parametrize("left", range(4))
@pytest.mark.parametrize("right", range(3))
def test_chroma_stays_with_luma(left: int, right: int) -> None:
    """Each chroma sample has the number of its luma column; an odd edge keeps the column before it."""
    columns = torch.arange(16)
    planes = [columns.expand(4, 16), columns[::2].expand(2, 8), columns[::2].expand(2, 8)]
    y, u, v = Cropping(left=left, right=right).apply(planes, Layout())
    assert y[0].tolist() == list(range(left - left % 2, 16 - right))
    assert u[0].tolist() == v[0].tolist() == y[0, ::2].tolist()
