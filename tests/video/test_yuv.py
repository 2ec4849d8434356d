import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from upscaler.video.yuv import Layout, even_sized, from_rgb, guessed_matrix, to_rgb


def plane_sizes(layout: Layout, height: int, width: int) -> list[tuple[int, int]]:
    chroma = (-(-height // layout.vertical), -(-width // layout.horizontal))
    return [(height, width), *([] if layout.kind == "gray" else [chroma, chroma])]


def smooth_planes(layout: Layout, height: int, width: int) -> list[Tensor]:
    planes = []
    for number, (rows, columns) in enumerate(plane_sizes(layout, height, width)):
        y, x = torch.meshgrid(torch.linspace(0, 3, rows), torch.linspace(0, 2, columns), indexing="ij")
        wave = 0.5 + 0.4 * torch.sin(y + (number + 1) * x)
        planes.append((wave * (2**layout.bits - 1)).round().to(torch.int32).to(layout.dtype))
    return planes


def codes(plane: Tensor) -> np.ndarray:
    return plane.numpy().astype(np.int64) & 0xFFFF


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full_range", [False, True])
def test_every_luma_code_survives_the_round_trip(bits: int, matrix: str, full_range: bool) -> None:
    layout = Layout(bits=bits, matrix=matrix, full_range=full_range)
    count = 2**bits
    luma = torch.arange(count, dtype=torch.int32).to(layout.dtype).view(-1, 64)
    generator = torch.Generator().manual_seed(1)
    chroma = [
        torch.randint(0, count, size, generator=generator, dtype=torch.int32).to(layout.dtype)
        for size in plane_sizes(layout, *luma.shape)[1:]
    ]
    back = from_rgb(to_rgb([luma, *chroma], layout), layout)
    assert torch.equal(back[0], luma)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full_range", [False, True])
def test_chroma_of_444_comes_back_within_one_code(bits: int, full_range: bool) -> None:
    layout = Layout(bits=bits, horizontal=1, vertical=1, full_range=full_range)
    planes = smooth_planes(layout, 40, 30)
    for plane, again in zip(planes, from_rgb(to_rgb(planes, layout), layout), strict=True):
        assert np.abs(codes(plane) - codes(again)).max() <= 1


@pytest.mark.parametrize(
    ("siting", "sampling"), list(itertools.product(["left", "center", "topleft"], [(2, 2), (2, 1)]))
)
def test_subsampled_chroma_comes_back_above_52_db(siting: str, sampling: tuple[int, int]) -> None:
    layout = Layout(siting=siting, horizontal=sampling[0], vertical=sampling[1])
    planes = smooth_planes(layout, 97, 131)  # odd sizes
    back = from_rgb(to_rgb(planes, layout), layout)
    assert [plane.shape for plane in back] == [plane.shape for plane in planes]
    for plane, again in zip(planes[1:], back[1:], strict=True):
        error = np.mean((codes(plane) - codes(again)) ** 2)
        assert 10 * np.log10(255**2 / max(error, 1e-9)) > 52


def test_known_colours() -> None:
    # Codes of full red in limited-range BT.601 and BT.709, as tabulated for colour bars.
    for matrix, expected in (("bt601", (81, 90, 240)), ("bt709", (63, 102, 240))):
        layout = Layout(matrix=matrix, horizontal=1, vertical=1)
        red = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1).expand(3, 4, 4)
        assert tuple(int(plane[0, 0]) for plane in from_rgb(red, layout)) == expected
    white = to_rgb([torch.full((2, 2), 235), torch.full((1, 1), 128), torch.full((1, 1), 128)], Layout())
    assert torch.allclose(white, torch.ones(3, 2, 2), atol=1e-6)


def test_nothing_is_clamped_in_rgb() -> None:
    planes = [torch.full((2, 2), value, dtype=torch.uint8) for value in (255, 255, 255)]
    layout = Layout(horizontal=1, vertical=1)
    rgb = to_rgb(planes, layout)
    assert float(rgb.max()) > 1.5
    assert all(torch.equal(a, b) for a, b in zip(from_rgb(rgb, layout), planes, strict=True))


def test_left_sited_chroma_lies_on_the_left_luma_column() -> None:
    # A chroma ramp that equals the luma ramp where they are cosited: u[i] = 2i, so at luma column x it is x.
    layout = Layout(siting="left", full_range=True)
    width = 64
    luma = torch.full((2, width), 128, dtype=torch.uint8)
    u = (torch.arange(width // 2) * 2 + 64).to(torch.uint8).view(1, -1)
    v = torch.full((1, width // 2), 128, dtype=torch.uint8)
    blue = to_rgb([luma, u, v], layout)[2]
    slope = 2 * (1 - 0.0722) / 255
    expected = 128 / 255 + (torch.arange(width).float() + 64 - 128) * slope
    assert torch.allclose(blue[0, 4:-4], expected[4:-4], atol=1e-5)


@pytest.mark.parametrize("kind", ["gray", "gbr"])
def test_gray_and_gbr(kind: str) -> None:
    layout = Layout(kind=kind, horizontal=1, vertical=1, full_range=kind == "gbr")
    planes = smooth_planes(layout, 20, 30)
    back = from_rgb(to_rgb(planes, layout), layout)
    assert all(torch.equal(a, b) for a, b in zip(planes, back, strict=True))


def test_even_sizes_and_guesses() -> None:
    assert even_sized(Layout(), 123, 45) == (122, 44)
    assert even_sized(Layout(horizontal=1, vertical=1), 123, 45) == (123, 45)
    assert guessed_matrix(480, 854) == "bt601"
    assert guessed_matrix(720, 1280) == "bt709"
