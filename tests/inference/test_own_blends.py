"""Blends of two weight files of one's own: ``--blend-with``."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.community import save_pth
from support.networks import weights
from support.pictures import photograph

from upscaler import Upscaler
from upscaler.errors import UsageError, WeightsError
from upscaler.models import weight_file


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Weights after stage one and after stage two."""
    return [weights(tmp_path / f"stage{stage}.safetensors", channels=4, depth=1) for stage in (1, 2)]


def test_a_blend_lies_between_its_two_files(pair: list[Path], tmp_path: Path) -> None:
    one, other = (weight_file.load(path) for path in pair)
    network = one.network()
    mean = {name: (one.state[name].float() + other.state[name].float()) / 2 for name in one.state}
    weight_file.save(tmp_path / "mean.safetensors", network, mean, {})
    pixels = photograph(20, 24)
    known = {"device": "cpu", "precision": "fp32"}
    blended = Upscaler(pair[0], blend_with=pair[1], **known)
    expected = Upscaler(tmp_path / "mean.safetensors", **known).image(pixels)
    difference = blended.image(pixels).astype(int) - expected  # whose weights are rounded to fp16
    assert np.abs(difference).max() <= 1
    assert len(blended.loaded_weights()) == 2
    for share, path in enumerate(pair):
        end = Upscaler(pair[0], blend_with=pair[1], perceptual=float(share), **known).image(pixels)
        assert np.array_equal(end, Upscaler(path, **known).image(pixels))


def test_what_does_not_fit_is_one_line(pair: list[Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    larger = weights(tmp_path / "larger.safetensors", channels=6, depth=1)
    thrice = weights(tmp_path / "thrice.safetensors", scale=3, channels=4, depth=1)
    foreign = save_pth(tmp_path / "foreign.pth", "Compact")
    for other, message in (
        (larger, "are different networks"),
        (thrice, "is for x2 and '.*' for x3: they cannot be blended"),
        (foreign, "foreign.pth' is a model of another project"),
        (tmp_path / "none.safetensors", "no weight file"),
    ):
        with pytest.raises(WeightsError, match=message):
            Upscaler(pair[0], blend_with=other, device="cpu")
    for models in (None, pair):
        with pytest.raises(UsageError, match="--blend-with needs one --model"):
            Upscaler(models, blend_with=pair[1], device="cpu")
