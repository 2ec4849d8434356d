"""Detects losses that are not finite or diverge, a discriminator that has won, and colours that drift."""

import math
from collections import deque

import torch
from torch import Tensor

from upscaler.trainer.stages.distributed import World

# Not loss terms: any finite value is fine.
_NOT_LOSSES = ("real_score", "fake_score", "gradient_norm")

# A term diverges when the median of its recent values exceeds this factor times the median of many: a
# diverging network can stay finite for long (a loss of 7.6e7 was seen). Single outliers do no harm.
_DIVERGENCE_FACTOR = 10.0
_RECENT_STEPS = 5
_HISTORY_STEPS = 200
_MIN_HISTORY_STEPS = 50

# Cross-entropy may rise from almost 0 to ln 2, the value of an undecided discriminator.
_UNDECIDED = {"adversarial": math.log(2), "discriminator": math.log(2)}

# With a larger gap between its scores, the discriminator is never wrong, and teaches nothing.
_DECIDED_GAP = 0.98

Means = dict[str, float]


class LossMonitor:
    """Collects the terms of every step without waiting for the device, and checks them when asked.

    Args:
        world: The processes of the run; all get the same result.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._unchecked: list[dict[str, Tensor]] = []
        self._history: dict[str, deque[float]] = {}

    def add(self, terms: dict[str, Tensor]) -> None:
        """Keep the terms of a step for the next check."""
        self._unchecked.append(terms)

    def check(self, last_step: int, weights: dict[str, float] | None = None) -> tuple[Means, str | None]:
        """The means of the terms since the last check, and what is wrong, if anything.

        Args:
            last_step: Number of the last step that was added.
            weights: Weights of the terms whose harmless value is known without the weight.
        """
        if not self._unchecked:
            return {}, None
        names = list(self._unchecked[0])
        table = torch.stack(
            [torch.stack([terms[name].float() for name in names]) for terms in self._unchecked]
        )
        values = self._world.mean(table).cpu()  # (steps, names)
        first_step = last_step - len(self._unchecked) + 1
        self._unchecked = []
        broken = values.isfinite().logical_not().nonzero().tolist()
        if broken:
            row, column = broken[0]
            return {}, f"'{names[column]}' is no longer finite at step {first_step + row}"
        for column, name in enumerate(names):
            history = self._history.setdefault(name, deque(maxlen=_HISTORY_STEPS))
            history.extend(values[:, column].tolist())
            floor = _UNDECIDED.get(name, 0.0) * (weights or {}).get(name, 1.0)
            if (
                name not in _NOT_LOSSES
                and len(history) >= _MIN_HISTORY_STEPS
                and _diverges(list(history), floor)
            ):
                return (
                    {},
                    f"'{name}' exceeds {_DIVERGENCE_FACTOR:.0f} times its running median at step {last_step}",
                )
        return dict(zip(names, values.mean(0).tolist(), strict=True)), None

    def reset(self) -> None:
        """Forget all terms, for a new stage or after a rewind."""
        self._unchecked, self._history = [], {}


def _diverges(values: list[float], floor: float) -> bool:
    recent = torch.tensor(values[-_RECENT_STEPS:]).abs().median()
    long = torch.tensor(values).abs().median()
    return float(recent) > _DIVERGENCE_FACTOR * max(float(long), floor)


def discriminator_alarm(means: Means) -> str | None:
    """A line if the discriminator is never wrong any more."""
    gap = means.get("real_score", 0.0) - means.get("fake_score", 0.0)
    if gap <= _DECIDED_GAP:
        return None
    return (
        f"the discriminator is never wrong (scores: HR {means['real_score']:.2f}, SR "
        f"{means['fake_score']:.2f}); try a lower gan.discriminator_learning_rate"
    )


def color_alarm(drift: float, drift_at_start: float) -> str | None:
    """A line if colours drift by two 8-bit levels more than at the first validation."""
    if drift < drift_at_start + 2:
        return None
    return f"colours drift: the mean of a channel is off by {drift:.1f} levels; try a higher pixel_weight"
