"""Watches the losses: what is not finite, what runs away, and a discriminator that has won."""

import math
from collections import deque

import torch
from torch import Tensor

from upscaler.trainer.stages.distributed import World

# Not terms of a loss; they may be anything that is finite.
_OTHER = ("real_score", "fake_score", "gradient_norm")

# A term runs away when the median of its last values is above this times the median of a longer past: a
# diverging network can stay finite for long (a loss of 7.6e7 was seen). Single outliers are no trouble.
_TOO_MUCH = 10.0
_RECENT_STEPS = 5
_PAST_STEPS = 200
_FEWEST_STEPS = 50

# Cross-entropy rises from almost 0 to its "don't know" of ln 2 without any harm.
_HARMLESS = {"adversarial": math.log(2), "discriminator": math.log(2)}

# Above this gap of its scores the discriminator is never wrong, and has nothing to teach.
_DECIDED_GAP = 0.98

Means = dict[str, float]


class Guard:
    """Collects what the steps return, without waiting for the device, and judges it when asked.

    Args:
        world: The processes of the run; all come to the same verdict.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._fresh: list[dict[str, Tensor]] = []
        self._past: dict[str, deque[float]] = {}

    def add(self, told: dict[str, Tensor]) -> None:
        """Remember what a step told."""
        self._fresh.append(told)

    def look(self, last_step: int, weights: dict[str, float] | None = None) -> tuple[Means, str | None]:
        """The means of what was told since the last look, and what is wrong, if something is.

        Args:
            last_step: Number of the last step that was added.
            weights: Of terms, where a harmless value is known before its weight.
        """
        if not self._fresh:
            return {}, None
        names = list(self._fresh[0])
        table = torch.stack([torch.stack([told[name].float() for name in names]) for told in self._fresh])
        values = self._world.mean(table).cpu()  # (steps, names)
        first_step = last_step - len(self._fresh) + 1
        self._fresh = []
        broken = values.isfinite().logical_not().nonzero().tolist()
        if broken:
            row, column = broken[0]
            return {}, f"'{names[column]}' is no longer finite at step {first_step + row}"
        for column, name in enumerate(names):
            past = self._past.setdefault(name, deque(maxlen=_PAST_STEPS))
            past.extend(values[:, column].tolist())
            floor = _HARMLESS.get(name, 0.0) * (weights or {}).get(name, 1.0)
            if name not in _OTHER and len(past) >= _FEWEST_STEPS and _runs_away(list(past), floor):
                return {}, f"'{name}' is above {_TOO_MUCH:.0f} times its running median at step {last_step}"
        return dict(zip(names, values.mean(0).tolist(), strict=True)), None

    def forget(self) -> None:
        """After a return to an earlier state, or with a new stage."""
        self._fresh, self._past = [], {}


def _runs_away(values: list[float], floor: float) -> bool:
    recent = torch.tensor(values[-_RECENT_STEPS:]).abs().median()
    past = torch.tensor(values).abs().median()
    return float(recent) > _TOO_MUCH * max(float(past), floor)


def discriminator_alarm(means: Means) -> str | None:
    """A line when the discriminator is never wrong any more."""
    gap = means.get("real_score", 0.0) - means.get("fake_score", 0.0)
    if gap <= _DECIDED_GAP:
        return None
    return (
        f"the discriminator is never wrong (originals {means['real_score']:.2f}, enlargements "
        f"{means['fake_score']:.2f}): a lower gan.discriminator_learning_rate would teach more"
    )


def color_alarm(drift: float, drift_at_start: float) -> str | None:
    """A line when colours have moved: by two 8-bit levels more than at the start of the run."""
    if drift < drift_at_start + 2:
        return None
    return f"colours drift: a channel's mean is {drift:.1f} levels off; a higher pixel_weight holds them"
