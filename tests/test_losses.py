from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from upscaler.trainer import losses

Loss = Callable[[Tensor, Tensor], Tensor]

EVERY = pytest.mark.parametrize("loss", [losses.absolute_loss, losses.squared_loss, losses.spectrum_loss])


@EVERY
def test_zero_for_equal_pictures_and_above_for_others(loss: Loss) -> None:
    picture = torch.rand(2, 3, 12, 14)
    assert loss(picture, picture) == 0
    assert loss(picture, picture.roll(1, -1)) > 0


@EVERY
def test_grows_with_the_difference(loss: Loss) -> None:
    picture, difference = torch.rand(2, 3, 12, 14), torch.randn(2, 3, 12, 14)
    once, twice = loss(picture + difference, picture), loss(picture + 2 * difference, picture)
    power = 2 if loss is losses.squared_loss else 1
    assert twice == pytest.approx(2**power * float(once), rel=1e-4)


@EVERY
def test_does_not_depend_on_how_many_crops_there_are(loss: Loss) -> None:
    made, wanted = torch.rand(1, 3, 12, 12), torch.rand(1, 3, 12, 12)
    several = loss(made.expand(5, -1, -1, -1), wanted.expand(5, -1, -1, -1))
    assert several == pytest.approx(float(loss(made, wanted)), rel=1e-5)


@EVERY
def test_gradient_leads_to_the_wanted_picture(loss: Loss) -> None:
    wanted = torch.rand(1, 3, 16, 16)
    made = torch.rand(1, 3, 16, 16, requires_grad=True)
    before = loss(made, wanted)
    before.backward()  # type: ignore[no-untyped-call]
    assert made.grad is not None
    assert made.grad.isfinite().all()
    assert loss(made - 1e-2 * made.grad / made.grad.norm(), wanted) < before


def test_absolute_loss_is_the_mean_absolute_difference() -> None:
    made = torch.zeros(1, 3, 2, 2)
    wanted = torch.tensor([[[[0.0, 1.0], [0.5, 0.5]]] * 3]).reshape(1, 3, 2, 2)
    assert losses.absolute_loss(made, wanted) == 0.5


def test_spectrum_loss_of_a_constant_difference() -> None:
    """Only the zero frequency is there: 8 = sqrt(64) times the difference, over all 8 x 5 x 2 values."""
    made, wanted = torch.full((1, 1, 8, 8), 0.75), torch.full((1, 1, 8, 8), 0.25)
    assert losses.spectrum_loss(made, wanted) == pytest.approx(8 * 0.5 / (8 * 5 * 2))


def test_spectrum_loss_has_one_weight_for_every_size_of_crop() -> None:
    small = losses.spectrum_loss(torch.randn(64, 3, 16, 16), torch.zeros(64, 3, 16, 16))
    large = losses.spectrum_loss(torch.randn(4, 3, 96, 96), torch.zeros(4, 3, 96, 96))
    assert large == pytest.approx(float(small), rel=0.05)


def test_squared_loss_is_the_mean_squared_difference() -> None:
    made, wanted = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)
    assert losses.squared_loss(made, wanted) == 0.25
