import math

import pytest
import torch
from torch import Tensor

from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.divergence import Guard, color_alarm, discriminator_alarm


@pytest.fixture
def guard() -> Guard:
    return Guard(World(torch.device("cpu")))


def told(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_means_since_the_last_look(guard: Guard) -> None:
    assert guard.look(0) == ({}, None)
    guard.add(told(pixel=1.0))
    guard.add(told(pixel=3.0))
    assert guard.look(2) == ({"pixel": 2.0}, None)
    guard.add(told(pixel=7.0))
    assert guard.look(3) == ({"pixel": 7.0}, None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named_with_its_step(guard: Guard, value: float) -> None:
    guard.add(told(pixel=1.0, vgg=1.0))
    guard.add(told(pixel=1.0, vgg=value))
    guard.add(told(pixel=value, vgg=value))
    assert guard.look(12) == ({}, "'vgg' is no longer finite at step 11")


def test_a_term_that_runs_away_is_named(guard: Guard) -> None:
    for _ in range(60):
        guard.add(told(pixel=0.02, fft=0.1))
    assert guard.look(60)[1] is None
    for _ in range(2):
        guard.add(told(pixel=7.6e7, fft=0.1))
    assert guard.look(62)[1] is None  # two outliers: the median of the last five is still sound
    guard.add(told(pixel=7.6e7, fft=0.1))
    assert guard.look(63)[1] == "'pixel' is above 10 times its running median at step 63"


def test_a_slow_rise_and_the_other_numbers_are_no_trouble(guard: Guard) -> None:
    for step in range(300):
        guard.add(told(pixel=0.02 * 1.01**step, gradient_norm=1e-3 if step < 290 else 1e3))
        assert guard.look(step)[1] is None


def test_an_adversarial_term_may_rise_to_its_don_t_know(guard: Guard) -> None:
    for _ in range(60):
        guard.add(told(adversarial=0.001, discriminator=0.001))
    for _ in range(5):
        guard.add(told(adversarial=0.5, discriminator=3.0))
    assert guard.look(65, {"adversarial": 0.1})[1] is None
    for _ in range(5):
        guard.add(told(adversarial=0.8, discriminator=3.0))
    assert "adversarial" in str(guard.look(70, {"adversarial": 0.1})[1])


def test_nothing_is_said_before_there_is_a_past(guard: Guard) -> None:
    for value in (1.0, 1000.0, 1000.0, 1000.0, 1000.0, 1000.0):
        guard.add(told(pixel=value))
    assert guard.look(6)[1] is None
    guard.forget()
    assert guard.look(6) == ({}, None)


def test_a_discriminator_that_has_won_is_told() -> None:
    assert discriminator_alarm({"real_score": 0.999, "fake_score": 0.001}) is not None
    assert discriminator_alarm({"real_score": 0.9, "fake_score": 0.2}) is None
    assert discriminator_alarm({"pixel": 0.1}) is None


def test_colours_that_drift_are_told() -> None:
    assert color_alarm(1.5, 0.1) is None
    assert "2.4 levels" in str(color_alarm(2.4, 0.1))
    assert color_alarm(2.4, 1.0) is None  # it started that way
