import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from upscaler.trainer.stages import losses

Loss = Callable[[Tensor, Tensor], Tensor]

EVERY = pytest.mark.parametrize("loss", [losses.l1_loss, losses.mse_loss, losses.spectrum_loss])


@EVERY
def test_zero_for_equal_pictures_and_above_for_others(loss: Loss) -> None:
    picture = torch.rand(2, 3, 12, 14)
    assert loss(picture, picture) == 0
    assert loss(picture, picture.roll(1, -1)) > 0


@EVERY
def test_grows_with_the_difference(loss: Loss) -> None:
    picture, difference = torch.rand(2, 3, 12, 14), torch.randn(2, 3, 12, 14)
    once, twice = loss(picture + difference, picture), loss(picture + 2 * difference, picture)
    power = 2 if loss is losses.mse_loss else 1
    assert twice == pytest.approx(2**power * float(once), rel=1e-4)


@EVERY
def test_does_not_depend_on_how_many_crops_there_are(loss: Loss) -> None:
    sr, hr = torch.rand(1, 3, 12, 12), torch.rand(1, 3, 12, 12)
    several = loss(sr.expand(5, -1, -1, -1), hr.expand(5, -1, -1, -1))
    assert several == pytest.approx(float(loss(sr, hr)), rel=1e-5)


@EVERY
def test_gradient_descends_to_the_target(loss: Loss) -> None:
    hr = torch.rand(1, 3, 16, 16)
    sr = torch.rand(1, 3, 16, 16, requires_grad=True)
    before = loss(sr, hr)
    before.backward()  # type: ignore[no-untyped-call]
    assert sr.grad is not None
    assert sr.grad.isfinite().all()
    assert loss(sr - 1e-2 * sr.grad / sr.grad.norm(), hr) < before


def test_absolute_loss_is_the_mean_absolute_difference() -> None:
    sr = torch.zeros(1, 3, 2, 2)
    hr = torch.tensor([[[[0.0, 1.0], [0.5, 0.5]]] * 3]).reshape(1, 3, 2, 2)
    assert losses.l1_loss(sr, hr) == 0.5


def test_spectrum_loss_of_a_constant_difference() -> None:
    """Only the zero frequency is there: 8 = sqrt(64) times the difference, over all 8 x 5 x 2 values."""
    sr, hr = torch.full((1, 1, 8, 8), 0.75), torch.full((1, 1, 8, 8), 0.25)
    assert losses.spectrum_loss(sr, hr) == pytest.approx(8 * 0.5 / (8 * 5 * 2))


def test_spectrum_loss_has_one_weight_for_every_size_of_crop() -> None:
    small = losses.spectrum_loss(torch.randn(64, 3, 16, 16), torch.zeros(64, 3, 16, 16))
    large = losses.spectrum_loss(torch.randn(4, 3, 96, 96), torch.zeros(4, 3, 96, 96))
    assert large == pytest.approx(float(small), rel=0.05)


