import numpy as np
import pytest

from upscaler.errors import UsageError
from upscaler.inference.tiling import plan, spans


@pytest.mark.parametrize("seed", range(30))
def test_kept_parts_cover_every_pixel_once_and_saw_their_neighbours(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 200, 2)
    reach = int(generator.integers(0, 12))
    tile = int(generator.integers(2 * reach + 1, 2 * reach + 80))
    covered = np.zeros((height, width), int)
    tiles = plan(int(height), int(width), tile, reach)
    for piece in tiles:
        for span, length in ((piece.rows, height), (piece.columns, width)):
            assert 0 <= span.start <= span.keep_start < span.keep_stop <= span.stop <= length
            assert span.start == 0 or span.keep_start - span.start >= reach
            assert span.stop == length or span.stop - span.keep_stop >= reach
            assert span.stop - span.start == min(tile, length)
        rows, columns = piece.rows, piece.columns
        covered[rows.keep_start : rows.keep_stop, columns.keep_start : columns.keep_stop] += 1
    assert (covered == 1).all()


def test_a_picture_that_fits_is_not_cut() -> None:
    assert len(plan(100, 200, 200, 90)) == 1


def test_a_tile_smaller_than_its_overlap_is_refused_with_a_size_that_works() -> None:
    with pytest.raises(UsageError, match="too small") as caught:
        spans(100, 20, 10)
    assert "--tile 84" in caught.value.hint
    assert spans(100, 84, 10)
