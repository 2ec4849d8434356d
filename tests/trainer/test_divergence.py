import math

import pytest
import torch
from torch import Tensor

from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.divergence import LossMonitor, color_alarm, discriminator_alarm


@pytest.fixture
def monitor() -> LossMonitor:
    return LossMonitor(World(torch.device("cpu")))


def terms(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_means_since_the_last_look(monitor: LossMonitor) -> None:
    assert monitor.check(0) == ({}, None)
    monitor.add(terms(pixel=1.0))
    monitor.add(terms(pixel=3.0))
    assert monitor.check(2) == ({"pixel": 2.0}, None)
    monitor.add(terms(pixel=7.0))
    assert monitor.check(3) == ({"pixel": 7.0}, None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_reported_with_their_step(monitor: LossMonitor, value: float) -> None:
    monitor.add(terms(pixel=1.0, vgg=1.0))
    monitor.add(terms(pixel=1.0, vgg=value))
    monitor.add(terms(pixel=value, vgg=value))
    assert monitor.check(12) == ({}, "'vgg' is no longer finite at step 11")


def test_a_term_that_runs_away_is_named(monitor: LossMonitor) -> None:
    for _ in range(60):
        monitor.add(terms(pixel=0.02, fft=0.1))
    assert monitor.check(60)[1] is None
    for _ in range(2):
        monitor.add(terms(pixel=7.6e7, fft=0.1))
    assert monitor.check(62)[1] is None  # two outliers: the median of the last five is still sound
    monitor.add(terms(pixel=7.6e7, fft=0.1))
    assert monitor.check(63)[1] == "'pixel' exceeds 10 times its running median at step 63"


def test_a_slow_rise_and_the_other_numbers_are_accepted(monitor: LossMonitor) -> None:
    for step in range(300):
        monitor.add(terms(pixel=0.02 * 1.01**step, gradient_norm=1e-3 if step < 290 else 1e3))
        assert monitor.check(step)[1] is None


def test_the_adversarial_term_may_rise_to_its_value_at_chance(monitor: LossMonitor) -> None:
    for _ in range(60):
        monitor.add(terms(adversarial=0.001, discriminator=0.001))
    for _ in range(5):
        monitor.add(terms(adversarial=0.5, discriminator=3.0))
    assert monitor.check(65, {"adversarial": 0.1})[1] is None
    for _ in range(5):
        monitor.add(terms(adversarial=0.8, discriminator=3.0))
    assert "adversarial" in str(monitor.check(70, {"adversarial": 0.1})[1])


def test_nothing_is_said_before_there_is_a_past(monitor: LossMonitor) -> None:
    for value in (1.0, 1000.0, 1000.0, 1000.0, 1000.0, 1000.0):
        monitor.add(terms(pixel=value))
    assert monitor.check(6)[1] is None
    monitor.reset()
    assert monitor.check(6) == ({}, None)


def test_a_discriminator_that_has_won_is_reported() -> None:
    assert discriminator_alarm({"real_score": 0.999, "fake_score": 0.001}) is not None
    assert discriminator_alarm({"real_score": 0.9, "fake_score": 0.2}) is None
    assert discriminator_alarm({"pixel": 0.1}) is None


def test_drifting_colours_are_reported() -> None:
    assert color_alarm(1.5, 0.1) is None
    assert "2.4 levels" in str(color_alarm(2.4, 0.1))
    assert color_alarm(2.4, 1.0) is None  # it started that way
