"""Stage one's step: the terms of its loss, by hand."""

import pytest
import torch
from torch import Tensor, nn

from upscaler.models.registry import build
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.loops import update_weights
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.pixel import PixelStage


def _terms(sr: Tensor, hr: Tensor, **settings: object) -> dict[str, float]:
    """The terms of one step of a network whose output is ``sr``."""
    config = TrainConfig(photos=("x",), output="x.safetensors", steps=1, network="fast", **settings)  # type: ignore[arg-type]
    network = build("compact", {"scale": 4, "channels": 4, "depth": 1})

    def forward(lr: Tensor) -> Tensor:
        return sr + 0 * network(lr).sum()

    stage = PixelStage(network, generator=nn.Identity(), forward=forward, config=config)
    batch = [(torch.zeros(1, 3, 2, 2), hr)]
    terms = update_weights(stage, batch, rate_factor=0.0, world=World(torch.device("cpu")))
    return {name: float(value) for name, value in terms.items()}


def _differing_by(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue]).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)


GREY = torch.zeros(1, 3, 8, 8)


def test_a_grey_difference_is_luma_alone() -> None:
    terms = _terms(_differing_by(0.5, 0.5, 0.5), GREY, fft_weight=0.0)
    assert terms["pixel"] == pytest.approx(0.5)


def test_a_blue_difference_counts_by_its_luma_and_half_its_colour() -> None:
    """Luma 0.114; Cb 0.5 and Cr -0.114 / 1.402, halved, and their mean."""
    terms = _terms(_differing_by(0, 0, 1), GREY, fft_weight=0.0)
    assert terms["pixel"] == pytest.approx(0.114 + (0.5 + 0.114 / 1.402) / 4, rel=1e-4)


def test_the_spectrum_is_that_of_luma() -> None:
    """A difference of colour without luma leaves no trace; grey leaves its zero frequency."""
    without_luma = _differing_by(0.114, 0, -0.299)
    assert _terms(without_luma, GREY)["fft"] == pytest.approx(0, abs=1e-6)
    assert _terms(_differing_by(0.5, 0.5, 0.5), GREY)["fft"] == pytest.approx(10 * 8 * 0.5 / (8 * 5 * 2))


def test_rgb_takes_the_three_colours_alike() -> None:
    terms = _terms(_differing_by(0, 0, 1), GREY, loss_colors="rgb")
    assert terms["pixel"] == pytest.approx(1 / 3)
    assert terms["fft"] == pytest.approx(10 * 8 / (8 * 5 * 2) / 3)
