"""What a validation tells: scores and samples."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.makers import Configure
from support.pictures import photograph
from torch import Tensor, nn

from upscaler.models.perceptual import VGGFeatures
from upscaler.models.registry import build
from upscaler.trainer.data.photo_pairs import PhotoPair
from upscaler.trainer.run import sample_sheets, validation
from upscaler.trainer.run.scores import Scores
from upscaler.trainer.run.validation import Judges


def test_a_blank_photograph_does_not_hide_the_others(configure: Configure) -> None:
    blank = PhotoPair(
        "b", torch.zeros(20, 20, 3, dtype=torch.uint8), torch.zeros(40, 40, 3, dtype=torch.uint8)
    )
    lr = torch.randint(256, (20, 20, 3), dtype=torch.uint8)
    other = PhotoPair("o", lr, torch.randint(256, (40, 40, 3), dtype=torch.uint8))
    network = build("compact", {"scale": 2, "channels": 4, "depth": 1})

    def psnr_db(*pairs: PhotoPair) -> float:
        return validation.validate(network, list(pairs)).psnr_db

    assert psnr_db(blank) == 100
    assert psnr_db(blank, other) == (100 + psnr_db(other)) / 2


def noisy(picture: Tensor, sigma: float) -> Tensor:
    return (picture.float() + sigma * torch.randn(picture.shape)).round().clamp(0, 255).to(torch.uint8)


class Fixed(nn.Module):
    """A network that answers with one image."""

    device = torch.device("cpu")

    def __init__(self, picture: Tensor) -> None:
        super().__init__()
        self.contract = build("compact", {"scale": 1, "channels": 4, "depth": 1}).contract
        self.picture = nn.Parameter(picture.permute(2, 0, 1).unsqueeze(0).float() / 255)

    def forward(self, lr: Tensor) -> Tensor:
        return self.picture


def test_vgg_distance_is_zero_for_equal_images_and_grows_with_the_difference() -> None:
    state = {}
    for number, (after, before) in zip((0, 2), ((64, 3), (64, 64)), strict=True):
        state[f"features.{number}.weight"] = torch.randn(after, before, 3, 3) * (2 / (9 * before)) ** 0.5
        state[f"features.{number}.bias"] = torch.zeros(after)
    vgg = VGGFeatures(["conv1_1", "conv1_2"], state, after_activation=False, factor=None)
    picture = torch.from_numpy(photograph(300, 280))
    pair = PhotoPair("p", picture, picture)
    scores = [
        validation.validate(Fixed(noisy(picture, sigma)), [pair], Judges(vgg=vgg))  # type: ignore[arg-type]
        for sigma in (0.0, 5.0, 20.0)
    ]
    assert scores[0].vgg_distance == pytest.approx(0, abs=1e-6)
    assert scores[1].vgg_distance < scores[2].vgg_distance  # type: ignore[operator]
    assert scores[0].psnr_db == 100
    assert scores[0].columns().keys() == {"psnr_db", "ssim", "vgg_distance", "color_drift"}


def test_color_drift_is_the_largest_shift_of_a_channel() -> None:
    picture = torch.full((40, 40, 3), 100, dtype=torch.uint8)
    shifted = picture + torch.tensor([0, 3, 1], dtype=torch.uint8)
    scores = validation.validate(Fixed(shifted), [PhotoPair("p", picture, picture)])  # type: ignore[arg-type]
    assert scores.color_drift == pytest.approx(3)
    assert scores.vgg_distance is None


def test_samples_show_lr_bicubic_network_and_original(tmp_path: Path) -> None:
    hr = torch.from_numpy(photograph(200, 208))
    lr = hr[::2, ::2].contiguous()
    network = build("compact", {"scale": 2, "channels": 4, "depth": 1})
    paths = [tmp_path / "samples.png", tmp_path / "deep" / "step.png"]
    sample_sheets.write_samples(paths, network, [PhotoPair("p", lr, hr)] * 17)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (16 * 192, 4 * 192, 3)
    assert np.array_equal(pixels[:192, 3 * 192 :], hr[4:196, 8:200].numpy())
    assert np.array_equal(pixels[:192:2, :192:2], lr[2:98, 4:100].numpy())


def test_stage_two_is_decided_by_a_perceptual_score() -> None:
    faithful, textured = Scores(27.7, lpips=0.24), Scores(26.5, lpips=0.117)
    assert textured.is_better_than(faithful, stage=2)
    assert faithful.is_better_than(textured, stage=1)
    assert textured.text(2) == "PSNR 26.500 dB, LPIPS 0.1170 (LPIPS should fall)"
    assert faithful.text(1) == "PSNR 27.700 dB, LPIPS 0.2400 (PSNR should rise)"
    assert Scores(20.0, vgg_distance=0.3).is_better_than(textured, stage=2)  # cannot be compared
    assert not Scores(27.7).is_better_than(faithful, stage=1)


class Counting:
    """Stands for LPIPS: the mean difference."""

    def distance(self, sr: NDArray[np.uint8], hr: NDArray[np.uint8]) -> float:
        assert sr.shape == hr.shape == (256, 256, 3)
        return float(np.abs(sr.astype(int) - hr).mean())


def test_lpips_sees_the_centre_and_replaces_the_vgg_distance() -> None:
    picture = torch.from_numpy(photograph(300, 280))
    judges = Judges(Counting(), vgg=None)  # type: ignore[arg-type]
    small = picture[:30, :30].contiguous()  # too small for it
    pairs = [PhotoPair("p", picture, noisy(picture, 5)), PhotoPair("s", small, small)]
    scores = validation.bicubic_scores(pairs, 1, judges)
    assert scores.lpips == pytest.approx(4, abs=0.3)
    assert scores.vgg_distance is None
    assert scores.ssim is not None
