"""Which parts of a frame have to be computed again."""

import pytest
import torch

from upscaler.video.changes import CELL_PX, Part, changed_parts
from upscaler.video.yuv import Layout

HEIGHT, WIDTH = 203, 310


def planes(layout: Layout, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    chroma = (-(-HEIGHT // layout.vertical), -(-WIDTH // layout.horizontal))
    return [
        torch.randint(0, 256, size, generator=generator).to(layout.dtype)
        for size in ((HEIGHT, WIDTH), chroma, chroma)
    ]


def covered(parts: list[Part]) -> torch.Tensor:
    result = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    for part in parts:
        result[part.top : part.bottom, part.left : part.right] = True
    return result


@pytest.mark.parametrize("layout", [Layout(), Layout(vertical=1, bits=10), Layout(horizontal=1, vertical=1)])
@pytest.mark.parametrize("seed", range(8))
def test_all_within_reach_of_a_change_is_covered(layout: Layout, seed: int) -> None:
    before, after = planes(layout), planes(layout)
    generator = torch.Generator().manual_seed(seed)
    reach, count = 5 + 4 * seed, [1, 2, 5, 60][seed % 4]
    must = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    for _ in range(count):
        index = int(torch.randint(0, 3, (), generator=generator))
        plane = after[index]
        # A corner of the frame often, where changes are if there are many.
        row, column = (
            int(torch.randint(0, max(1, int(side * 0.6)), (), generator=generator)) for side in plane.shape
        )
        plane[row, column] ^= 1
        down, across = (layout.vertical, layout.horizontal) if index else (1, 1)
        rows = slice(max(0, row * down - reach), row * down + down + reach)
        must[rows, max(0, column * across - reach) : column * across + across + reach] = True
    parts = changed_parts(after, before, layout, reach)
    assert not (must & ~covered(parts)).any()
    if count == 1:
        assert sum(part.area_px for part in parts) <= (2 * reach + 3 * CELL_PX) ** 2
    for part in parts:
        assert part.top % CELL_PX == part.left % CELL_PX == 0
        assert part.bottom % CELL_PX == 0 or part.bottom == HEIGHT
        assert part.right % CELL_PX == 0 or part.right == WIDTH


def test_nothing_and_everything() -> None:
    before, whole = planes(Layout()), [Part(0, 0, HEIGHT, WIDTH)]
    assert changed_parts(planes(Layout()), before, Layout(), 10) == []
    assert changed_parts(planes(Layout()), before, Layout(), None) == []
    assert changed_parts(planes(Layout(), 1), before, Layout(), 10) == whole
    before[2][-1, -1] ^= 1
    assert changed_parts(planes(Layout()), before, Layout(), None) == whole


def test_neighbouring_changes_are_one_part() -> None:
    before, after = planes(Layout()), planes(Layout())
    for column in (20, 60, 100):
        after[0][20, column] ^= 1
    assert len(changed_parts(after, before, Layout(), 14)) == 1
    after[0][190, 290] ^= 1
    assert len(changed_parts(after, before, Layout(), 14)) == 2
