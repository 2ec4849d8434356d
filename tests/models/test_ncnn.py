"""Published models give the pictures that their own runtime gives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.ncnn_files import model_of_a_package, run_ncnn, state_of_ncnn
from support.pictures import photograph

from upscaler import Upscaler


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "architecture"),
    [
        (("realesr-animevideov3-x4", "REALESRGAN_ANIMAVIDEOV3_UP4X"), "RealESRGAN Compact (64nf, 16nc)"),
        (("realesrgan-x4plus", "REALESRGAN_X4PLUS_UP4X"), "ESRGAN (64nf, 23nb)"),
    ],
)
def test_pictures_are_those_of_ncnn(tmp_path: Path, names: tuple[str, ...], architecture: str) -> None:
    param = model_of_a_package(*names)
    torch.save({"params_ema": state_of_ncnn(param)}, tmp_path / "w.pth")
    pixels = photograph(32, 40)
    upscaler = Upscaler(tmp_path / "w.pth", device="cpu", precision="fp32")
    made = upscaler.image(pixels)
    assert [facts.architecture for facts in upscaler.loaded_weights()] == [architecture]
    expected = run_ncnn(param, pixels)
    assert made.shape == expected.shape
    assert np.abs(made - expected.clip(0, 255)).max() <= 2
    assert made.std() > 20