def test_luma_and_chroma_are_pillows() -> None:
    """Pillow's YCbCr is BT.601's full range, rounded to 8 bits; ours halves the differences."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    expected = torch.from_numpy(np.asarray(Image.fromarray(pixels).convert("YCbCr")).copy()).permute(2, 0, 1)
    luma, chroma = losses.luma_and_chroma(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
    assert torch.allclose(luma[0, 0] * 255, expected[0].float(), atol=1)
    assert torch.allclose(chroma[0] * 2 * 255 + 128, expected[1:].float(), atol=1.5)


def test_squared_loss_is_the_mean_squared_difference() -> None:
    sr, hr = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)
    assert losses.mse_loss(sr, hr) == 0.25


def test_charbonnier_is_l1_far_away_and_round_near() -> None:
    sr = torch.zeros(1, 3, 2, 2)
    assert losses.charbonnier_loss(sr, torch.full_like(sr, 0.5)) == pytest.approx(0.5, rel=1e-4)
    assert losses.charbonnier_loss(sr, sr) == pytest.approx(1e-3)


def test_total_variation_by_hand() -> None:
    ramp = torch.tensor([[0.0, 0.25, 0.5], [0.5, 0.75, 1.0]]).expand(1, 3, 2, 3)
    assert losses.total_variation(ramp) == pytest.approx(0.5 + 0.25)


def test_grid_loss_sees_what_repeats_and_not_what_does_not() -> None:
    hr = torch.rand(2, 3, 48, 48)
    pattern = torch.randn(1, 1, 4, 4) * 0.02
    pattern -= pattern.mean()
    grid = pattern.tile(1, 1, 12, 12)
    wild = grid.flatten()[torch.randperm(grid.numel())].view_as(grid)
    assert losses.grid_loss(hr + grid, hr, 4) == pytest.approx(float(pattern.abs().mean()), rel=1e-4)
    assert losses.grid_loss(hr + wild, hr, 4) < losses.grid_loss(hr + grid, hr, 4) / 3
    assert losses.l1_loss(hr + wild, hr) == pytest.approx(float(losses.l1_loss(hr + grid, hr)), rel=1e-4)
    assert losses.grid_loss(hr, hr, 4) == 0


def test_grid_loss_equals_the_slow_way() -> None:
    sr, hr = torch.rand(1, 3, 18, 21), torch.rand(1, 3, 18, 21)
    error, means = sr - hr, []
    for offset in ((down, right) for down in range(3) for right in range(3)):
        one = error[..., offset[0] :: 3, offset[1] :: 3]  # (1, 3, 6, 7)
        means += [one[..., y : y + 4, x : x + 4].mean((-2, -1)) for y in range(3) for x in range(4)]
    assert losses.grid_loss(sr, hr, 3) == pytest.approx(float(torch.stack(means).abs().mean()))
    small = sr[..., :6, :6], hr[..., :6, :6]
    assert losses.grid_loss(*small, 3) == pytest.approx(
        float(F.pixel_unshuffle(small[0] - small[1], 3).mean((-2, -1)).abs().mean())
    )


def test_power_loss_does_not_depend_on_position() -> None:
    torch.manual_seed(0)
    flat = torch.full((2, 3, 96, 96), 0.5)
    hr, likewise = (flat + 0.05 * torch.randn(2, 1, 96, 96) for _ in range(2))
    blurred = F.avg_pool2d(hr, 3, 1, 1)
    regular = flat + 0.05 * torch.randn(2, 1, 4, 4).tile(1, 1, 24, 24)  # the same strength, period 4
    assert losses.power_loss(hr, hr) == 0
    assert losses.power_loss(likewise, hr) < 1
    assert losses.power_loss(blurred, hr) > 1.5 * losses.power_loss(likewise, hr)
    assert losses.power_loss(regular, hr) > 4 * losses.power_loss(likewise, hr)
    assert losses.mse_loss(blurred, hr) < losses.mse_loss(likewise, hr)  # which blurs


def test_power_loss_equals_the_slow_way() -> None:
    sr, hr = torch.rand(2, 3, 24, 20), torch.rand(2, 3, 24, 20)
    bell = np.outer(*[0.5 - 0.5 * np.cos(2 * np.pi * np.arange(8) / 8)] * 2)
    logarithms = []
    for pictures in (sr, hr):
        luma = pictures.numpy().transpose(0, 2, 3, 1).astype(np.float64) @ [0.299, 0.587, 0.114]
        power = np.zeros((5, 4, 2, 8, 5))  # windows down, windows right, pictures, waves
        for down, right in np.ndindex(5, 4):
            window = luma[:, 4 * down : 4 * down + 8, 4 * right : 4 * right + 8]
            window = (window - window.mean((1, 2), keepdims=True)) * bell
            power[down, right] = np.abs(np.fft.rfft2(window) / 8) ** 2
        means = [power[y : y + 2, x : x + 2].mean((0, 1)) for y in range(4) for x in range(3)]
        logarithms.append(np.log(np.stack(means) + (0.375 * 0.5 / 255) ** 2))
    slow = np.abs(logarithms[0] - logarithms[1]).mean()
    assert losses.power_loss(sr, hr, side_px=8) == pytest.approx(slow, rel=1e-4)


def test_power_loss_of_a_flat_crop_has_a_gradient_that_can_be_used() -> None:
    sr = torch.zeros(1, 3, 40, 40, requires_grad=True)
    losses.power_loss(sr, torch.rand(1, 3, 40, 40)).backward()  # type: ignore[no-untyped-call]
    assert sr.grad is not None
    assert sr.grad.isfinite().all()
    assert losses.power_loss(sr[..., :5, :7], sr[..., :5, :7]) == 0  # smaller than a window


# Values worked out by hand: ln 2 for an undecided logit, ln(1 + e^-2) = 0.126928 for 2.

NEAR, FAR = math.log1p(math.exp(-2)), math.log1p(math.exp(2))


def test_vanilla_values_of_the_paper() -> None:
    undecided = torch.zeros(2, 1)
    assert losses.generator_loss("vanilla", undecided, undecided) == pytest.approx(math.log(2))
    assert losses.discriminator_loss("vanilla", undecided, undecided) == pytest.approx(math.log(2))
    fake, real = torch.tensor([[-2.0]]), torch.tensor([[2.0]])
    assert losses.generator_loss("vanilla", fake, real) == pytest.approx(FAR)  # -log D(fake), D = 0.1192
    assert losses.discriminator_loss("vanilla", fake, real) == pytest.approx(NEAR)


def test_relativistic_values() -> None:
    """Real 1, fake -1: each is 2 away from the mean of the other."""
    fake, real = torch.full((3, 1), -1.0), torch.full((3, 1), 1.0)
    assert losses.discriminator_loss("relativistic", fake, real) == pytest.approx(NEAR)
    assert losses.generator_loss("relativistic", fake, real) == pytest.approx(FAR)
    spread = torch.tensor([[0.0], [4.0]])  # the mean counts, not the neighbour
    hr = (math.log1p(math.exp(2)) + math.log1p(math.exp(-2))) / 2
    assert losses.discriminator_loss("relativistic", spread * 0, spread - 0) == pytest.approx(
        (wanted_real(spread) + wanted_fake(spread)) / 2
    )
    assert hr == pytest.approx(1.126928, abs=1e-5)


def wanted_real(real: Tensor) -> float:
    """Originals 0 and 4 against a mean fake of 0."""
    return (math.log(2) + math.log1p(math.exp(-4))) / 2


def wanted_fake(real: Tensor) -> float:
    """Fakes of 0 against a mean original of 2."""
    return math.log1p(math.exp(-2))


def test_paired_values() -> None:
    fake, real = torch.tensor([1.0, -2.0]), torch.tensor([2.0, -2.0])
    generator, opponent = ((math.log(1 + math.exp(sign)) + math.log(2)) / 2 for sign in (1, -1))
    assert losses.generator_loss("paired", fake, real) == pytest.approx(generator)
    assert losses.discriminator_loss("paired", fake, real) == pytest.approx(opponent)


def test_hinge_values() -> None:
    fake, real = torch.tensor([[-0.5], [-3.0]]), torch.tensor([[0.5], [2.0]])
    assert losses.discriminator_loss("hinge", fake, real) == pytest.approx((0.25 + 0.25) / 2)
    assert losses.generator_loss("hinge", fake, real) == pytest.approx(1.75)


def test_soft_labels_by_hand() -> None:
    """Entropy of a label t against a logit x: softplus(x) - t x."""
    fake, real = torch.tensor([[-2.0]]), torch.tensor([[2.0]])
    hr = ((FAR - 0.9 * 2) + (NEAR - 0.1 * -2)) / 2
    sr = losses.discriminator_loss("vanilla", fake, real, fake_label=0.1, real_label=0.9)
    assert sr == pytest.approx(hr)


def test_noisy_labels_have_the_loss_of_their_mean() -> None:
    """Cross-entropy is linear in the label, beyond 0 and 1 too."""
    fake, real = torch.randn(200_000, 1), torch.randn(200_000, 1)
    noisy = losses.discriminator_loss(
        "vanilla", fake, real, labels=lambda logits, value: value + 0.3 * torch.randn_like(logits)
    )
    assert noisy == pytest.approx(float(losses.discriminator_loss("vanilla", fake, real)), abs=5e-3)


def test_likeness_by_hand() -> None:
    sr = {"a": torch.zeros(1, 2, 2, 2), "b": torch.zeros(1, 4, 1, 1)}
    hr = {"a": torch.full((1, 2, 2, 2), 2.0), "b": torch.full((1, 4, 1, 1), 3.0)}
    weights = {"a": 0.5, "b": 0.1}
    assert losses.perceptual_loss(sr, hr, weights, "l1") == pytest.approx(0.5 * 2 + 0.1 * 3)
    assert losses.perceptual_loss(sr, hr, weights, "mse") == pytest.approx(0.5 * 4 + 0.1 * 9)


def test_paper_s_perceptual_loss_by_hand() -> None:
    """VGG features differ by 12.75 everywhere and D says 0.1192: 1 + 1e-3 * 2.1269."""
    factor = 1 / 12.75
    content = losses.perceptual_loss(
        {"conv5_4": torch.zeros(1, 4, 2, 2)},
        {"conv5_4": factor * torch.full((1, 4, 2, 2), 12.75)},
        {"conv5_4": 1.0},
        "mse",
    )
    adversarial = losses.generator_loss("vanilla", torch.tensor([[-2.0]]), torch.tensor([[2.0]]))
    assert content + 1e-3 * adversarial == pytest.approx(1 + 1e-3 * 2.126928)


def test_paper_s_pixel_loss_is_that_of_pictures_in_minus_one_to_one() -> None:
    sr, hr = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    theirs = losses.mse_loss(2 * sr - 1, 2 * hr - 1)
    assert 4 * losses.mse_loss(sr, hr) == pytest.approx(float(theirs))


def test_feature_loss_has_no_gradient_for_the_target() -> None:
    sr, hr = torch.zeros(1, 2, requires_grad=True), torch.ones(1, 2, requires_grad=True)
    loss = losses.feature_loss([sr, 2 * sr], [hr, hr])
    assert loss.detach() == pytest.approx((1 + 1) / 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert sr.grad is not None
    assert hr.grad is None


def test_artefact_loss_weighs_only_where_the_average_is_better() -> None:
    torch.manual_seed(0)
    hr = torch.rand(1, 3, 16, 16)
    sr = hr + 0.1 * torch.randn_like(hr)
    assert losses.ldl_loss(sr, hr, hr) > 0
    worse = hr + 10
    assert losses.ldl_loss(sr, worse, hr) == 0


def test_artefact_loss_equals_the_slow_way() -> None:
    """Local variance by a loop over windows of 7x7 in the mirrored error."""
    torch.manual_seed(1)
    hr, sr = torch.rand(1, 3, 9, 10), torch.rand(1, 3, 9, 10)
    error = (hr - sr).abs().sum(1)[0]
    mirrored = F.pad(error[None, None], (3, 3, 3, 3), mode="reflect")[0, 0]
    local = torch.tensor([[float(mirrored[y : y + 7, x : x + 7].var()) for x in range(10)] for y in range(9)])
    weight = local * error.var() ** 0.2
    slow = (weight * (sr - hr).abs()).mean()
    assert losses.ldl_loss(sr, hr, hr) == pytest.approx(float(slow), rel=1e-4)


def test_parts_of_a_batch_add_up() -> None:
    totals: dict[str, Tensor] = {}
    losses.accumulate(totals, {"pixel": torch.tensor(2.0)}, 0.75)
    losses.accumulate(totals, {"pixel": torch.tensor(4.0)}, 0.25)
    assert totals["pixel"] == 2.5
