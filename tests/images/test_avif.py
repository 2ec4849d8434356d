"""Colours and bit depth of AVIF, which Pillow ignores."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from upscaler.errors import MediaError
from upscaler.images import avif, losses, stills
from upscaler.images.formats import format_of

COLOR = (200, 100, 50)
# Chromaticities of red, green and blue (H.273, table 2); white is D65 for all.
PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}


def write_avif(path: Path, primaries: int, transfer: int) -> None:
    """A still of one colour, tagged with codes of H.273."""
    Image.new("RGB", (32, 24), COLOR).save(path, quality=100, subsampling="4:4:4")
    content = path.read_bytes()
    at = content.index(b"colrnclx") + 8
    path.write_bytes(content[:at] + struct.pack(">HH", primaries, transfer) + content[at + 4 :])


def to_xyz(primaries: int) -> NDArray[np.float64]:
    """Linear RGB -> XYZ."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[primaries]]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return columns * np.linalg.solve(columns, white)


@pytest.mark.parametrize("primaries", PRIMARIES)
def test_wide_gamut_is_converted_to_srgb(tmp_path: Path, primaries: int) -> None:
    write_avif(tmp_path / "a.avif", primaries, 13)
    codes = np.array(COLOR) / 255
    light = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    srgb = (np.linalg.inv(to_xyz(1)) @ to_xyz(primaries) @ light).clip(0, 1)
    expected = 255 * np.where(srgb <= 0.0031308, 12.92 * srgb, 1.055 * srgb ** (1 / 2.4) - 0.055)
    assert np.abs(stills.read(tmp_path / "a.avif").pixels - expected).max() < 4


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_rejected(tmp_path: Path, transfer: int, name: str) -> None:
    write_avif(tmp_path / "a.avif", 9, transfer)
    with pytest.raises(MediaError, match=f"HDR image \\({name}\\)"):
        stills.read(tmp_path / "a.avif")


def test_loss_of_10_bits_is_reported(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avif"), "w", format="avif") as output:
        stream = output.add_stream("libsvtav1", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        stream.time_base = Fraction(1)
        frame = VideoFrame.from_ndarray(np.full((64, 64, 3), 99, np.uint8)).reformat(format="yuv420p10le")
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert avif.read_color(tmp_path / "a.avif").bits == 10
    image_format = format_of(Path("a.png"))
    assert image_format is not None
    said = losses.describe_still(stills.read(tmp_path / "a.avif"), image_format)
    assert said == "not kept in .png: 10 bits per sample (decoded to 8)"


def test_damaged_boxes_are_ignored(tmp_path: Path) -> None:
    write_avif(tmp_path / "a.avif", 12, 13)
    content = (tmp_path / "a.avif").read_bytes()
    for end in range(0, content.index(b"mdat"), 7):
        (tmp_path / "b.avif").write_bytes(content[:end])
        assert avif.read_color(tmp_path / "b.avif").primaries in (2, 12)
