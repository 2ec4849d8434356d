"""``--tileable``: what is shifted around before is shifted around after."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.networks import weights
from support.pictures import photograph

from upscaler import Upscaler
from upscaler.inference.wrapping import cropped, wrapped

PHOTO = photograph(28, 36)


def files(folder: Path, *scales: int) -> list[Path]:
    return [weights(folder / f"{index}.safetensors", scale, detail=1.0) for index, scale in enumerate(scales)]


@pytest.mark.parametrize(
    ("scales", "options"),
    [
        ([2], {}),
        ([2], {"strength": 0.3, "tile_px": 30}),
        ([1, 2], {"tta": True}),
        ([2], {"scale": 1.5, "strength": 0.5}),
        ([3], {"scale": 2.25}),
    ],
)
def test_shifting_makes_no_difference(tmp_path: Path, scales: list[int], options: dict[str, float]) -> None:
    engine = Upscaler(files(tmp_path, *scales), precision="fp32", tileable=True, **options)
    factor = engine.scale
    shifted = engine.image(np.roll(PHOTO, (8, -12), (0, 1)))
    back = np.roll(shifted, (-round(8 * factor), round(12 * factor)), (0, 1))
    assert np.abs(back.astype(int) - engine.image(PHOTO)).max() <= 1


def test_without_it_there_is_a_seam(tmp_path: Path) -> None:
    engine = Upscaler(files(tmp_path, 2), precision="fp32")
    back = np.roll(engine.image(np.roll(PHOTO, 8, 0)), -16, 0)
    assert np.abs(back.astype(int) - engine.image(PHOTO)).max() > 20


@pytest.mark.parametrize("size", [(1, 1), (3, 2)])
def test_pictures_smaller_than_what_the_network_sees(tmp_path: Path, size: tuple[int, int]) -> None:
    engine = Upscaler(files(tmp_path, 2), precision="fp32", tileable=True)
    small = PHOTO[: size[0], : size[1]]
    one, many = engine.image(small), engine.image(np.tile(small, (9, 9, 1)))
    assert np.abs(np.tile(one, (9, 9, 1)).astype(int) - many).max() <= 1


def test_alpha_wraps_too(tmp_path: Path) -> None:
    alpha = np.zeros((28, 36), np.uint8)
    alpha[:10, 5:20] = 255  # ends at the upper border, beyond which it is transparent
    engine = Upscaler(files(tmp_path, 2), precision="fp32", tileable=True)

    def enlarged(shift: int) -> np.ndarray:
        picture = Image.fromarray(np.roll(np.dstack([PHOTO, alpha]), shift, 0))
        return np.roll(np.asarray(engine.image(picture)), -2 * shift, 0).astype(int)

    assert np.abs(enlarged(9) - enlarged(0))[..., 3].max() <= 1


def test_wrapping_and_cropping() -> None:
    import torch

    picture = torch.arange(12).view(3, 4)
    larger = wrapped(picture, 5)
    assert larger.shape == (13, 14) and torch.equal(cropped(larger, 5), picture)
    assert torch.equal(larger[5, :5], torch.tensor([3, 0, 1, 2, 3]))
