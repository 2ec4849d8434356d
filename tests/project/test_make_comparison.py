"""The sheet and the curve of srresnet, srgan and what lies between, from small random weights."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.makers import MakePhotos, Ship

TOOLS = Path(__file__).parents[2] / "tools"


class Difference:
    """Stands for LPIPS: its weights are not in the repository."""

    def distance(self, result: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
        return float(np.abs(result.astype(float) - expected).mean() / 255)


def test_sheet_curve_and_numbers(
    tmp_path: Path, make_photos: MakePhotos, ship: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_comparison

    from upscaler.trainer.evaluation.protocol import LrSource

    make_photos(tmp_path / "hr", 3, 180, 200)
    pair = ("srresnet-photo", "real")
    for model in pair:
        ship(model, 4)
    given = LrSource(degradation="jpeg60-95")
    make_comparison.compare(tmp_path / "hr", tmp_path / "out", given, pair, 4, 2, Difference())
    lines = (tmp_path / "out" / "curve.md").read_text().splitlines()
    assert [line.split(" ")[1] for line in lines[2:]] == ["0", "0.25", "0.5", "0.75", "1"]
    assert len({line.split("|")[2] for line in lines[2:]}) > 2
    crop_px = make_comparison.CROP_PX
    with Image.open(tmp_path / "out" / "crops.png") as sheet:
        assert sheet.height == crop_px + make_comparison.CAPTION_PX  # two pictures, one line
        pixels = np.asarray(sheet)[make_comparison.CAPTION_PX :, : 4 * (crop_px + 1)]
    crops = [pixels[:, index * (crop_px + 1) :][:, :crop_px].astype(float) for index in range(4)]
    with Image.open(tmp_path / "hr" / "photo00.png") as picture:
        high = np.asarray(picture)
    windows = np.lib.stride_tricks.sliding_window_view(high, (crop_px, crop_px, 3))[:, :, 0]
    assert (windows[::16, ::16] == crops[3]).all((2, 3, 4)).any()  # the original's place is a real one
    assert min(np.abs(crops[one] - crops[other]).mean() for one in range(4) for other in range(one)) > 1
    with Image.open(tmp_path / "out" / "curve.png") as plot:
        assert np.asarray(plot).std() > 5


def test_the_crop_is_where_bicubic_is_farthest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import make_comparison

    plain = np.zeros((400, 500, 3), np.uint8)
    high = plain.copy()
    high[210:330, 250:390] = 200
    rows, columns = make_comparison.blurred_most(plain, high)
    assert rows.start <= 210 and rows.stop >= 330 and columns.start <= 250 and columns.stop >= 390
