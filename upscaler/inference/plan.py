"""Which networks run, in which order, to reach a size."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from upscaler.planes import PlaneOutput


@dataclass(frozen=True)
class PlannedNetwork:
    """One network of a plan: of a model, as the user named it, the one of this scale.

    Attributes:
        model: Of the user.
        scale: Of the network.
        in_steps: Whether it runs frame by frame on a film, and sees the frames around; see ``FilmStep``.
    """

    model: str
    scale: int
    in_steps: bool = False

    def __str__(self) -> str:
        return f"{self.model} x{self.scale}"


@dataclass(frozen=True)
class Plan:
    """How pictures of one size are upscaled.

    Attributes:
        networks: In the order in which they run; empty when none is needed.
        height: Height of the result, after antialiased downscaling where the networks overshoot.
        width: Width of the result.
        factor: By how much the picture is upscaled, before rounding to whole pixels.
        passes: How often each network runs; 8 for self-ensemble.
        planes: What the last network gives instead of RGB; see ``Upscaler.giving_planes``.
    """

    networks: tuple[PlannedNetwork, ...]
    height: int
    width: int
    factor: float
    passes: int = 1
    planes: PlaneOutput | None = None

    @property
    def scales(self) -> tuple[int, ...]:
        """Scales of the networks, in the order in which they run."""
        return tuple(network.scale for network in self.networks)

    def inputs(self, height: int, width: int) -> Iterator[tuple[PlannedNetwork, int, int]]:
        """Each network with the height and width of the picture that it gets.

        Args:
            height: Height of the source.
            width: Width of the source.
        """
        for network in self.networks:
            yield network, height, width
            height, width = height * network.scale, width * network.scale

    def picture_bytes(self, height: int, width: int, itemsize: int) -> int:
        """Memory for the pictures of this plan when they take most, without the networks' features.

        That is the input and output of a network; or both sides of the resizing that follows, with a channel
        of each, and of the step between both directions, in fp32.

        Args:
            height: Height of the source.
            width: Width of the source.
            itemsize: Bytes of a sample.
        """
        most = 0
        between = itemsize if len(self.networks) < 2 else max(itemsize, 2)
        reached_height, reached_width = height, width
        for network, rows, columns in self.inputs(height, width):
            most = max(most, 3 * between * rows * columns * (1 + network.scale**2))
            reached_height, reached_width = rows * network.scale, columns * network.scale
        if (reached_height, reached_width) == (self.height, self.width):
            return most
        reached, result = reached_height * reached_width, self.height * self.width
        floats = reached + reached_height * self.width + result
        return max(most, 3 * itemsize * (reached + result) + 4 * floats)

    def describe(self, height: int, width: int) -> str:
        """One line for the user: ``640x480 -> 1280x960 (x4, then resized)``; a chain names its models.

        Args:
            height: Height of the source.
            width: Width of the source.
        """
        chain = len({network.model for network in self.networks}) > 1
        names = (
            f"{Path(each.model).name} x{each.scale}" if chain else f"x{each.scale}" for each in self.networks
        )
        networks = " then ".join(names) or "no network"
        reached = math.prod(self.scales)
        exact = (height * reached, width * reached) == (self.height, self.width)
        passes = f", {self.passes} passes" if self.scales and self.passes > 1 else ""
        resized = "" if exact else ", then resized"
        if not exact and self.height < height:
            resized = ", then reduced below its size"
        return f"{width}x{height} -> {self.width}x{self.height} ({networks}{passes}{resized})"


def networks_for(models: Sequence[tuple[str, Collection[int]]], factor: float) -> tuple[PlannedNetwork, ...]:
    """The networks that reach ``factor`` together; of several models, each runs in its turn.

    Every model runs once, with the smallest of its scales that suffices if the models after it have their
    smallest, else with its largest. The last model that upscales runs again while the factor is not reached.

    Args:
        models: Name and known scales of each model, in order; at least one upscales if ``factor`` is above 1.
        factor: Output size over input size; below 1 no network is needed.
    """
    if factor < 1:
        return ()
    upscaling = [index for index, (_, known) in enumerate(models) if max(known) > 1]
    networks: list[PlannedNetwork] = []
    for index, (model, known) in enumerate(models):
        before = math.prod(network.scale for network in networks)
        after = math.prod(min(later) for _, later in models[index + 1 :])
        left = max(1.0, factor / (before * after))
        last = bool(upscaling) and index == upscaling[-1]
        scales = scales_for(known, left) if last else (_nearest(known, left),)
        networks += [PlannedNetwork(model, scale) for scale in scales]
    return tuple(networks)


def scales_for(known: Collection[int], factor: float) -> tuple[int, ...]:
    """The networks of one model that reach ``factor``: the smallest, or the largest and what is left."""
    scales: list[int] = []
    while (left := factor / math.prod(scales)) > 1 or (factor == 1 and not scales):
        scales.append(_nearest(known, left))
    return tuple(scales)


def _nearest(known: Collection[int], factor: float) -> int:
    """The smallest scale that reaches ``factor``, else the largest."""
    return min((scale for scale in known if scale >= factor), default=max(known))
